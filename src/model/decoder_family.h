#pragma once
// What all decoder families share; a family's own file states how it differs.
#include <nlohmann/json.hpp>

#include "block_sizes.h"
#include "config_reader.h"
#include "espalier/io/gguf.h"
#include "espalier/model/family.h"
#include "rope_config.h"

namespace espalier {

struct FamilyTraits {
  const char* name;               // registered, and `model_type`
  const char* architecture;       // class of transformers
  const char* gguf = "";          // general.architecture; empty: no GGUF form is read
  bool gguf_interleaved = false;  // llama.cpp's converter reorders q and k rows so that pairs stand together
  NormPlacement norm_placement = NormPlacement::kPre;
  bool norm_adds_one = false;
  QkNorm qk_norm = QkNorm::kNone;
};

class DecoderFamily : public ModelFamily {
 public:
  explicit DecoderFamily(const FamilyTraits& traits) : traits_(traits) {}

  std::string StoredFamily(CheckpointFormat format) const override;
  ModelConfig ReadConfig(const Checkpoint& checkpoint) const override;
  std::string TensorName(CheckpointFormat format, std::string_view role_name) const override;
  at::Tensor FromStored(CheckpointFormat format, const ModelConfig& config, int64_t block, std::string_view role_name,
                        const at::Tensor& stored) const override;
  std::map<std::string, at::Tensor> ToStored(const Model& model) const override;
  std::map<std::string, at::Tensor> ToGguf(const Model& model) const override;
  Json WriteConfig(const Model& model) const override;

 protected:
  // The family's own keys, after the common ones have been read.
  virtual void ReadOwn(const ConfigReader& config, ModelConfig& model) const;
  virtual void ReadOwn(const GgufFile& gguf, ModelConfig& model) const;
  virtual void WriteOwn(const Model& model, Json& json) const;

  const FamilyTraits traits_;

 private:
  ModelConfig FromJson(const ConfigReader& config) const;
  ModelConfig FromGguf(const Checkpoint& checkpoint) const;
  void TakeTraits(ModelConfig& model) const;
};

// Registers a family class whose constructor takes nothing.
template <class Family>
bool RegisterFamily(const char* name, const char* doc, const char* source) {
  return Registry<ModelFamily>::Register(
      {name, doc, source, {}, {}},
      [](const Options&) -> std::unique_ptr<ModelFamily> { return std::make_unique<Family>(); });
}

}  // namespace espalier
