#pragma once
// What the variants of a sweep and of a training comparison are called, and their errors in tables.
#include <string>

namespace espalier {

// What is wrong with a name, which is for tables and folders; empty when nothing is.
std::string MistakeOfName(const std::string& name);

// An error's lines as one.
std::string OnOneLine(std::string text);

}  // namespace espalier
