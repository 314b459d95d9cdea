#include "metrics_log.h"

#include <boost/crc.hpp>
#include <chrono>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>

#include "espalier/core/error.h"
#include "espalier/core/files.h"
#include "espalier/core/json.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;

using Crc32c = boost::crc_optimal<32, 0x1EDC6F41, 0xFFFFFFFF, 0xFFFFFFFF, true, true>;

template <class T>
std::string LittleEndian(T value) {
  std::string bytes(sizeof(T), '\0');
  std::memcpy(bytes.data(), &value, sizeof(T));  // every machine that this runs on is little-endian
  return bytes;
}

// Masked as TFRecord has it, so that a CRC of data that holds CRCs stays useful.
std::string MaskedCrc(std::string_view bytes) {
  Crc32c crc;
  crc.process_bytes(bytes.data(), bytes.size());
  const uint32_t value = crc.checksum();
  return LittleEndian(static_cast<uint32_t>(((value >> 15) | (value << 17)) + 0xA282EAD8U));
}

// Protocol buffers: a key is the field's number and its wire type.
enum WireType : uint8_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

std::string Varint(uint64_t value) {
  std::string bytes;
  for (; value >= 0x80; value >>= 7) bytes += static_cast<char>(0x80 | (value & 0x7F));
  return bytes + static_cast<char>(value);
}

std::string Key(int field, WireType type) {
  return Varint(static_cast<uint64_t>(field) << 3 | type);
}

std::string Message(int field, std::string_view contents) {
  return Key(field, kBytes) + Varint(contents.size()) + std::string(contents);
}

}  // namespace

std::string TfRecord(std::string_view contents) {
  const std::string length = LittleEndian(static_cast<uint64_t>(contents.size()));
  return length + MaskedCrc(length) + std::string(contents) + MaskedCrc(contents);
}

std::string TfEvent(double wall_time, int64_t step, const Scalars& scalars) {
  std::string event = Key(1, kFixed64) + LittleEndian(wall_time);
  if (scalars.empty()) return event + Message(3, "brain.Event:2");
  event += Key(2, kVarint) + Varint(static_cast<uint64_t>(step));
  std::string summary;
  for (const auto& [tag, value] : scalars)
    summary += Message(1, Message(1, tag) + Key(2, kFixed32) + LittleEndian(static_cast<float>(value)));
  return event + Message(5, summary);
}

MetricsLog::MetricsLog(const fs::path& folder, int64_t first_step) : path_(folder / "metrics.jsonl") {
  fs::create_directories(folder);
  const fs::path events = folder / "events.out.tfevents.espalier";
  std::string kept_lines, kept_events = TfRecord(TfEvent(0, 0, {}));
  if (first_step > 0 && fs::exists(path_)) {
    std::ifstream before(path_);
    for (std::string line; std::getline(before, line);) {
      const Json json = Json::parse(line, nullptr, /*allow_exceptions=*/false);  // a killed run may leave half a line
      if (!json.is_object() || json.value("step", first_step) >= first_step) continue;
      Scalars scalars;
      for (const auto& [name, value] : json.items())
        if (name != "step" && name != "wall_time" && value.is_number()) scalars.emplace_back(name, value.get<double>());
      kept_lines += json.dump() + "\n";
      kept_events += TfRecord(TfEvent(json.value("wall_time", 0.0), json.value("step", int64_t{0}), scalars));
    }
  }
  WriteFile(path_, kept_lines);
  WriteFile(events, kept_events);
  lines_.open(path_, std::ios::app);
  events_.open(events, std::ios::app | std::ios::binary);
  CheckWritten();
}

void MetricsLog::Add(int64_t step, const Scalars& scalars) {
  const double now = std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
  Json json = {{"step", step}, {"wall_time", now}};
  for (const auto& [name, value] : scalars) json[name] = value;
  lines_ << json.dump() << "\n" << std::flush;
  events_ << TfRecord(TfEvent(now, step, scalars)) << std::flush;
  CheckWritten();
}

void MetricsLog::CheckWritten() const {
  if (!lines_ || !events_)
    throw IoError(path_.string() + ": cannot be written; free space or make the folder writable, then run again");
}

}  // namespace espalier
