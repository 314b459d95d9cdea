#pragma once
// Where values of the forward pass may be looked at or changed.
#include <ATen/core/Tensor.h>

#include "espalier/model/site.h"

namespace espalier {

// Gives `value` to the model's intervention and then to the observer; the value that the pass goes on with.
struct Tap {
  Observer* observer;
  Edit* edit;
  int64_t block;
  bool Wants(Site site) const { return observer != nullptr && observer->Wants(block, site); }
  at::Tensor operator()(Site site, const at::Tensor& value) const {
    const at::Tensor passed = edit != nullptr ? edit->Replace(block, site, value) : value;
    if (Wants(site)) observer->Observe(block, site, passed);
    return passed;
  }
};

}  // namespace espalier
