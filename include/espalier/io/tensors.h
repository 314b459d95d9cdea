#pragma once
// LibTorch tensors to and from safetensors files.
#include <ATen/core/Tensor.h>

#include <filesystem>
#include <map>
#include <string>

#include "espalier/io/safetensors.h"

namespace espalier {

using NamedTensors = std::map<std::string, at::Tensor>;

at::ScalarType ScalarTypeOf(StoredType type);

// Memory of tensors in temporary files (io/mapped.h) is given back as they are written. Any device and strides; stored
// contiguous in their own dtype (bool, int8..64, uint8, half, bfloat16, float, double).
void SaveTensors(const std::filesystem::path& path, const NamedTensors& tensors,
                 const std::map<std::string, std::string>& metadata = {});
// CPU tensors in the dtype of the file.
NamedTensors LoadTensors(const std::filesystem::path& path);
// The same; those of `map_bytes` and more are mapped and not read: read-only (MapStored in io/mapped.h).
NamedTensors LoadTensors(const std::filesystem::path& path, uint64_t map_bytes);
at::Tensor LoadTensor(const SafetensorsFile& file, const StoredTensor& tensor);

}  // namespace espalier
