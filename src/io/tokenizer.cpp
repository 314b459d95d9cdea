#include "espalier/io/tokenizer.h"

#include <fmt/format.h>
#include <tbb/enumerable_thread_specific.h>
#include <tbb/parallel_for.h>

#include <algorithm>
#include <limits>

#include "espalier/core/error.h"
#include "espalier/core/hash.h"
#include "espalier/io/gguf.h"
#include "espalier/io/tokenizer_added.h"
#include "espalier/io/tokenizer_bpe.h"
#include "espalier/io/tokenizer_spec.h"
#include "espalier/io/tokenizer_split.h"
#include "espalier/io/tokenizer_steps.h"
#include "espalier/io/utf8.h"

namespace espalier {
namespace {

constexpr size_t kChunkBytes = size_t{64} << 10;  // of one parallel task: far above its overhead, far below a corpus
constexpr size_t kMaxText = std::numeric_limits<int32_t>::max();

std::vector<AddedToken> Chosen(const TokenizerSpec& spec, bool normalized) {
  std::vector<AddedToken> chosen;
  for (AddedToken token : spec.added) {
    if (token.normalized != normalized) continue;
    if (normalized) token.content = Normalize(spec.normalizers, token.content);
    chosen.push_back(std::move(token));
  }
  return chosen;
}

bool CrossesWords(std::string_view token) {
  const std::string_view mark = kSpaceMark;
  for (size_t at = token.find(mark); at != token.npos; at = token.find(mark, at + mark.size()))
    if (at > 0 && !token.substr(0, at).ends_with(mark)) return true;
  return false;
}

// The steps, and one more that changes no id: cutting before each word bounds the merging of a text that is otherwise a
// single piece, and makes pieces that come again. It is allowed where no merge reaches from a word into the next.
std::vector<SplitStep> WithWords(const TokenizerSpec& spec) {
  std::vector<SplitStep> steps = spec.steps;
  const bool has_mark = std::find(spec.tokens.begin(), spec.tokens.end(), kSpaceMark) != spec.tokens.end();
  if (!spec.byte_fallback || spec.ignore_merges || !has_mark) return steps;
  for (const auto& [left, right, result] : spec.merges)
    if (CrossesWords(spec.tokens[result])) return steps;
  steps.push_back({.kind = SplitStep::Kind::kWords, .pattern = kSpaceMark});
  return steps;
}

void CheckLength(size_t bytes, size_t limit) {
  if (bytes > limit)
    throw IoError(fmt::format("a text of {} bytes is too long to encode; expected at most {}: cut it into documents",
                              bytes, limit));
}

class BpeTokenizer final : public Tokenizer {
 public:
  explicit BpeTokenizer(TokenizerSpec spec)
      : spec_(std::move(spec)),
        raw_added_(Chosen(spec_, false)),
        normalized_added_(Chosen(spec_, true)),
        splitter_(WithWords(spec_), spec_.origin),
        model_(spec_),
        size_(static_cast<int64_t>(spec_.tokens.size())) {
    for (const AddedToken& token : spec_.added) size_ = std::max<int64_t>(size_, token.id + 1);
    MakeTexts();
  }

  std::vector<int32_t> Encode(std::string_view text) const override;
  std::string Decode(std::span<const int32_t> ids) const override;
  int64_t vocabulary_size() const override { return size_; }
  std::optional<int32_t> bos() const override { return spec_.bos; }
  std::optional<int32_t> eos() const override { return spec_.eos; }
  bool adds_bos() const override { return spec_.adds_bos; }
  std::string Fingerprint() const override;
  void Save(const std::filesystem::path& folder) const override { SaveTokenizer(spec_, folder); }

 private:
  struct Scratch {
    Splitter::Scratch split;
    BpeModel::Scratch model;
  };

  void MakeTexts();
  // `is_first`: nothing stands before the text.
  void EncodeChunk(std::string_view chunk, bool is_first, std::vector<int32_t>& out) const;
  void EncodePlain(std::string_view text, bool is_first, std::vector<int32_t>& out) const;
  void EncodeRaw(std::string_view text, bool is_first, std::vector<int32_t>& out) const;

