#include "variant_names.h"

#include <fmt/format.h>

#include <string_view>

namespace espalier {
namespace {

constexpr size_t kLongestName = 40;

}  // namespace

std::string MistakeOfName(const std::string& name) {
  constexpr std::string_view kAllowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+-.";
  if (!name.empty() && name.size() <= kLongestName && name.find_first_not_of(kAllowed) == std::string::npos &&
      name.front() != '.' && name.front() != '-')
    return "";
  return fmt::format(
      "the name '{}' is for tables and folders: expected at most {} letters, digits and _ + - . that do not begin with "
      ". or -",
      name, kLongestName);
}

std::string OnOneLine(std::string text) {
  while (!text.empty() && text.back() == '\n') text.pop_back();
  for (size_t at = text.find('\n'); at != std::string::npos; at = text.find('\n', at)) text.replace(at, 1, "; ");
  return text;
}

}  // namespace espalier
