#pragma once
// What a byte-level BPE tokenizer consists of, whichever file it was read from, and the tokenizer made of it.
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

// One pre-tokenizer: each splits the pieces of the one before it.
struct SplitStep {
  enum class Kind { kDigits, kPattern, kByteLevel };
  Kind kind = Kind::kByteLevel;
  std::string pattern;        // kPattern: matches and what lies between them become pieces
  bool individual = false;    // kDigits: every digit alone, not runs of them
  bool use_regex = false;     // kByteLevel: split by GPT-2's pattern
  bool prefix_space = false;  // kByteLevel: a piece without a leading space gets one

  friend bool operator==(const SplitStep&, const SplitStep&) = default;
};

struct TokenizerSpec {
  std::string origin;               // the file, for messages
  std::vector<std::string> tokens;  // the BPE vocabulary by id, in the byte alphabet; "" where an id has no token
  std::vector<std::array<int32_t, 3>> merges;  // left, right, result, by rank
  std::vector<AddedToken> added;
  std::vector<SplitStep> steps;
  bool nfc = false;
  bool ignore_merges = false;      // a piece that is a token of the vocabulary is taken whole
  std::optional<int32_t> unknown;  // of the model: stands for a byte without a token; none: such bytes are dropped
  bool fuse_unknown = false;

  std::optional<int32_t> bos, eos, pad, unk;  // conventions of the model; they do not change Encode
  bool adds_bos = false;
  std::string chat_template;
  std::optional<std::filesystem::path> folder;  // where the tokenizer's files lie, when it came from such files
};

// What makes a family: everything that is not in its vocabulary. GGUF names it in tokenizer.ggml.pre.
struct TokenizerFamily {
  std::string_view name;
  std::vector<std::string_view> pre_names;
  std::vector<SplitStep> steps;
  bool nfc = false;
  bool ignore_merges = false;
  bool adds_bos = false;
};
const std::vector<TokenizerFamily>& TokenizerFamilies();
const std::string& Gpt2Pattern();  // the pattern of SplitStep::use_regex

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
