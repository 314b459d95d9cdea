#pragma once
// The canonical text of a resolved recipe.
#include <string>

#include "resolve.h"

namespace espalier {

// Every value written out, sections and options in schema order, short maps on one line. Reading it gives the same
// sections again.
std::string Emit(const ResolvedSections& resolved, const SectionNode& sections);

// A text in double quotes, which is a text whatever it holds.
std::string QuotedScalar(const std::string& text);

}  // namespace espalier
