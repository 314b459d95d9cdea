#define PCRE2_CODE_UNIT_WIDTH 8
#include "espalier/io/tokenizer_split.h"

#include <fmt/format.h>
#include <pcre2.h>

#include <algorithm>
#include <array>

#include "espalier/core/error.h"
#include "espalier/io/tokenizer_steps.h"
#include "espalier/io/unicode_classes.h"
#include "espalier/io/utf8.h"

namespace espalier {
namespace {

// A run of white space is walked back one character at a time, so the limit grows with the text; what exceeds it is a
// pattern that explodes.
constexpr uint64_t kMatchLimitBase = 10'000'000, kMatchLimitPerByte = 16;
constexpr size_t kJitStackStart = size_t{32} << 10, kJitStackLimit = size_t{8} << 20;

struct FreeCode {
  void operator()(pcre2_code* code) const { pcre2_code_free(code); }
};

std::string PcreMessage(int code) {
  std::array<PCRE2_UCHAR, 256> buffer{};
  pcre2_get_error_message(code, buffer.data(), buffer.size());
  return reinterpret_cast<const char*>(buffer.data());
}

std::unique_ptr<pcre2_code, FreeCode> Compile(const std::string& pattern, const std::string& origin) {
  int code = 0;
  PCRE2_SIZE offset = 0;
  std::unique_ptr<pcre2_code, FreeCode> compiled(
      pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                    PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &code, &offset, nullptr));
  if (!compiled)
    throw IoError(fmt::format("{}: the pre-tokenizer pattern '{}' is not one that PCRE2 accepts: {} (at byte {} of it)",
                              origin, pattern, PcreMessage(code), offset));
  pcre2_jit_compile(compiled.get(),
                    PCRE2_JIT_COMPLETE);  // without JIT pcre2_match interprets: slower, the same matches
  return compiled;
}

bool IsKnownFamily(const std::vector<SplitStep>& steps) {
  const auto& families = TokenizerFamilies();
  return std::any_of(families.begin(), families.end(),
                     [&](const TokenizerFamily& family) { return family.steps == steps; });
}

// `text` cut at every `pattern`: behind it, before it or, for kWords, before it unless another ends there.
void CutAt(std::string_view text, std::string_view pattern, SplitStep::Kind kind,
           std::vector<std::string_view>& pieces) {
  size_t start = 0, last = text.npos;
  for (size_t at = text.find(pattern); at != text.npos; at = text.find(pattern, last)) {
    const size_t cut = kind == SplitStep::Kind::kAfter ? at + pattern.size() : at;
    if (cut > start && !(kind == SplitStep::Kind::kWords && at == last)) {
      pieces.push_back(text.substr(start, cut - start));
      start = cut;
    }
    last = at + pattern.size();
  }
  if (start < text.size()) pieces.push_back(text.substr(start));
}

}  // namespace

struct Splitter::Scratch::Match {
  pcre2_match_data* data = pcre2_match_data_create(1, nullptr);
  pcre2_match_context* context = pcre2_match_context_create(nullptr);
  pcre2_jit_stack* stack = pcre2_jit_stack_create(kJitStackStart, kJitStackLimit, nullptr);

  Match() { pcre2_jit_stack_assign(context, nullptr, stack); }
  ~Match() {
    pcre2_jit_stack_free(stack);
    pcre2_match_context_free(context);
    pcre2_match_data_free(data);
  }
  Match(const Match&) = delete;
  Match& operator=(const Match&) = delete;
};

Splitter::Scratch::Scratch() : match_(std::make_unique<Match>()) {}
Splitter::Scratch::~Scratch() = default;
Splitter::Scratch::Scratch(Scratch&&) noexcept = default;

struct Splitter::Step {
  SplitStep what;
  std::unique_ptr<pcre2_code, FreeCode> code;  // null: no pattern
};

Splitter::Splitter(const std::vector<SplitStep>& steps, std::string origin)
    : origin_(std::move(origin)), known_family_(IsKnownFamily(steps)) {
  for (const SplitStep& step : steps) {
    Step& added = steps_.emplace_back(Step{step, nullptr});
    if (step.kind == SplitStep::Kind::kPattern) added.code = Compile(step.pattern, origin_);
    if (step.kind == SplitStep::Kind::kByteLevel && step.use_regex) added.code = Compile(Gpt2Pattern(), origin_);
  }
}

Splitter::~Splitter() = default;

