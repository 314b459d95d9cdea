#pragma once
// Rank 0 of two processes whose other one is imagined: it has the same gradients, and says nothing.
#include <ATen/ATen.h>

#include <memory>
#include <vector>

#include "espalier/comm/comm.h"

namespace espalier {

struct OtherRank final : Comm {
  class Doubled final : public Transfer {
   public:
    explicit Doubled(at::Tensor tensor) : tensor_(std::move(tensor)) {}
    void Wait() override {
      if (tensor_.defined()) tensor_.mul_(2);
      tensor_ = at::Tensor();
    }

   private:
    at::Tensor tensor_;
  };

  int64_t rank() const override { return 0; }
  int64_t size() const override { return 2; }
  std::unique_ptr<Transfer> StartAllReduce(const at::Tensor& tensor) override {
    sizes.push_back(tensor.numel());
    return std::make_unique<Doubled>(tensor);
  }
  void Broadcast(const at::Tensor&, int64_t root) override { received += root == 1; }
  void Barrier() override {}

  std::vector<int64_t> sizes;  // of what was added up, in order
  int received = 0;            // broadcasts of the other
};

}  // namespace espalier
