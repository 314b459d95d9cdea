#include "espalier/export/gguf.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "espalier/core/error.h"
#include "espalier/export/shapes.h"
#include "espalier/io/gguf_writer.h"
#include "espalier/io/quantize.h"
#include "espalier/model/family.h"
#include "espalier/model/forward.h"

namespace espalier {
namespace {

constexpr int64_t kQuantizationVersion = 2;  // GGML_QNT_VERSION

// llama_ftype, which tools show.
int64_t FileType(GgmlType type) {
  switch (type) {
    case GgmlType::kF16:
      return 1;
    case GgmlType::kQ4_0:
      return 2;
    case GgmlType::kQ8_0:
      return 7;
    case GgmlType::kBF16:
      return 32;
    default:
      return 0;
  }
}

template <class SizeOf>
void AddSizes(GgufWriter& writer, const std::string& key, const ModelConfig& config, const SizeOf& size_of) {
  std::vector<int64_t> sizes;
  for (const BlockConfig& block : config.blocks) sizes.push_back(size_of(block));
  if (IsUniform(config)) return writer.AddUint32(key, sizes.front());
  writer.AddInt32List(key, sizes);
}

void AddRope(GgufWriter& writer, const std::string& arch, const ModelConfig& config) {
  writer.AddUint32(arch + ".rope.dimension_count", config.D);
  writer.AddFloat32(arch + ".rope.freq_base", config.rope.theta);
  if (config.rope.scaling != "linear" && config.rope.scaling != "yarn") return;
  writer.AddText(arch + ".rope.scaling.type", config.rope.scaling);
  writer.AddFloat32(arch + ".rope.scaling.factor", config.rope.factor);
  if (config.rope.scaling == "yarn")
    writer.AddUint32(arch + ".rope.scaling.original_context_length", config.rope.original_positions);
}

void AddModelKeys(GgufWriter& writer, const GgufCarrier& carrier, GgmlType type) {
  const ModelConfig& config = carrier.model.config;
  const std::string& arch = carrier.architecture;
  writer.AddText("general.architecture", arch);
  writer.AddUint32("general.file_type", FileType(type));
  writer.AddUint32("general.quantization_version", kQuantizationVersion);
  writer.AddUint32(arch + ".block_count", config.L());
  writer.AddUint32(arch + ".context_length", config.max_positions);
  writer.AddUint32(arch + ".embedding_length", config.C);
  writer.AddUint32(arch + ".vocab_size", config.V);
  AddSizes(writer, arch + ".feed_forward_length", config, [](const BlockConfig& block) { return block.F; });
  AddSizes(writer, arch + ".attention.head_count", config, [](const BlockConfig& block) { return block.H; });
  AddSizes(writer, arch + ".attention.head_count_kv", config, [](const BlockConfig& block) { return block.G; });
  writer.AddUint32(arch + ".attention.key_length", config.D);
  writer.AddUint32(arch + ".attention.value_length", config.D);
  writer.AddFloat32(arch + ".attention.layer_norm_rms_epsilon", config.norm_epsilon);
  AddRope(writer, arch, config);
}

// Llama 3's scaling is a tensor: what each frequency is divided by.
at::Tensor FrequencyDivisors(const ModelConfig& config) {
  RopeConfig plain = config.rope;
  plain.scaling = "none";
  return at::tensor(RopeFrequencies(plain, config.D)) / at::tensor(RopeFrequencies(config.rope, config.D));
}

void CheckRope(const GgufCarrier& carrier) {
  const RopeConfig& rope = carrier.model.config.rope;
  const double usual = rope.factor <= 1 ? 1 : 0.1 * std::log(rope.factor) + 1;
  const bool plain_yarn =
      rope.beta_fast == 32 && rope.beta_slow == 1 && rope.truncate && std::fabs(rope.attention_factor - usual) < 1e-6;
  if (rope.scaling == "yarn" && !plain_yarn)
    throw RecipeError("export: YaRN with its own ramp or attention factor has no GGUF form; export with --to hf");
  if (rope.scaling == "llama3" && carrier.architecture == "openelm")
    throw RecipeError("export: openelm holds no RoPE divisors; export with --to padded");
}

bool IsVector(const at::Tensor& tensor) {
  return tensor.dim() < 2 || tensor.size(0) == 1;
}

// llama-quantize's rule under --pure: matrices only, and one row is none (ggml counts no trailing dimensions of 1).
GgmlType TypeOf(const std::string& name, const at::Tensor& tensor, GgmlType type, bool tied) {
  if (IsVector(tensor)) return GgmlType::kF32;
  const bool is_output = name == "output.weight" || (tied && name == "token_embd.weight");
  if (is_output && type == GgmlType::kQ4_0) type = GgmlType::kQ8_0;
  const GgmlTypeInfo* info = FindGgmlType(static_cast<int32_t>(type));
  return tensor.size(1) % info->block_elements == 0 ? type : GgmlType::kF16;
}

// "blk.10.ffn_up.weight" after "blk.9...": embedding, blocks in order, the rest.
std::pair<int64_t, std::string> FileOrder(const std::string& name) {
  if (name == "token_embd.weight" || name == "rope_freqs.weight") return {-1, name};
  if (name.starts_with("blk.")) return {std::stoll(name.substr(4)), name};
  return {INT64_MAX, name};
}

void Fill(const std::string& name, const at::Tensor& tensor, GgmlType type, std::span<std::byte> out) {
  const at::Tensor values = tensor.to(at::kCPU, at::kFloat).contiguous();
  try {
    Quantize(type, {values.const_data_ptr<float>(), static_cast<size_t>(values.numel())}, out);
  } catch (const NumericError& error) {
    throw NumericError(fmt::format("{}: {}", name, error.what()));
  }
}

}  // namespace

std::vector<GgufEntry> GgufEntries(const GgufCarrier& carrier, GgmlType type, std::vector<std::string>& warnings) {
  CheckRope(carrier);
  auto tensors = Registry<ModelFamily>::Create(carrier.family)->ToGguf(carrier.model);
  if (carrier.model.config.rope.scaling == "llama3")
    tensors["rope_freqs.weight"] = FrequencyDivisors(carrier.model.config);
  std::vector<GgufEntry> entries;
  std::vector<std::string> fallbacks;
  const int64_t block = FindGgmlType(static_cast<int32_t>(type))->block_elements;
  for (const auto& [name, tensor] : tensors) {
    entries.push_back({name, tensor, TypeOf(name, tensor, type, carrier.model.config.tied_head)});
    if (!IsVector(tensor) && tensor.size(1) % block != 0) fallbacks.push_back(name);
  }
  std::sort(entries.begin(), entries.end(),
            [](const GgufEntry& a, const GgufEntry& b) { return FileOrder(a.name) < FileOrder(b.name); });
  if (!fallbacks.empty())
    warnings.push_back(fmt::format(
        "{} matrices have rows that are no multiple of {} and are stored as F16 (the first: {}, {} wide): larger and "
        "slower than {}; prune with allocate.round_ffn_to: {} and whole heads",
        fallbacks.size(), block, fallbacks.front(), tensors.at(fallbacks.front()).size(1),
        FindGgmlType(static_cast<int32_t>(type))->name, block));
  return entries;
}

void WriteGguf(const GgufCarrier& carrier, const std::vector<GgufEntry>& entries, GgmlType type,
               const std::function<void(GgufWriter&)>& add_keys, const std::filesystem::path& path) {
  GgufWriter writer;
  AddModelKeys(writer, carrier, type);
  add_keys(writer);
  for (const GgufEntry& entry : entries)
    writer.AddTensor(entry.name, entry.type, entry.tensor.sizes().vec(),
                     [&entry](std::span<std::byte> out) { Fill(entry.name, entry.tensor, entry.type, out); });
  writer.Write(path);
}

}  // namespace espalier
