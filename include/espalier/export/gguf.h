#pragma once
// Pruned models as GGUF files that stock llama.cpp reads, uniform or not (docs/export.md). Sources: llama.cpp
// src/llama-model.cpp, src/llama-hparams.cpp; conversion/deci.py.
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "espalier/io/dequantize.h"
#include "espalier/model/model.h"

namespace espalier {

class GgufWriter;

// The architecture that carries a model, and the model in the shape that it asks for.
struct GgufCarrier {
  std::string family;              // registered, of a GGUF form: "llama", "qwen2", "qwen3", "deci", "openelm"
  std::string architecture;        // what the file calls itself
  Model model;                     // the same logits
  std::vector<std::string> notes;  // what was done to fit, for people: "2 blocks without sublayers left out"
};

// Uniform models keep their architecture. Others become `deci` (Llama, Mistral, Qwen2) or `openelm` (Qwen3 with a tied
// head and no biases), else they are padded with zeros. RecipeError naming what no carrier holds: windows, output
// gates, sink logits, norms elsewhere than before the sublayers, biases of a Qwen3.
GgufCarrier ChooseGgufCarrier(const Model& model);

// One tensor of the file.
struct GgufEntry {
  std::string name;
  at::Tensor tensor;
  GgmlType type;
};
// Tensors in the order of the file. Vectors stay F32; a matrix whose rows are not whole blocks becomes F16, with a
// warning line in `warnings` for all of them. Under q4_0 the output matrix is Q8_0.
std::vector<GgufEntry> GgufEntries(const GgufCarrier& carrier, GgmlType type, std::vector<std::string>& warnings);

// Writes the file; `add_keys` adds the tokenizer's keys and general ones of the source.
void WriteGguf(const GgufCarrier& carrier, const std::vector<GgufEntry>& entries, GgmlType type,
               const std::function<void(GgufWriter&)>& add_keys, const std::filesystem::path& path);

}  // namespace espalier
