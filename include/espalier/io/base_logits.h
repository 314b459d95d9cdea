#pragma once
// Predictions of a base model in a file, as llama.cpp's llama-perplexity writes and reads them (--save-all-logits,
// --kl-divergence-base): "_logits_", then int32 n_ctx, n_vocab, n_chunk, the tokens of all chunks, and for each scored
// position a scale, a least log-probability (float32) and n_vocab uint16 multiples of the scale above it. The scored
// positions of a chunk are n_ctx / 2 .. n_ctx - 2, each predicting the token after it; log-probabilities more than 16
// nats below the largest are raised to that.
#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

#include "espalier/core/files.h"

namespace espalier {

struct BaseLogitsShape {
  int64_t context = 0, vocabulary = 0, chunks = 0;
  int64_t FirstScored() const { return context / 2; }  // position whose prediction is the first
  int64_t RowsOfChunk() const { return context - 1 - FirstScored(); }
};

class BaseLogitsFile {
 public:
  // IoError: another format, sizes that are not sensible or do not fit the file's length, a token out of range.
  explicit BaseLogitsFile(const std::filesystem::path& path);

  const BaseLogitsShape& shape() const { return shape_; }
  const std::vector<int32_t>& tokens() const { return tokens_; }  // [chunks * context]
  // Log-probabilities of row `row` of `chunk`, natural logarithm: `out` has n_vocab places.
  void Read(int64_t chunk, int64_t row, std::span<float> out) const;

 private:
  RandomAccessFile file_;
  BaseLogitsShape shape_;
  std::vector<int32_t> tokens_;
  uint64_t first_row_ = 0;  // bytes
};

class BaseLogitsWriter {
 public:
  // `tokens`: chunks * context of them.
  BaseLogitsWriter(const std::filesystem::path& path, const BaseLogitsShape& shape, std::span<const int32_t> tokens);
  // The next position's log-probabilities, rows in the order of chunks and positions.
  void Add(std::span<const float> log_p);
  // InternalError when rows are missing.
  void Commit();

 private:
  AtomicFile file_;
  BaseLogitsShape shape_;
  int64_t rows_ = 0;
};

}  // namespace espalier
