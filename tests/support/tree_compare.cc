#include "tests/support/tree_compare.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <optional>
#include <unordered_map>

#include "core/base/log.h"
#include "core/model/path.h"
#include "core/os/file_io.h"
#include "core/os/metadata.h"
#include "core/os/tree_walk.h"

namespace understudy::tests {
namespace {

constexpr size_t kCompareStepBytes = 1024 * 1024;

class Comparison {
 public:
  Comparison(os::Root left, os::Root right, size_t limit)
      : left_(std::move(left)), right_(std::move(right)), limit_(limit) {}

  absl::StatusOr<std::vector<std::string>> Run() {
    ASSIGN_OR_RETURN(os::TreeWalk left, os::TreeWalk::Begin(left_, ""));
    ASSIGN_OR_RETURN(os::TreeWalk right, os::TreeWalk::Begin(right_, ""));
    RETURN_IF_ERROR(CompareMetadata("", left_.fd(), "", right_.fd(), ""));
    ASSIGN_OR_RETURN(std::optional<os::WalkEntry> a, left.Next());
    ASSIGN_OR_RETURN(std::optional<os::WalkEntry> b, right.Next());
    while ((a.has_value() || b.has_value()) && differences_.size() < limit_) {
      const int order = !a.has_value() ? 1 : !b.has_value() ? -1 : model::Key(a->path).compare(model::Key(b->path));
      if (order != 0) Say((order < 0 ? a : b)->path, order < 0 ? "only on the left" : "only on the right");
      if (order == 0) RETURN_IF_ERROR(CompareEntry(*a, *b));
      if (order <= 0) {
        ASSIGN_OR_RETURN(a, left.Next());
      }
      if (order >= 0) {
        ASSIGN_OR_RETURN(b, right.Next());
      }
    }
    return std::move(differences_);
  }

 private:
  void Say(const std::string& path, const std::string& what) {
    if (differences_.size() < limit_) differences_.push_back(fmt::format("'{}': {}", Printable(path), what));
  }

  absl::Status CompareEntry(const os::WalkEntry& a, const os::WalkEntry& b) {
    if (a.stat.kind != b.stat.kind) {
      Say(a.path, "another kind");
      return absl::OkStatus();
    }
    CompareNames(a, b);
    if (a.stat.device != b.stat.device) Say(a.path, "another device number");
    if (a.stat.kind == model::FileKind::kRegular) RETURN_IF_ERROR(CompareContent(a, b));
    if (a.stat.kind == model::FileKind::kSymlink) {
      ASSIGN_OR_RETURN(const std::string left, os::ReadLinkAt(a.folder_fd, a.name));
      ASSIGN_OR_RETURN(const std::string right, os::ReadLinkAt(b.folder_fd, b.name));
      if (left != right) Say(a.path, fmt::format("target '{}' and '{}'", Printable(left), Printable(right)));
    }
    return CompareMetadata(a.path, a.folder_fd, a.name, b.folder_fd, b.name);
  }

  // The first name that was met of this one's file has to be the same on both sides.
  void CompareNames(const os::WalkEntry& a, const os::WalkEntry& b) {
    if (a.stat.kind == model::FileKind::kDirectory) return;
    const std::string& left = left_names_.try_emplace(a.stat.inode, a.path).first->second;
    const std::string& right = right_names_.try_emplace(b.stat.inode, b.path).first->second;
    if (left == right) return;
    const auto of = [&](const std::string& first) {
      return first == a.path ? std::string("a file of its own") : fmt::format("a name of '{}'", Printable(first));
    };
    Say(a.path, fmt::format("{} on the left, {} on the right", of(left), of(right)));
  }

  absl::Status CompareContent(const os::WalkEntry& a, const os::WalkEntry& b) {
    if (a.stat.size != b.stat.size) {
      Say(a.path, fmt::format("size {} and {}", a.stat.size, b.stat.size));
      return absl::OkStatus();
    }
    ASSIGN_OR_RETURN(const os::Fd left, left_.OpenPath(a.path, O_RDONLY | O_NOATIME));
    ASSIGN_OR_RETURN(const os::Fd right, right_.OpenPath(b.path, O_RDONLY | O_NOATIME));
    for (uint64_t offset = 0; offset < a.stat.size; offset += kCompareStepBytes) {
      const auto length = static_cast<size_t>(std::min<uint64_t>(kCompareStepBytes, a.stat.size - offset));
      ASSIGN_OR_RETURN(const std::string x, os::ReadAt(left.get(), offset, length));
      ASSIGN_OR_RETURN(const std::string y, os::ReadAt(right.get(), offset, length));
      if (x == y) continue;
      const size_t at = static_cast<size_t>(std::mismatch(x.begin(), x.end(), y.begin(), y.end()).first - x.begin());
      Say(a.path, fmt::format("content differs at byte {}", offset + at));
      break;
    }
    return absl::OkStatus();
  }

