#pragma once
// Counter-based random numbers: the value at (seed, stream, counter) depends on nothing else, so any thread can compute
// any part and a resumed run draws what the uninterrupted one would have drawn.
#include <cstdint>
#include <utility>
#include <vector>

namespace espalier {

// SplitMix64's finalizer (Steele, Lea, Flood 2014) over the three words.
inline uint64_t RandomBits(uint64_t seed, uint64_t stream, uint64_t counter) {
  const auto mix = [](uint64_t z) {
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31);
  };
  constexpr uint64_t kGolden = 0x9e3779b97f4a7c15ULL;
  return mix(mix(mix(seed + kGolden) + stream + kGolden) + counter + kGolden);
}

// Uniform in [0, n). n > 0. The bias of the multiplication is below n / 2^64.
inline uint64_t RandomBelow(uint64_t n, uint64_t seed, uint64_t stream, uint64_t counter) {
  return static_cast<uint64_t>((static_cast<unsigned __int128>(RandomBits(seed, stream, counter)) * n) >> 64);
}

// Uniform in [0, 1).
inline double RandomUnit(uint64_t seed, uint64_t stream, uint64_t counter) {
  return static_cast<double>(RandomBits(seed, stream, counter) >> 11) * 0x1.0p-53;
}

// 0..n-1 in an order that depends on (seed, stream) only (Fisher-Yates).
inline std::vector<int64_t> RandomOrder(int64_t n, uint64_t seed, uint64_t stream) {
  std::vector<int64_t> order(static_cast<size_t>(n));
  for (int64_t i = 0; i < n; ++i) order[static_cast<size_t>(i)] = i;
  for (int64_t i = n - 1; i > 0; --i)
    std::swap(order[static_cast<size_t>(i)],
              order[RandomBelow(static_cast<uint64_t>(i) + 1, seed, stream, static_cast<uint64_t>(i))]);
  return order;
}

}  // namespace espalier
