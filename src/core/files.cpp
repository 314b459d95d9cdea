#include "espalier/core/files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>

#include "espalier/core/error.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void Fail(const fs::path& path, std::string_view doing) {
  const int code = errno;
  std::string hint;
  if (code == ENOSPC || code == EDQUOT)
    hint = "; free some space and run the same command again, it goes on where it stopped";
  if (code == EACCES || code == EROFS) hint = "; check the permissions of the folder";
  throw IoError(fmt::format("{}: cannot {}: {}{}", path.string(), doing, std::strerror(code), hint));
}

void MakeFolderOf(const fs::path& path) {
  std::error_code error;
  const fs::path folder = path.parent_path();
  if (folder.empty()) return;
  fs::create_directories(folder, error);
  if (error) throw IoError(fmt::format("{}: cannot make the folder: {}", folder.string(), error.message()));
}

void FlushFolderOf(const fs::path& path) {
  const fs::path folder = path.parent_path().empty() ? fs::path(".") : path.parent_path();
  const int descriptor = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) return;
  ::fsync(descriptor);
  ::close(descriptor);
}

// Whether the name is `prefix` and the number of a process that is gone.
bool IsOfAnother(const std::string& name, const std::string& prefix) {
  if (!name.starts_with(prefix)) return false;
  const pid_t process = static_cast<pid_t>(std::atoi(name.c_str() + prefix.size()));
  return process > 0 && ::kill(process, 0) != 0 && errno == ESRCH;
}

// Two names change places. False where the file system cannot.
bool ExchangeNames(const fs::path& a, const fs::path& b) {
#if defined(RENAME_EXCHANGE)
  return ::renameat2(AT_FDCWD, a.c_str(), AT_FDCWD, b.c_str(), RENAME_EXCHANGE) == 0;
#else
  return a.empty() && b.empty();
#endif
}

}  // namespace

fs::path WithoutSlash(const fs::path& path) {
  return path.filename().empty() && path.has_parent_path() ? path.parent_path() : path;
}

fs::path TemporaryFor(const fs::path& path, std::string_view suffix) {
  return path.parent_path() / fmt::format(".{}.tmp-{}{}", path.filename().string(), ::getpid(), suffix);
}

void RemoveLeftovers(const fs::path& path) {
  const fs::path folder = path.parent_path().empty() ? fs::path(".") : path.parent_path();
  const std::string hidden = "." + path.filename().string();
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(folder, ignored)) {
    const std::string name = entry.path().filename().string();
    // The last: a temporary file of a temporary file.
    if (IsOfAnother(name, hidden + ".tmp-") || IsOfAnother(name, hidden + ".old-") ||
        IsOfAnother(name, "." + hidden + ".tmp-"))
      fs::remove_all(entry.path(), ignored);
  }
}

RandomAccessFile::RandomAccessFile(fs::path path) : path_(std::move(path)) {
  descriptor_ = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor_ < 0) Fail(path_, "open for reading");
  struct stat status {};
  const bool known = ::fstat(descriptor_, &status) == 0;
  if (!known || !S_ISREG(status.st_mode)) {
    ::close(descriptor_);
    throw IoError(fmt::format("{}: expected a regular file, found {}", path_.string(),
                              known && S_ISDIR(status.st_mode) ? "a folder" : "something else"));
  }
  size_ = static_cast<uint64_t>(status.st_size);
}

RandomAccessFile::~RandomAccessFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

RandomAccessFile::RandomAccessFile(RandomAccessFile&& other) noexcept
    : path_(std::move(other.path_)), descriptor_(other.descriptor_), size_(other.size_) {
  other.descriptor_ = -1;
}

void RandomAccessFile::Read(uint64_t offset, std::span<std::byte> out) const {
  size_t done = 0;
  while (done < out.size()) {
    const ssize_t count = ::pread(descriptor_, out.data() + done, out.size() - done, static_cast<off_t>(offset + done));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) Fail(path_, "read");
    if (count == 0)
      throw IoError(fmt::format("{}: ends at byte {}, expected {} bytes from offset {}; the file is truncated",
                                path_.string(), offset + done, out.size(), offset));
    done += static_cast<size_t>(count);
  }
}

