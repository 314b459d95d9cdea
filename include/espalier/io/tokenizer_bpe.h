#pragma once
// Byte-pair encoding of single pieces, and the two ways in which vocabularies write bytes: an alphabet, and <0xXX>.
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "espalier/io/tokenizer_spec.h"

namespace espalier {

// GPT-2's byte alphabet: the character that stands for each byte in a vocabulary. Printable bytes of Latin-1 stand for
// themselves, the other 68 for U+0100 and up in byte order.
const std::array<char32_t, 256>& ByteAlphabet();
// The bytes that a vocabulary entry stands for; none when a character is outside the alphabet.
std::optional<std::string> BytesOfToken(std::string_view token);
std::string TokenOfBytes(std::string_view bytes);
// The byte that "<0x0A>" stands for, with capital letters; none when `token` is another text.
std::optional<unsigned char> ByteOfToken(std::string_view token);

class BpeModel {
 public:
  // Working memory of one thread, with a bounded cache of pieces met before.
  class Scratch {
   public:
    Scratch();

   private:
    friend class BpeModel;
    struct Symbol {
      int32_t id, previous, next;  // id -1: merged away
    };
    struct Candidate {
      int32_t rank, position, result;
    };
    struct Cached {
      std::string piece;
      std::vector<int32_t> ids;
    };
    std::vector<Symbol> symbols_;
    std::vector<Candidate> heap_;
    std::vector<Cached> cache_;  // direct-mapped: a slot keeps the last piece that fell into it
  };

  explicit BpeModel(const TokenizerSpec& spec);
  // Appends the ids of `piece` (plain bytes; valid UTF-8 with byte fallback).
  void Encode(std::string_view piece, Scratch& scratch, std::vector<int32_t>& out) const;

 private:
  struct Merge {
    uint64_t pair = ~uint64_t{0};  // left << 32 | right; all ones: a free slot
    int32_t rank = 0, result = 0;
  };
  const Merge* Find(int32_t left, int32_t right) const;
  void AddSymbol(std::string_view text, int32_t id);
  void AddMerges(const TokenizerSpec& spec);
  int32_t NextSymbol(std::string_view piece, size_t& at) const;
  void StartSymbols(std::string_view piece, Scratch& scratch) const;
  void PushCandidate(Scratch& scratch, int32_t position) const;
  void MergeAll(Scratch& scratch) const;
  void EncodeUncached(std::string_view piece, Scratch& scratch, std::vector<int32_t>& out) const;

  bool byte_fallback_;
  std::array<int32_t, 256> id_of_byte_;                    // -1: the vocabulary has no token for this byte
  std::unordered_map<char32_t, int32_t> id_of_character_;  // only with byte fallback
  std::optional<int32_t> unknown_;
  bool fuse_unknown_;
  std::unordered_map<std::string, int32_t> whole_;  // only with ignore_merges
  std::vector<Merge> merges_;                       // open addressing, a power of two, at most half full
  int shift_ = 0;
};

}  // namespace espalier
