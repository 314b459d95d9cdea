// FFN channels that carry most of the loss: the top share of all channels of the model by Fisher loss mass, which SCAR
// (arXiv 2604.23475) calls supernodes and keeps whatever its score says. The mass is that of the scorer `fisher`: the
// sum over tokens of (x_j dL/dx_j)^2, comparable between blocks, so that one ranking is made over the whole model.
#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "espalier/protect/rule.h"

namespace espalier {
namespace {

struct Channel {
  Unit unit;
  double mass = 0;
};

// Every FFN channel of the model, by block and index.
std::vector<Channel> AllChannels(const ProtectionInput& input) {
  ESPALIER_CHECK(input.statistics != nullptr, "supernodes must declare what it reads in `needs`");
  if (std::ssize(input.statistics->blocks) != input.model.L())
    throw ShapeError(
        fmt::format("protect supernodes: statistics of {} blocks, the model has {}; calibrate this model "
                    "again",
                    input.statistics->blocks.size(), input.model.L()));
  std::vector<Channel> channels;
  for (int64_t l = 0; l < input.model.L(); ++l) {
    const int64_t F = input.model.blocks[static_cast<size_t>(l)].F;
    if (F == 0) continue;
    const NamedSums& sums = input.statistics->blocks[static_cast<size_t>(l)].loss_mass;
    const auto found = sums.find(UnitKindName(UnitKind::kFfnChannel));
    const int64_t measured = found == sums.end() ? 0 : found->second.size(0);
    if (measured != F)
      throw ShapeError(
          fmt::format("protect supernodes: block {}: loss masses of {} FFN channels, the model has {}; "
                      "calibrate this model again",
                      l, measured, F));
    const auto mass = found->second.accessor<double, 1>();
    for (int64_t i = 0; i < F; ++i) channels.push_back({{l, UnitKind::kFfnChannel, i}, mass[i]});
  }
  return channels;
}

class Supernodes final : public ProtectionRule {
 public:
  explicit Supernodes(double share) : share_(share) {}

  std::vector<Protection> Protect(const ProtectionInput& input) const override {
    std::vector<Channel> channels = AllChannels(input);
    const auto all = static_cast<double>(channels.size());
    const auto most = static_cast<size_t>(std::min(all, std::max(1.0, std::round(share_ * all))));
    double total = 0;
    for (const Channel& channel : channels) total += channel.mass;
    std::stable_sort(channels.begin(), channels.end(),
                     [](const Channel& a, const Channel& b) { return a.mass > b.mass; });
    std::vector<Protection> protections;
    for (size_t i = 0; i < most && channels[i].mass > 0; ++i)
      protections.push_back({channels[i].unit, "supernodes",
                             fmt::format("holds {:.2f} % of the Fisher loss mass of all FFN channels: number {} of {}",
                                         100 * channels[i].mass / total, i + 1, channels.size())});
    return protections;
  }

 private:
  double share_;
};

const bool kRegistered = Registry<ProtectionRule>::Register(
    {"supernodes",
     "FFN channels with the most Fisher loss mass of the whole model",
     "SCAR, arXiv 2604.23475",
     {"gradients"},
     {RealOption("share", 0.01, "Share of all FFN channels of the model that stays").Between(0, 1)}},
    [](const Options& options) -> std::unique_ptr<ProtectionRule> {
      return std::make_unique<Supernodes>(options.Real("share"));
    });

}  // namespace
}  // namespace espalier
