#pragma once
// YAML scalars as typed option values, by the YAML 1.2 core schema, with hints for what people write instead.
#include <optional>
#include <string>

#include "espalier/core/options.h"
#include "yaml_tree.h"

namespace espalier {

// true and false, whole numbers, numbers, texts. A quoted scalar is a text. YAML 1.2.2, section 10.3.2.
OptionValue ReadScalar(const Node& scalar);

// `node` as a value of the option at the dotted `key`; nothing when that is a mistake, which is then noted.
std::optional<OptionValue> ReadValue(const Node& node, const OptionSpec& option, const std::string& key,
                                     Mistakes& mistakes);

}  // namespace espalier
