// Units that the user names: "11/ffn_channel/1229", "0/kv_group/2", "3/attention/0", "model/residual_channel/507".
#include <fmt/format.h>

#include <charconv>

#include "espalier/model/unit_space.h"
#include "espalier/protect/rule.h"

namespace espalier {
namespace {

int64_t ParseNumber(std::string_view text, const std::string& unit) {
  int64_t number = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size() || number < 0)
    throw RecipeError(
        fmt::format("protect keep: '{}': expected block/kind/index, for example 11/ffn_channel/1229", unit));
  return number;
}

Unit ParseUnit(const std::string& text) {
  const size_t first = text.find('/'), second = text.rfind('/');
  if (first == std::string::npos || first == second)
    throw RecipeError(
        fmt::format("protect keep: '{}': expected block/kind/index, for example 11/ffn_channel/1229", text));
  const std::string_view view(text);
  const std::string_view block = view.substr(0, first);
  const int64_t number = block == "model" ? kWholeModel : ParseNumber(block, text);
  const Unit unit = {number, ParseUnitKind(view.substr(first + 1, second - first - 1)),
                     ParseNumber(view.substr(second + 1), text)};
  if (PerModel(unit.kind) != (number == kWholeModel))
    throw RecipeError(fmt::format("protect keep: '{}': a {} is of {}", text, UnitKindName(unit.kind),
                                  PerModel(unit.kind)
                                      ? "the whole model: write model/" + std::string(view.substr(first + 1))
                                      : "a block: write its number"));
  return unit;
}

class Keep final : public ProtectionRule {
 public:
  explicit Keep(const std::vector<std::string>& units) {
    for (const std::string& text : units) units_.push_back(ParseUnit(text));
  }

  std::vector<Protection> Protect(const ProtectionInput& input) const override {
    const ModelConfig& model = input.model;
    std::vector<Protection> protections;
    for (const Unit& unit : units_) {
      if (unit.block >= model.L())
        throw RecipeError(fmt::format("protect keep: {}: the model has {} blocks", UnitText(unit), model.L()));
      const int64_t count = CountUnits(model, unit.block, unit.kind);
      if (unit.index >= count)
        throw RecipeError(fmt::format("protect keep: {}: {} has {}", UnitText(unit),
                                      PerModel(unit.kind) ? "the model" : "that block", count));
      protections.push_back({unit, "keep", "named in the recipe"});
    }
    return protections;
  }

 private:
  std::vector<Unit> units_;
};

const bool kRegistered = Registry<ProtectionRule>::Register(
    {"keep",
     "Units named by the user",
     "ours",
     {},
     {TextListOption("units", std::nullopt,
                     "Units as block/kind/index: 11/ffn_channel/1229, 0/kv_group/2, model/residual_channel/507")}},
    [](const Options& options) -> std::unique_ptr<ProtectionRule> {
      return std::make_unique<Keep>(options.TextList("units"));
    });

}  // namespace
}  // namespace espalier
