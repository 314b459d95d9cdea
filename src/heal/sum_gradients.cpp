#include "sum_gradients.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <memory>
#include <utility>

namespace espalier {
namespace {

using at::Tensor;

constexpr int64_t kBucket = 4 << 20;  // float32 values, 16 MiB: large enough for the network, small enough to overlap

}  // namespace

void SumGradients(Comm& comm, const std::vector<Trainable>& trainables) {
  const at::NoGradGuard no_grad;
  struct Bucket {
    std::vector<Tensor> gradients;
    Tensor values;  // [n] float32, CPU
    std::unique_ptr<Transfer> transfer;
  };
  std::vector<Bucket> buckets;
  std::vector<Tensor> gathered;
  int64_t values = 0;
  const auto send = [&] {
    if (gathered.empty()) return;
    std::vector<Tensor> flat;
    for (const Tensor& gradient : gathered) flat.push_back(gradient.flatten().to(at::kCPU, at::kFloat));
    Bucket bucket{std::exchange(gathered, {}), at::cat(flat), nullptr};
    bucket.transfer = comm.StartAllReduce(bucket.values);
    buckets.push_back(std::move(bucket));
    values = 0;
  };
  for (const Trainable& trainable : trainables) {
    const Tensor& gradient = trainable.parameter.grad();
    if (!gradient.defined()) continue;
    gathered.push_back(gradient);
    values += gradient.numel();
    if (values >= kBucket) send();
  }
  send();
  for (const Bucket& bucket : buckets) {
    bucket.transfer->Wait();
    int64_t first = 0;
    for (const Tensor& gradient : bucket.gradients) {
      gradient.copy_(bucket.values.narrow(0, first, gradient.numel()).view_as(gradient));
      first += gradient.numel();
    }
  }
}

}  // namespace espalier
