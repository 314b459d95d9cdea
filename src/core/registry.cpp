#include "espalier/core/registry.h"

namespace espalier {
namespace {

std::vector<RegistryView>& Views() {
  static std::vector<RegistryView> views;
  return views;
}

}  // namespace

const std::vector<RegistryView>& AllRegistries() {
  return Views();
}

bool AddRegistryView(RegistryView view) {
  Views().push_back(std::move(view));
  return true;
}

}  // namespace espalier
