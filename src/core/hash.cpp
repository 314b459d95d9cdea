#include "espalier/core/hash.h"

#include <openssl/evp.h>

#include <algorithm>
#include <vector>

#include "espalier/core/error.h"
#include "espalier/core/files.h"

namespace espalier {

struct Sha256::State {
  EVP_MD_CTX* context = EVP_MD_CTX_new();
  ~State() { EVP_MD_CTX_free(context); }
};

Sha256::Sha256() : state_(std::make_unique<State>()) {
  ESPALIER_CHECK(EVP_DigestInit_ex(state_->context, EVP_sha256(), nullptr) == 1, "SHA-256 is not available");
}

Sha256::~Sha256() = default;

Sha256& Sha256::Add(std::span<const std::byte> bytes) {
  EVP_DigestUpdate(state_->context, bytes.data(), bytes.size());
  return *this;
}

Sha256& Sha256::Add(std::string_view text) {
  return Add(std::as_bytes(std::span(text)));
}

std::string Sha256::Finish() {
  unsigned char digest[32];
  EVP_DigestFinal_ex(state_->context, digest, nullptr);
  std::string text;
  for (const unsigned char byte : digest) {
    text += "0123456789abcdef"[byte >> 4];
    text += "0123456789abcdef"[byte & 15];
  }
  return text;
}

std::string HashText(std::string_view text) {
  return Sha256().Add(text).Finish();
}

std::string HashFile(const std::filesystem::path& path) {
  const RandomAccessFile file(path);
  std::vector<std::byte> buffer(size_t{1} << 20);
  Sha256 hash;
  for (uint64_t offset = 0; offset < file.size();) {
    const auto part = std::span(buffer).first(std::min<uint64_t>(buffer.size(), file.size() - offset));
    file.Read(offset, part);
    hash.Add(part);
    offset += part.size();
  }
  return hash.Finish();
}

std::string HashPath(const std::filesystem::path& path) {
  if (!std::filesystem::is_directory(path)) return HashFile(path);
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(path))
    if (entry.is_regular_file()) files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  Sha256 hash;
  for (const auto& file : files) hash.Add(file.filename().string()).Add(" ").Add(HashFile(file)).Add("\n");
  return hash.Finish();
}

}  // namespace espalier