  TokenizerSpec spec_;
  AddedTokenMatcher raw_added_, normalized_added_;
  Splitter splitter_;
  BpeModel model_;
  int64_t size_;
  std::vector<std::string> texts_;  // what each id decodes to
  mutable tbb::enumerable_thread_specific<Scratch> scratch_;
};

void BpeTokenizer::MakeTexts() {
  texts_.resize(static_cast<size_t>(size_));
  for (size_t id = 0; id < spec_.tokens.size(); ++id)
    texts_[id] = spec_.byte_fallback ? spec_.tokens[id] : BytesOfToken(spec_.tokens[id]).value_or(spec_.tokens[id]);
  for (const AddedToken& token : spec_.added)
    texts_[token.id] = token.normalized ? Normalize(spec_.normalizers, token.content) : token.content;
}

void BpeTokenizer::EncodeChunk(std::string_view chunk, bool is_first, std::vector<int32_t>& out) const {
  Scratch& scratch = scratch_.local();
  splitter_.Split(chunk, scratch.split, is_first);
  for (const std::string_view piece : scratch.split.pieces()) model_.Encode(piece, scratch.model, out);
}

// Text without added tokens, in chunks that split as the whole does.
void BpeTokenizer::EncodePlain(std::string_view text, bool is_first, std::vector<int32_t>& out) const {
  std::vector<std::string_view> chunks;
  while (!text.empty()) {
    const size_t end = splitter_.ChunkEnd(text, kChunkBytes);
    chunks.push_back(text.substr(0, end));
    text.remove_prefix(end);
  }
  if (chunks.size() == 1) return EncodeChunk(chunks.front(), is_first, out);
  std::vector<std::vector<int32_t>> ids(chunks.size());
  tbb::parallel_for(size_t{0}, chunks.size(), [&](size_t i) { EncodeChunk(chunks[i], is_first && i == 0, ids[i]); });
  for (const std::vector<int32_t>& part : ids) out.insert(out.end(), part.begin(), part.end());
}

// Between the added tokens that are looked for in the text as it is: normalization, then the other added tokens.
void BpeTokenizer::EncodeRaw(std::string_view text, bool is_first, std::vector<int32_t>& out) const {
  std::string normal;
  if (!spec_.normalizers.empty()) {
    normal = Normalize(spec_.normalizers, text);
    CheckLength(normal.size(), kMaxText);
    text = normal;
  }
  for (const TextSegment& segment : normalized_added_.Cut(text)) {
    if (segment.id) {
      out.push_back(*segment.id);
    } else {
      EncodePlain(segment.text, is_first, out);
    }
    is_first = false;
  }
}

std::vector<int32_t> BpeTokenizer::Encode(std::string_view text) const {
  CheckLength(text.size(), kMaxText / 3);  // U+FFFD is three bytes
  std::string valid;
  if (FirstInvalidUtf8(text) != text.size()) {
    valid = ReplaceInvalidUtf8(text);
    text = valid;
  }
  std::vector<int32_t> ids;
  bool is_first = true;
  for (const TextSegment& segment : raw_added_.Cut(text)) {
    if (segment.id) {
      ids.push_back(*segment.id);
    } else {
      EncodeRaw(segment.text, is_first, ids);
    }
    is_first = false;
  }
  return ids;
}

// Ids without a token (padding of the embedding) have no text. Ids may cut a character in two: what is left is U+FFFD.
std::string BpeTokenizer::Decode(std::span<const int32_t> ids) const {
  std::vector<std::string> texts;
  for (const int32_t id : ids)
    if (id >= 0 && id < size_ && !texts_[id].empty()) texts.push_back(texts_[id]);
  return ReplaceInvalidUtf8(JoinTokens(spec_.decoders, std::move(texts)));
}

// Only what decides ids, written in one way for every container: GGUF stores no flags of added tokens, lists them among
// the tokens, and pads.
std::string BpeTokenizer::Fingerprint() const {
  Sha256 hash;
  std::vector<const AddedToken*> added(static_cast<size_t>(size_));
  for (const AddedToken& token : spec_.added) added[token.id] = &token;
  for (size_t id = 0; id < added.size(); ++id) {
    if (const AddedToken* token = added[id]) {
      const bool normalized = token->normalized && !spec_.normalizers.empty();
      hash.Add(fmt::format("{} added {}{}{}{} {}\n", id, int{token->lstrip}, int{token->rstrip},
                           int{token->single_word}, int{normalized}, token->content));
    } else if (id < spec_.tokens.size() && !spec_.tokens[id].empty()) {  // added ids may leave a gap behind the others
      hash.Add(fmt::format("{} {}\n", id, spec_.tokens[id]));
    }
  }
  for (const auto& [left, right, result] : spec_.merges) hash.Add(fmt::format("{} {} {}\n", left, right, result));
  for (const NormalizeStep& step : spec_.normalizers) {
    const bool nfc = step.kind == NormalizeStep::Kind::kNfc;
    hash.Add(nfc ? "nfc\n" : fmt::format("'{}' becomes '{}'\n", step.pattern, step.content));
  }
  for (const SplitStep& step : spec_.steps) {
    const bool digits = step.kind == SplitStep::Kind::kDigits;
    if (digits) hash.Add(step.individual ? "digits one by one\n" : "digits\n");
    if (step.prefix_space) hash.Add("prefix space\n");
    if (!digits && (step.use_regex || !step.pattern.empty()))
      hash.Add("pattern " + (step.use_regex ? Gpt2Pattern() : step.pattern) + "\n");
    if (step.kind == SplitStep::Kind::kAfter) hash.Add("cut after it\n");
    if (step.kind == SplitStep::Kind::kMetaspace)
      hash.Add(fmt::format("for a space, prepend {} cut {}\n", static_cast<int>(step.prepend), step.cut));
  }
  hash.Add(fmt::format("whole {} unknown {} fuse {} bytes {}\n", spec_.ignore_merges, spec_.unknown.value_or(-1),
                       spec_.unknown && spec_.fuse_unknown, spec_.byte_fallback));
  return hash.Finish();
}

}  // namespace

std::unique_ptr<Tokenizer> MakeTokenizer(TokenizerSpec spec) {
  CheckTokenizerSpec(spec);
  return std::make_unique<BpeTokenizer>(std::move(spec));
}

std::unique_ptr<Tokenizer> Tokenizer::FromJson(const std::filesystem::path& tokenizer_json) {
  return MakeTokenizer(ReadTokenizerJson(tokenizer_json));
}

std::unique_ptr<Tokenizer> Tokenizer::FromGguf(const GgufFile& file) {
  return MakeTokenizer(ReadTokenizerGguf(file));
}

std::unique_ptr<Tokenizer> Tokenizer::Open(const std::filesystem::path& path) {
  if (std::filesystem::is_directory(path)) return FromJson(path / "tokenizer.json");
  if (path.extension() == ".gguf") return FromGguf(GgufFile(path));
  if (path.extension() == ".json") return FromJson(path);
  throw IoError(
      fmt::format("{}: expected a folder with tokenizer.json, a tokenizer.json or a .gguf file", path.string()));
}

}  // namespace espalier
