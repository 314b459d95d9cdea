#pragma once
// Signals: SIGINT and SIGTERM, which end long work, and SIGBUS, which a mapped file sends when it was shortened.
#include <cstddef>
#include <string>

namespace espalier {

// For a process's start. The first SIGINT or SIGTERM makes CheckInterrupt throw; work that has not ended 1.5 seconds
// later is ended as it is, exit code 130: what is finished is on disk (core/files.h), and the next start removes the
// rest. A second signal ends it at once. A SIGBUS in a mapping of GuardMapping ends the process with exit code 2 and a
// line that names the file: what was read is not to be trusted any more.
void CatchSignals();

// Throws Interrupted when SIGINT or SIGTERM arrived.
void CheckInterrupt();

// From now on a SIGBUS in these bytes is about the file `path`, until ForgetMapping of the same start.
void GuardMapping(const void* start, size_t bytes, const std::string& path);
void ForgetMapping(const void* start);

}  // namespace espalier
