#pragma once
// c10d's Gloo behind Comm.
#include "espalier/comm/comm.h"

namespace espalier {

// See Connect; launch.size > 1.
std::unique_ptr<Comm> ConnectGloo(const Launch& launch, std::chrono::seconds timeout);

}  // namespace espalier
