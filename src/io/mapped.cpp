#include "espalier/io/mapped.h"

#include <ATen/ATen.h>
#include <ATen/MapAllocator.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "espalier/core/error.h"
#include "espalier/core/signals.h"
#include "espalier/io/tensors.h"

namespace espalier {
namespace {

size_t PageBytes() {
  return static_cast<size_t>(sysconf(_SC_PAGESIZE));
}

struct Descriptor {
  int value = -1;
  ~Descriptor() {
    if (value >= 0) close(value);
  }
};

// An empty file of its own, unlinked in the end.
struct TemporaryName {
  std::string name;
  Descriptor descriptor;
  explicit TemporaryName(const std::filesystem::path& folder) : name((folder / "espalier-XXXXXX").string()) {
    descriptor.value = mkstemp(name.data());
    if (descriptor.value < 0)
      throw IoError(fmt::format("{}: no temporary file can be made there: {}", folder.string(), std::strerror(errno)));
  }
  ~TemporaryName() { unlink(name.c_str()); }
};

}  // namespace

at::Tensor MapTemporary(at::IntArrayRef shape, at::ScalarType dtype, const std::filesystem::path& folder) {
  const int64_t elements = c10::multiply_integers(shape);
  if (elements == 0) return at::zeros(shape, dtype);
  const TemporaryName file(folder);
  const int64_t bytes = elements * static_cast<int64_t>(c10::elementSize(dtype));
  if (const int error = posix_fallocate(file.descriptor.value, 0, bytes); error != 0)
    throw IoError(fmt::format("{}: no room for {} bytes of intermediate results: {}", folder.string(), bytes,
                              std::strerror(error)));
  return at::from_file(file.name, /*shared=*/true, elements, at::TensorOptions().dtype(dtype)).view(shape);
}

void LetGo(const at::Tensor& tensor) {
  if (!tensor.defined() || !tensor.device().is_cpu() || tensor.numel() == 0 ||
      at::MapAllocator::fromDataPtr(tensor.storage().data_ptr()) == nullptr)
    return;
  const size_t page = PageBytes(), start = reinterpret_cast<size_t>(tensor.data_ptr()) / page * page;
  const size_t end = reinterpret_cast<size_t>(tensor.data_ptr()) + static_cast<size_t>(tensor.nbytes());
  madvise(reinterpret_cast<void*>(start), end - start, MADV_DONTNEED);  // a shared mapping loses nothing
}

at::Tensor MapStored(const SafetensorsFile& file, const StoredTensor& tensor) {
  if (tensor.bytes == 0) return LoadTensor(file, tensor);
  const size_t before = tensor.offset % PageBytes(), bytes = before + tensor.bytes;
  const std::string path = file.path().string();
  const Descriptor opened{open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  void* const start = opened.value < 0 ? MAP_FAILED
                                       : mmap(nullptr, bytes, PROT_READ, MAP_SHARED, opened.value,
                                              static_cast<off_t>(tensor.offset - before));
  if (start == MAP_FAILED)
    throw IoError(fmt::format("{}: {} bytes cannot be mapped: {}", path, bytes, std::strerror(errno)));
  GuardMapping(start, bytes, path);
  const auto unmap = [start, bytes](void*) {
    ForgetMapping(start);
    munmap(start, bytes);
  };
  return at::from_blob(static_cast<std::byte*>(start) + before, tensor.shape, unmap,
                       at::TensorOptions().dtype(ScalarTypeOf(tensor.type)));
}

}  // namespace espalier
