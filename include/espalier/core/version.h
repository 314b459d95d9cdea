#pragma once
// What this build is: for manifests, stage keys and bug reports.
#include <string>

namespace espalier {

std::string Version();     // "0.1.0"
std::string Revision();    // git describe of the sources, "unknown" outside a checkout
std::string SourceHash();  // SHA-256 over src/ and include/; part of every stage key

}  // namespace espalier
