#pragma once
// What a BPE tokenizer consists of, whichever file it was read from, and the tokenizer made of it. There are two kinds:
// byte-level, whose vocabulary is written in the byte alphabet (GPT-2), and SentencePiece's, whose vocabulary is plain
// text with U+2581 for a space and a token <0xXX> for each byte (Llama-2, Mistral, Gemma).
#include <array>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "espalier/io/tokenizer.h"

namespace espalier {

// A token that is looked for in the text before anything else happens to it.
struct AddedToken {
  int32_t id = 0;
  std::string content;
  bool special = true;
  bool lstrip = false;       // takes the white space before it
  bool rstrip = false;       // takes the white space behind it
  bool single_word = false;  // only where no word character touches it
  bool normalized = false;   // looked for after normalization

  friend bool operator==(const AddedToken&, const AddedToken&) = default;
};

// One normalizer: each changes the text that the one before it left.
struct NormalizeStep {
  enum class Kind { kNfc, kPrepend, kReplace };
  Kind kind = Kind::kNfc;
  std::string pattern = "";  // kReplace: what is replaced, letter for letter
  std::string content = "";  // kReplace: what comes in its place; kPrepend: what comes before a text that is not empty

  friend bool operator==(const NormalizeStep&, const NormalizeStep&) = default;
};

// One pre-tokenizer: each splits the pieces of the one before it.
struct SplitStep {
  enum class Kind { kDigits, kPattern, kByteLevel, kMetaspace, kAfter, kWords };
  enum class Prepend { kNever, kFirst, kAlways };
  Kind kind = Kind::kByteLevel;
  // kPattern: matches and what lies between them become pieces. kMetaspace: what stands for a space. kAfter: a text,
  // behind which is cut. kWords: a text, before runs of which is cut.
  std::string pattern;
  bool individual = false;            // kDigits: every digit alone, not runs of them
  bool use_regex = false;             // kByteLevel: split by GPT-2's pattern
  bool prefix_space = false;          // kByteLevel: a piece without a leading space gets one
  Prepend prepend = Prepend::kNever;  // kMetaspace: which pieces get the pattern in front, unless they start with it
  bool cut = false;                   // kMetaspace: cut before every pattern

  friend bool operator==(const SplitStep&, const SplitStep&) = default;
};

// One decoder: each changes the list of texts that the one before it left; the end is joined.
struct DecodeStep {
  enum class Kind { kReplace, kByteFallback, kFuse, kStrip };
  Kind kind = Kind::kFuse;
  std::string pattern = "";     // kReplace: what is replaced; kStrip: what is taken away
  std::string content = "";     // kReplace: what comes in its place
  int64_t start = 0;            // kStrip: how many at most at the start of each text
  int64_t stop = 0;             // kStrip: at the end
  bool drops_in_first = false;  // kReplace: in the first text nothing comes in its place

  friend bool operator==(const DecodeStep&, const DecodeStep&) = default;
};

struct TokenizerSpec {
  std::string origin;                          // the file, for messages
  std::vector<std::string> tokens;             // the BPE vocabulary by id; "" where an id has no token
  std::vector<std::array<int32_t, 3>> merges;  // left, right, result, the first to be made first
  std::vector<int32_t> ranks;  // of the merges, ascending; of equal ranks the leftmost is made first; empty: 0, 1, ...
  std::vector<AddedToken> added;
  std::vector<NormalizeStep> normalizers;
  std::vector<SplitStep> steps;
  std::vector<DecodeStep> decoders;  // only with byte_fallback
  bool byte_fallback = false;      // SentencePiece's kind; a character without a token becomes the tokens of its bytes
  bool ignore_merges = false;      // a piece that is a token of the vocabulary is taken whole
  std::optional<int32_t> unknown;  // of the model: stands for what has no token; none: that is dropped
  bool fuse_unknown = false;

  std::optional<int32_t> bos, eos, pad, unk;  // conventions of the model; they do not change Encode
  bool adds_bos = false, adds_eos = false;
  std::string chat_template;
  std::optional<std::filesystem::path> folder;  // where the tokenizer's files lie, when it came from such files
};

// What makes a byte-level family: everything that is not in its vocabulary. GGUF names it in tokenizer.ggml.pre.
struct TokenizerFamily {
  std::string_view name;
  std::vector<std::string_view> pre_names;
  std::vector<SplitStep> steps;
  std::vector<NormalizeStep> normalizers;
  bool ignore_merges = false;
  bool adds_bos = false;
};
const std::vector<TokenizerFamily>& TokenizerFamilies();
const std::string& Gpt2Pattern();  // the pattern of SplitStep::use_regex
// Everything of Llama-2's tokenizer that is not in its vocabulary; without the space before a text, Gemma's.
void ApplySentencePiece(bool space_prefix, TokenizerSpec& spec);
inline constexpr const char* kSpaceMark = "\u2581";  // what stands for a space in their vocabularies

TokenizerSpec ReadTokenizerJson(const std::filesystem::path& path);
TokenizerSpec ReadTokenizerGguf(const GgufFile& file);
void SaveTokenizer(const TokenizerSpec& spec, const std::filesystem::path& folder);

// IoError naming `origin` when the parts contradict one another: ids out of range or used twice, a token listed twice,
// a special id outside the vocabulary, too many tokens or merges.
void CheckTokenizerSpec(const TokenizerSpec& spec);
std::unique_ptr<Tokenizer> MakeTokenizer(TokenizerSpec spec);  // checks first

// Limits of what a reader accepts; the largest vocabularies in use have 262,144 tokens.
inline constexpr size_t kMaxTokens = size_t{1} << 22;
inline constexpr size_t kMaxMerges = size_t{1} << 23;
inline constexpr size_t kMaxTokenBytes = size_t{1} << 16;

}  // namespace espalier
