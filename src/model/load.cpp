#include "espalier/model/load.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>

#include "espalier/core/error.h"
#include "espalier/core/files.h"
#include "espalier/core/log.h"
#include "espalier/io/checkpoint.h"
#include "espalier/io/tokenizer.h"
#include "espalier/model/block_source.h"
#include "espalier/model/family.h"
#include "shape_checks.h"

namespace espalier {
namespace {

constexpr int64_t kCheckedElements = int64_t{1} << 24;  // at a time: LibTorch sums a float64 copy

// The sum of a finite tensor is finite unless it overflows: a cheap test that is right when it passes.
bool SumIsFinite(const at::Tensor& tensor) {
  const at::Tensor flat = tensor.flatten();
  double sum = 0;
  for (int64_t first = 0; first < flat.numel(); first += kCheckedElements)
    sum += flat.narrow(0, first, std::min(kCheckedElements, flat.numel() - first)).sum(at::kDouble).item<double>();
  return std::isfinite(sum);
}

void CheckFinite(const std::string& file, const std::string& name, const at::Tensor& tensor) {
  if (SumIsFinite(tensor)) return;
  const at::Tensor bad = at::isfinite(tensor.flatten()).logical_not().nonzero();
  if (bad.numel() == 0) return;
  throw NumericError(fmt::format("{}: {}: element {} is not finite ({} such elements); the checkpoint is damaged", file,
                                 name, bad[0].item<int64_t>(), bad.size(0)));
}

class Loader {
 public:
  Loader(const Checkpoint& checkpoint, const ModelFamily& family, at::ScalarType dtype, at::Device device)
      : checkpoint_(checkpoint), family_(family), dtype_(dtype), device_(device) {}

  Model Load() {
    Model model = LoadFrame();
    std::optional<Progress> progress;
    if (!device_.is_meta()) progress.emplace("load", model.config.L());
    for (int64_t l = 0; l < model.config.L(); ++l) {
      LoadBlock(model, l);
      if (progress) progress->Step();
    }
    return model;
  }

  // All but the blocks, which are there without tensors.
  Model LoadFrame() {
    Model model;
    model.config = family_.ReadConfig(checkpoint_);
    CheckVocabulary(model.config);
    model.embedding = Tensor(model.config, 0, "embedding");
    model.final_norm = Tensor(model.config, 0, "final_norm");
    if (!model.config.tied_head) model.head = Tensor(model.config, 0, "head");
    model.blocks.resize(model.config.blocks.size());
    CheckFrameShapes(model);
    return model;
  }

  void LoadBlock(Model& model, int64_t l) {
    model.blocks[static_cast<size_t>(l)] = ReadBlock(model.config, l);
    CheckBlockShapes(model, l);
  }

 private:
  // Headers claim sizes; nothing is read before the largest tensor confirms them.
  void CheckVocabulary(const ModelConfig& config) {
    const std::string name = family_.TensorName(checkpoint_.format(), "embedding");
    const std::vector<int64_t> shape = checkpoint_.Shape(name);
    if (shape != std::vector<int64_t>{config.V, config.C})
      throw IoError(fmt::format("{}: {}: found [{}], expected [{}, {}] from the configuration",
                                checkpoint_.path().string(), name, fmt::join(shape, ", "), config.V, config.C));
  }

  at::Tensor Tensor(const ModelConfig& config, int64_t block, const std::string& name) {
    const std::string stored = family_.TensorName(checkpoint_.format(), name);
    if (device_.is_meta())
      return family_.FromStored(
          checkpoint_.format(), config, block, name,
          at::empty(checkpoint_.Shape(stored), at::TensorOptions().device(device_).dtype(dtype_)));
    const at::Tensor read = checkpoint_.Read(stored);
    if (!read.is_floating_point())
      throw IoError(fmt::format("{}: {}: not a floating-point tensor", checkpoint_.path().string(), stored));
    CheckFinite(checkpoint_.path().string(), stored, read);
    return family_.FromStored(checkpoint_.format(), config, block, name, read).to(device_, dtype_).contiguous();
  }

  static std::string VectorName(int64_t l, VectorRole role) {
    return fmt::format("block{}.{}", l, VectorRoleName(role));
  }

  // The norm before a removed sublayer norms nothing; llama.cpp's files leave it out.
  bool IsSpare(const ModelConfig& config, int64_t l, VectorRole role) const {
    const BlockConfig& block = config.blocks[static_cast<size_t>(l)];
    const bool unused = (role == VectorRole::kAttentionNorm && !block.HasAttention()) ||
                        (role == VectorRole::kFfnNorm && !block.HasFeedForward());
    return unused && !checkpoint_.Has(family_.TensorName(checkpoint_.format(), VectorName(l, role)));
  }
  at::Tensor SpareNorm(const ModelConfig& config) const {
    return at::full({config.C}, config.norm_adds_one ? 0 : 1, at::TensorOptions().device(device_).dtype(dtype_));
  }

