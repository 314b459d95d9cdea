// LoRA, Hu et al. 2021, arXiv 2106.09685: W + (alpha / r) B A, A uniform, B zero, merged exactly afterwards.
#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <fmt/format.h>

#include <cmath>

#include "espalier/heal/method.h"

namespace espalier {
namespace {

std::vector<std::string> AllRoles() {
  std::vector<std::string> names;
  for (const Role role : kRoles) names.emplace_back(RoleName(role));
  return names;
}

class Lora final : public HealingMethod {
 public:
  Lora(int64_t rank, double alpha, const std::vector<std::string>& roles)
      : rank_(rank), scale_(alpha / static_cast<double>(rank)) {
    for (const Role role : kRoles)
      if (std::find(roles.begin(), roles.end(), RoleName(role)) != roles.end()) roles_.push_back(role);
  }

  std::vector<Trainable> Attach(Model& model, uint64_t seed) const override {
    at::Generator generator = at::detail::createCPUGenerator(seed);
    std::vector<Trainable> trainables;
    for (size_t l = 0; l < model.blocks.size(); ++l)
      for (const Role role : roles_) {
        Linear& linear = model.blocks[l].At(role);
        if (!linear.defined()) continue;
        auto low_rank = std::make_shared<LowRank>();
        const double bound =
            1 / std::sqrt(static_cast<double>(linear.weight.size(1)));  // Kaiming with a = sqrt(5), as the paper's code
        low_rank->a = at::empty({rank_, linear.weight.size(1)}, at::kFloat)
                          .uniform_(-bound, bound, generator)
                          .to(linear.weight.options());
        low_rank->b = at::zeros({linear.weight.size(0), rank_}, linear.weight.options());
        low_rank->scale = scale_;
        trainables.push_back({fmt::format("block{}.{}.lora_a", l, RoleName(role)), low_rank->a.requires_grad_(true)});
        trainables.push_back({fmt::format("block{}.{}.lora_b", l, RoleName(role)), low_rank->b.requires_grad_(true)});
        linear.low_rank = std::move(low_rank);
      }
    return trainables;
  }

  void Merge(Model& model) const override {
    for (Block& block : model.blocks)
      for (const Role role : roles_) {
        Linear& linear = block.At(role);
        if (!linear.low_rank) continue;
        const at::Tensor a = linear.low_rank->a.detach(), b = linear.low_rank->b.detach();
        linear.weight = at::addmm(linear.weight, b, a, 1, linear.low_rank->scale);
        linear.low_rank.reset();
      }
  }

 private:
  int64_t rank_;
  double scale_;
  std::vector<Role> roles_;
};

const bool kRegistered = Registry<HealingMethod>::Register(
    {"lora",
     "Low-rank updates of the linear layers, merged afterwards",
     "Hu et al. 2021, arXiv 2106.09685",
     {},
     {IntOption("rank", 16, "Rank of each update").Between(1, 4096),
      RealOption("alpha", 32, "Scale of the update is alpha / rank").AtLeast(0),
      TextListOption("roles", AllRoles(), "Linear layers that learn").OneOf(AllRoles())}},
    [](const Options& o) -> std::unique_ptr<HealingMethod> {
      return std::make_unique<Lora>(o.Int("rank"), o.Real("alpha"), o.TextList("roles"));
    });

}  // namespace
}  // namespace espalier
