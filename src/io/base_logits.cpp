#include "espalier/io/base_logits.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <string_view>

#include "espalier/core/error.h"

namespace espalier {
namespace {

constexpr std::string_view kMagic = "_logits_";
constexpr float kRange = 16;  // nats below the largest that are told apart
constexpr double kSteps = 65535;
constexpr int64_t kMostContext = 1 << 24, kMostVocabulary = 1 << 24, kMostTokens = int64_t{1} << 32;

// A row: scale and least value as two float32, then an even number of uint16.
uint64_t RowBytes(const BaseLogitsShape& shape) {
  return 2 * (2 * ((static_cast<uint64_t>(shape.vocabulary) + 1) / 2) + 4);
}

}  // namespace

BaseLogitsFile::BaseLogitsFile(const std::filesystem::path& path) : file_(path) {
  const auto fail = [&path](const std::string& found, const std::string& expected) {
    throw IoError(fmt::format("{}: {}, expected {}", path.string(), found, expected));
  };
  std::array<char, kMagic.size()> magic{};
  std::array<int32_t, 3> sizes{};
  const uint64_t head = magic.size() + sizeof(sizes);
  if (file_.size() < head) fail(fmt::format("{} bytes", file_.size()), "a base file of llama-perplexity (_logits_)");
  file_.Read(0, std::as_writable_bytes(std::span(magic)));
  if (std::string_view(magic.data(), magic.size()) != kMagic)
    fail("another format", "a base file of llama-perplexity, which starts with _logits_");
  file_.Read(magic.size(), std::as_writable_bytes(std::span(sizes)));
  shape_ = {sizes[0], sizes[1], sizes[2]};
  if (shape_.context < 4 || shape_.context > kMostContext || shape_.vocabulary < 1 ||
      shape_.vocabulary > kMostVocabulary || shape_.chunks < 1 || shape_.chunks * shape_.context > kMostTokens)
    fail(fmt::format("n_ctx {}, n_vocab {}, n_chunk {}", sizes[0], sizes[1], sizes[2]), "sizes of a text");
  const auto count = static_cast<uint64_t>(shape_.chunks * shape_.context);
  first_row_ = head + count * sizeof(int32_t);
  const uint64_t expected = first_row_ + static_cast<uint64_t>(shape_.chunks * shape_.RowsOfChunk()) * RowBytes(shape_);
  if (file_.size() != expected)
    fail(fmt::format("{} bytes", file_.size()),
         fmt::format("{} for {} chunks of {} tokens and a vocabulary of {}", expected, sizes[2], sizes[0], sizes[1]));
  tokens_.resize(count);
  file_.Read(head, std::as_writable_bytes(std::span(tokens_)));
  for (const int32_t token : tokens_)
    if (token < 0 || token >= sizes[1]) fail(fmt::format("token {}", token), fmt::format("0 to {}", sizes[1] - 1));
}

void BaseLogitsFile::Read(int64_t chunk, int64_t row, std::span<float> out) const {
  ESPALIER_CHECK(std::ssize(out) == shape_.vocabulary && chunk < shape_.chunks && row < shape_.RowsOfChunk(),
                 "a row of the file");
  std::vector<uint16_t> raw(RowBytes(shape_) / 2);
  file_.Read(first_row_ + static_cast<uint64_t>(chunk * shape_.RowsOfChunk() + row) * RowBytes(shape_),
             std::as_writable_bytes(std::span(raw)));
  std::array<float, 2> scale_and_least{};
  std::memcpy(scale_and_least.data(), raw.data(), sizeof(scale_and_least));
  const auto [scale, least] = scale_and_least;
  if (!std::isfinite(scale) || !std::isfinite(least) || scale < 0)
    throw IoError(fmt::format("{}: chunk {}, row {}: scale {} and least log-probability {}, expected finite ones",
                              file_.path().string(), chunk, row, scale, least));
  for (size_t i = 0; i < out.size(); ++i) out[i] = scale * static_cast<float>(raw[i + 4]) + least;
}

BaseLogitsWriter::BaseLogitsWriter(const std::filesystem::path& path, const BaseLogitsShape& shape,
                                   std::span<const int32_t> tokens)
    : file_(path), shape_(shape) {
  ESPALIER_CHECK(std::ssize(tokens) == shape.chunks * shape.context, "the tokens of all chunks");
  const std::array<int32_t, 3> sizes = {static_cast<int32_t>(shape.context), static_cast<int32_t>(shape.vocabulary),
                                        static_cast<int32_t>(shape.chunks)};
  file_.Write(kMagic);
  file_.Write(std::as_bytes(std::span(sizes)));
  file_.Write(std::as_bytes(tokens));
}

void BaseLogitsWriter::Add(std::span<const float> log_p) {
  ESPALIER_CHECK(std::ssize(log_p) == shape_.vocabulary, "a value for each token");
  const auto [smallest, largest] = std::ranges::minmax(log_p);
  const float least = std::max(smallest, largest - kRange);
  const float scale = static_cast<float>((largest - least) / kSteps);
  std::vector<uint16_t> raw(RowBytes(shape_) / 2, 0);
  const std::array<float, 2> scale_and_least = {scale, least};
  std::memcpy(raw.data(), scale_and_least.data(), sizeof(scale_and_least));
  for (size_t i = 0; i < log_p.size() && scale > 0; ++i)
    raw[i + 4] = log_p[i] > least ? static_cast<uint16_t>(std::min<long>(std::lrint((log_p[i] - least) / scale), 65535))
                                  : uint16_t{0};
  file_.Write(std::as_bytes(std::span(raw)));
  ++rows_;
}

void BaseLogitsWriter::Commit() {
  ESPALIER_CHECK(rows_ == shape_.chunks * shape_.RowsOfChunk(), "every scored position");
  file_.Commit();
}

}  // namespace espalier