std::string ReadFile(const fs::path& path, size_t max_bytes) {
  const RandomAccessFile file(path);
  if (file.size() > max_bytes)
    throw IoError(fmt::format("{}: {} bytes, expected at most {}", path.string(), file.size(), max_bytes));
  std::string content(file.size(), '\0');
  file.Read(0, std::as_writable_bytes(std::span(content)));
  return content;
}

void WriteFile(const fs::path& path, std::string_view content) {
  AtomicFile file(path);
  file.Write(content);
  file.Commit();
}

AtomicFile::AtomicFile(fs::path path) : path_(std::move(path)), temporary_(TemporaryFor(path_)) {
  MakeFolderOf(path_);
  RemoveLeftovers(path_);
  descriptor_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (descriptor_ < 0) Fail(path_, "write");
}

AtomicFile::~AtomicFile() {
  if (descriptor_ < 0) return;
  ::close(descriptor_);
  ::unlink(temporary_.c_str());
}

void AtomicFile::Write(std::span<const std::byte> bytes) {
  size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t count = ::write(descriptor_, bytes.data() + done, bytes.size() - done);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) Fail(path_, fmt::format("write {} bytes", bytes.size()));
    done += static_cast<size_t>(count);
  }
}

void AtomicFile::Write(std::string_view text) {
  Write(std::as_bytes(std::span(text)));
}

void AtomicFile::Commit() {
  if (::fsync(descriptor_) != 0) Fail(path_, "flush");
  ::close(descriptor_);
  descriptor_ = -1;
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) {
    ::unlink(temporary_.c_str());
    Fail(path_, "rename the finished file");
  }
  FlushFolderOf(path_);
}

AtomicFolder::AtomicFolder(fs::path path) : path_(WithoutSlash(path)), temporary_(TemporaryFor(path_)) {
  std::error_code error;
  RemoveLeftovers(path_);
  fs::remove_all(temporary_, error);
  fs::create_directories(temporary_, error);
  if (error) throw IoError(fmt::format("{}: cannot make the folder: {}", path_.string(), error.message()));
}

AtomicFolder::~AtomicFolder() {
  std::error_code ignored;
  if (!committed_) fs::remove_all(temporary_, ignored);
}

void AtomicFolder::Commit() {
  // A folder cannot be renamed over a full one: the two change names, or the old one steps aside first.
  std::error_code error;
  fs::path old;
  if (fs::exists(path_) && ExchangeNames(temporary_, path_)) {
    old = temporary_;
  } else {
    if (fs::exists(path_)) {
      old = path_.parent_path() / fmt::format(".{}.old-{}", path_.filename().string(), ::getpid());
      fs::remove_all(old, error);
      fs::rename(path_, old, error);
      if (error) throw IoError(fmt::format("{}: cannot replace the folder: {}", path_.string(), error.message()));
    }
    fs::rename(temporary_, path_, error);
    if (error) {
      std::error_code ignored;
      if (!old.empty()) fs::rename(old, path_, ignored);
      throw IoError(fmt::format("{}: cannot rename the finished folder: {}", path_.string(), error.message()));
    }
  }
  committed_ = true;
  FlushFolderOf(path_);
  if (!old.empty()) fs::remove_all(old, error);
}

FileLock::FileLock(const fs::path& path) {
  MakeFolderOf(path);
  descriptor_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (descriptor_ < 0) Fail(path, "open the lock");
  if (::flock(descriptor_, LOCK_EX | LOCK_NB) != 0) {
    char holder[32] = {};
    const ssize_t count = ::pread(descriptor_, holder, sizeof(holder) - 1, 0);
    ::close(descriptor_);
    throw IoError(
        fmt::format("{}: another run (process {}) is using this folder; wait for it or choose another with name=",
                    path.parent_path().string(), count > 0 ? holder : "unknown"));
  }
  const std::string mine = std::to_string(::getpid());
  if (::ftruncate(descriptor_, 0) != 0 || ::pwrite(descriptor_, mine.data(), mine.size(), 0) < 0)
    Fail(path, "write the lock");
}

FileLock::~FileLock() {
  ::close(descriptor_);
}

}  // namespace espalier
