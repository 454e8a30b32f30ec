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

// What the other thread is asked for at a time; folders with fewer entries aren't worth asking.
constexpr size_t kLookAhead = 256;

absl::StatusOr<std::vector<std::string>> ListNames(int folder_fd, bool only_folders) {
  const auto failed = [] { return ErrnoStatus(errno, "list a folder"); };
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
    if (only_folders && entry->d_type != DT_DIR && entry->d_type != DT_UNKNOWN) continue;
    const std::string_view name = entry->d_name;
    if (name != "." && name != "..") names.emplace_back(name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace

absl::StatusOr<std::vector<std::string>> NamesIn(int folder_fd) {
  return ListNames(folder_fd, /*only_folders=*/false);
}

absl::StatusOr<TreeWalk> TreeWalk::Begin(const Root& root, const std::string& start, std::string excluded_name,
                                         Walk what) {
  TreeWalk walk;
  walk.what_ = what;
  walk.excluded_name_ = std::move(excluded_name);
  ASSIGN_OR_RETURN(Fd folder, root.OpenPath(start, O_RDONLY | O_DIRECTORY));
  ASSIGN_OR_RETURN(walk.start_, StatAt(folder.get(), ""));
  RETURN_IF_ERROR(walk.Enter(start, std::move(folder)));
  return walk;
}

absl::Status TreeWalk::Enter(const std::string& path, Fd folder) {
  absl::StatusOr<std::vector<std::string>> listed = ListNames(folder.get(), what_ == Walk::kFolders);
  if (!listed.ok()) return Annotate(listed.status(), fmt::format("folder '{}'", Printable(path)));
  std::vector<std::string> names = *std::move(listed);
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

void TreeWalk::LookAhead(Level& level) {
  if (what_ != Walk::kAllAhead || level.names.size() < 2 * kLookAhead) return;
  if (ahead_ == nullptr) ahead_ = std::make_unique<StatAhead>();
  const auto begin = [&](size_t from) -> std::shared_ptr<StatAhead::Look> {
    if (from >= level.names.size()) return nullptr;
    const size_t count = std::min(kLookAhead, level.names.size() - from);
    return ahead_->Begin(level.folder.get(), &level.names[from], count);
  };
  level.looked_from = level.next;
  level.now = level.later != nullptr ? std::move(level.later) : begin(level.next);
  level.later = begin(level.next + kLookAhead);
}

absl::StatusOr<EntryStat> TreeWalk::StatNext(Level& level) {
  if (level.now == nullptr || level.next == level.looked_from + level.now->count) {
    LookAhead(level);
    if (level.now != nullptr) ahead_->Await(*level.now);
  }
  const size_t at = level.next++;
  if (level.now == nullptr) return StatAt(level.folder.get(), level.names[at]);
  return std::move(level.now->stats[at - level.looked_from]);
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
    const std::string& name = level.names[level.next];
    const absl::StatusOr<EntryStat> stat = StatNext(level);
    if (absl::IsNotFound(stat.status())) continue;
    if (!stat.ok()) {
      failed_path_ = model::Join(level.path, name);
      return stat.status();
    }
    if (what_ == Walk::kFolders && stat->kind != model::FileKind::kDirectory) continue;
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
