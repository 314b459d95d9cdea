#pragma once
// A model family reads and writes configurations and knows the checkpoint's tensor names. One file each.
#include <map>
#include <string>
#include <string_view>

#include "espalier/core/registry.h"
#include "espalier/io/checkpoint.h"
#include "espalier/model/model.h"

namespace espalier {

class ModelFamily {
 public:
  static constexpr std::string_view kKind = "model family";
  virtual ~ModelFamily() = default;

  // What a checkpoint of this family calls itself: `model_type` of config.json, `general.architecture` of a GGUF file.
  // Empty: this family has no such form.
  virtual std::string StoredFamily(CheckpointFormat format) const = 0;
  // IoError naming the file and the key that is missing, of the wrong kind, or asks for something not supported.
  virtual ModelConfig ReadConfig(const Checkpoint& checkpoint) const = 0;
  // Name in the checkpoint of a tensor as TensorsOf names it ("block3.w_q.weight"). Two of ours may share one of
  // theirs.
  virtual std::string TensorName(CheckpointFormat format, std::string_view role_name) const = 0;
  // What must be done to a stored tensor to get ours: row order of q and k in GGUF, one part of a fused one; identity
  // for the rest. Works on the meta device.
  virtual at::Tensor FromStored(CheckpointFormat format, const ModelConfig& config, int64_t block,
                                std::string_view role_name, const at::Tensor& stored) const = 0;
  // Every tensor under its name in a Hugging Face folder.
  virtual std::map<std::string, at::Tensor> ToStored(const Model& model) const = 0;
  // Every tensor under its name in a GGUF file of this family, the inverse of FromStored: heads even and whole, no
  // gates.
  virtual std::map<std::string, at::Tensor> ToGguf(const Model& model) const = 0;
  // config.json for a Hugging Face folder. The largest sizes of any block are the model's, blocks that differ are
  // listed under `per_layer_config`, in the notation of transformers. Biases are known by their tensors.
  virtual Json WriteConfig(const Model& model) const = 0;
};

// The family of a checkpoint. IoError naming what it calls itself and listing what is supported.
const Registry<ModelFamily>::Entry& FamilyOf(const Checkpoint& checkpoint);

}  // namespace espalier
