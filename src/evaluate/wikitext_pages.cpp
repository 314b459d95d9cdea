#include "wikitext_pages.h"

#include <unicode/utf8.h>

#include <algorithm>
#include <cstdint>

#include "white_space.h"

namespace espalier {
namespace {

void ReplaceAll(std::string& text, std::string_view from, std::string_view to) {
  std::string replaced;
  size_t at = 0;
  for (size_t found; (found = text.find(from, at)) != std::string::npos; at = found + from.size())
    replaced.append(text, at, found - at).append(to);
  text = replaced.append(text, at);
}

// Every stretch from `open` to the next `close` loses the white space just inside them:
// re.sub(r"\(\s*([^\)]*?)\s*\)", r"(\1)", text).
std::string StripInside(std::string_view text, char open, char close) {
  std::string stripped;
  size_t at = 0;
  while (true) {
    const size_t first = text.find(open, at);
    const size_t last = first == std::string_view::npos ? first : text.find(close, first + 1);
    if (last == std::string_view::npos) break;
    stripped.append(text, at, first + 1 - at).append(Strip(text.substr(first + 1, last - first - 1)));
    stripped += close;
    at = last + 1;
  }
  return stripped.append(text, at);
}

// The slashes are a slip of the original, kept: it matches "/' 5/" and writes the pattern itself.
void ReplaceSlashedDigits(std::string& text) {
  constexpr std::string_view kOpen = "/' ", kWritten = "/'[0-9]/";
  for (size_t at = 0; (at = text.find(kOpen, at)) != std::string::npos;) {
    const size_t digit = at + kOpen.size();
    if (digit + 1 < text.size() && text[digit] >= '0' && text[digit] <= '9' && text[digit + 1] == '/') {
      text.replace(at, kOpen.size() + 2, kWritten);
      at += kWritten.size();
    } else {
      ++at;
    }
  }
}

bool IsTitle(std::string_view line) {
  std::string reduced(line);
  ReplaceAll(reduced, "= = =", "===");
  ReplaceAll(reduced, "= =", "==");
  const std::string_view stripped = Strip(reduced);
  return stripped.starts_with("= ") && stripped.ends_with(" =");
}

}  // namespace

std::vector<std::string> WikitextPages(std::string_view text) {
  std::vector<std::string> pages;
  std::string page;
  bool first = true;
  for (size_t at = 0; at <= text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    const std::string_view line = text.substr(at, end - at);
    if (IsTitle(line)) {
      if (!Strip(page).empty()) pages.push_back(page);
      page.clear();
      first = true;
    }
    page.append(first ? "" : "\n").append(line);
    first = false;
    at = end + 1;
  }
  pages.push_back(page);
  return pages;
}

std::string WikitextDetokenize(std::string text) {
  const auto replace = [&text](std::initializer_list<std::pair<const char*, const char*>> list) {
    for (const auto& [from, to] : list) ReplaceAll(text, from, to);
  };
  replace({{"s '", "s'"}});
  ReplaceSlashedDigits(text);
  replace({{" @-@ ", "-"},
           {" @,@ ", ","},
           {" @.@ ", "."},
           {" : ", ": "},
           {" ; ", "; "},
           {" . ", ". "},
           {" ! ", "! "},
           {" ? ", "? "},
           {" , ", ", "}});
  for (const auto& [open, close] : {std::pair{'(', ')'}, {'[', ']'}, {'{', '}'}, {'"', '"'}, {'\'', '\''}})
    text = StripInside(text, open, close);
  replace({{"= = = =", "===="},
           {"= = =", "==="},
           {"= =", "=="},
           {" \u00B0 ", "\u00B0"},
           {" \n", "\n"},
           {"\n ", "\n"},
           {" N ", " 1 "},
           {" 's", "'s"}});
  return text;
}

int64_t CountWords(std::string_view text) {
  int64_t words = 1;
  bool in_space = false;
  for (int32_t at = 0; at < static_cast<int32_t>(text.size());) {
    UChar32 c;
    U8_NEXT(text.data(), at, static_cast<int32_t>(text.size()), c);
    const bool space = c >= 0 && IsWhiteSpace(c);
    if (space && !in_space) ++words;
    in_space = space;
  }
  return words;
}

}  // namespace espalier
