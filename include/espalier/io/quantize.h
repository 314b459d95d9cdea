#pragma once
// float32 to the tensor types of GGUF that this project writes, with the bytes of llama.cpp's own quantiser. Source:
// ggml/src/ggml-quants.c, quantize_row_q4_0_ref and quantize_row_q8_0_ref, formulas restated in the .cpp.
#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "espalier/io/dequantize.h"

namespace espalier {

// "f32", "f16", "bf16", "q8_0", "q4_0", as llama-quantize takes them; RecipeError otherwise.
GgmlType ParseGgmlType(std::string_view name);
const std::vector<std::string>& WritableGgmlTypes();

// in.size() is a multiple of the type's block, out.size() the bytes of that many blocks (InternalError otherwise).
// Values are finite. NumericError when one, or a block's scale, does not fit IEEE half and the type is made of those.
// Blocks are independent; large inputs run in parallel (oneTBB).
void Quantize(GgmlType type, std::span<const float> in, std::span<std::byte> out);

}  // namespace espalier
