#pragma once
// Bytes from the fuzzer as a file that the readers open like any other.
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>

namespace espalier::fuzz {

// The path of a file in memory that holds `size` bytes; the same file for every call.
std::filesystem::path FileOf(const uint8_t* data, size_t size);

// Calls `read`; an espalier::Error is how a reader refuses, anything else is a finding.
int Try(const std::function<void()>& read);

}  // namespace espalier::fuzz
