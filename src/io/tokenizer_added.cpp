#include "espalier/io/tokenizer_added.h"

#include <algorithm>

#include "espalier/io/unicode_classes.h"
#include "espalier/io/utf8.h"

namespace espalier {
namespace {

bool TouchesWord(std::string_view text, size_t start, size_t stop) {
  size_t before = start, after = stop;
  return (start > 0 && IsWord(PreviousCodePoint(text, before))) ||
         (stop < text.size() && IsWord(NextCodePoint(text, after)));
}

size_t WithSpaceBefore(std::string_view text, size_t start, size_t floor) {
  while (start > floor) {
    size_t before = start;
    if (!IsSpace(PreviousCodePoint(text, before))) break;
    start = before;
  }
  return start;
}

size_t WithSpaceAfter(std::string_view text, size_t stop) {
  while (stop < text.size()) {
    size_t after = stop;
    if (!IsSpace(NextCodePoint(text, after))) break;
    stop = after;
  }
  return stop;
}

}  // namespace

AddedTokenMatcher::AddedTokenMatcher(const std::vector<AddedToken>& tokens) : tokens_(tokens) {
  for (size_t i = 0; i < tokens_.size(); ++i) {
    const std::string& content = tokens_[i].content;
    if (content.empty()) continue;
    by_content_.emplace(content, i);
    std::vector<size_t>& lengths = lengths_[static_cast<unsigned char>(content.front())];
    if (std::find(lengths.begin(), lengths.end(), content.size()) == lengths.end()) lengths.push_back(content.size());
  }
  for (std::vector<size_t>& lengths : lengths_) std::sort(lengths.rbegin(), lengths.rend());
}

const AddedToken* AddedTokenMatcher::LongestAt(std::string_view text, size_t at) const {
  for (const size_t length : lengths_[static_cast<unsigned char>(text[at])]) {
    if (length > text.size() - at) continue;
    const auto found = by_content_.find(text.substr(at, length));
    if (found != by_content_.end()) return &tokens_[found->second];
  }
  return nullptr;
}

std::vector<TextSegment> AddedTokenMatcher::Cut(std::string_view text) const {
  std::vector<TextSegment> segments;
  size_t done = 0;
  for (size_t at = 0; at < text.size() && !by_content_.empty();) {
    const AddedToken* token = LongestAt(text, at);
    if (token == nullptr) {
      ++at;
      continue;
    }
    size_t start = at, stop = at + token->content.size();
    at = stop;
    if (token->single_word && TouchesWord(text, start, stop)) continue;
    // White space that the token before has taken stays with it.
    if (token->lstrip) start = std::max(done, WithSpaceBefore(text, start, done));
    if (token->rstrip) stop = WithSpaceAfter(text, stop);
    if (start > done) segments.push_back({std::nullopt, text.substr(done, start - done)});
    segments.push_back({token->id, text.substr(start, stop - start)});
    done = stop;
  }
  if (done < text.size()) segments.push_back({std::nullopt, text.substr(done)});
  return segments;
}

}  // namespace espalier
