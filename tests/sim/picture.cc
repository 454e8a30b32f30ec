#include "tests/sim/picture.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/string_view.h"
#include "core/base/log.h"
#include "core/os/file_io.h"
#include "core/os/metadata.h"
#include "core/os/tree_walk.h"

namespace understudy::sim {
namespace {

absl::StatusOr<std::string> Describe(const os::Root& root, const os::WalkEntry& entry) {
  const os::EntryStat& stat = entry.stat;
  std::string text = fmt::format("kind {} mode {:o} owner {}:{} mtime {}", static_cast<int>(stat.kind), stat.mode,
                                 stat.uid, stat.gid, stat.mtime_nanoseconds);
  ASSIGN_OR_RETURN(const std::vector<model::Xattr> xattrs, os::ReadXattrs(entry.folder_fd, entry.name));
  for (const model::Xattr& xattr : xattrs) text += fmt::format(" {}={}", xattr.name, Printable(xattr.value));
  if (stat.kind == model::FileKind::kSymlink) {
    ASSIGN_OR_RETURN(const std::string target, os::ReadLinkAt(entry.folder_fd, entry.name));
    return text + " -> " + Printable(target);
  }
  if (stat.kind != model::FileKind::kRegular) return text + fmt::format(" device {}", stat.device);
  ASSIGN_OR_RETURN(const os::Fd file, root.OpenPath(entry.path, O_RDONLY | O_NOATIME));
  ASSIGN_OR_RETURN(const model::Digest digest, os::DigestOfFile(file.get(), stat.size));
  const absl::string_view bytes(reinterpret_cast<const char*>(digest.data()), digest.size());
  return text + fmt::format(" size {} content {}", stat.size, absl::BytesToHexString(bytes));
}

}  // namespace

absl::StatusOr<Picture> TakePicture(const std::string& path) {
  Picture picture;
  std::map<uint64_t, std::string> first_names;  // by inode
  ASSIGN_OR_RETURN(const os::Root root, os::Root::Open(path));
  os::WalkEntry top;
  ASSIGN_OR_RETURN(top.stat, root.Stat(""));
  top.folder_fd = root.fd();
  ASSIGN_OR_RETURN(picture[""], Describe(root, top));
  ASSIGN_OR_RETURN(os::TreeWalk walk, os::TreeWalk::Begin(root, ""));
  while (true) {
    ASSIGN_OR_RETURN(const std::optional<os::WalkEntry> entry, walk.Next());
    if (!entry.has_value()) return picture;
    ASSIGN_OR_RETURN(std::string description, Describe(root, *entry));
    if (entry->stat.kind != model::FileKind::kDirectory) {
      const std::string& first = first_names.try_emplace(entry->stat.inode, entry->path).first->second;
      if (first != entry->path) description += fmt::format(", the same file as '{}'", Printable(first));
    }
    picture[entry->path] = std::move(description);
  }
}

std::string Differences(const Picture& expected, const Picture& found) {
  std::string text;
  for (const auto& [path, description] : expected) {
    const auto other = found.find(path);
    if (other == found.end()) text += fmt::format("'{}' is missing: {}\n", Printable(path), description);
    if (other != found.end() && other->second != description) {
      text += fmt::format("'{}': {}\n  instead of {}\n", Printable(path), other->second, description);
    }
  }
  for (const auto& [path, description] : found) {
    if (!expected.contains(path)) text += fmt::format("'{}' shouldn't be there: {}\n", Printable(path), description);
  }
  return text;
}

}  // namespace understudy::sim
