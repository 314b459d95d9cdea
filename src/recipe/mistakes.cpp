#include "mistakes.h"

#include <fmt/format.h>

#include <algorithm>
#include <tuple>

#include "espalier/core/error.h"

namespace espalier {
namespace {

// A file that is not a recipe at all can be wrong a hundred thousand times; nobody reads past the first screens.
constexpr size_t kMostShown = 100;

}  // namespace

int Mistakes::AddFile(std::string path) {
  sources_.push_back({std::move(path), "", false});
  return static_cast<int>(sources_.size()) - 1;
}

int Mistakes::AddOverride(const std::string& text) {
  std::string key = text.substr(0, text.find('='));
  sources_.push_back({OneLine(text), std::move(key), true});
  return static_cast<int>(sources_.size()) - 1;
}

std::string Mistakes::Where(Position at) const {
  const Source& source = sources_.at(static_cast<size_t>(at.source));
  if (source.is_override) return "override " + source.text;
  return at.line == 0 ? source.text : fmt::format("{}:{}:{}", source.text, at.line, at.column);
}

void Mistakes::Add(Position at, std::string_view key, std::string_view message) {
  const Source& source = sources_.at(static_cast<size_t>(at.source));
  // The override's own text names its key already.
  const bool show_key = !key.empty() && !(source.is_override && key == source.key);
  mistakes_.push_back({at, fmt::format("{}: {}{}{}", Where(at), show_key ? OneLine(key) : "", show_key ? ": " : "",
                                       OneLine(message, 4000))});
}

void Mistakes::ThrowIfAny() const {
  if (mistakes_.empty()) return;
  std::vector<Mistake> sorted = mistakes_;
  std::stable_sort(sorted.begin(), sorted.end(), [](const Mistake& a, const Mistake& b) {
    return std::tie(a.at.source, a.at.line, a.at.column) < std::tie(b.at.source, b.at.line, b.at.column);
  });
  std::string text;
  for (size_t i = 0; i < std::min(sorted.size(), kMostShown); ++i) text += sorted[i].line + "\n";
  if (sorted.size() > kMostShown) text += fmt::format("... and {} more\n", sorted.size() - kMostShown);
  throw RecipeError(fmt::format("{}{} error{}; nothing was run.", text, sorted.size(), sorted.size() == 1 ? "" : "s"));
}

std::string OneLine(std::string_view text, size_t limit) {
  std::string line;
  for (const char c : text) {
    // A cut never splits a UTF-8 character: continuation bytes are 10xxxxxx.
    if (line.size() >= limit && (static_cast<unsigned char>(c) & 0xC0) != 0x80) return line + "...";
    if (c == '\n') {
      line += "\\n";
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) {
      line += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
    } else {
      line += c;
    }
  }
  return line;
}

}  // namespace espalier
