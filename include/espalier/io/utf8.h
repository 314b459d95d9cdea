#pragma once
// UTF-8 as tokenizers see it: validity, replacement of what is invalid, and code points one by one.
#include <cstddef>
#include <string>
#include <string_view>

namespace espalier {

// The first byte that does not belong to a valid sequence; text.size() when all of it is valid.
size_t FirstInvalidUtf8(std::string_view text);

// Every maximal invalid subpart becomes one U+FFFD (Unicode standard, section 3.9, table 3-8), which is what Python's
// errors='replace' and Rust's from_utf8_lossy do.
std::string ReplaceInvalidUtf8(std::string_view text);

// The code point that starts at `at` of a valid text; `at` moves behind it.
char32_t NextCodePoint(std::string_view text, size_t& at);
// The code point that ends before `at` (> 0) of a valid text; `at` moves to its first byte.
char32_t PreviousCodePoint(std::string_view text, size_t& at);

void AppendUtf8(char32_t code_point, std::string& out);

}  // namespace espalier
