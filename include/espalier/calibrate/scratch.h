#pragma once
// Room for what grows with the tokens or with the depth of a model: memory up to a limit, files past it.
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>

namespace espalier {

class Scratch {
 public:
  // Bytes of one tensor made by Empty, and of all tensors parked together. SmolLM2-135M stays below in all but block
  // inputs of gradient windows.
  static constexpr int64_t kMemory = int64_t{512} << 20;

  // `folder` takes the files, which have no name (io/mapped.h); empty: the system's folder for temporary files.
  explicit Scratch(int64_t memory = kMemory, std::filesystem::path folder = {});

  // Values are unspecified. On the device of `options`; past the limit on the CPU, in a file.
  at::Tensor Empty(at::IntArrayRef shape, const at::TensorOptions& options) const;
  // The tensor itself, or past the limit a copy in a file whose memory was given back.
  at::Tensor Park(const at::Tensor& tensor);

 private:
  int64_t memory_, parked_ = 0;
  std::filesystem::path folder_;
};

}  // namespace espalier
