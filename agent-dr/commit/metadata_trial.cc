#include "agent-dr/commit/metadata_trial.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <vector>

#include "agent-dr/commit/free_space.h"
#include "agent-dr/commit/prepare.h"
#include "agent-dr/commit/work_area.h"
#include "core/base/log.h"
#include "core/os/metadata.h"
#include "core/os/stat.h"
#include "core/wire/status_path.h"

namespace understudy::dr {
namespace {

using model::FileKind;

// Of one commit; past it some are tried again.
constexpr size_t kMaxTaken = 1000;
// Longer xattrs are tried each time instead of being remembered.
constexpr size_t kMaxRememberedBytes = 4096;

// Empty: too long to be remembered.
std::string NameOf(FileKind kind, const model::Metadata& metadata) {
  std::string name = fmt::format("{},{},{}", static_cast<int>(kind), metadata.uid, metadata.gid);
  for (const model::Xattr& xattr : metadata.xattrs) {
    if (name.size() + xattr.name.size() + xattr.value.size() > kMaxRememberedBytes) return "";
    name += fmt::format(",{},{},", xattr.name.size(), xattr.value.size()) + xattr.name + xattr.value;
  }
  return name;
}

// Whether the filesystem said that it can't, rather than that something failed.
bool IsRefusal(const absl::Status& error, int fd) {
  switch (error.code()) {
    case absl::StatusCode::kResourceExhausted:
      return !IsForWantOfSpace(error, fd);
    case absl::StatusCode::kUnimplemented:  // ENOTSUP
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kOutOfRange:
    case absl::StatusCode::kPermissionDenied:
      return true;
    default:
      return false;
  }
}

absl::Status MakeEntry(int folder, const char* name, FileKind kind) {
  int made = 0;
  switch (kind) {
    case FileKind::kDirectory:
      made = mkdirat(folder, name, 0700);
      break;
    case FileKind::kSymlink:
      made = symlinkat("target", folder, name);
      break;
    case FileKind::kRegular:
      made = mknodat(folder, name, S_IFREG | 0600, 0);
      break;
    default:
      made = mknodat(folder, name, NodeTypeBits(kind) | 0600, 0);
  }
  return made == 0 ? absl::OkStatus() : ErrnoStatus(errno, "make an entry to try metadata on");
}

}  // namespace

absl::Status ApplyMetadataOf(const std::string& path, int fd, FileKind kind, const model::Metadata& metadata) {
  const absl::Status set = os::ApplyMetadata(fd, kind, metadata);
  if (set.ok()) return set;
  if (!IsRefusal(set, fd)) return Annotate(set, fmt::format("'{}'", Printable(path)));
  return wire::WithPath(
      absl::FailedPreconditionError(fmt::format(
          "'{}' has metadata at the primary that the replica's filesystem doesn't take ({}): change it there, or give "
          "the replica a filesystem that takes it (large xattrs: XFS, or ext4 with ea_inode; ACLs: one that isn't "
          "mounted with noacl; a quota: without one)",
          Printable(path), MessageOf(set))),
      path);
}

absl::StatusOr<bool> MetadataTrial::Has(const std::string& present, const model::Metadata& metadata) const {
  ASSIGN_OR_RETURN(const os::Fd entry, replica_.OpenPath(present, O_PATH));
  ASSIGN_OR_RETURN(const os::EntryStat stat, os::StatAt(entry.get(), ""));
  if (stat.uid != metadata.uid || stat.gid != metadata.gid) return false;
  if (metadata.xattrs.empty()) return true;
  ASSIGN_OR_RETURN(const std::vector<model::Xattr> xattrs, os::ReadXattrs(entry.get(), "", os::Labels::kTake));
  return std::all_of(metadata.xattrs.begin(), metadata.xattrs.end(), [&](const model::Xattr& wanted) {
    return std::find(xattrs.begin(), xattrs.end(), wanted) != xattrs.end();
  });
}

absl::Status MetadataTrial::Try(const std::string& path, FileKind kind, const model::Metadata& metadata,
                                const std::string* present) {
  std::string name = NameOf(kind, metadata);
  if (taken_.contains(name)) return absl::OkStatus();
  bool has = false;
  if (present != nullptr) {
    ASSIGN_OR_RETURN(has, Has(*present, metadata));
  }
  if (!has) RETURN_IF_ERROR(TryOnOther(path, kind, metadata));
  if (!name.empty() && taken_.size() < kMaxTaken) taken_.insert(std::move(name));
  return absl::OkStatus();
}

absl::Status MetadataTrial::TryOnOther(const std::string& path, FileKind kind, const model::Metadata& metadata) {
  const char* const name = WorkArea::kTrialEntry;
  RETURN_IF_ERROR(MakeEntry(staging_.fd(), name, kind));
  const absl::StatusOr<os::Fd> entry = staging_.OpenPath(name, O_PATH);
  const absl::Status set =
      entry.ok() ? ApplyMetadataOf(path, entry->get(), kind, metadata) : absl::Status(entry.status());
  if (unlinkat(staging_.fd(), name, kind == FileKind::kDirectory ? AT_REMOVEDIR : 0) != 0) {
    return ErrnoStatus(errno, "take away the entry that metadata was tried on");
  }
  return set;
}

}  // namespace understudy::dr
