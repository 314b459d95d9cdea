#pragma once
// Inputs that the runs of one process share: each is read, hashed and loaded when first asked for, and once.
#include <ATen/core/Tensor.h>

#include <filesystem>
#include <map>
#include <memory>
#include <string>

#include "espalier/io/text.h"
#include "espalier/io/tokenizer.h"
#include "espalier/model/model.h"

namespace espalier {

class InputCache {
 public:
  const std::string& Hash(const std::filesystem::path& path);  // HashPath
  const Corpus& Text(const TextSource& source);
  const Tokenizer& TokenizerOf(const std::filesystem::path& model);
  const Model& ModelAt(const std::filesystem::path& path, at::ScalarType dtype, const at::Device& device);
  // PackWindows or SpreadWindows of the model's tokenizer: [sequences, length] int64.
  struct WindowRequest {
    int64_t sequences, length;
    bool spread;
    uint64_t seed;
  };
  const at::Tensor& Windows(const std::filesystem::path& model, const TextSource& source, const WindowRequest& request);

 private:
  std::map<std::string, std::string> hashes_;
  std::map<std::string, Corpus> texts_;  // by path and document range
  std::map<std::string, std::unique_ptr<Tokenizer>> tokenizers_;
  std::map<std::string, Model> models_;  // by path, dtype and device
  std::map<std::string, at::Tensor> windows_;
};

}  // namespace espalier
