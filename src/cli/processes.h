#pragma once
// Commands that several processes run together.
#include <memory>
#include <string>
#include <vector>

#include "espalier/comm/comm.h"

namespace espalier {

// The other processes of this launch; refused when they were started with other arguments. Only rank 0 speaks.
std::unique_ptr<Comm> MeetOthers(const std::string& command, const std::vector<std::string>& arguments);

// RecipeError when a launcher started this command as one of several and it does its work in one.
void RequireOneProcess(const std::string& command);

}  // namespace espalier
