#include "input_cache.h"

#include <fmt/format.h>

#include "espalier/calibrate/windows.h"
#include "espalier/core/hash.h"
#include "espalier/model/load.h"

namespace espalier {
namespace {

std::string KeyOf(const TextSource& source) {
  return fmt::format("{}:{}:{}", source.path.string(), source.first_document, source.last_document.value_or(-1));
}

}  // namespace

const std::string& InputCache::Hash(const std::filesystem::path& path) {
  auto found = hashes_.find(path.string());
  if (found == hashes_.end()) found = hashes_.emplace(path.string(), HashPath(path)).first;
  return found->second;
}

const Corpus& InputCache::Text(const TextSource& source) {
  auto found = texts_.find(KeyOf(source));
  if (found == texts_.end()) found = texts_.emplace(KeyOf(source), ReadCorpus(source)).first;
  return found->second;
}

const Tokenizer& InputCache::TokenizerOf(const std::filesystem::path& model) {
  auto found = tokenizers_.find(model.string());
  if (found == tokenizers_.end()) found = tokenizers_.emplace(model.string(), Tokenizer::Open(model)).first;
  return *found->second;
}

const Model& InputCache::ModelAt(const std::filesystem::path& path, at::ScalarType dtype, const at::Device& device) {
  const std::string key = fmt::format("{}:{}:{}", path.string(), DtypeName(dtype), device.str());
  auto found = models_.find(key);
  if (found == models_.end()) found = models_.emplace(key, LoadModel(path, dtype, device)).first;
  return found->second;
}

const at::Tensor& InputCache::Windows(const std::filesystem::path& model, const TextSource& source,
                                      const WindowRequest& request) {
  const std::string key = fmt::format("{}:{}:{}:{}:{}:{}", model.string(), KeyOf(source), request.sequences,
                                      request.length, request.spread, request.seed);
  auto found = windows_.find(key);
  if (found == windows_.end()) {
    const auto& windows = request.spread ? SpreadWindows : PackWindows;
    found =
        windows_
            .emplace(key, windows(TokenizerOf(model), Text(source), request.sequences, request.length, request.seed))
            .first;
  }
  return found->second;
}

}  // namespace espalier
