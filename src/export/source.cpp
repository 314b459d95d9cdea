#include "espalier/export/source.h"

#include <fmt/format.h>

#include "espalier/core/error.h"
#include "espalier/core/files.h"

namespace espalier {

namespace fs = std::filesystem;

StagedFile::StagedFile(fs::path path)
    : path_(std::move(path)), temporary_(TemporaryFor(path_, path_.extension().string())) {
  RemoveLeftovers(path_);
}

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
