#pragma once
// What a training run reports while it runs: one JSON object a line, and the same as TensorBoard's events.
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace espalier {

using Scalars = std::vector<std::pair<std::string, double>>;

// A record of TensorBoard's event file: length, contents, and the masked CRC-32C of each (TFRecord).
std::string TfRecord(std::string_view contents);
// An Event message with scalars (tensorflow/core/util/event.proto); without any, the one that opens a file.
std::string TfEvent(double wall_time, int64_t step, const Scalars& scalars);

class MetricsLog {
 public:
  // metrics.jsonl and events.out.tfevents.espalier in `folder`. A run that goes on at `first_step` keeps the lines
  // before it; a kill meanwhile leaves the old files or the new ones. IoError when they cannot be written, here and in
  // Add.
  MetricsLog(const std::filesystem::path& folder, int64_t first_step);
  // Visible to readers at once.
  void Add(int64_t step, const Scalars& scalars);

 private:
  void CheckWritten() const;
  std::filesystem::path path_;
  std::ofstream lines_, events_;
};

}  // namespace espalier
