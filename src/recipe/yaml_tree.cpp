#include "yaml_tree.h"

#include <fmt/format.h>
#include <unicode/utf8.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <map>
#include <sstream>
#include <utility>

namespace espalier {
namespace {

// Recipes are four levels deep; yaml-cpp recurses once a level, so depth must end before its stack does.
constexpr size_t kMaxDepth = 32;

// Ends the parse; the rest of the text cannot be trusted.
struct Fatal {
  Position at;
  std::string message;
};

// yaml-cpp's own words describe its grammar; these say what to do.
std::string Explained(const std::string& message) {
  static const std::map<std::string, std::string, std::less<>> kExplanations = {
      {"end of map not found", "expected 'key: value' at this indentation; check the indentation of this line"},
      {"end of sequence not found", "expected '- ' at this indentation; check the indentation of this line"},
      {"illegal map value",
       "a ':' that cannot be here; quote texts that contain ': ', and check the indentation (spaces, no tabs)"},
      {"illegal block entry", "a '- ' that cannot be here; check the indentation of this line"},
      {"illegal EOF in scalar", "a quote that is never closed"},
      {"illegal flow end", "a closing bracket without its opening one"},
      {"end of map flow not found", "this '{' is never closed, or a ',' is missing in it"},
      {"end of sequence flow not found", "this '[' is never closed, or a ',' is missing in it"},
      {"unknown token", "a character that cannot begin a value; put the value in quotes"}};
  const auto found = kExplanations.find(message);
  return "not valid YAML: " + (found == kExplanations.end() ? message : found->second);
}

std::vector<size_t> LineStarts(const std::string& text) {
  std::vector<size_t> starts = {text.starts_with("\xEF\xBB\xBF") ? size_t{3} : size_t{0}};
  for (size_t i = 0; i < text.size(); ++i)
    if (text[i] == '\n') starts.push_back(i + 1);
  return starts;
}

// Whether a quote opens at `begin` that nothing closes. yaml-cpp takes the rest of the file for its text, silently.
bool IsUnclosedQuote(std::string_view text, size_t begin) {
  if (begin >= text.size() || (text[begin] != '"' && text[begin] != '\'')) return false;
  const char quote = text[begin];
  for (size_t i = begin + 1; i < text.size(); ++i) {
    const bool escapes = quote == '"' ? text[i] == '\\' : text.substr(i, 2) == "''";
    if (escapes) {
      ++i;
    } else if (text[i] == quote) {
      return false;
    }
  }
  return true;
}

// Builds the tree from yaml-cpp's events, which come before it recurses, so the limits hold before its stack grows.
class TreeBuilder final : public YAML::EventHandler {
 public:
  TreeBuilder(const std::string& text, int source, Mistakes& mistakes)
      : text_(text), lines_(LineStarts(text)), source_(source), mistakes_(mistakes) {}

  Node Take() { return std::move(root_); }
  // Where the innermost bracket or brace was opened; yaml-cpp forgets that when the text ends inside.
  Position Innermost() const { return open_.empty() ? Position{source_, 1, 1} : open_.back().node.at; }

  void OnDocumentStart(const YAML::Mark& mark) override {
    if (documents_++ > 0) throw Fatal{At(mark), "a second YAML document; a recipe is one document"};
  }
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    RefuseExtras(mark, "", anchor);
    if (WantsKey()) throw Fatal{At(mark), "a key is missing before ':'"};
    Node node;
    node.at = open_.empty() || open_.back().node.kind == Node::Kind::kList ? At(mark) : open_.back().key.at;
    Place(std::move(node));
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override { RefuseExtras(mark, "", anchor); }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    RefuseExtras(mark, tag, anchor);
    if (tag == "!" && IsUnclosedQuote(text_, OffsetOf(mark)))
      throw Fatal{At(mark), Explained(YAML::ErrorMsg::EOF_IN_SCALAR)};
    if (WantsKey()) {
      open_.back().key = {value, At(mark), {}};
      open_.back().has_key = true;
      return;
    }
    Node node;
    node.kind = Node::Kind::kScalar;
    node.at = At(mark);
    node.text = value;
    node.quoted = tag == "!";
    Place(std::move(node));
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    Open(Node::Kind::kList, mark, tag, anchor);
  }
  void OnSequenceEnd() override { Close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    Open(Node::Kind::kMap, mark, tag, anchor);
  }
  void OnMapEnd() override { Close(); }

 private:
  struct Frame {
    Node node;
    Member key;  // read, its value not yet
    bool has_key = false;
    std::map<std::string, int, std::less<>> lines;  // of the keys so far: a linear search would be quadratic
  };

  Position At(const YAML::Mark& mark) const { return {source_, mark.line + 1, mark.column + 1}; }
  size_t OffsetOf(const YAML::Mark& mark) const {
    const auto line = static_cast<size_t>(mark.line);
    return line < lines_.size() ? lines_[line] + static_cast<size_t>(mark.column) : text_.size();
  }
  bool WantsKey() const {
    return !open_.empty() && open_.back().node.kind == Node::Kind::kMap && !open_.back().has_key;
  }

