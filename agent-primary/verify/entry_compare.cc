#include "agent-primary/verify/entry_compare.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <string_view>

#include "core/base/log.h"
#include "core/os/describe_entry.h"
#include "core/os/file_io.h"

namespace understudy::primary {
namespace {

using model::DifferenceKind;
using model::FileKind;

std::string_view NameOf(FileKind kind) {
  switch (kind) {
    case FileKind::kRegular:
      return "a file";
    case FileKind::kDirectory:
      return "a folder";
    case FileKind::kSymlink:
      return "a symlink";
    case FileKind::kFifo:
      return "a fifo";
    case FileKind::kSocket:
      return "a socket";
    case FileKind::kCharacterDevice:
      return "a character device";
    case FileKind::kBlockDevice:
      return "a block device";
  }
  AbortOnBrokenInvariant("known FileKind", __FILE__, __LINE__);
}

std::string MtimeText(const model::Metadata& metadata) {
  return fmt::format("{}.{:09}", metadata.mtime_seconds, metadata.mtime_nanoseconds);
}

// The first name that only one side has, or with another value.
std::string XattrText(const model::Metadata& here, const model::Metadata& there) {
  for (const auto& [one, other, side] : {std::tuple(&here, &there, "here"), std::tuple(&there, &here, "at DR")}) {
    for (const model::Xattr& xattr : one->xattrs) {
      bool same = false;
      bool named = false;
      for (const model::Xattr& candidate : other->xattrs) {
        named |= candidate.name == xattr.name;
        same |= candidate == xattr;
      }
      if (named && !same) return fmt::format("{} has another value", Printable(xattr.name));
      if (!named) return fmt::format("{} is there only {}", Printable(xattr.name), side);
    }
  }
  return "another order";
}

}  // namespace

absl::StatusOr<std::optional<LocalEntry>> ReadLocalEntry(const os::Root& root, const std::string& path,
                                                         bool with_digest) {
  std::string name;
  std::optional<os::Fd> folder;
  if (!path.empty()) {
    absl::StatusOr<os::ParentAndName> place = root.OpenParent(path);
    if (absl::IsNotFound(place.status())) return std::nullopt;
    RETURN_IF_ERROR(place.status());
    folder = std::move(place->folder);
    name = place->name;
  }
  const int folder_fd = folder.has_value() ? folder->get() : root.fd();
  const absl::StatusOr<os::EntryStat> stat = os::StatAt(folder_fd, name);
  if (absl::IsNotFound(stat.status())) return std::nullopt;
  RETURN_IF_ERROR(stat.status());
  LocalEntry local{*stat, {}};
  absl::StatusOr<model::InventoryEntry> entry = os::DescribeEntry(folder_fd, name, *stat);
  // Gone, or another kind of entry by now.
  if (absl::IsNotFound(entry.status()) || absl::IsInvalidArgument(entry.status())) {
    return absl::AbortedError("it changes just now");
  }
  RETURN_IF_ERROR(entry.status());
  local.entry = *std::move(entry);
  local.entry.path = path;
  if (!with_digest || stat->kind != FileKind::kRegular) return local;
  absl::StatusOr<os::Fd> file = root.OpenPath(path, O_RDONLY | O_NONBLOCK | O_NOATIME);
  if (absl::IsNotFound(file.status())) return absl::AbortedError("it changes just now");
  RETURN_IF_ERROR(file.status());
  ASSIGN_OR_RETURN(local.entry.digest, os::DigestOfFile(file->get(), stat->size));
  return local;
}

std::vector<model::Difference> CompareEntries(const std::string& path, const std::optional<LocalEntry>& here,
                                              const std::optional<model::ListedEntry>& there) {
  std::vector<model::Difference> found;
  const auto add = [&](DifferenceKind kind, std::string detail) { found.push_back({path, kind, std::move(detail)}); };
  if (!here.has_value() && !there.has_value()) return found;
  if (!there.has_value()) {
    add(DifferenceKind::kMissing, fmt::format("{} that isn't at DR", NameOf(here->entry.kind)));
    return found;
  }
  if (!here.has_value()) {
    add(DifferenceKind::kExtra, fmt::format("{} that is at DR only", NameOf(there->entry.kind)));
    return found;
  }
  const model::InventoryEntry& a = here->entry;
  const model::InventoryEntry& b = there->entry;
  if (a.kind != b.kind) {
    add(DifferenceKind::kKind, fmt::format("{} here, {} at DR", NameOf(a.kind), NameOf(b.kind)));
    return found;
  }
  const bool regular = a.kind == FileKind::kRegular;
  if (regular && a.size != b.size) {
    add(DifferenceKind::kSize, fmt::format("{} bytes here, {} at DR", a.size, b.size));
  } else if (there->unreadable) {
    add(DifferenceKind::kUnreadable, "can't be read at DR");
  } else if (a.digest.has_value() && b.digest.has_value() && a.digest != b.digest) {
    add(DifferenceKind::kContent, "other content at DR");
  }
  // Linux ignores a symlink's mode.
  if (a.kind != FileKind::kSymlink && a.metadata.mode != b.metadata.mode) {
    add(DifferenceKind::kMode, fmt::format("{:04o} here, {:04o} at DR", a.metadata.mode, b.metadata.mode));
  }
  if (a.metadata.uid != b.metadata.uid || a.metadata.gid != b.metadata.gid) {
    add(DifferenceKind::kOwner,
        fmt::format("{}:{} here, {}:{} at DR", a.metadata.uid, a.metadata.gid, b.metadata.uid, b.metadata.gid));
  }
  if (a.metadata.mtime_seconds != b.metadata.mtime_seconds ||
      a.metadata.mtime_nanoseconds != b.metadata.mtime_nanoseconds) {
    add(DifferenceKind::kMtime, fmt::format("{} here, {} at DR", MtimeText(a.metadata), MtimeText(b.metadata)));
  }
  if (a.metadata.xattrs != b.metadata.xattrs) add(DifferenceKind::kXattrs, XattrText(a.metadata, b.metadata));
  if (a.symlink_target != b.symlink_target) {
    add(DifferenceKind::kTarget,
        fmt::format("'{}' here, '{}' at DR", Printable(a.symlink_target), Printable(b.symlink_target)));
  }
  if (a.device != b.device) add(DifferenceKind::kDevice, fmt::format("{:x} here, {:x} at DR", a.device, b.device));
  return found;
}

}  // namespace understudy::primary
