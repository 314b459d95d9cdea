#include "espalier/model/initialize.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <fmt/format.h>

#include <cmath>

#include "espalier/core/hash.h"
#include "espalier/core/random.h"

namespace espalier {
namespace {

using at::Tensor;
using Shape = std::vector<int64_t>;

constexpr double kDeviation = 0.02, kAlpha = 0.5;

class Maker {
 public:
  Maker(const ModelConfig& config, uint64_t seed) : config_(config), seed_(seed) {}

  Tensor Normal(const std::string& name, const Shape& shape, double deviation) const {
    const uint64_t stream = std::stoull(HashText(name).substr(0, 15), nullptr, 16);
    at::Generator generator = at::make_generator<at::CPUGeneratorImpl>(RandomBits(seed_, stream, 0));
    return at::empty(shape, at::kFloat).normal_(0, deviation, generator);
  }

  Tensor Norm(int64_t size) const {
    Tensor norm = config_.norm_adds_one ? at::zeros({size}) : at::ones({size});
    if (config_.variants.norm != NormKind::kDynamicTanh || size != NormSize(config_)) return norm;
    norm.narrow(0, config_.C, config_.C).zero_();
    norm.narrow(0, 2 * config_.C, 1).fill_(kAlpha);
    return norm;
  }

  Tensor Vector(int64_t l, VectorRole role) const {
    const Shape shape = ExpectedShape(config_, l, role);
    if (shape.empty()) return {};
    switch (role) {
      case VectorRole::kSinkLogits:
      case VectorRole::kGateLogits:
        return at::zeros(shape);
      case VectorRole::kKeyBias:
      case VectorRole::kValueBias:
        return Normal(fmt::format("block{}.{}", l, VectorRoleName(role)), shape, kDeviation);
      case VectorRole::kQNorm:
      case VectorRole::kKNorm:
        return at::ones(shape);
      default:
        return Norm(shape[0]);
    }
  }

  Tensor Weight(int64_t l, Role role) const {
    const Shape shape = ExpectedShape(config_, l, role);
    if (shape.empty()) return {};
    const bool writes = role == Role::kO || role == Role::kDown;
    const double deviation = writes ? kDeviation / std::sqrt(2.0 * static_cast<double>(config_.L())) : kDeviation;
    return Normal(fmt::format("block{}.{}", l, RoleName(role)), shape, deviation);
  }

 private:
  const ModelConfig& config_;
  uint64_t seed_;
};

int64_t Product(const Shape& shape) {
  int64_t product = shape.empty() ? 0 : 1;
  for (const int64_t size : shape) product *= size;
  return product;
}

}  // namespace

Model NewModel(const ModelConfig& config, uint64_t seed) {
  CheckVariants(config);
  const Maker maker(config, seed);
  Model model;
  model.config = config;
  model.embedding = maker.Normal("embedding", {config.V, config.C}, kDeviation);
  if (!config.tied_head) model.head = maker.Normal("head", {config.V, config.C}, kDeviation);
  model.final_norm = maker.Norm(NormSize(config));
  model.blocks.resize(config.blocks.size());
  for (int64_t l = 0; l < config.L(); ++l) {
    Block& block = model.blocks[static_cast<size_t>(l)];
    for (const VectorRole role : kVectorRoles) block.At(role) = maker.Vector(l, role);
    for (const Role role : kRoles) block.At(role).weight = maker.Weight(l, role);
  }
  CheckShapes(model);
  return model;
}

int64_t CountParameters(const ModelConfig& config) {
  int64_t count = (config.tied_head ? 1 : 2) * config.V * config.C + NormSize(config);
  for (int64_t l = 0; l < config.L(); ++l) {
    for (const VectorRole role : kVectorRoles) count += Product(ExpectedShape(config, l, role));
    for (const Role role : kRoles) count += Product(ExpectedShape(config, l, role));
  }
  return count;
}

}  // namespace espalier
