#pragma once
#include <gtest/gtest.h>

#include "espalier/plan/cost.h"

namespace espalier {

// Whole numbers, so that sums of products are exact.
inline constexpr Timing kTestTiming{.attention = 3, .ffn = 2, .head = 5};

inline void ExpectSame(const Cost& a, const Cost& b) {
  EXPECT_EQ(a.block_parameters, b.block_parameters);
  EXPECT_EQ(a.total_parameters, b.total_parameters);
  EXPECT_EQ(a.bytes, b.bytes);
  EXPECT_EQ(a.kv_bytes, b.kv_bytes);
  EXPECT_EQ(a.macs, b.macs);
  EXPECT_EQ(a.picoseconds, b.picoseconds);
}

}  // namespace espalier
