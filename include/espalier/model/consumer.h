#pragma once
// The two layers that consume what units write.
#include "espalier/model/model.h"
#include "espalier/model/site.h"

namespace espalier {

// Where the input of w_o or w_down passes.
constexpr Site InputSite(Role consumer) {
  return consumer == Role::kO ? Site::kHeadOut : Site::kFfnHidden;
}

}  // namespace espalier
