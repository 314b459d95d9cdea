#pragma once
// Where an export takes things from, and the place where it puts them until they are known to be right.
#include <filesystem>
#include <optional>

namespace espalier {

struct ExportSource {
  std::filesystem::path model;                  // the checkpoint that is exported
  std::filesystem::path tokenizer;              // a GGUF file or a folder with tokenizer.json
  std::optional<std::filesystem::path> origin;  // the checkpoint it was pruned from
  std::optional<std::filesystem::path> run;     // the run that made it
};

// A file under another name in the same folder; Commit renames it. Without Commit it is removed.
class StagedFile {
 public:
  explicit StagedFile(std::filesystem::path path);
  ~StagedFile();
  StagedFile(const StagedFile&) = delete;
  StagedFile& operator=(const StagedFile&) = delete;

  const std::filesystem::path& temporary() const { return temporary_; }
  void Commit();  // IoError

 private:
  std::filesystem::path path_, temporary_;
};

}  // namespace espalier
