#include "espalier/io/checkpoint.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "checked.h"
#include "checkpoint_formats.h"
#include "espalier/core/error.h"
#include "espalier/core/files.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kExpected = "expected a .gguf file, or a folder with config.json and model.safetensors";

// torch.save writes a zip archive since 1.6, before that a bare pickle: PROTO (0x80) and a version of 2 to 5.
bool LooksLikePickle(const fs::path& path, std::span<const unsigned char> start) {
  static constexpr std::array<std::string_view, 6> kExtensions = {".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle"};
  if (std::find(kExtensions.begin(), kExtensions.end(), path.extension().string()) != kExtensions.end()) return true;
  if (start.size() < 4) return false;
  const bool zip = start[0] == 'P' && start[1] == 'K' && start[2] == 3 && start[3] == 4;
  return zip || (start[0] == 0x80 && start[1] >= 2 && start[1] <= 5);
}

std::vector<unsigned char> StartOf(const fs::path& path) {
  const RandomAccessFile file(path);
  std::vector<unsigned char> start(std::min<uint64_t>(4, file.size()));
  file.Read(0, std::as_writable_bytes(std::span(start)));
  return start;
}

std::unique_ptr<Checkpoint> OpenFile(const fs::path& path) {
  const std::vector<unsigned char> start = StartOf(path);
  const bool gguf_magic = std::string_view(reinterpret_cast<const char*>(start.data()), start.size()) == "GGUF";
  if (gguf_magic || path.extension() == ".gguf") return OpenGgufCheckpoint(path);
  if (LooksLikePickle(path, start)) throw IoError(fmt::format("{}: {}", path.string(), kPickleRefusal));
  const fs::path name = path.filename();
  if (path.extension() == ".safetensors" || path.extension() == ".json")
    throw IoError(fmt::format("{}: this is one file of a model; give its folder '{}', which needs config.json and {}",
                              path.string(), path.has_parent_path() ? path.parent_path().string() : ".",
                              "model.safetensors"));
  throw IoError(fmt::format("{}: not a GGUF file; {}", path.string(), kExpected));
}

}  // namespace

void FailNoTensor(const Checkpoint& checkpoint, std::string_view name) {
  const std::vector<std::string> names = checkpoint.Names();
  std::string nearest;
  for (const std::string& near : NearestNames(name, names))
    nearest += (nearest.empty() ? "; nearest: " : ", ") + Quote(near);
  throw IoError(
      fmt::format("{}: no tensor {} among {}{}", checkpoint.path().string(), Quote(name), names.size(), nearest));
}

std::unique_ptr<Checkpoint> Checkpoint::Open(const fs::path& path) {
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (status.type() == fs::file_type::not_found)
    throw IoError(fmt::format("{}: no such file or folder; {}", path.string(), kExpected));
  return fs::is_directory(status) ? OpenCheckpointFolder(path) : OpenFile(path);
}

}  // namespace espalier
