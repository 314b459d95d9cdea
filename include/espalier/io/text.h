#pragma once
// Documents of a text file, and the joins that perplexity protocols prescribe.
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace espalier {

class Tokenizer;

struct TextSource {
  std::filesystem::path path;  // .jsonl: one JSON object a line with a field "text"; .txt, .raw: one document
  int64_t first_document = 0;
  std::optional<int64_t> last_document;  // exclusive; none: to the end
};

struct Corpus {
  TextSource source;
  std::vector<std::string> documents;
  std::vector<std::string> document_hashes;  // SHA-256 of each document with runs of white space collapsed
  std::string sha256;                        // of the chosen documents, in order
};

// Throws IoError: missing, empty, a line that is no JSON object with a text (file:line), a range beyond the end (says
// how many documents there are), a line over 64 MiB.
Corpus ReadCorpus(const TextSource& source);

// The text that GPTQ, SparseGPT, Wanda and FLAP score. One-document .raw/.txt: its lines joined by two newlines, where
// a blank row (" \n") is the empty string and every other row keeps its own newline; .jsonl: documents joined by a
// space.
std::string GptqText(const Corpus& corpus);

// Each document's ids, encoded in parallel (oneTBB); the order is the documents' order.
std::vector<std::vector<int32_t>> EncodeDocuments(const Tokenizer& tokenizer,
                                                  const std::vector<std::string>& documents);

}  // namespace espalier
