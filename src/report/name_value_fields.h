#pragma once
// Lines of provenance in JSON.
#include "espalier/core/json_fields.h"
#include "espalier/report/sweep.h"

namespace espalier {

template <class Visitor>
void Fields(Visitor& visit, NameValue& line) {
  visit("name", line.name);
  visit("value", line.value);
}

}  // namespace espalier
