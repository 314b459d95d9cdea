#include "../../src/heal/metrics_log.h"

#include <gtest/gtest.h>

#include <cstring>
#include <nlohmann/json.hpp>
#include <sstream>

#include "espalier/core/files.h"
#include "espalier/core/json.h"
#include "support/support.h"

namespace espalier {
namespace {

std::vector<Json> Lines(const std::filesystem::path& folder) {
  std::vector<Json> lines;
  std::istringstream text(ReadFile(folder / "metrics.jsonl"));
  for (std::string line; std::getline(text, line);) lines.push_back(Json::parse(line));
  return lines;
}

// Contents of the records of an event file, lengths checked by walking it to its very end.
std::vector<std::string> Records(const std::string& bytes) {
  std::vector<std::string> records;
  size_t at = 0;
  while (at < bytes.size()) {
    uint64_t length = 0;
    std::memcpy(&length, bytes.data() + at, 8);
    records.push_back(bytes.substr(at + 12, length));
    at += 16 + length;
  }
  EXPECT_EQ(at, bytes.size());
  return records;
}

// CRC-32C of "123456789" is E3069283 (RFC 3720's check value); masked: rotated right by 15, plus A282EAD8.
TEST(TfRecord, CarriesTheMaskedCrcOfItsContents) {
  const std::string record = TfRecord("123456789");
  ASSERT_EQ(record.size(), 8u + 4 + 9 + 4);
  uint32_t crc = 0;
  std::memcpy(&crc, record.data() + 21, 4);
  EXPECT_EQ(crc, 0xC78AB0E5U) << "masked";
}

// Field 1 (wall time) double 2, field 2 (step) 300 as two bytes, field 5 a summary of one value: tag "a", 0.5.
TEST(TfEvent, HasTheBytesOfTheMessage) {
  const std::string expected(
      "\x09\0\0\0\0\0\0\0\x40\x10\xAC\x02\x2A\x0A\x0A\x08\x0A\x01"
      "a\x15\0\0\0\x3F",
      24);
  EXPECT_EQ(TfEvent(2, 300, {{"a", 0.5}}), expected);
  EXPECT_TRUE(
      TfEvent(0, 0, {}).ends_with("\x1A\x0D"
                                  "brain.Event:2"));
}

TEST(MetricsLog, IsALineAndAnEventForEachStep) {
  const TempFolder folder;
  {
    MetricsLog log(folder.path(), 0);
    log.Add(0, {{"loss", 3.5}});
    log.Add(1, {{"loss", 3.25}, {"gradient_norm", 0.5}});
  }
  const std::vector<Json> lines = Lines(folder.path());
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(lines[1]["step"], 1);
  EXPECT_EQ(lines[1]["gradient_norm"], 0.5);
  EXPECT_EQ(Records(ReadFile(folder / "events.out.tfevents.espalier")).size(), 3u);
}

TEST(MetricsLog, OfARunThatGoesOnKeepsWhatCameBeforeAndDropsWhatComesAgain) {
  const TempFolder folder;
  {
    MetricsLog log(folder.path(), 0);
    for (int64_t step = 0; step < 5; ++step) log.Add(step, {{"loss", static_cast<double>(step)}});
  }
  std::ofstream(folder / "metrics.jsonl", std::ios::app) << "{\"step\": 5, \"lo";  // killed here
  {
    MetricsLog log(folder.path(), 3);
    log.Add(3, {{"loss", 9.0}});
  }
  const std::vector<Json> lines = Lines(folder.path());
  ASSERT_EQ(lines.size(), 4u);
  EXPECT_EQ(lines[2]["loss"], 2);
  EXPECT_EQ(lines[3]["loss"], 9);
  EXPECT_EQ(Records(ReadFile(folder / "events.out.tfevents.espalier")).size(), 5u);
}

}  // namespace
}  // namespace espalier
