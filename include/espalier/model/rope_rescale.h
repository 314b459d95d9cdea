#pragma once
// Models run at contexts that they were not trained for, without training.
#include <string>
#include <string_view>
#include <vector>

#include "espalier/model/config.h"

namespace espalier {

// How frequencies change so that positions up to `factor` times the trained ones stay in what the model knows:
//   base    theta times factor (Table 5 of arXiv 2505.06708 trains with such a change)
//   linear  every frequency divided by factor (Chen et al. 2023, arXiv 2306.15595)
//   yarn    slow pairs divided, fast ones kept, logits scaled by 1 + 0.1 ln factor (Peng et al. 2023, arXiv 2309.00071)
struct RopeChange {
  std::string method = "as_trained";
  double factor = 1;
};
std::vector<std::string> RopeMethods();

// RecipeError when the model has a rescaled RoPE already, or a method that needs its trained positions and it does not
// tell them. Blocks with a window of their own RoPE keep it: they see no further than before.
ModelConfig WithRope(const ModelConfig& config, const RopeChange& change);

}  // namespace espalier
