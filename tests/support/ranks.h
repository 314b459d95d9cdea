#pragma once
// What a launcher of several processes gives each of them, on loopback.
#include <string>
#include <vector>

namespace espalier {

int FreePort();
// The variables that torchrun sets, and one thread, before those of this process: "RANK=1".
std::vector<std::string> RankEnvironment(int rank, int size, int port);
// For execve: pointers into `variables`, which must stay, and a null.
std::vector<char*> Pointers(std::vector<std::string>& variables);

}  // namespace espalier
