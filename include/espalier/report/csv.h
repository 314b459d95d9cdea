#pragma once
// Tables for spreadsheets (RFC 4180).
#include <string>

#include "espalier/core/json.h"

namespace espalier {

std::string CsvField(const std::string& text);  // quoted where it must be

// Every figure of a report, a line each: model, evaluation, metric, row and column of a curve or grid (else empty),
// value, bounds, count, unit, what it is relative to.
std::string RenderCsv(const Json& report);

}  // namespace espalier
