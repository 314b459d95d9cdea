#include "espalier/heal/method.h"

namespace espalier {

void DetachAll(Model& model) {
  for (const NamedTensorRef& ref : TensorsOf(model)) *ref.tensor = ref.tensor->detach();
}

}  // namespace espalier
