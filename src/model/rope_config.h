#pragma once
// RoPE settings from and to config.json and GGUF metadata.
#include "config_reader.h"
#include "espalier/io/checkpoint.h"
#include "espalier/model/config.h"

namespace espalier {

// Fills rope and windowed_rope; D must be known. Reads the spelling of transformers 5 (rope_parameters, by layer type
// where they differ) and the older one (rope_theta, rope_scaling, rope_local_base_freq, partial_rotary_factor).
void ReadRope(const ConfigReader& config, ModelConfig& model);
// The older spelling, which every version reads, and by layer type the newer.
void WriteRope(const ModelConfig& model, Json& json);
// {arch}.rope.*, and the divisors of rope_freqs.weight, which must be Llama 3's rule.
void ReadGgufRope(const Checkpoint& checkpoint, const std::string& arch, ModelConfig& model);

}  // namespace espalier
