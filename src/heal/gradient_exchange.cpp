#include "gradient_exchange.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/variable.h>

#include <ranges>
#include <utility>

namespace espalier {
namespace {

using at::Tensor;

struct Bucket {
  std::vector<Tensor> parameters;
  size_t arrived = 0;
  Tensor values;  // [n] float32, CPU: under way
  std::unique_ptr<Transfer> transfer;
};

}  // namespace

class GradientBuckets {
 public:
  // The backward pass comes to the last parameters first.
  GradientBuckets(Comm& comm, const std::vector<Trainable>& trainables, int64_t bucket) : comm_(comm) {
    int64_t values = bucket;
    for (const Trainable& trainable : trainables | std::views::reverse) {
      if (values >= bucket) {
        buckets_.emplace_back();
        values = 0;
      }
      buckets_.back().parameters.push_back(trainable.parameter);
      values += trainable.parameter.numel();
    }
  }

  size_t BucketOf(const Tensor& parameter) const {
    for (size_t i = 0; i < buckets_.size(); ++i)
      for (const Tensor& own : buckets_[i].parameters)
        if (own.is_same(parameter)) return i;
    return buckets_.size();
  }

  void Begin() {
    for (Bucket& bucket : buckets_) bucket.arrived = 0;
    sent_ = 0;
    begun_ = true;
  }

  // All ranks send the buckets in the same order, whatever order they fill in.
  void Arrived(size_t bucket) {
    if (!begun_) return;
    ++buckets_[bucket].arrived;
    while (sent_ < buckets_.size() && buckets_[sent_].arrived >= buckets_[sent_].parameters.size())
      Send(buckets_[sent_++]);
  }

  void Finish() {
    while (sent_ < buckets_.size()) Send(buckets_[sent_++]);
    begun_ = false;
    const at::NoGradGuard no_grad;
    for (Bucket& bucket : buckets_) {
      bucket.transfer->Wait();
      // More than was there when it was sent: a parameter that the pass came to twice.
      if (bucket.arrived > bucket.parameters.size()) {
        Send(bucket);
        bucket.transfer->Wait();
      }
      int64_t first = 0;
      for (const Tensor& parameter : bucket.parameters) {
        const Tensor& gradient = parameter.grad();
        if (gradient.defined()) gradient.copy_(bucket.values.narrow(0, first, gradient.numel()).view_as(gradient));
        first += parameter.numel();
      }
      bucket.values = Tensor();
    }
  }

 private:
  void Send(Bucket& bucket) {
    const at::NoGradGuard no_grad;
    std::vector<Tensor> flat;
    for (const Tensor& parameter : bucket.parameters) {
      const Tensor& gradient = parameter.grad();
      flat.push_back(gradient.defined() ? gradient.flatten().to(at::kCPU, at::kFloat)
                                        : at::zeros({parameter.numel()}, at::kFloat));
    }
    bucket.values = at::cat(flat);
    bucket.transfer = comm_.StartAllReduce(bucket.values);
  }

  Comm& comm_;
  std::vector<Bucket> buckets_;
  size_t sent_ = 0;
  bool begun_ = false;
};

namespace {

class Hook final : public torch::autograd::PostAccumulateGradHook {
 public:
  Hook(const std::shared_ptr<GradientBuckets>& buckets, size_t bucket) : buckets_(buckets), bucket_(bucket) {}
  void operator()(const Tensor&) override {
    if (const auto buckets = buckets_.lock()) buckets->Arrived(bucket_);
  }

 private:
  std::weak_ptr<GradientBuckets> buckets_;
  size_t bucket_;
};

}  // namespace

GradientExchange::GradientExchange(Comm& comm, const std::vector<Trainable>& trainables, int64_t bucket) {
  if (comm.size() == 1) return;
  buckets_ = std::make_shared<GradientBuckets>(comm, trainables, bucket);
  for (const Trainable& trainable : trainables)
    torch::autograd::impl::set_post_acc_grad_hooks(
        trainable.parameter, std::make_unique<Hook>(buckets_, buckets_->BucketOf(trainable.parameter)));
}

GradientExchange::~GradientExchange() = default;

void GradientExchange::Begin() {
  if (buckets_) buckets_->Begin();
}

void GradientExchange::Finish() {
  if (buckets_) buckets_->Finish();
}

}  // namespace espalier
