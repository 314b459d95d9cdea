#include "espalier/core/version.h"

#include "espalier_revision.h"

namespace espalier {

std::string Version() {
  return ESPALIER_VERSION;
}
std::string Revision() {
  return ESPALIER_REVISION;
}
std::string SourceHash() {
  return ESPALIER_SOURCE_HASH;
}

}  // namespace espalier
