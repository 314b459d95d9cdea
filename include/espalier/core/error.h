#pragma once
// What the library throws. One base, five kinds; the command turns each into one line and exit code 2.
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace espalier {

// A mistake that the caller can mend. The text says where, what was found, what was expected and what to do, in one
// line (RecipeError: one line for each mistake in the file).
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// A recipe, an option or an argument: unknown, out of range, contradictory, impossible.
class RecipeError : public Error {
 public:
  using Error::Error;
};

// Tensors that do not fit together.
class ShapeError : public Error {
 public:
  using Error::Error;
};

// A file or folder: missing, truncated, hostile, unwritable, locked.
class IoError : public Error {
 public:
  using Error::Error;
};

// NaN or infinity, a singular matrix, a loss that explodes. Names the block and the method.
class NumericError : public Error {
 public:
  using Error::Error;
};

// More memory was needed than this process may have. Names the stage and what to lower.
class MemoryError : public Error {
 public:
  using Error::Error;
};

// SIGINT or SIGTERM arrived; whatever was finished is on disk.
class Interrupted : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// The up to three of `names` nearest to `name` by edit distance, nearest first; none that is further than half its
// length.
std::vector<std::string> NearestNames(std::string_view name, const std::vector<std::string>& names);

// "unknown scorer 'wnda'. Nearest: wanda. Known: ..."
std::string UnknownName(std::string_view what, std::string_view name, const std::vector<std::string>& known);

// Thrown by ESPALIER_CHECK: our mistake, not the caller's. The command says "please report" and exits with 4.
class InternalError : public std::logic_error {
 public:
  using std::logic_error::logic_error;
};

[[noreturn]] void FailCheck(const char* condition, const char* file, int line, const std::string& message);

}  // namespace espalier

// For what only a programmer can break. If input can reach it, an Error and its test are missing.
#define ESPALIER_CHECK(condition, message) \
  ((condition) ? static_cast<void>(0) : ::espalier::FailCheck(#condition, __FILE__, __LINE__, (message)))
