#pragma once
// How the command ends.

namespace espalier {

enum ExitCode {
  kExitPass = 0,
  kExitRegression = 1,
  kExitUsage = 2,
  kExitInconclusive = 3,
  kExitInternal = 4,
  kExitInterrupted = 130  // 128 + SIGINT, as shells count
};

}  // namespace espalier
