#pragma once
// White space as Python's str.strip has it, for texts that are scored as Python programs score them.
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace espalier {

bool IsWhiteSpace(int32_t code_point);
size_t LeadingWhiteSpace(std::string_view text);   // bytes of it at the start
size_t TrailingWhiteSpace(std::string_view text);  // where that at the end begins
std::string_view Strip(std::string_view text);

}  // namespace espalier
