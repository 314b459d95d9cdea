#include "emit.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "scalars.h"

namespace espalier {
namespace {

constexpr size_t kLongestLine = 100;  // a map that does not fit goes on lines of its own

bool IsPlainCharacter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-' ||
         c == '.' || c == '/';
}

// Readers of other YAML versions would take these for booleans.
bool IsOldBoolean(const std::string& text) {
  std::string lower = text;
  for (char& c : lower) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  for (const char* word : {"yes", "no", "on", "off", "y", "n", "null"})
    if (lower == word) return true;
  return false;
}

bool IsPlain(const std::string& text) {
  if (text.empty() || !std::all_of(text.begin(), text.end(), IsPlainCharacter)) return false;
  if (text.front() == '-' || (text.front() >= '0' && text.front() <= '9') || IsOldBoolean(text)) return false;
  Node node;
  node.text = text;
  return text.find_first_not_of('.') != std::string::npos && std::holds_alternative<std::string>(ReadScalar(node));
}

std::string Scalar(const std::string& text) {
  return IsPlain(text) ? text : QuotedScalar(text);
}

std::string Value(const OptionValue& value) {
  if (std::holds_alternative<std::monostate>(value)) return "null";
  if (const auto* text = std::get_if<std::string>(&value)) return Scalar(*text);
  if (const auto* list = std::get_if<std::vector<std::string>>(&value)) {
    std::vector<std::string> texts;
    for (const std::string& text : *list) texts.push_back(Scalar(text));
    return fmt::format("[{}]", fmt::join(texts, ", "));
  }
  return FormatOptionValue(value);
}

// "key: value" for the component's name and every option. One without a value is left out where that is its default.
std::vector<std::string> Pairs(const RecipeEntry& entry, const SectionSpec& spec) {
  std::vector<std::string> pairs;
  if (!spec.selector.empty()) pairs.push_back(fmt::format("{}: {}", spec.selector, Scalar(entry.name)));
  for (const OptionSpec& option : entry.options.specs()) {
    const bool nothing = std::holds_alternative<std::monostate>(option.default_value);
    if (entry.options.Has(option.name) || !nothing)
      pairs.push_back(fmt::format("{}: {}", option.name, Value(entry.options.Value(option.name))));
  }
  return pairs;
}

class Emitter {
 public:
  explicit Emitter(const ResolvedSections& resolved) : resolved_(resolved) {}

  std::string Run(const SectionNode& root) {
    Body(root, 0);
    return std::move(text_);
  }

 private:
  bool IsPresent(const SectionNode& section) const {
    return resolved_.contains(section.path) || HasPresentChild(section);
  }
  bool HasPresentChild(const SectionNode& section) const {
    return std::any_of(section.children.begin(), section.children.end(),
                       [this](const SectionNode& child) { return IsPresent(child); });
  }

  void Line(size_t indent, const std::string& line) { text_ += std::string(indent, ' ') + line + "\n"; }

  std::vector<std::string> PairsOf(const SectionNode& section) const {
    const auto found = resolved_.find(section.path);
    if (section.spec == nullptr || found == resolved_.end()) return {};
    return Pairs(found->second.front(), *section.spec);
  }

  void Body(const SectionNode& section, size_t indent) {
    for (const std::string& pair : PairsOf(section)) Line(indent, pair);
    for (const SectionNode& child : section.children)
      if (IsPresent(child)) Section(child, indent);
  }

  void Section(const SectionNode& section, size_t indent) {
    if (section.IsList()) return List(section, indent);
    const std::string inlined = fmt::format("{}: {{{}}}", section.name, fmt::join(PairsOf(section), ", "));
    if (!HasPresentChild(section) && indent + inlined.size() <= kLongestLine) return Line(indent, inlined);
    Line(indent, section.name + ":");
    Body(section, indent + 2);
  }

  void List(const SectionNode& section, size_t indent) {
    const std::vector<RecipeEntry>& entries = resolved_.find(section.path)->second;
    if (entries.empty()) return Line(indent, section.name + ": []");
    Line(indent, section.name + ":");
    for (const RecipeEntry& entry : entries) {
      const std::vector<std::string> pairs = Pairs(entry, *section.spec);
      const std::string inlined = fmt::format("- {{{}}}", fmt::join(pairs, ", "));
      if (indent + 2 + inlined.size() <= kLongestLine) {
        Line(indent + 2, inlined);
        continue;
      }
      for (size_t i = 0; i < pairs.size(); ++i) Line(indent + 2, (i == 0 ? "- " : "  ") + pairs[i]);
    }
  }

  const ResolvedSections& resolved_;
  std::string text_;
};

}  // namespace

std::string QuotedScalar(const std::string& text) {
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      quoted += '\\';
      quoted += c;
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) {
      quoted += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
    } else {
      quoted += c;
    }
  }
  return quoted + "\"";
}

std::string Emit(const ResolvedSections& resolved, const SectionNode& sections) {
  return Emitter(resolved).Run(sections);
}

}  // namespace espalier
