#include "espalier/evaluate/windows.h"

#include <algorithm>

#include "espalier/core/error.h"

namespace espalier {

std::vector<ScoredWindow> GptqWindows(int64_t tokens, int64_t window, int64_t limit) {
  std::vector<ScoredWindow> windows;
  for (int64_t begin = 0; begin + window <= tokens; begin += window) {
    if (limit > 0 && static_cast<int64_t>(windows.size()) == limit) break;
    windows.push_back({begin, begin + window, begin + 1});
  }
  return windows;
}

std::vector<ScoredWindow> StridedWindows(int64_t tokens, int64_t window, int64_t stride, int64_t limit) {
  ESPALIER_CHECK(stride > 0 && stride < window,
                 "windows must overlap: the first token of a window cannot be scored in it");
  std::vector<ScoredWindow> windows;
  int64_t scored = 1;  // tokens before this one have been scored, or never can be
  for (int64_t begin = 0; scored < tokens; begin += stride) {
    if (limit > 0 && static_cast<int64_t>(windows.size()) == limit) break;
    const int64_t end = std::min(begin + window, tokens);
    windows.push_back({begin, end, std::max(scored, begin + 1)});
    scored = end;
  }
  return windows;
}

std::vector<ScoredWindow> RollingWindows(int64_t tokens, int64_t window) {
  std::vector<ScoredWindow> windows;
  for (int64_t done = 0; done < tokens;) {
    const int64_t last = std::min(done + window, tokens);  // place of the last scored token: the prefix is at 0
    windows.push_back({std::max<int64_t>(0, last - window), last + 1, done + 1});
    done = last;
  }
  return windows;
}

}  // namespace espalier
