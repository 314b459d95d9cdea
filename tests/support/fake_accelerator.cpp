#include "support/fake_accelerator.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/EmptyTensor.h>
#include <ATen/InferSize.h>
#include <ATen/TensorUtils.h>
#include <ATen/detail/PrivateUse1HooksInterface.h>
#include <ATen/native/CPUFallback.h>
#include <ATen/ops/as_strided_native.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <torch/library.h>

#include <mutex>

namespace espalier::fake {
namespace {

using at::Tensor;

constexpr auto kDevice = c10::DeviceType::PrivateUse1;
constexpr size_t kPage = 4096;

// Device memory, by address: pages that fault when touched.
class Memory final : public at::Allocator {
 public:
  at::DataPtr allocate(size_t bytes) override {
    if (bytes == 0) return {nullptr, c10::Device(kDevice, 0)};
    const size_t whole = (bytes + kPage - 1) / kPage * kPage;
    void* start = ::mmap(nullptr, whole, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    TORCH_CHECK(start != MAP_FAILED, "fake device: out of memory");
    const std::scoped_lock lock(mutex_);
    sizes_[start] = whole;
    return {start, start, &Release, c10::Device(kDevice, 0)};
  }
  at::DeleterFnPtr raw_deleter() const override { return &Release; }
  void copy_data(void*, const void*, size_t) const override { TORCH_CHECK(false, "fake device: copy_data"); }

  size_t SizeOf(void* start) {
    const std::scoped_lock lock(mutex_);
    return sizes_.at(start);
  }

 private:
  static void Release(void* start);

  std::mutex mutex_;
  std::map<void*, size_t> sizes_;
};

Memory& TheMemory() {
  static auto* memory = new Memory;  // outlives every tensor
  return *memory;
}

void Memory::Release(void* start) {
  Memory& memory = TheMemory();
  const std::scoped_lock lock(memory.mutex_);
  const auto found = memory.sizes_.find(start);
  ::munmap(start, found->second);
  memory.sizes_.erase(found);
}

// A tensor's values, readable on the CPU while this lives.
class Opened {
 public:
  explicit Opened(const Tensor& tensor) : values(tensor) {
    if (tensor.device().type() != kDevice) return;
    start_ = const_cast<void*>(tensor.storage().data());
    if (start_ != nullptr) {
      bytes_ = TheMemory().SizeOf(start_);
      ::mprotect(start_, bytes_, PROT_READ | PROT_WRITE);
    }
    char* first = start_ == nullptr
                      ? nullptr
                      : static_cast<char*>(start_) + tensor.storage_offset() * static_cast<int64_t>(tensor.itemsize());
    values = at::from_blob(first, tensor.sizes(), tensor.strides(), at::TensorOptions(tensor.scalar_type()));
  }
  ~Opened() {
    if (start_ != nullptr) ::mprotect(start_, bytes_, PROT_NONE);
  }
  Opened(const Opened&) = delete;
  Opened& operator=(const Opened&) = delete;

  Tensor values;

 private:
  void* start_ = nullptr;
  size_t bytes_ = 0;
};

constexpr c10::DispatchKeySet Keys() {
  return c10::DispatchKeySet(c10::DispatchKey::PrivateUse1);
}

Tensor Empty(c10::SymIntArrayRef size, std::optional<at::ScalarType> dtype, std::optional<at::Layout>,
             std::optional<at::Device>, std::optional<bool>, std::optional<at::MemoryFormat> format) {
  return at::detail::empty_generic(C10_AS_INTARRAYREF_SLOW(size), &TheMemory(), Keys(), dtype.value_or(at::kFloat),
                                   format);
}

Tensor EmptyStrided(c10::SymIntArrayRef size, c10::SymIntArrayRef stride, std::optional<at::ScalarType> dtype,
                    std::optional<at::Layout>, std::optional<at::Device>, std::optional<bool>) {
  return at::detail::empty_strided_generic(C10_AS_INTARRAYREF_SLOW(size), C10_AS_INTARRAYREF_SLOW(stride), &TheMemory(),
                                           Keys(), dtype.value_or(at::kFloat));
}

Tensor AsStrided(const Tensor& tensor, c10::SymIntArrayRef size, c10::SymIntArrayRef stride,
                 std::optional<c10::SymInt> offset) {
  return at::native::as_strided_tensorimpl(tensor, C10_AS_INTARRAYREF_SLOW(size), C10_AS_INTARRAYREF_SLOW(stride),
                                           offset ? std::optional<int64_t>(offset->expect_int()) : std::nullopt);
}

Tensor View(const Tensor& tensor, c10::SymIntArrayRef size) {
  const auto sizes = at::infer_size(C10_AS_INTARRAYREF_SLOW(size), tensor.numel());
  const auto strides = at::detail::computeStride(tensor.sizes(), tensor.strides(), sizes);
  TORCH_CHECK(strides.has_value(), "view size is not compatible with input tensor's size and stride");
  return at::native::as_strided_tensorimpl(tensor, sizes, *strides, tensor.storage_offset());
}

Tensor ReshapeAlias(const Tensor& tensor, c10::SymIntArrayRef size, c10::SymIntArrayRef stride) {
  return AsStrided(tensor, size, stride, std::nullopt);
}

const Tensor& Resize(const Tensor& tensor, c10::SymIntArrayRef size, std::optional<at::MemoryFormat>) {
  const auto sizes = C10_AS_INTARRAYREF_SLOW(size);
  const size_t bytes = static_cast<size_t>(c10::multiply_integers(sizes) + tensor.storage_offset()) * tensor.itemsize();
  if (bytes > tensor.storage().nbytes()) {
    TORCH_CHECK(tensor.storage().nbytes() == 0, "fake device: a filled tensor cannot grow");
    tensor.storage().set_data_ptr(TheMemory().allocate(bytes));
    tensor.storage().set_nbytes(bytes);
  }
  tensor.unsafeGetTensorImpl()->set_sizes_contiguous(sizes);
  return tensor;
}

Tensor CopyFrom(const Tensor& from, const Tensor& to, bool) {
  if (from.device() != to.device()) ++(from.is_cpu() ? Count().to_device : Count().to_host);
  const Opened source(from);
  Opened target(to);
  target.values.copy_(source.values);
  return to;
}

Tensor CopyFromAndResize(const Tensor& from, const Tensor& to) {
  to.resize_(from.sizes());
  return CopyFrom(from, to, false);
}

at::Scalar Item(const Tensor& tensor) {
  ++Count().items;
  return Opened(tensor).values.item();
}

// Which devices an operator's arguments are on. A CPU scalar goes with any device.
struct Arguments {
  bool on_device = false;
  std::string on_host;

