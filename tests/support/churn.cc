#include "tests/support/churn.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "core/base/log.h"
#include "core/base/status.h"
#include "core/os/fd.h"
#include "core/os/file_io.h"

namespace understudy::tests {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kSizes[] = {0, 1, 100, 4096, 70'000, 262'144, 262'145, 1'000'000, 4'194'304, 9'000'000};
constexpr uint64_t kSparseBytes = 12'000'000;  // of several segments

}  // namespace

std::string Churn::Step() {
  switch (Below(17)) {
    case 0:
    case 1:
      return WriteFile(NewPath(), std::min(kSizes[Below(std::size(kSizes))], max_file_bytes_));
    case 2:
    case 3:
    case 4:
      return ChangeFile();
    case 5: {
      const std::string path = NewPath();
      UNDERSTUDY_CHECK(::mkdir(path.c_str(), 0755) == 0);
      return "mkdir " + path;
    }
    case 6:
      return Rename();
    case 7:
      return Swap();
    case 8:
      return MoveIntoNewFolder();
    case 9:
      return Remove();
    case 10:
      return ReplaceKind();
    case 11:
    case 12:
      return AddName();
    case 13:
      return ReplaceByCopy();
    case 14:
      return OverwriteSparseFile();
    case 15:
      return SwapAround();
    default: {
      const std::string path = NewPath();
      const bool fifo = Below(4) == 0;
      const int result = fifo ? ::mkfifo(path.c_str(), 0600) : ::symlink(Below(2) == 0 ? "." : "nowhere", path.c_str());
      UNDERSTUDY_CHECK(result == 0);
      return (fifo ? "mkfifo " : "symlink ") + path;
    }
  }
}

std::vector<std::string> Churn::Entries(bool folders) const {
  std::vector<std::string> paths;
  for (const auto& entry : fs::recursive_directory_iterator(root_)) {
    const fs::file_status status = entry.symlink_status();
    if (folders ? fs::is_directory(status) : fs::is_regular_file(status)) paths.push_back(entry.path());
  }
  std::sort(paths.begin(), paths.end());  // the order of a folder isn't the same twice
  return paths;
}

std::string Churn::Pick(bool folder) {
  const std::vector<std::string> paths = Entries(folder);
  return paths.empty() ? std::string() : paths[Below(paths.size())];
}

std::string Churn::NewPath() {
  std::string folder = Below(3) == 0 ? root_ : Pick(true);
  if (folder.empty()) folder = root_;
  constexpr std::string_view kOdd[] = {"", "-", " two words", "\n", "\xff\xfe", "'\"$", "é"};
  return fmt::format("{}/n{}{}", folder, names_made_++, kOdd[Below(std::size(kOdd))]);
}

std::string Churn::WriteFile(const std::string& path, uint64_t size) {
  const os::Fd file(::open(path.c_str(), O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, 0644));
  UNDERSTUDY_CHECK(file.valid());
  std::string data(size, '\0');
  const bool with_hole = size > 1'000'000 && Below(2) == 0;
  for (size_t at = with_hole ? size / 2 : 0; at < data.size(); at += 8) {
    const uint64_t word = random_();
    for (size_t i = at; i < std::min<size_t>(at + 8, data.size()); ++i)
      data[i] = static_cast<char>(word >> (8 * (i - at)));
  }
  const uint64_t begin = with_hole ? size / 2 : 0;
  UNDERSTUDY_CHECK(os::WriteAt(file.get(), begin, std::string_view(data).substr(begin)).ok());
  return fmt::format("write {} bytes to {}", size, path);
}

std::string Churn::ChangeFile() {
  const std::string path = Pick(false);
  if (path.empty()) return WriteFile(NewPath(), 5000);
  const uint64_t size = fs::file_size(path);
  const os::Fd file(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  UNDERSTUDY_CHECK(file.valid());
  switch (Below(6)) {
    case 0: {
      const uint64_t to = std::min(Below(size * 2 + 100), max_file_bytes_);
      UNDERSTUDY_CHECK(::ftruncate(file.get(), static_cast<off_t>(to)) == 0);
      return fmt::format("truncate {} from {} to {}", path, size, to);
    }
    case 1: {
      const mode_t mode = 0400 + static_cast<mode_t>(Below(0400));
      UNDERSTUDY_CHECK(::fchmod(file.get(), mode) == 0);
      return fmt::format("chmod {:o} {}", mode, path);
    }
    case 2: {
      // The same size and mtime: only ctime tells.
      struct stat before {};
      UNDERSTUDY_CHECK(::fstat(file.get(), &before) == 0);
      if (size > 0) UNDERSTUDY_CHECK(os::WriteAt(file.get(), Below(size), "!").ok());
      const timespec times[2] = {before.st_atim, before.st_mtim};
      UNDERSTUDY_CHECK(::futimens(file.get(), times) == 0);
      return "rewrite in secret " + path;
    }
    case 3: {
      const std::string value = std::to_string(random_());
      const char* name = Below(2) == 0 ? "user.churn" : "trusted.churn";
      if (Below(3) == 0) {
        ::fremovexattr(file.get(), name);  // it may have none
        return "removexattr " + path;
      }
      UNDERSTUDY_CHECK(::fsetxattr(file.get(), name, value.data(), value.size(), 0) == 0);
      return "setxattr " + path;
    }
    case 4: {
      const uint64_t at = Below(size + 1);
      const uint64_t length = Below(100'000);
      UNDERSTUDY_CHECK(::fallocate(file.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(at),
                                   static_cast<off_t>(length + 1)) == 0);
      return fmt::format("punch {}+{} in {}", at, length + 1, path);
    }
    default: {
      const uint64_t at = Below(size + 1);
      const std::string data(1 + Below(20'000), static_cast<char>('a' + Below(26)));
      UNDERSTUDY_CHECK(os::WriteAt(file.get(), at, data).ok());
      return fmt::format("overwrite {}+{} in {}", at, data.size(), path);
    }
  }
}

std::string Churn::OverwriteSparseFile() {
  std::error_code ignored;
  if (!fs::is_regular_file(fs::symlink_status(sparse_file_, ignored))) sparse_file_ = NewPath();
  const os::Fd file(::open(sparse_file_.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0644));
  UNDERSTUDY_CHECK(file.valid());
  const uint64_t size = std::min(kSparseBytes, max_file_bytes_);
  UNDERSTUDY_CHECK(::ftruncate(file.get(), static_cast<off_t>(size)) == 0);
  const uint64_t spots = 1 + Below(4);
  for (uint64_t i = 0; i < spots; ++i) {
    const std::string data(1 + Below(5000), static_cast<char>('A' + Below(26)));
    UNDERSTUDY_CHECK(os::WriteAt(file.get(), Below(size - data.size()), data).ok());
  }
  return fmt::format("overwrite {} spots of {}", spots, sparse_file_);
}

// Mostly of a file; symlinks and fifos can have several names, too.
std::string Churn::AddName() {
  std::vector<std::string> others;
  if (Below(5) == 0) {
    for (const auto& entry : fs::recursive_directory_iterator(root_)) {
      const fs::file_status status = entry.symlink_status();
      if (fs::is_symlink(status) || fs::is_fifo(status)) others.push_back(entry.path());
    }
    std::sort(others.begin(), others.end());
  }
  const std::string target = others.empty() ? Pick(false) : others[Below(others.size())];
  if (target.empty()) return "nothing to link to";
  std::string path = NewPath();
  if (Below(4) == 0) {
    const std::string replaced = Pick(false);
    if (replaced != target && !replaced.empty() && ::unlink(replaced.c_str()) == 0) path = replaced;
  }
  UNDERSTUDY_CHECK(::link(target.c_str(), path.c_str()) == 0);
  return fmt::format("link {} to {}", path, target);
}

// As an editor does: the name is another file then, its other names stay what they were.
std::string Churn::ReplaceByCopy() {
  const std::string path = Pick(false);
  if (path.empty()) return "nothing to replace";
  const std::string copy = NewPath();
  fs::copy_file(path, copy);
  const bool changed = Below(2) == 0;
  if (changed) {
    const os::Fd file(::open(copy.c_str(), O_WRONLY | O_CLOEXEC));
    UNDERSTUDY_CHECK(file.valid() && os::WriteAt(file.get(), 0, "copy").ok());
  }
  UNDERSTUDY_CHECK(::rename(copy.c_str(), path.c_str()) == 0);
  return fmt::format("replace {} by {} copy", path, changed ? "a changed" : "an equal");
}

std::string Churn::Rename() {
  const bool folder = Below(2) == 0;
  const std::string from = Pick(folder);
  std::string to = NewPath();
  // A folder can't move into itself.
  if (from.empty() || to.starts_with(from + "/")) return "nothing to rename";
  if (!folder && Below(3) == 0) {
    const std::string other = Pick(false);  // replaces it
    if (!other.empty()) to = other;
  }
  UNDERSTUDY_CHECK(::rename(from.c_str(), to.c_str()) == 0);
  return fmt::format("rename {} to {}", from, to);
}

std::string Churn::Swap() {
  const std::string a = Pick(Below(2) == 0);
  const std::string b = Pick(Below(2) == 0);
  if (a.empty() || b.empty() || a == b || a.starts_with(b + "/") || b.starts_with(a + "/")) return "nothing to swap";
  UNDERSTUDY_CHECK(::renameat2(AT_FDCWD, a.c_str(), AT_FDCWD, b.c_str(), RENAME_EXCHANGE) == 0);
  return fmt::format("swap {} and {}", a, b);
}

std::string Churn::SwapAround() {
  const std::string inner = Pick(/*folder=*/true);
  const std::string other = Pick(/*folder=*/true);
  const std::string outer = fs::path(inner).parent_path();
  if (inner.empty() || other.empty() || outer == root_) return "nothing to swap around";
  if (outer == other || outer.starts_with(other + "/") || other.starts_with(outer + "/"))
    return "nothing to swap around";
  const std::string name = fs::path(inner).filename();
  const std::string carried = other + "/" + name;
  UNDERSTUDY_CHECK(::renameat2(AT_FDCWD, outer.c_str(), AT_FDCWD, other.c_str(), RENAME_EXCHANGE) == 0);
  const bool both = fs::symlink_status(inner).type() != fs::file_type::not_found;
  UNDERSTUDY_CHECK(
      ::renameat2(AT_FDCWD, carried.c_str(), AT_FDCWD, inner.c_str(), both ? unsigned{RENAME_EXCHANGE} : 0) == 0);
  return fmt::format("swap {} and {} around {}", outer, other, name);
}

std::string Churn::MoveIntoNewFolder() {
  const std::string from = Pick(Below(2) == 0);
  const std::string folder = fmt::format("{}/f{}", root_, names_made_++);
  if (from.empty()) return "nothing to move";
  UNDERSTUDY_CHECK(::mkdir(folder.c_str(), 0700) == 0);
  const std::string to = fmt::format("{}/moved", folder);
  UNDERSTUDY_CHECK(::rename(from.c_str(), to.c_str()) == 0);
  return fmt::format("move {} to {}", from, to);
}

std::string Churn::Remove() {
  const std::string path = Pick(Below(3) == 0);
  if (path.empty()) return "nothing to remove";
  fs::remove_all(path);
  return "remove " + path;
}

std::string Churn::ReplaceKind() {
  const std::string path = Pick(Below(2) == 0);
  if (path.empty()) return "nothing to replace";
  const bool was_folder = fs::is_directory(fs::symlink_status(path));
  fs::remove_all(path);
  if (was_folder) return "folder becomes file: " + WriteFile(path, 300);
  UNDERSTUDY_CHECK(::mkdir(path.c_str(), 0711) == 0);
  WriteFile(path + "/inside", 10);
  return "file becomes folder: " + path;
}

}  // namespace understudy::tests
