#include "espalier/calibrate/statistics.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cstdlib>

#include "espalier/core/error.h"
#include "espalier/io/tensors.h"

namespace espalier {
namespace {

using at::Tensor;

// Keeps the larger of two maxima and where it was.
void TakeMax(Moments& into, const Tensor& max, const Tensor& at) {
  const Tensor larger = max > into.max;  // [n]
  into.max = at::where(larger, max, into.max);
  into.max_at = at::where(larger.unsqueeze(1), at, into.max_at);
}

void SaveMoments(NamedTensors& tensors, const std::string& name, const Moments& moments) {
  tensors[name + ".count"] = at::tensor(moments.count, at::kLong);
  tensors[name + ".mean"] = moments.mean;
  tensors[name + ".squares"] = moments.squares;
  tensors[name + ".max"] = moments.max;
  tensors[name + ".max_at"] = moments.max_at;
  if (moments.products.defined()) tensors[name + ".products"] = moments.products.to(at::kFloat);
}

const Tensor& Get(const NamedTensors& tensors, const std::string& name, const std::string& file) {
  const auto found = tensors.find(name);
  if (found == tensors.end())
    throw IoError(fmt::format("{}: no tensor '{}'; expected the statistics of a calibration", file, name));
  return found->second;
}

void CheckForm(const Tensor& tensor, at::ScalarType type, at::IntArrayRef shape, const std::string& name,
               const std::string& file) {
  if (tensor.scalar_type() != type || tensor.sizes() != shape)
    throw IoError(fmt::format("{}: {}: found {} [{}], expected {} [{}]; calibrate again", file, name,
                              c10::toString(tensor.scalar_type()), fmt::join(tensor.sizes(), ", "), c10::toString(type),
                              fmt::join(shape, ", ")));
}

Moments LoadMoments(const NamedTensors& tensors, const std::string& name, const std::string& file) {
  const auto get = [&](const char* part, at::ScalarType type, at::IntArrayRef shape) {
    const Tensor& tensor = Get(tensors, name + part, file);
    CheckForm(tensor, type, shape, name + part, file);
    return tensor;
  };
  const int64_t n = Get(tensors, name + ".mean", file).numel();
  Moments moments;
  moments.count = get(".count", at::kLong, {1}).item<int64_t>();
  moments.mean = get(".mean", at::kDouble, {n});
  moments.squares = get(".squares", at::kDouble, {n});
  moments.max = get(".max", at::kDouble, {n});
  moments.max_at = get(".max_at", at::kLong, {n, 2});
  if (tensors.contains(name + ".products")) moments.products = get(".products", at::kFloat, {n, n});
  return moments;
}

// The sequences of `moments` are the `first`-th and later of the whole.
Moments Later(Moments moments, int64_t first) {
  moments.max_at = moments.max_at + at::tensor({first, int64_t{0}}, at::kLong);
  return moments;
}

}  // namespace

Moments Moments::Empty(int64_t n, bool with_products) {
  Moments moments;
  moments.mean = at::zeros({n}, at::kDouble);
  moments.squares = at::zeros({n}, at::kDouble);
  moments.max = at::full({n}, -1.0, at::kDouble);
  moments.max_at = at::zeros({n, 2}, at::kLong);
  if (with_products) moments.products = at::zeros({n, n}, at::kDouble);
  return moments;
}

void Moments::Add(const Tensor& x, const Tensor& where) {
  if (x.size(0) == 0) return;
  Moments batch;
  batch.count = x.size(0);
  const auto n = static_cast<double>(batch.count);
  batch.mean = x.sum(0, /*keepdim=*/false, at::kDouble).cpu() / n;
  // Deviations from a float32 shift near the mean, summed in float64 and corrected for the shift: exact to rounding, at
  // half the memory traffic of float64 copies.
  const Tensor shift = batch.mean.to(at::kFloat);
  const Tensor centred = x.to(at::kFloat) - shift.to(x.device());  // [N, n]
  const Tensor off = batch.mean - shift.to(at::kDouble);           // [n]
  if (products.defined()) {
    // Float32 products over one batch only; batches add up in float64.
    batch.products = centred.t().matmul(centred).to(at::kDouble).cpu().addr_(off, off, 1, -n);
  }
  batch.squares = (centred.square().sum(0, /*keepdim=*/false, at::kDouble).cpu() - off.square() * n).clamp_min_(0);
  const auto [max, row] = x.abs().t().contiguous().max(1);  // contiguous rows: the reduction is several times faster
  batch.max = max.to(at::kDouble).cpu();
  batch.max_at = where.index_select(0, row.cpu());
  Merge(batch);
}

void Moments::Merge(const Moments& other) {
  if (other.count == 0) return;
  if (mean.sizes() != other.mean.sizes())
    throw ShapeError(fmt::format("statistics: expected {} channels, got {}", mean.size(0), other.mean.size(0)));
  const double n = static_cast<double>(count), m = static_cast<double>(other.count);
  const Tensor delta = other.mean - mean;
  squares = squares + other.squares + delta.square() * (n * m / (n + m));
  // A new tensor: copies of these moments share the old one.
  if (products.defined() && other.products.defined())
    products = (products.to(at::kDouble) + other.products).addr_(delta, delta, 1, n * m / (n + m));
  mean = mean + delta * (m / (n + m));
  count += other.count;
  TakeMax(*this, other.max, other.max_at);
}

Tensor Moments::Variance() const {
  return squares / static_cast<double>(std::max<int64_t>(count, 1));
}

Tensor Moments::SumOfSquares() const {
  return squares + mean.square() * static_cast<double>(count);
}

Moments SiteStatistics::All() const {
  Moments all = ordinary;
  if (!outlier.products.defined()) all.products = Tensor();  // the co-moments of all tokens are not known
  all.Merge(outlier);
  return all;
}

void Statistics::Merge(const Statistics& other) {
  if (blocks.size() != other.blocks.size())
    throw ShapeError(fmt::format("statistics: expected {} blocks, got {}", blocks.size(), other.blocks.size()));
  for (size_t l = 0; l < blocks.size(); ++l) {
    blocks[l].head_out.ordinary.Merge(Later(other.blocks[l].head_out.ordinary, sequences));
    blocks[l].head_out.outlier.Merge(Later(other.blocks[l].head_out.outlier, sequences));
    blocks[l].ffn_hidden.ordinary.Merge(Later(other.blocks[l].ffn_hidden.ordinary, sequences));
    blocks[l].ffn_hidden.outlier.Merge(Later(other.blocks[l].ffn_hidden.outlier, sequences));
  }
  for (size_t l = 0; l < blocks.size(); ++l)
    for (const Role consumer : {Role::kO, Role::kDown}) {
      Tensor& mass = blocks[l].LossMassOf(consumer);
      const Tensor& more = other.blocks[l].LossMassOf(consumer);
      if (more.defined()) mass = mass.defined() ? mass + more : more;
    }
  gradient_tokens += other.gradient_tokens;
  sequences += other.sequences;
}

void SaveStatistics(const Statistics& statistics, const std::filesystem::path& path) {
  NamedTensors tensors;
  for (size_t l = 0; l < statistics.blocks.size(); ++l) {
    const BlockStatistics& block = statistics.blocks[l];
    SaveMoments(tensors, fmt::format("block{}.head_out.ordinary", l), block.head_out.ordinary);
    SaveMoments(tensors, fmt::format("block{}.head_out.outlier", l), block.head_out.outlier);
    SaveMoments(tensors, fmt::format("block{}.ffn_hidden.ordinary", l), block.ffn_hidden.ordinary);
    SaveMoments(tensors, fmt::format("block{}.ffn_hidden.outlier", l), block.ffn_hidden.outlier);
    for (const Role consumer : {Role::kO, Role::kDown})
      if (const Tensor& mass = block.LossMassOf(consumer); mass.defined())
        tensors[fmt::format("block{}.{}.loss_mass", l, RoleName(consumer))] = mass;
  }
  SaveTensors(path, tensors,
              {{"format", "espalier.statistics/1"},
               {"blocks", std::to_string(statistics.blocks.size())},
               {"sequences", std::to_string(statistics.sequences)},
               {"length", std::to_string(statistics.length)},
               {"gradient_tokens", std::to_string(statistics.gradient_tokens)},
               {"outlier_ratio", fmt::format("{}", statistics.outlier_ratio)}});
}

Statistics LoadStatistics(const std::filesystem::path& path) {
  const SafetensorsFile file(path);
  const auto number = [&](const char* key) {
    const auto found = file.metadata().find(key);
    if (found == file.metadata().end())
      throw IoError(
          fmt::format("{}: no '{}' in the metadata; expected the statistics of a calibration", path.string(), key));
    char* end = nullptr;
    const double value = std::strtod(found->second.c_str(), &end);
    if (found->second.empty() || *end != '\0')
      throw IoError(
          fmt::format("{}: {} is '{}', expected a number; calibrate again", path.string(), key, found->second));
    return value;
  };
  Statistics statistics;
  statistics.sequences = static_cast<int64_t>(number("sequences"));
  statistics.length = static_cast<int64_t>(number("length"));
  statistics.outlier_ratio = number("outlier_ratio");
  statistics.gradient_tokens = static_cast<int64_t>(number("gradient_tokens"));
  const NamedTensors tensors = LoadTensors(path);
  for (int64_t l = 0; l < static_cast<int64_t>(number("blocks")); ++l) {
    BlockStatistics block;
    block.head_out.ordinary = LoadMoments(tensors, fmt::format("block{}.head_out.ordinary", l), path.string());
    block.head_out.outlier = LoadMoments(tensors, fmt::format("block{}.head_out.outlier", l), path.string());
    block.ffn_hidden.ordinary = LoadMoments(tensors, fmt::format("block{}.ffn_hidden.ordinary", l), path.string());
    block.ffn_hidden.outlier = LoadMoments(tensors, fmt::format("block{}.ffn_hidden.outlier", l), path.string());
    for (const Role consumer : {Role::kO, Role::kDown}) {
      const std::string name = fmt::format("block{}.{}.loss_mass", l, RoleName(consumer));
      if (!tensors.contains(name)) continue;
      const Tensor& mass = tensors.at(name);
      if (mass.dim() != 1) throw IoError(fmt::format("{}: {}: expected one row; calibrate again", path.string(), name));
      CheckForm(mass, at::kDouble, {mass.size(0)}, name, path.string());
      block.LossMassOf(consumer) = mass;
    }
    statistics.blocks.push_back(std::move(block));
  }
  return statistics;
}

}  // namespace espalier
