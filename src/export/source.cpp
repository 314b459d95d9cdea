#include "espalier/export/source.h"

#include <fmt/format.h>
#include <unistd.h>

#include "espalier/core/error.h"

namespace espalier {

namespace fs = std::filesystem;

StagedFile::StagedFile(fs::path path)
    : path_(std::move(path)),
      temporary_(path_.parent_path() /
                 fmt::format(".{}.{}.unverified{}", path_.stem().string(), getpid(), path_.extension().string())) {}

StagedFile::~StagedFile() {
  std::error_code ignored;
  fs::remove(temporary_, ignored);
}

void StagedFile::Commit() {
  std::error_code error;
  fs::rename(temporary_, path_, error);
  if (error) throw IoError(fmt::format("{}: cannot be put in place: {}", path_.string(), error.message()));
}

}  // namespace espalier
