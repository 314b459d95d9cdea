// Formulas: ggml/src/ggml-common.h (block layouts) and ggml-quants.c (dequantize_row_*). All scales are IEEE half, all
// fields little-endian. Every product below is exact in float32 (11 bits of a half times at most 13 bits of integers),
// so each value is rounded once, in the subtraction or addition at most, and a fused multiply-add gives the same bits.
#include "espalier/io/dequantize.h"

#include <fmt/format.h>
#include <tbb/blocked_range.h>
#include <tbb/parallel_for.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "espalier/core/error.h"

namespace espalier {
namespace {

static_assert(std::endian::native == std::endian::little, "values are copied from the file as they are");

constexpr int64_t kParallelElements = int64_t{1} << 16;  // below, starting threads costs more than the work
constexpr int64_t kGrainBytes = int64_t{1} << 16;        // output of one task: fits the second-level cache

using Byte = uint8_t;

uint16_t Load16(const Byte* bytes) {
  uint16_t value = 0;
  std::memcpy(&value, bytes, sizeof(value));
  return value;
}

uint32_t Load32(const Byte* bytes) {
  uint32_t value = 0;
  std::memcpy(&value, bytes, sizeof(value));
  return value;
}

// Half to float without branches, so that loops over it vectorise: a normal number is moved to the other exponent bias
// by one multiplication, a subnormal one is put behind the point of 0.5 and 0.5 is subtracted (as in ggml-impl.h).
inline float HalfToFloat(uint16_t half) {
  const uint32_t wide = uint32_t{half} << 16;
  const uint32_t sign = wide & 0x80000000U;
  const uint32_t magnitude = wide + wide;
  const float normal = std::bit_cast<float>((magnitude >> 4) + (0xE0U << 23)) * 0x1.0p-112F;
  const float subnormal = std::bit_cast<float>((magnitude >> 17) | (126U << 23)) - 0.5F;
  const uint32_t bits = magnitude < (1U << 27) ? std::bit_cast<uint32_t>(subnormal) : std::bit_cast<uint32_t>(normal);
  return std::bit_cast<float>(sign | bits);
}

float Half(const Byte* bytes) {
  return HalfToFloat(Load16(bytes));
}

void BlockF32(const Byte* in, float* out) {
  std::memcpy(out, in, sizeof(float));
}
void BlockF16(const Byte* in, float* out) {
  *out = Half(in);
}
void BlockBF16(const Byte* in, float* out) {
  *out = std::bit_cast<float>(uint32_t{Load16(in)} << 16);
}

// Layout: d, qs[16]. Elements j and j + 16 share byte j: low and high nibble.
void BlockQ4_0(const Byte* in, float* out) {
  const float d = Half(in);
  const Byte* qs = in + 2;
  for (int j = 0; j < 16; ++j) {
    out[j] = d * static_cast<float>((qs[j] & 15) - 8);
    out[j + 16] = d * static_cast<float>((qs[j] >> 4) - 8);
  }
}

// Layout: d, m, qs[16].
void BlockQ4_1(const Byte* in, float* out) {
  const float d = Half(in), m = Half(in + 2);
  const Byte* qs = in + 4;
  for (int j = 0; j < 16; ++j) {
    out[j] = d * static_cast<float>(qs[j] & 15) + m;
    out[j + 16] = d * static_cast<float>(qs[j] >> 4) + m;
  }
}

// Layout: d, qh[4], qs[16]. Bit j of qh is the fifth bit of element j.
void BlockQ5_0(const Byte* in, float* out) {
  const float d = Half(in);
  const uint32_t qh = Load32(in + 2);
  const Byte* qs = in + 6;
  for (int j = 0; j < 16; ++j) {
    const int low = (qs[j] & 15) | static_cast<int>((qh >> j & 1) << 4);
    const int high = (qs[j] >> 4) | static_cast<int>((qh >> (j + 16) & 1) << 4);
    out[j] = d * static_cast<float>(low - 16);
    out[j + 16] = d * static_cast<float>(high - 16);
  }
}

// Layout: d, m, qh[4], qs[16].
void BlockQ5_1(const Byte* in, float* out) {
  const float d = Half(in), m = Half(in + 2);
  const uint32_t qh = Load32(in + 4);
  const Byte* qs = in + 8;
  for (int j = 0; j < 16; ++j) {
    const int low = (qs[j] & 15) | static_cast<int>((qh >> j & 1) << 4);
    const int high = (qs[j] >> 4) | static_cast<int>((qh >> (j + 16) & 1) << 4);
    out[j] = d * static_cast<float>(low) + m;
    out[j + 16] = d * static_cast<float>(high) + m;
  }
}

// Layout: d, int8 qs[32].
void BlockQ8_0(const Byte* in, float* out) {
  const float d = Half(in);
  for (int j = 0; j < 32; ++j) out[j] = d * static_cast<float>(static_cast<int8_t>(in[2 + j]));
}

// Scale and minimum of run j of 8 in the K formats: twelve bytes hold sixteen numbers of six bits.
struct ScaleAndMin {
  int scale, min;
};
ScaleAndMin UnpackScale(int j, const Byte* s) {
  if (j < 4) return {s[j] & 63, s[j + 4] & 63};
  return {(s[j + 4] & 15) | (s[j - 4] >> 6) << 4, (s[j + 4] >> 4) | (s[j] >> 6) << 4};
}

// Layout: d, dmin, scales[12], qs[128]. Each 32 bytes hold two runs of 32: the low nibbles, then the high ones.
void BlockQ4_K(const Byte* in, float* out) {
  const float d = Half(in), dmin = Half(in + 2);
  for (int run = 0; run < 8; ++run) {
    const ScaleAndMin packed = UnpackScale(run, in + 4);
    const float scale = d * static_cast<float>(packed.scale), min = dmin * static_cast<float>(packed.min);
    const Byte* qs = in + 16 + 32 * (run / 2);
    const int shift = 4 * (run % 2);
    for (int l = 0; l < 32; ++l) out[32 * run + l] = scale * static_cast<float>(qs[l] >> shift & 15) - min;
  }
}

// Layout: d, dmin, scales[12], qh[32], qs[128]. As Q4_K; bit `run` of qh[l] is the fifth bit.
void BlockQ5_K(const Byte* in, float* out) {
  const float d = Half(in), dmin = Half(in + 2);
  const Byte* qh = in + 16;
  for (int run = 0; run < 8; ++run) {
    const ScaleAndMin packed = UnpackScale(run, in + 4);
    const float scale = d * static_cast<float>(packed.scale), min = dmin * static_cast<float>(packed.min);
    const Byte* qs = in + 48 + 32 * (run / 2);
    const int shift = 4 * (run % 2);
    for (int l = 0; l < 32; ++l) {
      const int q = (qs[l] >> shift & 15) | (qh[l] >> run & 1) << 4;
      out[32 * run + l] = scale * static_cast<float>(q) - min;
    }
  }
}

// Layout: ql[128], qh[64], int8 scales[16], d. Each half of the block: four runs of 32 over 64 bytes of ql (low nibbles
// of both halves, then high ones) and 32 of qh (two bits a run); a scale for 16 elements.
void BlockQ6_K(const Byte* in, float* out) {
  const float d = Half(in + 208);
  for (int run = 0; run < 8; ++run) {
    const int half = run / 4, quarter = run % 4;
    const Byte* ql = in + 64 * half + 32 * (quarter % 2);
    const Byte* qh = in + 128 + 32 * half;
    const int ql_shift = 4 * (quarter / 2), qh_shift = 2 * quarter;
    for (int part = 0; part < 2; ++part) {
      const float scale = d * static_cast<float>(static_cast<int8_t>(in[192 + 2 * run + part]));
      for (int l = 16 * part; l < 16 * part + 16; ++l) {
        const int q = (ql[l] >> ql_shift & 15) | (qh[l] >> qh_shift & 3) << 4;
        out[32 * run + l] = scale * static_cast<float>(q - 32);
      }
    }
  }
}

using BlockFunction = void (*)(const Byte* in, float* out);

// A loop for each type, so that its block function is inlined into it.
template <BlockFunction function, int64_t elements, int64_t bytes>
void Blocks(const Byte* in, float* out, int64_t count) {
  for (int64_t i = 0; i < count; ++i) function(in + i * bytes, out + i * elements);
}

struct TypeRow {
  GgmlType type;
  GgmlTypeInfo info;
  void (*blocks)(const Byte* in, float* out, int64_t count);
};

template <BlockFunction function, int64_t elements, int64_t bytes>
TypeRow Row(GgmlType type, const char* name) {
  return {type, {name, elements, bytes}, Blocks<function, elements, bytes>};
}

const TypeRow* FindRow(int32_t id) {
  static const std::array<TypeRow, 11> rows = {
      Row<BlockF32, 1, 4>(GgmlType::kF32, "F32"),        Row<BlockF16, 1, 2>(GgmlType::kF16, "F16"),
      Row<BlockQ4_0, 32, 18>(GgmlType::kQ4_0, "Q4_0"),   Row<BlockQ4_1, 32, 20>(GgmlType::kQ4_1, "Q4_1"),
      Row<BlockQ5_0, 32, 22>(GgmlType::kQ5_0, "Q5_0"),   Row<BlockQ5_1, 32, 24>(GgmlType::kQ5_1, "Q5_1"),
      Row<BlockQ8_0, 32, 34>(GgmlType::kQ8_0, "Q8_0"),   Row<BlockQ4_K, 256, 144>(GgmlType::kQ4_K, "Q4_K"),
      Row<BlockQ5_K, 256, 176>(GgmlType::kQ5_K, "Q5_K"), Row<BlockQ6_K, 256, 210>(GgmlType::kQ6_K, "Q6_K"),
      Row<BlockBF16, 1, 2>(GgmlType::kBF16, "BF16"),
  };
  const auto found =
      std::find_if(rows.begin(), rows.end(), [id](const TypeRow& row) { return static_cast<int32_t>(row.type) == id; });
  return found == rows.end() ? nullptr : &*found;
}

struct NamedId {
  int32_t id;
  const char* name;
};

// ggml/include/ggml.h, enum ggml_type: what is there and has no row above.
constexpr std::array<NamedId, 31> kUnsupported = {{{4, "Q4_2 (removed)"},
                                                   {5, "Q4_3 (removed)"},
                                                   {9, "Q8_1"},
                                                   {10, "Q2_K"},
                                                   {11, "Q3_K"},
                                                   {15, "Q8_K"},
                                                   {16, "IQ2_XXS"},
                                                   {17, "IQ2_XS"},
                                                   {18, "IQ3_XXS"},
                                                   {19, "IQ1_S"},
                                                   {20, "IQ4_NL"},
                                                   {21, "IQ3_S"},
                                                   {22, "IQ2_S"},
                                                   {23, "IQ4_XS"},
                                                   {24, "I8"},
                                                   {25, "I16"},
                                                   {26, "I32"},
                                                   {27, "I64"},
                                                   {28, "F64"},
                                                   {29, "IQ1_M"},
                                                   {31, "Q4_0_4_4 (removed)"},
                                                   {32, "Q4_0_4_8 (removed)"},
                                                   {33, "Q4_0_8_8 (removed)"},
                                                   {34, "TQ1_0"},
                                                   {35, "TQ2_0"},
                                                   {36, "IQ4_NL_4_4 (removed)"},
                                                   {37, "IQ4_NL_4_8 (removed)"},
                                                   {38, "IQ4_NL_8_8 (removed)"},
                                                   {39, "MXFP4"},
                                                   {40, "NVFP4"},
                                                   {41, "Q1_0"}}};

}  // namespace

const GgmlTypeInfo* FindGgmlType(int32_t id) {
  const TypeRow* row = FindRow(id);
  return row == nullptr ? nullptr : &row->info;
}

std::string GgmlTypeName(int32_t id) {
  if (const TypeRow* row = FindRow(id)) return row->info.name;
  for (const NamedId& known : kUnsupported)
    if (known.id == id) return known.name;
  return "unknown";
}

void Dequantize(GgmlType type, std::span<const std::byte> bytes, std::span<float> out) {
  const TypeRow* row = FindRow(static_cast<int32_t>(type));
  ESPALIER_CHECK(row != nullptr, "the type has a row");
  const int64_t block_elements = row->info.block_elements, block_bytes = row->info.block_bytes;
  const int64_t blocks = static_cast<int64_t>(out.size()) / block_elements;
  ESPALIER_CHECK(static_cast<int64_t>(out.size()) == blocks * block_elements &&
                     static_cast<int64_t>(bytes.size()) == blocks * block_bytes,
                 fmt::format("{} bytes of {} do not make {} elements", bytes.size(), row->info.name, out.size()));
  const Byte* in = reinterpret_cast<const Byte*>(bytes.data());
  if (static_cast<int64_t>(out.size()) < kParallelElements) return row->blocks(in, out.data(), blocks);
  const int64_t grain = kGrainBytes / static_cast<int64_t>(sizeof(float)) / block_elements;
  tbb::parallel_for(tbb::blocked_range<int64_t>(0, blocks, grain), [&](const tbb::blocked_range<int64_t>& range) {
    row->blocks(in + range.begin() * block_bytes, out.data() + range.begin() * block_elements,
                range.end() - range.begin());
  });
}

}  // namespace espalier
