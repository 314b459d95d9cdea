#include "arguments.h"

#include <fmt/format.h>

#include <charconv>
#include <map>

#include "espalier/core/error.h"
#include "espalier/core/files.h"

namespace espalier {
namespace {

namespace po = boost::program_options;

template <class T>
bool ParseWhole(const std::string& text, T& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size();
}

// "a,b", or "[a, b]" as a recipe has it.
std::vector<std::string> SplitCommas(std::string text) {
  std::erase(text, ' ');
  if (text.starts_with('[') && text.ends_with(']')) text = text.substr(1, text.size() - 2);
  std::vector<std::string> parts;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    parts.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return parts;
}

// The value in the type that the option wants; as text when it does not parse, so that the check names what was
// expected.
OptionValue TypedValue(const OptionSpec& spec, const std::string& text) {
  int64_t whole = 0;
  double real = 0;
  if (spec.type == OptionType::kBool && (text == "true" || text == "false")) return text == "true";
  if (spec.type == OptionType::kInt && ParseWhole(text, whole)) return whole;
  if (spec.type == OptionType::kReal && ParseWhole(text, real)) return real;
  if (spec.type == OptionType::kTextList) return SplitCommas(text);
  if (spec.type == OptionType::kIntList) {
    std::vector<int64_t> list;
    for (const std::string& part : SplitCommas(text)) {
      if (!ParseWhole(part, whole)) return text;
      list.push_back(whole);
    }
    return list;
  }
  if (spec.type == OptionType::kRealList) {
    std::vector<double> list;
    for (const std::string& part : SplitCommas(text)) {
      if (!ParseWhole(part, real)) return text;
      list.push_back(real);
    }
    return list;
  }
  return text;
}

}  // namespace

po::variables_map ParseArguments(const std::string& command, const po::options_description& flags,
                                 const std::vector<std::string>& arguments) {
  po::options_description all;
  all.add(flags).add_options()("arguments", po::value<std::vector<std::string>>());
  po::positional_options_description positional;
  positional.add("arguments", -1);
  po::variables_map parsed;
  try {
    const auto style = po::command_line_style::unix_style & ~po::command_line_style::allow_guessing;
    po::store(po::command_line_parser(arguments).options(all).positional(positional).style(style).run(), parsed);
    po::notify(parsed);
  } catch (const po::unknown_option& error) {
    std::vector<std::string> known;
    for (const auto& option : flags.options()) known.push_back("--" + option->long_name());
    throw RecipeError(fmt::format("{}: {}", command, UnknownName("flag", error.get_option_name(), known)));
  } catch (const po::error& error) {
    throw RecipeError(fmt::format("{}: {}; see espalier {} --help", command, error.what(), command));
  }
  return parsed;
}

std::vector<std::string> Positional(const po::variables_map& parsed) {
  return parsed.count("arguments") > 0 ? parsed["arguments"].as<std::vector<std::string>>()
                                       : std::vector<std::string>();
}

std::string ModelName(const std::filesystem::path& path) {
  const std::filesystem::path last = WithoutSlash(path);
  return last.extension() == ".gguf" ? last.stem().string() : last.filename().string();
}

Options OptionsFromArguments(const std::vector<OptionSpec>& specs, const std::vector<std::string>& arguments,
                             const std::string& where) {
  std::map<std::string, OptionValue> values;
  for (const std::string& argument : arguments) {
    const size_t equals = argument.find('=');
    if (equals == std::string::npos) throw RecipeError(fmt::format("{}: '{}': expected key=value", where, argument));
    const std::string name = argument.substr(0, equals), text = argument.substr(equals + 1);
    values[name] = text;
    for (const OptionSpec& spec : specs)
      if (spec.name == name) values[name] = TypedValue(spec, text);
  }
  return Options(specs, std::move(values), where);
}

}  // namespace espalier
