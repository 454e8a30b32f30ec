#include "core/os/describe_entry.h"

#include "core/os/metadata.h"
#include "core/os/root.h"

namespace understudy::os {

absl::StatusOr<model::InventoryEntry> DescribeEntry(int folder_fd, const std::string& name, const EntryStat& stat) {
  model::InventoryEntry entry;
  entry.kind = stat.kind;
  entry.metadata = MetadataOf(stat);
  ASSIGN_OR_RETURN(entry.metadata.xattrs, ReadXattrs(folder_fd, name));
  switch (stat.kind) {
    case model::FileKind::kSymlink: {
      ASSIGN_OR_RETURN(entry.symlink_target, ReadLinkAt(folder_fd, name));
      break;
    }
    case model::FileKind::kCharacterDevice:
    case model::FileKind::kBlockDevice:
      entry.device = stat.device;
      break;
    case model::FileKind::kRegular:
      entry.size = stat.size;
      break;
    case model::FileKind::kDirectory:
    case model::FileKind::kFifo:
    case model::FileKind::kSocket:
      break;
  }
  return entry;
}

}  // namespace understudy::os
