#include "core/os/tree_walk.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <utility>

#include "core/base/log.h"
#include "core/model/path.h"

namespace understudy::os {
namespace {

absl::StatusOr<std::vector<std::string>> NamesOf(int folder_fd, std::string_view path) {
  const auto failed = [&] { return ErrnoStatus(errno, fmt::format("read folder '{}'", Printable(path))); };
  const int duplicate = openat(folder_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (duplicate < 0) return failed();
  const std::unique_ptr<DIR, int (*)(DIR*)> stream(fdopendir(duplicate), closedir);
  if (stream == nullptr) {
    ::close(duplicate);
    return failed();
  }
  std::vector<std::string> names;
  for (;;) {
    errno = 0;
    const dirent* entry = readdir(stream.get());
    if (entry == nullptr) {
      if (errno != 0) return failed();
      break;
    }
    const std::string_view name = entry->d_name;
    if (name != "." && name != "..") names.emplace_back(name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace

absl::StatusOr<TreeWalk> TreeWalk::Begin(const Root& root, const std::string& start, std::string excluded_name) {
  TreeWalk walk;
  walk.excluded_name_ = std::move(excluded_name);
  ASSIGN_OR_RETURN(Fd folder, root.OpenPath(start, O_RDONLY | O_DIRECTORY));
  ASSIGN_OR_RETURN(walk.start_, StatAt(folder.get(), ""));
  RETURN_IF_ERROR(walk.Enter(start, std::move(folder)));
  return walk;
}

absl::Status TreeWalk::Enter(const std::string& path, Fd folder) {
  ASSIGN_OR_RETURN(std::vector<std::string> names, NamesOf(folder.get(), path));
  if (path.empty() && !excluded_name_.empty()) {
    names.erase(std::remove(names.begin(), names.end(), excluded_name_), names.end());
  }
  levels_.push_back({std::move(folder), path, std::move(names), 0});
  return absl::OkStatus();
}

absl::Status TreeWalk::EnterFolder(const WalkEntry& entry) {
  const int fd =
      openat(levels_.back().folder.get(), entry.name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (fd >= 0) {
    Fd folder(fd);
    ASSIGN_OR_RETURN(const EntryStat entered, StatAt(fd, ""));
    torn_ |= entered.inode != entry.stat.inode || entered.filesystem != entry.stat.filesystem;
    return Enter(entry.path, std::move(folder));
  }
  if (errno == ENOENT || errno == ENOTDIR || errno == ELOOP) return absl::OkStatus();
  return ErrnoStatus(errno, fmt::format("open folder '{}'", Printable(entry.path)));
}

absl::StatusOr<std::optional<WalkEntry>> TreeWalk::Next() {
  const std::optional<WalkEntry> folder = std::exchange(folder_to_enter_, std::nullopt);
  if (std::exchange(enter_, false) && folder.has_value()) {
    failed_path_ = folder->path;
    RETURN_IF_ERROR(EnterFolder(*folder));
  }
  while (!levels_.empty()) {
    Level& level = levels_.back();
    if (level.next == level.names.size()) {
      levels_.pop_back();
      continue;
    }
    const std::string& name = level.names[level.next++];
    absl::StatusOr<EntryStat> stat = StatAt(level.folder.get(), name);
    if (absl::IsNotFound(stat.status())) continue;
    if (!stat.ok()) {
      failed_path_ = model::Join(level.path, name);
      return stat.status();
    }
    WalkEntry entry{model::Join(level.path, name), *stat, level.folder.get(), name};
    if (stat->kind == model::FileKind::kDirectory) {
      folder_to_enter_ = entry;
      enter_ = true;
    }
    return entry;
  }
  return std::nullopt;
}

}  // namespace understudy::os
