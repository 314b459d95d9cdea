#pragma once
// Log lines and progress bars, both to stderr; the library prints nowhere else.
#include <fmt/format.h>

#include <chrono>
#include <filesystem>
#include <string>
#include <string_view>

namespace espalier {

enum class Verbosity { kQuiet, kNormal, kVerbose };

// Call once, from main. Colours and bars are used only on a terminal without NO_COLOR and CI.
void StartLogging(Verbosity verbosity);
// Also append every line as JSON to `path` until called again; empty: stop.
void LogToFile(const std::filesystem::path& path);

void LogText(int level, std::string_view text);  // 0 debug, 1 info, 2 warning
template <class... Args>
void LogDebug(fmt::format_string<Args...> format, Args&&... args) {
  LogText(0, fmt::format(format, std::forward<Args>(args)...));
}
template <class... Args>
void LogInfo(fmt::format_string<Args...> format, Args&&... args) {
  LogText(1, fmt::format(format, std::forward<Args>(args)...));
}
template <class... Args>
void LogWarning(fmt::format_string<Args...> format, Args&&... args) {
  LogText(2, fmt::format(format, std::forward<Args>(args)...));
}

// A bar for one stage of known length: redrawn at most ten times a second on a terminal, a line every five seconds
// otherwise, nothing when quiet. Step also is where long work notices SIGINT (signals.h): it throws Interrupted.
class Progress {
 public:
  Progress(std::string title, int64_t total);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void Step(int64_t done = 1, std::string_view note = "");

 private:
  void Draw(bool last);
  std::string title_, note_;
  int64_t total_, done_ = 0;
  std::chrono::steady_clock::time_point start_, drawn_;
};

// "3.2 s", "4 min 05 s"; "1.5 MB", "512 kB" (decimal units).
std::string FormatSeconds(double seconds);
std::string FormatBytes(double bytes);
// 134515008 -> "134,515,008".
std::string FormatCount(int64_t count);

}  // namespace espalier
