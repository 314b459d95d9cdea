#pragma once
// Pre-tokenization: text into the pieces that are byte-pair encoded one by one.
#include <cstddef>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "espalier/io/tokenizer_spec.h"

namespace espalier {

class Splitter {
 public:
  // Working memory of one thread: match data, JIT stack, pieces.
  class Scratch {
   public:
    Scratch();
    ~Scratch();
    Scratch(Scratch&&) noexcept;
    const std::vector<std::string_view>& pieces() const { return pieces_; }

   private:
    friend class Splitter;
    struct Match;
    std::unique_ptr<Match> match_;
    std::vector<std::string_view> pieces_, next_;
    std::deque<std::string> changed_;  // pieces that are no longer a part of the text
    std::string subject_;
  };

  // IoError naming `origin` and the pattern that PCRE2 does not accept.
  Splitter(const std::vector<SplitStep>& steps, std::string origin);
  ~Splitter();

  // The pieces of valid UTF-8 `text`, in scratch.pieces(); they point into `text` or the scratch, until its next use.
  // `is_first`: nothing stands before `text` (SplitStep::Prepend::kFirst).
  void Split(std::string_view text, Scratch& scratch, bool is_first = true) const;

  // The end of a chunk that starts `text`: at least `wanted` bytes, and such that what is before and what is behind it
  // split as they would together; text.size() when there is no such place. For the known families that is where a
  // letter meets a space or a line feed: no match of theirs goes on from a letter to white space, and what follows
  // starts afresh. With patterns of other origin nothing is known, and texts stay whole.
  size_t ChunkEnd(std::string_view text, size_t wanted) const;

 private:
  struct Step;
  void SplitDigits(const Step& step, std::string_view piece, Scratch& scratch) const;
  void SplitPattern(const Step& step, std::string_view piece, std::string_view subject, Scratch& scratch) const;
  void SplitMetaspace(const Step& step, std::string_view piece, bool is_first, Scratch& scratch) const;
  void Apply(const Step& step, std::string_view piece, bool plain, bool is_first, Scratch& scratch) const;

  std::vector<Step> steps_;
  std::string origin_;
  bool known_family_ = false;
};

}  // namespace espalier
