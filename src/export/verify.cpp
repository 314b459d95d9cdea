#include "espalier/export/verify.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <algorithm>

#include "espalier/core/error.h"
#include "espalier/io/checkpoint.h"
#include "espalier/io/quantize.h"
#include "espalier/io/tokenizer.h"
#include "espalier/model/forward.h"
#include "espalier/model/load.h"

namespace espalier {
namespace {

constexpr double kSameLogits = 1e-4;  // float32 rounding in another order
constexpr int64_t kSequences = 2, kTokens = 48;
constexpr const char* kText =
    "The 3 quick brown foxes (of 1,024) can't jump over été, 東京 or  two  spaces.\n\n\tdef f(x): return x**2 # done";

// Spread over the vocabulary, the same in every run.
at::Tensor FixedIds(int64_t V) {
  const at::Tensor steps = at::arange(kSequences * kTokens, at::kLong);
  return (steps * steps * 7919 + steps * 104729 + 17).remainder(V).view({kSequences, kTokens});
}

at::Tensor RoundTrip(const GgufEntry& entry) {
  const at::Tensor values = entry.tensor.to(at::kCPU, at::kFloat).contiguous();
  const GgmlTypeInfo* info = FindGgmlType(static_cast<int32_t>(entry.type));
  std::vector<std::byte> bytes(static_cast<size_t>(values.numel() / info->block_elements * info->block_bytes));
  Quantize(entry.type, {values.const_data_ptr<float>(), static_cast<size_t>(values.numel())}, bytes);
  at::Tensor read = at::empty_like(values);
  Dequantize(entry.type, bytes, {read.data_ptr<float>(), static_cast<size_t>(read.numel())});
  return read;
}

}  // namespace

double LogitDifference(const Model& a, const Model& b) {
  const at::NoGradGuard no_grad;
  const at::Tensor ids = FixedIds(std::min(a.config.V, b.config.V));
  const at::Tensor ours = Logits(a, ids), theirs = Logits(b, ids);
  return ((ours - theirs).abs().max() / theirs.abs().max().clamp_min(1e-30)).item<double>();
}

double CheckSameLogits(const Model& written, const Model& source, const std::string& what) {
  const double difference = LogitDifference(written, source);
  if (!(difference <= kSameLogits))
    throw NumericError(
        fmt::format("{}: logits differ by {:.2e} of the largest from those of the model it came from, "
                    "expected at most {:.0e}; nothing was kept; please report this",
                    what, difference, kSameLogits));
  return difference;
}

std::string VerifyGguf(const std::filesystem::path& file, const GgufCarrier& carrier,
                       const std::vector<GgufEntry>& entries, const Model& source) {
  CheckSameLogits(carrier.model, source, carrier.architecture);
  const auto checkpoint = Checkpoint::Open(file);
  for (const GgufEntry& entry : entries)
    if (!at::equal(checkpoint->Read(entry.name).to(at::kFloat), RoundTrip(entry)))
      throw IoError(
          fmt::format("{}: {} was not read back as it was written; is the disk sound?", file.string(), entry.name));
  const Model again = LoadModel(file, at::kFloat, at::kCPU);
  const bool exact =
      std::all_of(entries.begin(), entries.end(), [](const GgufEntry& entry) { return entry.type == GgmlType::kF32; });
  const double difference =
      exact ? CheckSameLogits(again, source, file.filename().string()) : LogitDifference(again, source);
  if (!std::isfinite(difference)) throw NumericError(fmt::format("{}: logits are not finite", file.string()));
  return fmt::format("{} tensors read back bit by bit; logits differ by {:.1e} of the largest", entries.size(),
                     difference);
}

void CheckVocabulary(int64_t tokens, int64_t vocabulary, const std::filesystem::path& tokenizer) {
  const bool exact = tokenizer.extension() == ".gguf";
  if (exact ? tokens == vocabulary : tokens <= vocabulary) return;
  throw RecipeError(
      fmt::format("export: {} has {} tokens, the model {} embeddings; expected {}: name another --tokenizer",
                  tokenizer.string(), tokens, vocabulary, exact ? "as many" : "no more tokens than that"));
}

void VerifyTokenizer(const std::filesystem::path& written, const std::filesystem::path& source) {
  const auto ours = Tokenizer::Open(written)->Encode(kText), theirs = Tokenizer::Open(source)->Encode(kText);
  if (ours != theirs)
    throw IoError(
        fmt::format("{}: its tokenizer gives other ids than that of {}; give a GGUF file of the original "
                    "model with --tokenizer",
                    written.string(), source.string()));
}

}  // namespace espalier
