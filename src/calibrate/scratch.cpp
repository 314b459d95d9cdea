#include "espalier/calibrate/scratch.h"

#include <ATen/ATen.h>

#include "espalier/io/mapped.h"

namespace espalier {

Scratch::Scratch(int64_t memory, std::filesystem::path folder)
    : memory_(memory), folder_(folder.empty() ? std::filesystem::temp_directory_path() : std::move(folder)) {}

at::Tensor Scratch::Empty(at::IntArrayRef shape, const at::TensorOptions& options) const {
  const at::ScalarType dtype = c10::typeMetaToScalarType(options.dtype());
  const int64_t bytes = c10::multiply_integers(shape) * static_cast<int64_t>(c10::elementSize(dtype));
  return bytes <= memory_ ? at::empty(shape, options) : MapTemporary(shape, dtype, folder_);
}

at::Tensor Scratch::Park(const at::Tensor& tensor) {
  parked_ += static_cast<int64_t>(tensor.nbytes());
  if (parked_ <= memory_) return tensor;
  at::Tensor mapped = MapTemporary(tensor.sizes(), tensor.scalar_type(), folder_);
  mapped.copy_(tensor);
  LetGo(mapped);
  return mapped;
}

}  // namespace espalier
