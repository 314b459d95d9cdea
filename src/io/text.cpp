#include "espalier/io/text.h"

#include <fmt/format.h>
#include <tbb/parallel_for.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "espalier/core/error.h"
#include "espalier/core/files.h"
#include "espalier/core/hash.h"
#include "espalier/core/json.h"
#include "espalier/io/tokenizer.h"

namespace espalier {
namespace {

constexpr size_t kMaxLine = size_t{64} << 20;
constexpr size_t kBlock = size_t{1} << 20;

bool IsBlankByte(char c) {
  return c == ' ' || (c >= '\t' && c <= '\r');
}
bool IsBlank(std::string_view text) {
  return std::all_of(text.begin(), text.end(), IsBlankByte);
}

// The lines of a file one by one, without holding the file.
class LineReader {
 public:
  explicit LineReader(const std::filesystem::path& path) : file_(path) {}

  int64_t line_number() const { return number_; }
  std::string Where() const { return fmt::format("{}:{}", file_.path().string(), number_); }

  // The next line without its line feed; false at the end.
  bool Next(std::string& line) {
    line.clear();
    ++number_;
    while (true) {
      const size_t feed = block_.find('\n', at_);
      line.append(block_, at_, feed == std::string::npos ? std::string::npos : feed - at_);
      if (line.size() > kMaxLine)
        throw IoError(fmt::format("{}: a line of more than {} MiB, expected one JSON object with a document", Where(),
                                  kMaxLine >> 20));
      if (feed != std::string::npos) {
        at_ = feed + 1;
        return true;
      }
      if (!Refill()) return !line.empty();
    }
  }

 private:
  bool Refill() {
    block_.resize(static_cast<size_t>(std::min<uint64_t>(kBlock, file_.size() - offset_)));
    at_ = 0;
    file_.Read(offset_, std::as_writable_bytes(std::span(block_)));
    offset_ += block_.size();
    return !block_.empty();
  }

  RandomAccessFile file_;
  std::string block_;
  size_t at_ = 0;
  uint64_t offset_ = 0;
  int64_t number_ = 0;
};

std::string DocumentOf(const std::string& line, const std::string& where) {
  const Json json = ParseJson(line, where);
  if (!json.is_object() || !json.contains("text") || !json["text"].is_string())
    throw IoError(fmt::format("{}: expected a JSON object with a field \"text\" that is a string", where));
  return json["text"].get<std::string>();
}

void ReadLines(const TextSource& source, Corpus& corpus, int64_t& seen) {
  LineReader reader(source.path);
  std::string line;
  while ((!source.last_document || seen < *source.last_document) && reader.Next(line)) {
    if (seen++ >= source.first_document) corpus.documents.push_back(DocumentOf(line, reader.Where()));
  }
}

void ReadWhole(const TextSource& source, Corpus& corpus, int64_t& seen) {
  std::string text = ReadFile(source.path);
  if (text.empty()) return;
  seen = 1;
  if (source.first_document == 0) corpus.documents.push_back(std::move(text));
}

// Without white space at both ends, and one space for every run inside: a text is the same however it was wrapped.
std::string Collapsed(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  bool gap = false;
  for (const char c : text) {
    if (IsBlankByte(c)) {
      gap = !out.empty();
      continue;
    }
    if (gap) out += ' ';
    gap = false;
    out += c;
  }
  return out;
}

void AddHashes(Corpus& corpus) {
  corpus.document_hashes.resize(corpus.documents.size());
  tbb::parallel_for(size_t{0}, corpus.documents.size(),
                    [&](size_t i) { corpus.document_hashes[i] = HashText(Collapsed(corpus.documents[i])); });
  Sha256 all;
  for (size_t i = 0; i < corpus.documents.size(); ++i) {
    if (i > 0) all.Add(std::string_view("\0", 1));  // so that moving a boundary changes the hash
    all.Add(corpus.documents[i]);
  }
  corpus.sha256 = all.Finish();
}

void CheckRange(const TextSource& source) {
  if (source.first_document < 0 || (source.last_document && *source.last_document <= source.first_document))
    throw IoError(fmt::format("{}: documents {} to {} (exclusive), expected 0 <= first < last", source.path.string(),
                              source.first_document, source.last_document.value_or(-1)));
}

}  // namespace

Corpus ReadCorpus(const TextSource& source) {
  CheckRange(source);
  Corpus corpus;
  corpus.source = source;
  int64_t seen = 0;
  const std::string extension = source.path.extension().string();
  if (extension == ".jsonl") {
    ReadLines(source, corpus, seen);
  } else if (extension == ".txt" || extension == ".raw") {
    ReadWhole(source, corpus, seen);
  } else {
    throw IoError(
        fmt::format("{}: the extension is '{}', expected .jsonl (one JSON object a line), .txt or .raw (one document)",
                    source.path.string(), extension));
  }
  if (seen == 0) throw IoError(fmt::format("{}: empty, expected at least one document", source.path.string()));
  if (corpus.documents.empty() || (source.last_document && seen < *source.last_document))
    throw IoError(fmt::format("{}: documents {} to {} were asked for, but there are only {}", source.path.string(),
                              source.first_document,
                              source.last_document ? std::to_string(*source.last_document) : "the end", seen));
  AddHashes(corpus);
  return corpus;
}

std::string GptqText(const Corpus& corpus) {
  std::string joined;
  if (corpus.source.path.extension() == ".jsonl") {
    for (size_t i = 0; i < corpus.documents.size(); ++i) joined += (i > 0 ? " " : "") + corpus.documents[i];
    return joined;
  }
  // Rows of the data set wikitext-2-raw-v1 (its loading script: a row that strip() empties is ""), "\n\n".join(rows).
  const std::string_view text = corpus.documents.at(0);
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size() - 1) + 1;
    const std::string_view row = text.substr(at, end - at);
    if (at > 0) joined += "\n\n";
    if (!IsBlank(row)) joined += row;
    at = end;
  }
  return joined;
}

std::vector<std::vector<int32_t>> EncodeDocuments(const Tokenizer& tokenizer,
                                                  const std::vector<std::string>& documents) {
  std::vector<std::vector<int32_t>> ids(documents.size());
  tbb::parallel_for(size_t{0}, documents.size(), [&](size_t i) { ids[i] = tokenizer.Encode(documents[i]); });
  return ids;
}

}  // namespace espalier
