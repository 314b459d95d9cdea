#pragma once
#include <string>

namespace espalier {

// The pages are written so that, without doctype and void elements, they are also XML: a tag left open cannot hide.
// Empty when `html` is, otherwise what is wrong and where.
std::string XmlProblem(const std::string& html);
// Characters of the longest line, each code point one.
size_t LongestLine(const std::string& text);

}  // namespace espalier
