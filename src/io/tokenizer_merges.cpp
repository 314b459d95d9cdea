#include "espalier/io/tokenizer_merges.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "espalier/core/error.h"

namespace espalier {
namespace {

// Every cut of every token is tried, and the tokens of a file that means no harm are far shorter.
constexpr size_t kMaxScoredToken = 1024;

using Ids = std::unordered_map<std::string_view, int32_t>;

// Every way to make the token `id` of two others, the longest left side first.
void AddCuts(int32_t id, const Ids& ids, TokenizerSpec& spec) {
  const std::string_view token = spec.tokens[id];
  for (size_t cut = token.size(); cut-- > 1;) {
    const auto left = ids.find(token.substr(0, cut));
    if (left == ids.end()) continue;
    const auto right = ids.find(token.substr(cut));
    if (right != ids.end()) spec.merges.push_back({left->second, right->second, id});
  }
}

}  // namespace

MergeReader::MergeReader(TokenizerSpec& spec, std::string where) : spec_(spec), where_(std::move(where)) {
  ids_.reserve(spec.tokens.size());
  for (size_t id = 0; id < spec.tokens.size(); ++id)
    if (!spec.tokens[id].empty()) ids_.emplace(spec.tokens[id], static_cast<int32_t>(id));
}

int32_t MergeReader::IdOf(std::string_view token, std::string_view line) const {
  const auto found = ids_.find(token);
  if (found == ids_.end())
    throw IoError(fmt::format("{}[{}]: '{}' needs the token '{}', which is not in the vocabulary", where_,
                              spec_.merges.size(), line, token));
  return found->second;
}

void MergeReader::Add(std::string_view left, std::string_view right) {
  if (spec_.merges.size() == kMaxMerges) throw IoError(fmt::format("{}: more than {} merges", where_, kMaxMerges));
  const std::string line = fmt::format("{} {}", left, right);
  const int32_t l = IdOf(left, line), r = IdOf(right, line);
  const int32_t result = IdOf(std::string(left) + std::string(right), line);
  // Readers disagree on which of two ranks counts: PyPI tokenizers takes the last, llama.cpp the first.
  if (!seen_.insert(static_cast<uint64_t>(l) << 32 | static_cast<uint32_t>(r)).second)
    throw IoError(fmt::format("{}[{}]: '{}' is listed twice", where_, spec_.merges.size(), line));
  spec_.merges.push_back({l, r, result});
}

void MergeReader::AddLine(std::string_view line) {
  const size_t space = line.find(' ');
  if (space == std::string_view::npos || space == 0 || space + 1 == line.size() ||
      line.find(' ', space + 1) != line.npos)
    throw IoError(fmt::format("{}[{}]: found '{}', expected two tokens with one space between", where_,
                              spec_.merges.size(), line));
  Add(line.substr(0, space), line.substr(space + 1));
}

void AddScoredMerges(TokenizerSpec& spec, const std::vector<double>& scores, const std::vector<bool>& usable,
                     const std::string& where) {
  Ids ids;
  std::vector<int32_t> order;
  for (size_t id = 0; id < spec.tokens.size(); ++id) {
    if (!std::isfinite(scores[id]))
      throw IoError(fmt::format("{}[{}]: found {}, expected a finite number", where, id, scores[id]));
    const std::string& token = spec.tokens[id];
    if (!usable[id] || token.empty()) continue;
    if (token.size() > kMaxScoredToken)
      throw IoError(
          fmt::format("{}[{}]: the token has {} bytes, expected at most {}", where, id, token.size(), kMaxScoredToken));
    ids.emplace(token, static_cast<int32_t>(id));
    order.push_back(static_cast<int32_t>(id));
  }
  std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return scores[a] > scores[b]; });
  for (const int32_t id : order) AddCuts(id, ids, spec);
  int32_t rank = 0;
  for (size_t i = 0; i < spec.merges.size(); ++i) {
    if (i > 0 && scores[spec.merges[i][2]] != scores[spec.merges[i - 1][2]]) ++rank;
    spec.ranks.push_back(rank);
  }
}

}  // namespace espalier
