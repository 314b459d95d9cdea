#include "espalier/calibrate/windows.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include "espalier/core/error.h"
#include "espalier/core/log.h"
#include "espalier/core/random.h"
#include "espalier/io/tensors.h"
#include "espalier/io/tokenizer.h"

namespace espalier {

std::vector<OptionSpec> TextSourceOptions(const std::string& key) {
  return {TextOption(key, std::nullopt,
                     "Text file: .jsonl (one document a line, field \"text\"), .txt or .raw (one document)"),
          IntOption("first_document", 0, "First document used, counted from 0").AtLeast(0),
          IntOption("last_document", std::nullopt, "Document after the last one used; default: to the end")
              .AtLeast(1)
              .Optional()};
}

TextSource TextSourceFrom(const Options& options, std::string_view key) {
  TextSource source{options.Text(key), options.Int("first_document"), std::nullopt};
  if (options.Has("last_document")) source.last_document = options.Int("last_document");
  return source;
}

at::Tensor PackWindows(const Tokenizer& tokenizer, const Corpus& corpus, int64_t sequences, int64_t length,
                       uint64_t seed) {
  const std::vector<int64_t> order = RandomOrder(static_cast<int64_t>(corpus.documents.size()), seed, /*stream=*/0);
  std::vector<std::string> shuffled;
  for (const int64_t document : order) shuffled.push_back(corpus.documents[static_cast<size_t>(document)]);
  const std::vector<int32_t> separator = tokenizer.Encode("\n\n");
  std::vector<int32_t> tokens;
  for (const std::vector<int32_t>& document : EncodeDocuments(tokenizer, shuffled)) {
    if (!tokens.empty()) tokens.insert(tokens.end(), separator.begin(), separator.end());
    tokens.insert(tokens.end(), document.begin(), document.end());
    if (sequences > 0 && static_cast<int64_t>(tokens.size()) >= sequences * length) break;
  }
  const int64_t windows = sequences > 0 ? sequences : static_cast<int64_t>(tokens.size()) / length;
  if (windows == 0 || static_cast<int64_t>(tokens.size()) < windows * length)
    throw RecipeError(fmt::format(
        "{}: {} tokens in {} documents, expected at least {} ({} sequences of {}); use more documents or ask for fewer",
        corpus.source.path.string(), FormatCount(static_cast<int64_t>(tokens.size())), corpus.documents.size(),
        FormatCount(std::max<int64_t>(windows, 1) * length), std::max<int64_t>(windows, 1), length));
  tokens.resize(static_cast<size_t>(windows * length));
  return at::tensor(at::ArrayRef<int32_t>(tokens), at::kInt).to(at::kLong).view({windows, length});
}

at::Tensor SpreadWindows(const Tokenizer& tokenizer, const Corpus& corpus, int64_t sequences, int64_t length,
                         uint64_t seed) {
  const at::Tensor all = PackWindows(tokenizer, corpus, 0, length, seed);
  const int64_t windows = all.size(0);
  if (windows < sequences)
    throw RecipeError(fmt::format(
        "{}: {} windows of {} tokens in {} documents, expected at least {}; use more documents or ask for fewer",
        corpus.source.path.string(), windows, length, corpus.documents.size(), sequences));
  std::vector<int64_t> drawn = RandomOrder(windows, seed, /*stream=*/1);
  drawn.resize(static_cast<size_t>(sequences));
  return all.index_select(0, at::tensor(drawn, at::kLong));
}

at::Tensor WindowsOfIds(const std::filesystem::path& path, int64_t length, int64_t V) {
  const NamedTensors tensors = LoadTensors(path);
  const auto found = tensors.find("ids");
  if (found == tensors.end() || (found->second.dim() != 1 && found->second.dim() != 2) ||
      (found->second.scalar_type() != at::kInt && found->second.scalar_type() != at::kLong))
    throw IoError(fmt::format("{}: expected a tensor 'ids' of int32 or int64 with one or two dimensions, found {}",
                              path.string(), found == tensors.end() ? "none of that name" : "another kind"));
  const at::Tensor ids = found->second.flatten().to(at::kLong);
  const int64_t windows = ids.numel() / length;
  if (windows == 0)
    throw IoError(fmt::format("{}: {} ids, expected at least one window of {}; use more text or shorter windows",
                              path.string(), ids.numel(), length));
  if (const at::Tensor wrong = ids.lt(0).logical_or_(ids.ge(V)); wrong.any().item<bool>()) {
    const int64_t at = wrong.to(at::kByte).argmax().item<int64_t>();
    throw IoError(fmt::format("{}: id {} is {}, expected 0 to {}: the ids are not of this model's tokenizer",
                              path.string(), at, ids[at].item<int64_t>(), V - 1));
  }
  return ids.narrow(0, 0, windows * length).view({windows, length}).clone();
}

}  // namespace espalier
