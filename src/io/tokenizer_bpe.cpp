#include "espalier/io/tokenizer_bpe.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <charconv>
#include <functional>

#include "espalier/io/utf8.h"

namespace espalier {
namespace {

constexpr size_t kCacheSlots = size_t{1} << 14;  // about 2 MB a thread, and nine in ten pieces of English prose hit
constexpr size_t kMaxCachedPiece = 64;           // longer pieces hardly ever come twice
constexpr size_t kLongestSymbol = 6;             // "<0x0A>"; characters are shorter

bool StandsForItself(int byte) {
  return (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || (byte >= 0xAE && byte <= 0xFF);
}

std::array<char32_t, 256> MakeAlphabet() {
  std::array<char32_t, 256> alphabet{};
  char32_t next = 0x100;
  for (int byte = 0; byte < 256; ++byte) alphabet[byte] = StandsForItself(byte) ? static_cast<char32_t>(byte) : next++;
  return alphabet;
}

constexpr size_t kAlphabetEnd = 0x100 + 68;

std::array<int, kAlphabetEnd> MakeInverse() {
  std::array<int, kAlphabetEnd> inverse;
  inverse.fill(-1);
  for (int byte = 0; byte < 256; ++byte) inverse[ByteAlphabet()[byte]] = byte;
  return inverse;
}

}  // namespace

const std::array<char32_t, 256>& ByteAlphabet() {
  static const std::array<char32_t, 256> alphabet = MakeAlphabet();
  return alphabet;
}

std::optional<std::string> BytesOfToken(std::string_view token) {
  static const std::array<int, kAlphabetEnd> inverse = MakeInverse();
  std::string bytes;
  for (size_t at = 0; at < token.size();) {
    const char32_t c = NextCodePoint(token, at);
    if (c >= kAlphabetEnd || inverse[c] < 0) return std::nullopt;
    bytes += static_cast<char>(inverse[c]);
  }
  return bytes;
}

std::string TokenOfBytes(std::string_view bytes) {
  std::string token;
  for (const char byte : bytes) AppendUtf8(ByteAlphabet()[static_cast<unsigned char>(byte)], token);
  return token;
}

std::optional<unsigned char> ByteOfToken(std::string_view token) {
  unsigned char byte = 0;
  if (token.size() != kLongestSymbol) return std::nullopt;
  std::from_chars(token.data() + 3, token.data() + 5, byte, 16);
  return fmt::format("<0x{:02X}>", byte) == token ? std::optional(byte) : std::nullopt;
}

BpeModel::Scratch::Scratch() : cache_(kCacheSlots) {}

BpeModel::BpeModel(const TokenizerSpec& spec)
    : byte_fallback_(spec.byte_fallback), unknown_(spec.unknown), fuse_unknown_(spec.fuse_unknown) {
  id_of_byte_.fill(-1);
  for (size_t id = 0; id < spec.tokens.size(); ++id) {
    const std::string& token = spec.tokens[id];
    if (token.empty() || (!spec.ignore_merges && token.size() > kLongestSymbol)) continue;
    std::optional<std::string> text = byte_fallback_ ? token : BytesOfToken(token);
    if (!text) continue;
    AddSymbol(*text, static_cast<int32_t>(id));
    if (spec.ignore_merges) whole_.emplace(std::move(*text), static_cast<int32_t>(id));
  }
  AddMerges(spec);
}

void BpeModel::AddSymbol(std::string_view text, int32_t id) {
  if (!byte_fallback_) {
    if (text.size() == 1) id_of_byte_[static_cast<unsigned char>(text.front())] = id;
    return;
  }
  if (const auto byte = ByteOfToken(text)) id_of_byte_[*byte] = id;
  size_t end = 0;
  const char32_t character = NextCodePoint(text, end);
  if (end == text.size()) id_of_character_[character] = id;
}

void BpeModel::AddMerges(const TokenizerSpec& spec) {
  const size_t slots = std::bit_ceil(std::max<size_t>(2, spec.merges.size() * 2));
  merges_.resize(slots);
  shift_ = 64 - std::countr_zero(slots);
  for (size_t rank = 0; rank < spec.merges.size(); ++rank) {
    const auto& [left, right, result] = spec.merges[rank];
    const Merge merge{static_cast<uint64_t>(left) << 32 | static_cast<uint32_t>(right),
                      spec.ranks.empty() ? static_cast<int32_t>(rank) : spec.ranks[rank], result};
    size_t slot = merge.pair * 0x9E3779B97F4A7C15ull >> shift_;
    while (~merges_[slot].pair != 0) slot = (slot + 1) & (slots - 1);
    merges_[slot] = merge;
  }
}

const BpeModel::Merge* BpeModel::Find(int32_t left, int32_t right) const {
  const uint64_t pair = static_cast<uint64_t>(left) << 32 | static_cast<uint32_t>(right);
  for (size_t slot = pair * 0x9E3779B97F4A7C15ull >> shift_;; slot = (slot + 1) & (merges_.size() - 1)) {
    if (merges_[slot].pair == pair) return &merges_[slot];
    if (~merges_[slot].pair == 0) return nullptr;
  }
}

void BpeModel::Encode(std::string_view piece, Scratch& scratch, std::vector<int32_t>& out) const {
  if (piece.size() > kMaxCachedPiece) return EncodeUncached(piece, scratch, out);
  Scratch::Cached& slot = scratch.cache_[std::hash<std::string_view>()(piece) & (kCacheSlots - 1)];
  if (slot.piece != piece) {
    slot.piece.clear();  // stays consistent should an allocation below fail
    slot.ids.clear();
    EncodeUncached(piece, scratch, slot.ids);
    slot.piece = piece;
  }
  out.insert(out.end(), slot.ids.begin(), slot.ids.end());
}

void BpeModel::EncodeUncached(std::string_view piece, Scratch& scratch, std::vector<int32_t>& out) const {
  if (!whole_.empty()) {
    if (const auto found = whole_.find(std::string(piece)); found != whole_.end()) {
      out.push_back(found->second);
      return;
    }
  }
  StartSymbols(piece, scratch);
  MergeAll(scratch);
  for (const Scratch::Symbol& symbol : scratch.symbols_)
    if (symbol.id >= 0) out.push_back(symbol.id);
}

// The token of the byte or, with byte fallback, the character at `at`, which moves behind it; -1 when it has none.
int32_t BpeModel::NextSymbol(std::string_view piece, size_t& at) const {
  if (!byte_fallback_) return id_of_byte_[static_cast<unsigned char>(piece[at++])];
  const auto found = id_of_character_.find(NextCodePoint(piece, at));
  return found == id_of_character_.end() ? -1 : found->second;
}

// Bytes take the place of a character only when all of them have tokens. The unknown token waits for the next character
// with a token, and bytes overtake it: PyPI tokenizers does so (models/bpe/model.rs, merge_word).
void BpeModel::StartSymbols(std::string_view piece, Scratch& scratch) const {
  std::vector<Scratch::Symbol>& symbols = scratch.symbols_;
  symbols.clear();
  const auto add = [&](int32_t id) {
    const int32_t index = static_cast<int32_t>(symbols.size());
    symbols.push_back({id, index - 1, index + 1});
  };
  const auto id_of = [&](char byte) { return id_of_byte_[static_cast<unsigned char>(byte)]; };
  bool waiting = false;
  for (size_t at = 0; at < piece.size();) {
    const size_t start = at;
    const int32_t id = NextSymbol(piece, at);
    const std::string_view bytes = piece.substr(start, at - start);
    if (id < 0 && byte_fallback_ && std::all_of(bytes.begin(), bytes.end(), [&](char b) { return id_of(b) >= 0; })) {
      for (const char byte : bytes) add(id_of(byte));
      continue;
    }
    if (waiting && (id >= 0 || !fuse_unknown_)) add(*unknown_);
    waiting = id < 0 && unknown_;
    if (id >= 0) add(id);
  }
  if (waiting) add(*unknown_);
  if (!symbols.empty()) symbols.back().next = -1;
}

// Lowest rank first, then leftmost.
void BpeModel::PushCandidate(Scratch& scratch, int32_t position) const {
  const Scratch::Symbol& left = scratch.symbols_[position];
  if (left.next < 0) return;
  const Merge* merge = Find(left.id, scratch.symbols_[left.next].id);
  if (merge != nullptr) scratch.heap_.push_back({merge->rank, position, merge->result});
}

// O(n log n): every merge adds at most two candidates. A candidate is stale when the pair at its position is gone or by
// now merges into something else; like PyPI tokenizers, the result alone decides (one token can come from two pairs).
void BpeModel::MergeAll(Scratch& scratch) const {
  const auto later = [](const Scratch::Candidate& a, const Scratch::Candidate& b) {
    return a.rank != b.rank ? a.rank > b.rank : a.position > b.position;
  };
  std::vector<Scratch::Symbol>& symbols = scratch.symbols_;
  std::vector<Scratch::Candidate>& heap = scratch.heap_;
  const auto push = [&](int32_t position) {
    const size_t before = heap.size();
    PushCandidate(scratch, position);
    if (heap.size() > before) std::push_heap(heap.begin(), heap.end(), later);
  };
  heap.clear();
  for (size_t i = 0; i < symbols.size(); ++i) PushCandidate(scratch, static_cast<int32_t>(i));
  std::make_heap(heap.begin(), heap.end(), later);
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), later);
    const Scratch::Candidate top = heap.back();
    heap.pop_back();
    Scratch::Symbol& left = symbols[top.position];
    if (left.id < 0 || left.next < 0) continue;
    Scratch::Symbol& right = symbols[left.next];
    const Merge* merge = Find(left.id, right.id);
    if (merge == nullptr || merge->result != top.result) continue;
    left.id = top.result;
    left.next = right.next;
    right.id = -1;
    if (left.next >= 0) symbols[left.next].previous = top.position;
    if (left.previous >= 0) push(left.previous);
    push(top.position);
  }
}

}  // namespace espalier