  Block ReadBlock(const ModelConfig& config, int64_t l) {
    const std::string prefix = fmt::format("block{}.", l);
    Block block;
    for (const VectorRole role : kVectorRoles)
      if (!ExpectedShape(config, l, role).empty())
        block.At(role) = IsSpare(config, l, role) ? SpareNorm(config) : Tensor(config, l, VectorName(l, role));
    for (const Role role : kRoles) {
      const std::string name = prefix + std::string(RoleName(role));
      const bool present = !ExpectedShape(config, l, role).empty();
      if (present) block.At(role).weight = Tensor(config, l, name + ".weight");
      // A removed sublayer may still have the constant of its output projection.
      if ((present || role == Role::kO || role == Role::kDown) &&
          checkpoint_.Has(family_.TensorName(checkpoint_.format(), name + ".bias")))
        block.At(role).bias = Tensor(config, l, name + ".bias");
    }
    return block;
  }

  const Checkpoint& checkpoint_;
  const ModelFamily& family_;
  at::ScalarType dtype_;
  at::Device device_;
};

std::unique_ptr<ModelFamily> MakeFamily(const Checkpoint& checkpoint) {
  return FamilyOf(checkpoint).make(Options());
}

}  // namespace

at::ScalarType ParseDtype(std::string_view name) {
  if (name == "float32") return at::kFloat;
  if (name == "bfloat16") return at::kBFloat16;
  throw RecipeError(UnknownName("dtype", name, {"float32", "bfloat16"}));
}

std::string_view DtypeName(at::ScalarType dtype) {
  return dtype == at::kFloat ? "float32" : "bfloat16";
}

at::Device ParseDevice(const std::string& name) {
  try {
    const at::Device device(name);
    at::empty({1}, at::TensorOptions().device(device));  // what a build without that backend refuses
    return device;
  } catch (const c10::Error& error) {
    throw RecipeError(fmt::format(
        "device '{}' cannot be used with this LibTorch; use cpu, or a LibTorch built for that device", name));
  }
}

Model LoadModel(const std::filesystem::path& path, at::ScalarType dtype, at::Device device) {
  const auto checkpoint = Checkpoint::Open(path);
  const auto family = MakeFamily(*checkpoint);
  return Loader(*checkpoint, *family, dtype, device).Load();
}

Model LoadShapes(const std::filesystem::path& path, at::ScalarType dtype) {
  const auto checkpoint = Checkpoint::Open(path);
  const auto family = MakeFamily(*checkpoint);
  return Loader(*checkpoint, *family, dtype, at::Device(at::kMeta)).Load();
}

struct StreamedModel::Parts {
  Parts(const std::filesystem::path& path, at::ScalarType dtype, at::Device device)
      : checkpoint(Checkpoint::Open(path)),
        family(MakeFamily(*checkpoint)),
        loader(*checkpoint, *family, dtype, device),
        model(loader.LoadFrame()) {}

  std::unique_ptr<Checkpoint> checkpoint;
  std::unique_ptr<ModelFamily> family;
  Loader loader;
  Model model;
};

StreamedModel::StreamedModel(const std::filesystem::path& path, at::ScalarType dtype, at::Device device)
    : parts_(std::make_unique<Parts>(path, dtype, device)) {}
StreamedModel::~StreamedModel() = default;

const Model& StreamedModel::model() const {
  return parts_->model;
}
void StreamedModel::Load(int64_t block) {
  parts_->loader.LoadBlock(parts_->model, block);
}
void StreamedModel::Release(int64_t block) {
  parts_->model.blocks[static_cast<size_t>(block)] = {};
}

BlockSource::BlockSource(StreamedModel& streamed) : model_(streamed.model()), streamed_(&streamed) {}

BlockSource::Held::Held(StreamedModel* streamed, int64_t block) : streamed_(streamed), block_(block) {
  if (streamed_ != nullptr) streamed_->Load(block_);
}
BlockSource::Held::~Held() {
  if (streamed_ != nullptr) streamed_->Release(block_);
}

void SaveModel(const Model& model, const Tokenizer& tokenizer, const std::filesystem::path& folder) {
  const auto family = Registry<ModelFamily>::Create(model.config.family);
  AtomicFolder output(folder);
  WriteCheckpointFolder(output.temporary(), family->WriteConfig(model), family->ToStored(model));
  tokenizer.Save(output.temporary());
  output.Commit();
}

}  // namespace espalier
