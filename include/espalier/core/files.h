#pragma once
// Files that are either the old or the new one, whatever happens in between, and locks between processes.
#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace espalier {

// "a/b/" and "a/b" name the same: the second.
std::filesystem::path WithoutSlash(const std::filesystem::path& path);

// A hidden name beside `path` for what is to replace it, one for each process, ending with `suffix`; and the removal of
// what processes that were killed left under such names.
std::filesystem::path TemporaryFor(const std::filesystem::path& path, std::string_view suffix = "");
void RemoveLeftovers(const std::filesystem::path& path);

// The whole file. Throws IoError: missing, not a regular file, larger than `max_bytes`, unreadable.
std::string ReadFile(const std::filesystem::path& path, size_t max_bytes = size_t{1} << 30);

// Replaces `path` atomically: temporary name in the same folder, flush to disk, rename. Makes the folder when missing.
void WriteFile(const std::filesystem::path& path, std::string_view content);

// A regular file open for reading at any offset. Reads copy (no mapping), so a file that shrinks is an error, not a
// signal.
class RandomAccessFile {
 public:
  explicit RandomAccessFile(std::filesystem::path path);  // IoError: missing, a folder, a pipe
  ~RandomAccessFile();
  RandomAccessFile(RandomAccessFile&&) noexcept;
  RandomAccessFile& operator=(RandomAccessFile&&) = delete;

  uint64_t size() const { return size_; }
  const std::filesystem::path& path() const { return path_; }
  // Fills `out` from `offset`. IoError when fewer bytes are there.
  void Read(uint64_t offset, std::span<std::byte> out) const;

 private:
  std::filesystem::path path_;
  int descriptor_ = -1;
  uint64_t size_ = 0;
};

// A file under construction: Write as often as needed, then Commit. Without Commit nothing is left behind.
class AtomicFile {
 public:
  explicit AtomicFile(std::filesystem::path path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void Write(std::span<const std::byte> bytes);  // IoError: disk full names the file and the bytes asked for
  void Write(std::string_view text);
  void Commit();

 private:
  std::filesystem::path path_, temporary_;
  int descriptor_ = -1;
};

// A folder under construction at temporary(); Commit renames it to `path`, replacing what was there: at every moment
// one of the two has that name (where the file system can exchange two names; else for a moment neither has).
class AtomicFolder {
 public:
  explicit AtomicFolder(std::filesystem::path path);
  ~AtomicFolder();
  AtomicFolder(const AtomicFolder&) = delete;
  AtomicFolder& operator=(const AtomicFolder&) = delete;

  const std::filesystem::path& temporary() const { return temporary_; }
  void Commit();

 private:
  std::filesystem::path path_, temporary_;
  bool committed_ = false;
};

// Holds `path` for this process until destroyed. IoError when another process holds it, naming that process.
class FileLock {
 public:
  explicit FileLock(const std::filesystem::path& path);
  ~FileLock();
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;

 private:
  int descriptor_ = -1;
};

}  // namespace espalier
