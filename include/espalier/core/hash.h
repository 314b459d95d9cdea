#pragma once
// SHA-256, in lower-case hexadecimal: identities of files, texts and stage inputs.
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace espalier {

class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256& Add(std::span<const std::byte> bytes);
  Sha256& Add(std::string_view text);
  std::string Finish();  // 64 characters; the object is spent

 private:
  struct State;
  std::unique_ptr<State> state_;
};

std::string HashText(std::string_view text);
std::string HashFile(const std::filesystem::path& path);
// A folder's identity: names and contents of its regular files, in name order, not recursing.
std::string HashPath(const std::filesystem::path& path);

}  // namespace espalier
