#pragma once
// A report as a run on SmolLM2-135M would give it: real shapes, figures in the size that was measured, made up in
// detail.
#include "espalier/report/report.h"

namespace espalier {

ReportInput SampleReport();

}  // namespace espalier