  absl::Status CompareMetadata(const std::string& path, int left_fd, const std::string& left_name, int right_fd,
                               const std::string& right_name) {
    ASSIGN_OR_RETURN(const os::EntryStat a, os::StatAt(left_fd, left_name));
    ASSIGN_OR_RETURN(const os::EntryStat b, os::StatAt(right_fd, right_name));
    if (a.mode != b.mode) Say(path, fmt::format("mode {:o} and {:o}", a.mode, b.mode));
    if (a.uid != b.uid || a.gid != b.gid) Say(path, fmt::format("owner {}:{} and {}:{}", a.uid, a.gid, b.uid, b.gid));
    if (a.mtime_nanoseconds != b.mtime_nanoseconds) {
      Say(path, fmt::format("mtime {} and {} ns", a.mtime_nanoseconds, b.mtime_nanoseconds));
    }
    ASSIGN_OR_RETURN(const std::vector<model::Xattr> x, os::ReadXattrs(left_fd, left_name));
    ASSIGN_OR_RETURN(const std::vector<model::Xattr> y, os::ReadXattrs(right_fd, right_name));
    if (x != y) Say(path, "other xattrs");
    return absl::OkStatus();
  }

  const os::Root left_;
  const os::Root right_;
  const size_t limit_;
  std::vector<std::string> differences_;
  std::unordered_map<uint64_t, std::string> left_names_, right_names_;  // first name by inode
};

absl::StatusOr<uint64_t> SpaceOf(const os::WalkEntry& entry) {
  struct stat stat {};
  if (fstatat(entry.folder_fd, entry.name.c_str(), &stat, AT_SYMLINK_NOFOLLOW) != 0) {
    return ErrnoStatus(errno, fmt::format("stat '{}'", Printable(entry.path)));
  }
  return static_cast<uint64_t>(stat.st_blocks) * 512;
}

absl::StatusOr<std::map<std::string, uint64_t>> SpaceOfFiles(const std::string& folder) {
  std::map<std::string, uint64_t> spaces;
  ASSIGN_OR_RETURN(const os::Root root, os::Root::Open(folder));
  ASSIGN_OR_RETURN(os::TreeWalk walk, os::TreeWalk::Begin(root, ""));
  for (;;) {
    ASSIGN_OR_RETURN(const std::optional<os::WalkEntry> entry, walk.Next());
    if (!entry.has_value()) return spaces;
    if (entry->stat.kind != model::FileKind::kRegular) continue;
    ASSIGN_OR_RETURN(spaces[entry->path], SpaceOf(*entry));
  }
}

}  // namespace

absl::StatusOr<std::vector<std::string>> CompareTrees(const std::string& left, const std::string& right, size_t limit) {
  ASSIGN_OR_RETURN(os::Root a, os::Root::Open(left));
  ASSIGN_OR_RETURN(os::Root b, os::Root::Open(right));
  return Comparison(std::move(a), std::move(b), limit).Run();
}

absl::StatusOr<std::vector<std::string>> CompareSpace(const std::string& left, const std::string& right,
                                                      uint64_t slack) {
  using Spaces = std::map<std::string, uint64_t>;
  ASSIGN_OR_RETURN(const Spaces a, SpaceOfFiles(left));
  ASSIGN_OR_RETURN(const Spaces b, SpaceOfFiles(right));
  std::vector<std::string> differences;
  for (const auto& [path, space] : a) {
    const auto other = b.find(path);
    if (other == b.end() || other->second <= space + slack) continue;
    differences.push_back(
        fmt::format("'{}': {} bytes of space on the left, {} on the right", Printable(path), space, other->second));
  }
  return differences;
}

}  // namespace understudy::tests
