#include "espalier/io/tokenizer_merges.h"

#include <fmt/format.h>

#include "espalier/core/error.h"

namespace espalier {

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

}  // namespace espalier
