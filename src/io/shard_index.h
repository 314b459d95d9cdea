#pragma once
// model.safetensors.index.json: which file of the folder holds which tensor.
#include <map>
#include <string>
#include <string_view>

namespace espalier {

// weight_map: tensor name to file name. Every file name is a plain name of a .safetensors file, so that it cannot leave
// the folder. Throws IoError naming `where` and the key: not JSON, no weight_map, a tensor twice, more entries than any
// model has. Parsed as a stream, without a tree.
std::map<std::string, std::string> ParseShardIndex(std::string_view text, const std::string& where);

}  // namespace espalier