  void RefuseExtras(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor) const {
    if (anchor != 0)
      throw Fatal{At(mark), "anchors and aliases (& and *) are not allowed in recipes; write the value out"};
    if (!tag.empty() && tag != "?" && tag != "!")
      throw Fatal{At(mark), fmt::format("the tag '{}' is not allowed in recipes; leave it out", OneLine(tag))};
  }

  void Open(Node::Kind kind, const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor) {
    RefuseExtras(mark, tag, anchor);
    if (WantsKey()) throw Fatal{At(mark), "a list or a map cannot be a key; is a bracket never closed?"};
    if (open_.size() >= kMaxDepth) throw Fatal{At(mark), fmt::format("nested deeper than {} levels", kMaxDepth)};
    Frame frame;
    frame.node.kind = kind;
    frame.node.at = At(mark);
    open_.push_back(std::move(frame));
  }

  void Close() {
    Node node = std::move(open_.back().node);
    open_.pop_back();
    Place(std::move(node));
  }

  void Place(Node node) {
    if (open_.empty()) {
      root_ = std::move(node);
      return;
    }
    Frame& frame = open_.back();
    if (frame.node.kind == Node::Kind::kList) {
      frame.node.items.push_back(std::move(node));
      return;
    }
    frame.has_key = false;
    const auto [first, added] = frame.lines.emplace(frame.key.key, frame.key.at.line);
    if (added) {
      frame.key.value = std::move(node);
      frame.node.members.push_back(std::move(frame.key));
    } else {
      mistakes_.Add(frame.key.at, DottedKey(), fmt::format("this key is on line {} already", first->second));
    }
  }

  std::string DottedKey() const {
    std::string dotted;
    for (const Frame& frame : open_) {
      if (!dotted.empty()) dotted += '.';
      dotted += frame.node.kind == Node::Kind::kList ? std::to_string(frame.node.items.size()) : frame.key.key;
    }
    return dotted;
  }

  const std::string& text_;
  const std::vector<size_t> lines_;
  int source_;
  Mistakes& mistakes_;
  int documents_ = 0;
  std::vector<Frame> open_;
  Node root_;
};

// yaml-cpp guesses UTF-16 and UTF-32 from zero bytes and takes byte 4 for the end of the file: neither may reach it.
void RefuseOddBytes(const std::string& text, int source) {
  Position at{source, 1, 1};
  const auto length = static_cast<int32_t>(text.size());
  for (int32_t i = 0; i < length;) {
    const int32_t start = i;
    UChar32 character = 0;
    U8_NEXT(text.data(), i, length, character);
    if (character < 0)
      throw Fatal{at, fmt::format("byte 0x{:02x} at offset {} is not UTF-8; save the file as UTF-8",
                                  static_cast<unsigned char>(text[static_cast<size_t>(start)]), start)};
    const bool control = character < 0x20 && character != '\n' && character != '\t' && character != '\r';
    if (control || character == 0x7F)
      throw Fatal{at, fmt::format("control character 0x{:02x} at offset {}; a recipe is plain text", character, start)};
    if (character == '\n') at = {source, at.line + 1, 0};
    at.column += character == '\n' ? 1 : i - start;
  }
}

Node Parse(const std::string& text, int source, Mistakes& mistakes) {
  RefuseOddBytes(text, source);
  TreeBuilder builder(text, source, mistakes);
  try {
    std::istringstream stream(text);
    YAML::Parser parser(stream);
    while (parser.HandleNextDocument(builder)) {
    }
  } catch (const YAML::Exception& error) {
    if (error.msg.starts_with(YAML::ErrorMsg::UNKNOWN_ANCHOR))
      throw Fatal{{source, error.mark.line + 1, error.mark.column + 1},
                  "anchors and aliases (& and *) are not allowed in recipes; quote a text that begins with one"};
    const bool unclosed = error.msg == YAML::ErrorMsg::END_OF_MAP_FLOW || error.msg == YAML::ErrorMsg::END_OF_SEQ_FLOW;
    const Position at = unclosed ? builder.Innermost() : Position{source, error.mark.line + 1, error.mark.column + 1};
    throw Fatal{at, Explained(error.msg)};
  }
  return builder.Take();
}

}  // namespace

const Member* Node::Find(std::string_view key) const {
  for (const Member& member : members)
    if (member.key == key) return &member;
  return nullptr;
}

Member* Node::Find(std::string_view key) {
  return const_cast<Member*>(std::as_const(*this).Find(key));
}

std::optional<Node> ParseYaml(const std::string& text, int source, Mistakes& mistakes) {
  try {
    Node root = Parse(text, source, mistakes);
    if (root.at.line == 0) root.at = {source, 1, 1};
    return root;
  } catch (const Fatal& fatal) {
    mistakes.Add(fatal.at, "", fatal.message);
    return std::nullopt;
  }
}

std::string Found(const Node& node) {
  switch (node.kind) {
    case Node::Kind::kNull:
      return "nothing";
    case Node::Kind::kScalar:
      return fmt::format("{}'{}'", node.quoted ? "the text " : "", OneLine(node.text, 40));
    case Node::Kind::kList:
      return "a list";
    case Node::Kind::kMap:
      return "a map";
  }
  return "";
}

}  // namespace espalier
