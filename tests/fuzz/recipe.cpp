// Recipes under a schema with every form of section but components, whose registries need LibTorch.
#include "espalier/recipe/recipe.h"

#include "input.h"

namespace {

std::vector<espalier::SectionSpec> Schema() {
  using namespace espalier;
  SectionSpec top, map, list;
  top.options = {TextOption("name", std::nullopt, "").Optional(), IntOption("seed", 0, "").Between(0, 100),
                 BoolOption("quiet", false, "")};
  map.path = "data";
  map.options = {RealOption("share", 0.5, "").Between(0, 1),
                 TextListOption("units", std::vector<std::string>{"a"}, "").OneOf({"a", "b"}),
                 TextOption("kind", "x", "").OneOf({"x", "y"})};
  list.path = "variants";
  list.form = SectionForm::kMapList;
  list.options = {TextOption("name", std::nullopt, ""), TextListOption("set", std::vector<std::string>{}, "")};
  return {top, map, list};
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const std::vector<espalier::SectionSpec> schema = Schema();
  return espalier::fuzz::Try([&] {
    const auto recipe = espalier::Recipe::Read(espalier::fuzz::FileOf(data, size), {}, schema);
    recipe.With({"data.share=0.25"}).ToYaml();
  });
}
