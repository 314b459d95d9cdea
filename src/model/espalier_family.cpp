// Models made here, by `espalier train`: every variant of model/variants.h. Tensors keep the names of their roles.
#include <ATen/core/Tensor.h>

#include <algorithm>

#include "decoder_family.h"

namespace espalier {
namespace {

template <class E>
E Read(const ConfigReader& config, const char* key) {
  return Named<E>(config.Get<std::string>(key), fmt::format("{}: {}", config.where(), key));
}

class EspalierFamily final : public DecoderFamily {
 public:
  EspalierFamily() : DecoderFamily({.name = "espalier", .architecture = "EspalierForCausalLM"}) {}

  std::string StoredFamily(CheckpointFormat format) const override {
    return format == CheckpointFormat::kGguf ? "" : "espalier";
  }
  std::string TensorName(CheckpointFormat, std::string_view name) const override { return std::string(name); }
  at::Tensor FromStored(CheckpointFormat, const ModelConfig&, int64_t, std::string_view,
                        const at::Tensor& stored) const override {
    return stored;
  }
  std::map<std::string, at::Tensor> ToStored(const Model& model) const override {
    std::map<std::string, at::Tensor> tensors;
    for (const NamedTensorRef& ref : TensorsOf(const_cast<Model&>(model))) tensors[ref.name] = *ref.tensor;
    return tensors;
  }

 protected:
  void ReadOwn(const ConfigReader& config, ModelConfig& model) const override {
    model.norm_placement = Read<NormPlacement>(config, "norm_placement");
    model.qk_norm = Read<QkNorm>(config, "qk_norm");
    ReadWindows(config, model, [](int64_t) { return false; });
    for (BlockConfig& block : model.blocks) {
      block.gate = Read<GateKind>(config, "gate");
      block.sink_logits = config.Flag("sink_logits");
    }
    Variants& v = model.variants;
    v.norm = Read<NormKind>(config, "norm");
    v.ffn = Read<FfnKind>(config, "ffn");
    v.gate_place = Read<GatePlace>(config, "gate_place");
    v.gate_shared = config.Flag("gate_shared");
    v.gate_apply = Read<GateApply>(config, "gate_apply");
    v.gate_function = Read<GateFunction>(config, "gate_function");
    v.gate_signal = Read<GateSignal>(config, "gate_signal");
    v.head_transform = Read<HeadTransform>(config, "head_transform");
    v.weights = Read<AttentionWeights>(config, "attention_weights");
    v.clip_low = config.Get<double>("clip_low");
    v.clip_high = config.Get<double>("clip_high");
    v.kv_bias = config.Flag("kv_bias");
    v.output_clip = config.Get<double>("output_clip");
    CheckVariants(model);
  }

  void WriteOwn(const Model& model, Json& json) const override {
    const ModelConfig& config = model.config;
    const Variants& v = config.variants;
    GateKind gate = GateKind::kNone;
    bool sink_logits = false;
    for (const BlockConfig& block : config.blocks) {
      gate = std::max(gate, block.gate);
      sink_logits |= block.sink_logits;
    }
    // Every block of a model without FFNs skips them, whatever their common width.
    json["intermediate_size"] = std::max<int64_t>(1, json.at("intermediate_size").get<int64_t>());
    json["norm_placement"] = NameOf(config.norm_placement);
    json["qk_norm"] = NameOf(config.qk_norm);
    json["gate"] = NameOf(gate);
    json["sink_logits"] = sink_logits;
    json["norm"] = NameOf(v.norm);
    json["ffn"] = NameOf(v.ffn);
    json["gate_place"] = NameOf(v.gate_place);
    json["gate_shared"] = v.gate_shared;
    json["gate_apply"] = NameOf(v.gate_apply);
    json["gate_function"] = NameOf(v.gate_function);
    json["gate_signal"] = NameOf(v.gate_signal);
    json["head_transform"] = NameOf(v.head_transform);
    json["attention_weights"] = NameOf(v.weights);
    json["clip_low"] = v.clip_low;
    json["clip_high"] = v.clip_high;
    json["kv_bias"] = v.kv_bias;
    json["output_clip"] = v.output_clip;
  }
};

const bool kRegistered = RegisterFamily<EspalierFamily>(
    "espalier", "Models that `espalier train` makes: any norm, FFN, gate and attention variant",
    "arXiv 2603.05498, 2505.06708");

}  // namespace
}  // namespace espalier
