#pragma once
// Block formats of GGUF to float32. Source: ggml/src/ggml-common.h and ggml-quants.c, formulas restated in the .cpp.
#include <cstdint>
#include <span>
#include <string>

namespace espalier {

// Values are the type ids of the file.
enum class GgmlType : int32_t {
  kF32 = 0,
  kF16 = 1,
  kQ4_0 = 2,
  kQ4_1 = 3,
  kQ5_0 = 6,
  kQ5_1 = 7,
  kQ8_0 = 8,
  kQ4_K = 12,
  kQ5_K = 13,
  kQ6_K = 14,
  kBF16 = 30,
};

struct GgmlTypeInfo {
  std::string name;        // "Q4_1"
  int64_t block_elements;  // 32
  int64_t block_bytes;     // 20
};

// nullptr for an id that is unknown, removed, or known to ggml but not supported here.
const GgmlTypeInfo* FindGgmlType(int32_t id);
// For messages: "Q3_K" for ids that ggml knows and this project does not read, "unknown" otherwise.
std::string GgmlTypeName(int32_t id);

// bytes.size() = out.size() / block_elements * block_bytes. Blocks are independent; large inputs run in parallel
// (oneTBB).
void Dequantize(GgmlType type, std::span<const std::byte> bytes, std::span<float> out);

}  // namespace espalier
