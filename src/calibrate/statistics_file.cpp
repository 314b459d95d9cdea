// Statistics to and from safetensors.
#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cstdlib>

#include "espalier/calibrate/statistics.h"
#include "espalier/core/error.h"
#include "espalier/io/tensors.h"
#include "sums.h"

namespace espalier {
namespace {

using at::Tensor;

constexpr const char* kFormat = "espalier.statistics/3";
constexpr uint64_t kMapBytes = 1 << 20;  // co-moments of 512 channels: what is smaller is little in any model

std::string SiteName(size_t l, Role consumer) {
  return fmt::format("block{}.{}", l, consumer == Role::kO ? "head_out" : "ffn_hidden");
}

void SaveMoments(NamedTensors& tensors, const std::string& name, const Moments& moments) {
  tensors[name + ".count"] = at::tensor(moments.count, at::kLong);
  tensors[name + ".weight"] = at::tensor(moments.weight, at::kDouble);
  tensors[name + ".mean"] = moments.mean;
  tensors[name + ".squares"] = moments.squares;
  tensors[name + ".fourth_powers"] = moments.fourth_powers;
  tensors[name + ".max"] = moments.max;
  tensors[name + ".max_at"] = moments.max_at;
  if (moments.products.defined()) tensors[name + ".products"] = moments.products.to(at::kFloat);
}

// The tensors and texts of one file, each checked as it is read.
class Reader {
 public:
  explicit Reader(const std::filesystem::path& path) : path_(path.string()), file_(path) {
    if (const std::string& format = Text("format"); format != kFormat)
      throw IoError(fmt::format("{}: format is '{}', expected '{}'; calibrate again", path_, format, kFormat));
    tensors_ = LoadTensors(path, kMapBytes);
  }

  const std::string& Text(const char* key) const {
    const auto found = file_.metadata().find(key);
    if (found == file_.metadata().end())
      throw IoError(fmt::format("{}: no '{}' in the metadata; expected the statistics of a calibration", path_, key));
    return found->second;
  }

  double Number(const char* key) const {
    const std::string& text = Text(key);
    char* end = nullptr;
    const double value = std::strtod(text.c_str(), &end);
    if (text.empty() || *end != '\0')
      throw IoError(fmt::format("{}: {} is '{}', expected a number; calibrate again", path_, key, text));
    return value;
  }

  TokenWeighting Weighting() const {
    try {
      return ParseTokenWeighting(Text("tokens"));
    } catch (const RecipeError& error) {
      throw IoError(fmt::format("{}: tokens: {}; calibrate again", path_, error.what()));
    }
  }

  Moments ReadMoments(const std::string& name) const {
    const auto get = [&](const char* part, at::ScalarType type, at::IntArrayRef shape) {
      const Tensor& tensor = Get(name + part);
      CheckForm(tensor, type, shape, name + part);
      return tensor;
    };
    const int64_t n = Get(name + ".mean").numel();
    Moments moments;
    moments.count = get(".count", at::kLong, {1}).item<int64_t>();
    moments.weight = get(".weight", at::kDouble, {1}).item<double>();
    moments.mean = get(".mean", at::kDouble, {n});
    moments.squares = get(".squares", at::kDouble, {n});
    moments.fourth_powers = get(".fourth_powers", at::kDouble, {n});
    moments.max = get(".max", at::kDouble, {n});
    moments.max_at = get(".max_at", at::kLong, {n, 2});
    if (tensors_.contains(name + ".products")) moments.products = get(".products", at::kFloat, {n, n});
    return moments;
  }

  // Every tensor whose name starts with "block3.loss_mass.", by what follows.
  NamedSums ReadSums(size_t l, const SumGroup& group) const {
    NamedSums sums;
    const std::string prefix = fmt::format("block{}.{}.", l, group.name);
    for (auto at = tensors_.lower_bound(prefix); at != tensors_.end() && at->first.starts_with(prefix); ++at) {
      CheckForm(at->second, group.narrow ? at::kFloat : at::kDouble, at->second.sizes(), at->first);
      sums.emplace(at->first.substr(prefix.size()), at->second);
    }
    return sums;
  }

 private:
  const Tensor& Get(const std::string& name) const {
    const auto found = tensors_.find(name);
    if (found == tensors_.end())
      throw IoError(fmt::format("{}: no tensor '{}'; expected the statistics of a calibration", path_, name));
    return found->second;
  }

  void CheckForm(const Tensor& tensor, at::ScalarType type, at::IntArrayRef shape, const std::string& name) const {
    if (tensor.scalar_type() != type || tensor.sizes() != shape)
      throw IoError(fmt::format("{}: {}: found {} [{}], expected {} [{}]; calibrate again", path_, name,
                                c10::toString(tensor.scalar_type()), fmt::join(tensor.sizes(), ", "),
                                c10::toString(type), fmt::join(shape, ", ")));
  }

  std::string path_;
  SafetensorsFile file_;
  NamedTensors tensors_;
};

}  // namespace

void SaveStatistics(const Statistics& statistics, const std::filesystem::path& path) {
  NamedTensors tensors;
  for (size_t l = 0; l < statistics.blocks.size(); ++l) {
    const BlockStatistics& block = statistics.blocks[l];
    for (const Role consumer : {Role::kO, Role::kDown}) {
      SaveMoments(tensors, SiteName(l, consumer) + ".counted", block.At(consumer).counted);
      SaveMoments(tensors, SiteName(l, consumer) + ".left_out", block.At(consumer).left_out);
    }
    for (const SumGroup& group : kSumGroups)
      for (const auto& [name, sums] : block.*group.member)
        tensors[fmt::format("block{}.{}.{}", l, group.name, name)] = group.narrow ? sums.to(at::kFloat) : sums;
  }
  SaveTensors(path, tensors,
              {{"format", kFormat},
               {"blocks", std::to_string(statistics.blocks.size())},
               {"sequences", std::to_string(statistics.sequences)},
               {"length", std::to_string(statistics.length)},
               {"tokens", std::string(TokenWeightingName(statistics.tokens))},
               {"gradient_tokens", std::to_string(statistics.gradient_tokens)},
               {"outlier_ratio", fmt::format("{}", statistics.outlier_ratio)}});
}

Statistics LoadStatistics(const std::filesystem::path& path) {
  const Reader reader(path);
  Statistics statistics;
  statistics.sequences = static_cast<int64_t>(reader.Number("sequences"));
  statistics.length = static_cast<int64_t>(reader.Number("length"));
  statistics.outlier_ratio = reader.Number("outlier_ratio");
  statistics.tokens = reader.Weighting();
  statistics.gradient_tokens = static_cast<int64_t>(reader.Number("gradient_tokens"));
  const auto blocks = static_cast<size_t>(reader.Number("blocks"));
  for (size_t l = 0; l < blocks; ++l) {
    BlockStatistics block;
    for (const Role consumer : {Role::kO, Role::kDown}) {
      block.At(consumer).counted = reader.ReadMoments(SiteName(l, consumer) + ".counted");
      block.At(consumer).left_out = reader.ReadMoments(SiteName(l, consumer) + ".left_out");
    }
    for (const SumGroup& group : kSumGroups) block.*group.member = reader.ReadSums(l, group);
    statistics.blocks.push_back(std::move(block));
  }
  return statistics;
}

}  // namespace espalier
