#include "espalier/core/log.h"

#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "espalier/core/error.h"
#include "espalier/core/signals.h"

namespace espalier {
namespace {

constexpr double kPlainSeconds = 5;  // between progress lines where there is no terminal

Verbosity current_verbosity = Verbosity::kNormal;
bool bars = false;
bool bar_on_screen = false;
std::shared_ptr<spdlog::logger> file_logger;

bool IsPlain() {
  return std::getenv("NO_COLOR") != nullptr || std::getenv("CI") != nullptr || ::isatty(STDERR_FILENO) == 0;
}

void ClearBar() {
  if (bar_on_screen) std::fputs("\r\x1b[2K", stderr);
  bar_on_screen = false;
}

spdlog::logger& Stderr() {
  static const auto logger = [] {
    auto made = std::make_shared<spdlog::logger>("espalier", std::make_shared<spdlog::sinks::stderr_color_sink_st>());
    made->set_pattern("%^%v%$");
    made->set_level(spdlog::level::info);
    return made;
  }();
  return *logger;
}

}  // namespace

void StartLogging(Verbosity verbosity) {
  current_verbosity = verbosity;
  bars = verbosity != Verbosity::kQuiet && !IsPlain();
  const auto level = verbosity == Verbosity::kQuiet     ? spdlog::level::err
                     : verbosity == Verbosity::kVerbose ? spdlog::level::debug
                                                        : spdlog::level::info;
  auto sink = std::make_shared<spdlog::sinks::stderr_color_sink_st>(IsPlain() ? spdlog::color_mode::never
                                                                              : spdlog::color_mode::always);
  Stderr().sinks() = {sink};
  Stderr().set_pattern("%^%v%$");
  Stderr().set_level(level);
}

void LogToFile(const std::filesystem::path& path) {
  file_logger.reset();
  if (path.empty()) return;
  try {
    file_logger =
        std::make_shared<spdlog::logger>("file", std::make_shared<spdlog::sinks::basic_file_sink_mt>(path.string()));
    file_logger->set_pattern(R"({"time":"%Y-%m-%dT%H:%M:%S%z",%v})");
    file_logger->set_level(spdlog::level::debug);
    file_logger->flush_on(spdlog::level::info);
  } catch (const spdlog::spdlog_ex& error) {
    throw IoError(fmt::format("{}: cannot open the log: {}", path.string(), error.what()));
  }
}

void LogText(int level, std::string_view text) {
  const auto spd = level == 0 ? spdlog::level::debug : level == 1 ? spdlog::level::info : spdlog::level::warn;
  if (Stderr().should_log(spd)) {
    ClearBar();
    Stderr().log(spd, "{}{}", level == 2 ? "warning: " : "", text);
  }
  if (file_logger)
    file_logger->log(spd, R"("level":"{}","text":{})", spdlog::level::to_string_view(spd),
                     nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
}

Progress::Progress(std::string title, int64_t total)
    : title_(std::move(title)),
      total_(std::max<int64_t>(total, 1)),
      start_(std::chrono::steady_clock::now()),
      drawn_(start_) {
  Draw(false);
}

Progress::~Progress() {
  Draw(true);
  bar_on_screen = false;
}

void Progress::Step(int64_t done, std::string_view note) {
  done_ = std::min(done_ + done, total_);
  if (!note.empty()) note_ = note;
  const auto now = std::chrono::steady_clock::now();
  if (!bars) Draw(false);
  if (bars && now - drawn_ > std::chrono::milliseconds(100)) {
    drawn_ = now;
    Draw(false);
  }
  CheckInterrupt();
}

void Progress::Draw(bool last) {
  if (current_verbosity == Verbosity::kQuiet) return;
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  const double share = static_cast<double>(done_) / static_cast<double>(total_);
  std::string time = FormatSeconds(seconds);
  if (done_ > 0 && done_ < total_) time += fmt::format(", {} left", FormatSeconds(seconds * (1 - share) / share));
  if (bars) {
    const int filled = static_cast<int>(share * 24);
    std::string bar;
    for (int i = 0; i < 24; ++i) bar += i < filled ? "█" : "░";
    std::fputs(
        fmt::format("\r\x1b[2K{:<22} {} {:3.0f} %  {}  {}{}", title_, bar, 100 * share, time, note_, last ? "\n" : "")
            .c_str(),
        stderr);
    std::fflush(stderr);
    bar_on_screen = !last;
    return;
  }
  // Plain lines are for logs: one every few seconds of long work, none for what is over at once.
  const auto now = std::chrono::steady_clock::now();
  if (last ? seconds < kPlainSeconds : now - drawn_ < std::chrono::duration<double>(kPlainSeconds)) return;
  drawn_ = now;
  std::fputs(fmt::format("{}: {:.0f} %, {} {}\n", title_, 100 * share, time, note_).c_str(), stderr);
}

std::string FormatSeconds(double seconds) {
  if (seconds < 99.95) return fmt::format("{:.1f} s", seconds);
  const auto whole = static_cast<int64_t>(std::llround(seconds));
  if (whole < 3600) return fmt::format("{} min {:02} s", whole / 60, whole % 60);
  return fmt::format("{} h {:02} min", whole / 3600, whole / 60 % 60);
}

std::string FormatBytes(double bytes) {
  if (bytes < 1e3) return fmt::format("{:.0f} B", bytes);
  if (bytes < 1e6) return fmt::format("{:.1f} kB", bytes / 1e3);
  if (bytes < 1e9) return fmt::format("{:.1f} MB", bytes / 1e6);
  return fmt::format("{:.2f} GB", bytes / 1e9);
}

std::string FormatCount(int64_t count) {
  std::string digits = std::to_string(count < 0 ? -count : count);
  for (int64_t at = static_cast<int64_t>(digits.size()) - 3; at > 0; at -= 3)
    digits.insert(static_cast<size_t>(at), ",");
  return count < 0 ? "-" + digits : digits;
}

}  // namespace espalier
