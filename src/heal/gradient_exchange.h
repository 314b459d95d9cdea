#pragma once
// Gradients of several processes, added up while the backward pass still makes others.
#include <memory>
#include <vector>

#include "espalier/comm/comm.h"
#include "espalier/heal/method.h"

namespace espalier {

class GradientBuckets;

// All ranks have the same parameters, and gradients of the same ones. With one process it does nothing.
class GradientExchange {
 public:
  // Buckets of at least so many float32 values: 16 MiB are large enough for the network and small enough to overlap.
  GradientExchange(Comm& comm, const std::vector<Trainable>& trainables, int64_t bucket = 4 << 20);
  ~GradientExchange();
  GradientExchange(const GradientExchange&) = delete;
  GradientExchange& operator=(const GradientExchange&) = delete;

  // The next backward pass is this step's last: from now on a bucket travels as soon as all of its gradients are there.
  void Begin();
  // Sends what is left and waits; then every gradient is the sum over ranks.
  void Finish();

 private:
  std::shared_ptr<GradientBuckets> buckets_;  // null with one process; hooks of the parameters know it too
};

}  // namespace espalier
