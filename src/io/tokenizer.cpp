#include "espalier/io/tokenizer.h"

#include <fmt/format.h>
#include <tbb/enumerable_thread_specific.h>
#include <tbb/parallel_for.h>

#include <limits>

#include "espalier/core/error.h"
#include "espalier/core/hash.h"
#include "espalier/io/gguf.h"
#include "espalier/io/tokenizer_added.h"
#include "espalier/io/tokenizer_bpe.h"
#include "espalier/io/tokenizer_spec.h"
#include "espalier/io/tokenizer_split.h"
#include "espalier/io/unicode_classes.h"
#include "espalier/io/utf8.h"

namespace espalier {
namespace {

constexpr size_t kChunkBytes = size_t{64} << 10;  // of one parallel task: far above its overhead, far below a corpus
constexpr size_t kMaxText = std::numeric_limits<int32_t>::max();

std::vector<AddedToken> Chosen(const TokenizerSpec& spec, bool normalized) {
  std::vector<AddedToken> chosen;
  for (AddedToken token : spec.added) {
    if (token.normalized != normalized) continue;
    if (normalized && spec.nfc) token.content = ToNfc(token.content);
    chosen.push_back(std::move(token));
  }
  return chosen;
}

class BpeTokenizer final : public Tokenizer {
 public:
  explicit BpeTokenizer(TokenizerSpec spec)
      : spec_(std::move(spec)),
        raw_added_(Chosen(spec_, false)),
        normalized_added_(Chosen(spec_, true)),
        splitter_(spec_.steps, spec_.origin),
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
  void EncodeChunk(std::string_view chunk, std::vector<int32_t>& out) const;
  void EncodePlain(std::string_view text, std::vector<int32_t>& out) const;
  void EncodeRaw(std::string_view text, std::vector<int32_t>& out) const;

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
    texts_[id] = BytesOfToken(spec_.tokens[id]).value_or(spec_.tokens[id]);
  for (const AddedToken& token : spec_.added) texts_[token.id] = token.content;
}

void BpeTokenizer::EncodeChunk(std::string_view chunk, std::vector<int32_t>& out) const {
  Scratch& scratch = scratch_.local();
  splitter_.Split(chunk, scratch.split);
  for (const std::string_view piece : scratch.split.pieces()) model_.Encode(piece, scratch.model, out);
}

// Text without added tokens, in chunks that split as the whole does.
void BpeTokenizer::EncodePlain(std::string_view text, std::vector<int32_t>& out) const {
  std::vector<std::string_view> chunks;
  while (!text.empty()) {
    const size_t end = splitter_.ChunkEnd(text, kChunkBytes);
    chunks.push_back(text.substr(0, end));
    text.remove_prefix(end);
  }
  if (chunks.size() == 1) return EncodeChunk(chunks.front(), out);
  std::vector<std::vector<int32_t>> ids(chunks.size());
  tbb::parallel_for(size_t{0}, chunks.size(), [&](size_t i) { EncodeChunk(chunks[i], ids[i]); });
  for (const std::vector<int32_t>& part : ids) out.insert(out.end(), part.begin(), part.end());
}

// Between the added tokens that are looked for in the text as it is: normalization, then the other added tokens.
void BpeTokenizer::EncodeRaw(std::string_view text, std::vector<int32_t>& out) const {
  std::string normal;
  if (spec_.nfc) {
    normal = ToNfc(text);
    text = normal;
  }
  for (const TextSegment& segment : normalized_added_.Cut(text)) {
    if (segment.id) {
      out.push_back(*segment.id);
    } else {
      EncodePlain(segment.text, out);
    }
  }
}

std::vector<int32_t> BpeTokenizer::Encode(std::string_view text) const {
  if (text.size() > kMaxText / 3)  // U+FFFD is three bytes
    throw IoError(
        fmt::format("a text of {} bytes is too long to encode at once; expected at most {}: cut it into documents",
                    text.size(), kMaxText / 3));
  std::string valid;
  if (FirstInvalidUtf8(text) != text.size()) {
    valid = ReplaceInvalidUtf8(text);
    text = valid;
  }
  std::vector<int32_t> ids;
  for (const TextSegment& segment : raw_added_.Cut(text)) {
    if (segment.id) {
      ids.push_back(*segment.id);
    } else {
      EncodeRaw(segment.text, ids);
    }
  }
  return ids;
}

// Ids without a token (padding of the embedding) have no text. Ids may cut a character in two: what is left is U+FFFD.
std::string BpeTokenizer::Decode(std::span<const int32_t> ids) const {
  std::string bytes;
  for (const int32_t id : ids)
    if (id >= 0 && id < size_) bytes += texts_[id];
  return ReplaceInvalidUtf8(bytes);
}

// Only what decides ids, written in one way for every container: GGUF stores no flags of added tokens, lists them among
// the tokens, and pads.
std::string BpeTokenizer::Fingerprint() const {
  Sha256 hash;
  std::vector<const AddedToken*> added(static_cast<size_t>(size_));
  for (const AddedToken& token : spec_.added) added[token.id] = &token;
  for (size_t id = 0; id < added.size(); ++id) {
    if (const AddedToken* token = added[id]) {
      const bool normalized = token->normalized && spec_.nfc;
      hash.Add(fmt::format("{} added {}{}{}{} {}\n", id, int{token->lstrip}, int{token->rstrip},
                           int{token->single_word}, int{normalized}, token->content));
    } else if (!spec_.tokens[id].empty()) {
      hash.Add(fmt::format("{} {}\n", id, spec_.tokens[id]));
    }
  }
  for (const auto& [left, right, result] : spec_.merges) hash.Add(fmt::format("{} {} {}\n", left, right, result));
  for (const SplitStep& step : spec_.steps) {
    const bool digits = step.kind == SplitStep::Kind::kDigits;
    if (digits) hash.Add(step.individual ? "digits one by one\n" : "digits\n");
    if (step.prefix_space) hash.Add("prefix space\n");
    if (!digits && (step.use_regex || !step.pattern.empty()))
      hash.Add("pattern " + (step.use_regex ? Gpt2Pattern() : step.pattern) + "\n");
  }
  hash.Add(fmt::format("nfc {} whole {} unknown {} fuse {}\n", spec_.nfc, spec_.ignore_merges,
                       spec_.unknown.value_or(-1), spec_.unknown && spec_.fuse_unknown));
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