void Splitter::Split(std::string_view text, Scratch& scratch, bool is_first) const {
  scratch.changed_.clear();
  scratch.pieces_.assign(text.empty() ? 0 : 1, text);
  const bool plain = !MayNeedStandIns(text);
  const uint64_t limit = kMatchLimitBase + kMatchLimitPerByte * text.size();
  pcre2_set_match_limit(scratch.match_->context, static_cast<uint32_t>(std::min<uint64_t>(limit, UINT32_MAX)));
  for (const Step& step : steps_) {
    scratch.next_.clear();
    for (size_t i = 0; i < scratch.pieces_.size(); ++i)
      Apply(step, scratch.pieces_[i], plain, is_first && i == 0, scratch);
    scratch.pieces_.swap(scratch.next_);
  }
}

void Splitter::Apply(const Step& step, std::string_view piece, bool plain, bool is_first, Scratch& scratch) const {
  const std::string& pattern = step.what.pattern;
  if (step.what.kind == SplitStep::Kind::kDigits) return SplitDigits(step, piece, scratch);
  if (step.what.kind == SplitStep::Kind::kAfter || step.what.kind == SplitStep::Kind::kWords)
    return CutAt(piece, pattern, step.what.kind, scratch.next_);
  if (step.what.kind == SplitStep::Kind::kMetaspace) return SplitMetaspace(step, piece, is_first, scratch);
  if (step.what.prefix_space && piece.front() != ' ') piece = scratch.changed_.emplace_back(" " + std::string(piece));
  if (step.code == nullptr) {
    scratch.next_.push_back(piece);
    return;
  }
  if (!plain) ReplaceByStandIns(piece, scratch.subject_);
  const std::string_view subject = plain ? piece : std::string_view(scratch.subject_);
  SplitPattern(step, piece, subject, scratch);
}

void Splitter::SplitDigits(const Step& step, std::string_view piece, Scratch& scratch) const {
  size_t start = 0;  // of the piece being built, which holds only numbers or none
  bool in_number = false;
  for (size_t at = 0; at < piece.size();) {
    const size_t here = at;
    const bool number = IsNumber(NextCodePoint(piece, at));
    const bool cut = number != in_number || (number && step.what.individual);
    if (cut && here > start) {
      scratch.next_.push_back(piece.substr(start, here - start));
      start = here;
    }
    in_number = number;
  }
  scratch.next_.push_back(piece.substr(start));
}

void Splitter::SplitMetaspace(const Step& step, std::string_view piece, bool is_first, Scratch& scratch) const {
  const std::string& mark = step.what.pattern;
  std::string& text = scratch.changed_.emplace_back(ReplaceAll(piece, " ", mark));
  const bool prepends =
      step.what.prepend == SplitStep::Prepend::kAlways || (step.what.prepend == SplitStep::Prepend::kFirst && is_first);
  if (prepends && !text.starts_with(mark)) text.insert(0, mark);
  if (!step.what.cut) return scratch.next_.push_back(text);
  CutAt(text, mark, step.what.kind, scratch.next_);
}

// Matches and what lies between them, in order. An empty match only separates.
void Splitter::SplitPattern(const Step& step, std::string_view piece, std::string_view subject,
                            Scratch& scratch) const {
  const auto keep = [&](size_t from, size_t to) {
    if (to > from) scratch.next_.push_back(piece.substr(from, to - from));
  };
  const PCRE2_SIZE* bounds = pcre2_get_ovector_pointer(scratch.match_->data);
  size_t done = 0, search = 0;
  while (search < subject.size()) {
    const int found = pcre2_match(step.code.get(), reinterpret_cast<PCRE2_SPTR>(subject.data()), subject.size(), search,
                                  PCRE2_NO_UTF_CHECK, scratch.match_->data, scratch.match_->context);
    if (found == PCRE2_ERROR_NOMATCH) break;
    if (found < 0)
      throw IoError(fmt::format("{}: the pre-tokenizer pattern gave up on a text of {} bytes, {} bytes in: {}", origin_,
                                subject.size(), search, PcreMessage(found)));
    keep(done, bounds[0]);
    keep(bounds[0], bounds[1]);
    done = search = bounds[1];
    if (bounds[0] == bounds[1] && search < subject.size()) NextCodePoint(subject, search);
  }
  keep(done, subject.size());
}

size_t Splitter::ChunkEnd(std::string_view text, size_t wanted) const {
  if (!known_family_ || text.size() <= wanted) return text.size();
  for (size_t at = text.find_first_of(" \n", wanted); at != std::string_view::npos;
       at = text.find_first_of(" \n", at + 1)) {
    size_t letter = at;
    if (at > 0 && IsLetter(PreviousCodePoint(text, letter))) return at;
  }
  return text.size();
}

}  // namespace espalier