  void See(const Tensor& tensor, size_t place) {
    if (!tensor.defined()) return;
    if (tensor.device().type() == kDevice) on_device = true;
    if (tensor.is_cpu() && tensor.dim() > 0) on_host += fmt::format(" {}", place);
  }
  void See(const c10::IValue& value, size_t place) {
    if (value.isTensor()) See(value.toTensor(), place);
    if (!value.isList()) return;
    for (const c10::IValue& element : value.toListRef())
      if (element.isTensor()) See(element.toTensor(), place);
  }
};

void OnTheCpu(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  const size_t count = op.schema().arguments().size();
  Arguments arguments;
  for (size_t i = 0; i < count; ++i) arguments.See((*stack)[stack->size() - count + i], i);
  TORCH_CHECK(!arguments.on_device || arguments.on_host.empty(), "fake device: ", op.schema().operator_name(),
              " mixes CPU and device tensors: argument", arguments.on_host);
  const Counts before = Count();
  at::native::cpu_fallback(op, stack);
  Count() = before;  // the copies made here are not the program's
  ++Count().calls[op.schema().operator_name().name];
}

struct Guard final : c10::impl::NoOpDeviceGuardImpl<kDevice> {
  c10::Device exchangeDevice(c10::Device) const override { return {kDevice, 0}; }
  c10::Device getDevice() const override { return {kDevice, 0}; }
  c10::Stream getStream(c10::Device) const noexcept override { return DefaultStream(); }
  c10::Stream exchangeStream(c10::Stream) const noexcept override { return DefaultStream(); }

 private:
  static c10::Stream DefaultStream() { return c10::Stream(c10::Stream::DEFAULT, {kDevice, 0}); }
};
C10_REGISTER_GUARD_IMPL(PrivateUse1, Guard);

struct Hooks final : at::PrivateUse1HooksInterface {
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return true; }
  bool hasPrimaryContext(c10::DeviceIndex) const override { return true; }
  c10::DeviceIndex deviceCount() const override { return 1; }
  c10::DeviceIndex getCurrentDevice() const override { return 0; }
  const at::Generator& getDefaultGenerator(c10::DeviceIndex) const override {
    return at::detail::getDefaultCPUGenerator();  // at::manual_seed asks for one
  }
};

TORCH_LIBRARY_IMPL(aten, PrivateUse1, library) {
  library.impl("empty.memory_format", Empty);
  library.impl("empty_strided", EmptyStrided);
  library.impl("as_strided", AsStrided);
  library.impl("view", View);
  library.impl("_reshape_alias", ReshapeAlias);
  library.impl("resize_", Resize);
  library.impl("_copy_from", CopyFrom);
  library.impl("_copy_from_and_resize", CopyFromAndResize);
  library.impl("_local_scalar_dense", Item);
}
TORCH_LIBRARY_IMPL(_, PrivateUse1, library) {
  library.fallback(torch::CppFunction::makeFromBoxedFunction<&OnTheCpu>());
}

}  // namespace

int64_t Counts::Syncs() const {
  int64_t syncs = items + to_host;
  for (const auto& [name, times] : calls)
    for (const char* waiting : {"aten::nonzero", "aten::equal", "aten::masked_select", "aten::_unique2"})
      if (name == waiting) syncs += times;
  return syncs;
}

Counts& Count() {
  static auto* counts = new Counts;
  return *counts;
}

at::Device Device() {
  static const bool registered = [] {
    c10::register_privateuse1_backend("fake");
    at::RegisterPrivateUse1HooksInterface(new Hooks);
    c10::SetAllocator(kDevice, &TheMemory());
    return true;
  }();
  static_cast<void>(registered);
  return {kDevice, 0};
}

}  // namespace espalier::fake
