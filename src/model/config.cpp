#include "espalier/model/config.h"

#include "espalier/core/error.h"

namespace espalier {

std::vector<int64_t> EvenKvOfHead(int64_t H, int64_t G) {
  ESPALIER_CHECK(G > 0 && H % G == 0, "query heads must be a multiple of key/value heads");
  std::vector<int64_t> kv_of_head;
  for (int64_t head = 0; head < H; ++head) kv_of_head.push_back(head / (H / G));
  return kv_of_head;
}

}  // namespace espalier
