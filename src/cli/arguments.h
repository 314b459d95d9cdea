#pragma once
// What the commands share in parsing: flags through Boost.Program_options, and key=value options of components.
#include <boost/program_options.hpp>
#include <filesystem>
#include <string>
#include <vector>

#include "espalier/core/options.h"

namespace espalier {

// `flags` plus positional arguments collected under "arguments". RecipeError naming the flag and the nearest ones.
boost::program_options::variables_map ParseArguments(const std::string& command,
                                                     const boost::program_options::options_description& flags,
                                                     const std::vector<std::string>& arguments);
std::vector<std::string> Positional(const boost::program_options::variables_map& parsed);

// "runs/x/pruned" is "pruned", "models/a/b.gguf" is "b".
std::string ModelName(const std::filesystem::path& path);

// "windows=4" for each declared option, typed and checked by its declaration.
Options OptionsFromArguments(const std::vector<OptionSpec>& specs, const std::vector<std::string>& arguments,
                             const std::string& where);

}  // namespace espalier
