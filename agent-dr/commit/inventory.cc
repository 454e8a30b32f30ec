#include "agent-dr/commit/inventory.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <cerrno>
#include <optional>
#include <utility>

#include "core/base/log.h"
#include "core/os/file_io.h"
#include "core/os/metadata.h"
#include "core/os/tree_walk.h"

namespace understudy::dr {
namespace {

using model::FileKind;

absl::StatusOr<model::InventoryEntry> EntryOf(const os::WalkEntry& found, bool with_digests) {
  model::InventoryEntry entry;
  entry.path = found.path;
  entry.kind = found.stat.kind;
  entry.metadata = os::MetadataOf(found.stat);
  ASSIGN_OR_RETURN(entry.metadata.xattrs, os::ReadXattrs(found.folder_fd, found.name));
  switch (found.stat.kind) {
    case FileKind::kSymlink: {
      ASSIGN_OR_RETURN(entry.symlink_target, os::ReadLinkAt(found.folder_fd, found.name));
      break;
    }
    case FileKind::kCharacterDevice:
    case FileKind::kBlockDevice:
      entry.device = found.stat.device;
      break;
    case FileKind::kRegular: {
      entry.size = found.stat.size;
      if (!with_digests) break;
      const os::Fd file(openat(found.folder_fd, found.name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
      if (!file.valid()) return ErrnoStatus(errno, "open");
      ASSIGN_OR_RETURN(entry.digest, os::DigestOfFile(file.get(), entry.size));
      break;
    }
    case FileKind::kDirectory:
    case FileKind::kFifo:
    case FileKind::kSocket:
      break;
  }
  return entry;
}

}  // namespace

absl::Status ListInventory(const os::Root& root, const std::string& excluded_name, bool with_digests,
                           const std::function<absl::Status(model::InventoryEntry)>& visit) {
  ASSIGN_OR_RETURN(os::TreeWalk walk, os::TreeWalk::Begin(root, "", excluded_name));
  while (true) {
    ASSIGN_OR_RETURN(const std::optional<os::WalkEntry> found, walk.Next());
    if (!found.has_value()) return absl::OkStatus();
    absl::StatusOr<model::InventoryEntry> entry = EntryOf(*found, with_digests);
    if (!entry.ok()) return Annotate(entry.status(), fmt::format("inventory of '{}'", Printable(found->path)));
    RETURN_IF_ERROR(visit(*std::move(entry)));
  }
}

}  // namespace understudy::dr
