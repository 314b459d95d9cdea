#pragma once
// A model family reads and writes configurations and knows the checkpoint's tensor names. One file each.
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

  // IoError naming the file and the key that is missing, of the wrong kind, or asks for something not supported.
  virtual ModelConfig ReadConfig(const Checkpoint& checkpoint) const = 0;
  // Name in the checkpoint of a tensor as TensorsOf names it ("block3.w_q.weight").
  virtual std::string TensorName(CheckpointFormat format, std::string_view role_name) const = 0;
  // What must be done to a stored tensor to get ours (row order of q and k in GGUF); identity for the rest.
  virtual at::Tensor FromStored(CheckpointFormat format, const ModelConfig& config, int64_t block,
                                std::string_view role_name, const at::Tensor& stored) const = 0;
  // config.json for a Hugging Face folder. The largest sizes of any block are the model's, blocks that differ are
  // listed under `per_layer_config`, in the notation of transformers. Biases are known by their tensors.
  virtual Json WriteConfig(const Model& model) const = 0;
};

// The family of a checkpoint: `model_type` of config.json or `general.architecture`. IoError listing what is supported.
const Registry<ModelFamily>::Entry& FamilyOf(const Checkpoint& checkpoint);

}  // namespace espalier
