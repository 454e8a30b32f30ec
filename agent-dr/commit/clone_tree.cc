#include "agent-dr/commit/clone_tree.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <optional>
#include <utility>
#include <vector>

#include "agent-dr/commit/file_clone.h"
#include "agent-dr/commit/free_space.h"
#include "agent-dr/commit/prepare.h"
#include "agent-dr/commit/remove_tree.h"
#include "agent-dr/commit/work_area.h"
#include "core/base/log.h"
#include "core/model/path.h"
#include "core/os/file_io.h"
#include "core/os/metadata.h"
#include "core/os/tree_walk.h"
#include "core/os/work_folder.h"

namespace understudy::dr {
namespace {

using model::FileKind;

constexpr char kLinks[] = "links";

absl::Status Failed(std::string_view what, std::string_view path) {
  return ErrnoStatus(errno, fmt::format("{} '{}'", what, Printable(path)));
}

absl::StatusOr<model::Metadata> MetadataAt(int folder_fd, const std::string& name, const os::EntryStat& stat) {
  model::Metadata metadata = os::MetadataOf(stat);
  ASSIGN_OR_RETURN(metadata.xattrs, os::ReadXattrs(folder_fd, name, os::Labels::kTake));
  return metadata;
}

}  // namespace

absl::StatusOr<TreeCloner> TreeCloner::Begin(const os::Root& target, os::GoOn go_on) {
  ASSIGN_OR_RETURN(const bool shares, SharesBlocks(target));
  ASSIGN_OR_RETURN(os::Root links, os::PrivateFolder(target.fd(), kLinks));
  return TreeCloner(target, std::move(links), std::move(go_on), shares);
}

absl::Status TreeCloner::DropLinks(const os::Root& target) {
  ASSIGN_OR_RETURN(const os::Root links, os::PrivateFolder(target.fd(), kLinks));
  RETURN_IF_ERROR(RemoveAllIn(links));
  return unlinkat(target.fd(), kLinks, AT_REMOVEDIR) == 0 ? absl::OkStatus() : Failed("take away folder", kLinks);
}

// A clone with as many names as the filesystem allows gives up the one in `links`: no more of them can come.
absl::StatusOr<bool> TreeCloner::LinkToClone(const std::string& key, int parent, const char* leaf) const {
  if (linkat(links_.fd(), key.c_str(), parent, leaf, 0) == 0) return true;
  if (errno == ENOENT) return false;
  if (errno == EMLINK && renameat(links_.fd(), key.c_str(), parent, leaf) == 0) return true;
  return Failed("link", leaf);
}

absl::Status TreeCloner::CloneFile(int folder_fd, const std::string& name, const os::EntryStat& stat, int parent,
                                   const std::string& leaf) const {
  const os::Fd source(openat(folder_fd, name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  if (!source.valid()) return Failed("open", name);
  const os::Fd file(openat(parent, leaf.c_str(), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!file.valid()) return Failed("make", name);
  if (!shares_) {
    constexpr uint64_t kStatBlockBytes = 512;
    struct stat raw {};
    if (fstat(source.get(), &raw) != 0) return Failed("stat", name);
    RETURN_IF_ERROR(CheckFreeSpace(file.get(), static_cast<uint64_t>(raw.st_blocks) * kStatBlockBytes, 1));
  }
  return CloneContent(source.get(), file.get(), stat.size, stat.size, go_on_);
}

absl::Status TreeCloner::CloneEntry(int folder_fd, const std::string& name, const os::EntryStat& stat,
                                    const std::string& path) {
  ASSIGN_OR_RETURN(const os::ParentAndName place, target_->OpenParent(path));
  const int parent = place.folder.get();
  const char* const leaf = place.name.c_str();
  const bool several_names = stat.kind != FileKind::kDirectory && stat.link_count > 1;
  const std::string key = fmt::format("{}-{}", stat.inode, stat.btime_nanoseconds);
  if (several_names) {
    ASSIGN_OR_RETURN(const bool linked, LinkToClone(key, parent, leaf));
    if (linked) return absl::OkStatus();
  }
  switch (stat.kind) {
    case FileKind::kDirectory:
      return mkdirat(parent, leaf, 0700) == 0 ? absl::OkStatus() : Failed("make folder", path);
    case FileKind::kRegular:
      RETURN_IF_ERROR(CloneFile(folder_fd, name, stat, parent, place.name));
      break;
    case FileKind::kSymlink: {
      ASSIGN_OR_RETURN(const std::string to, os::ReadLinkAt(folder_fd, name));
      if (symlinkat(to.c_str(), parent, leaf) != 0) return Failed("make symlink", path);
      break;
    }
    default:
      if (mknodat(parent, leaf, NodeTypeBits(stat.kind) | 0600, stat.device) != 0) return Failed("make node", path);
  }
  ASSIGN_OR_RETURN(const model::Metadata metadata, MetadataAt(folder_fd, name, stat));
  const os::Fd made(openat(parent, leaf, O_PATH | O_NOFOLLOW | O_CLOEXEC));
  if (!made.valid()) return Failed("open", path);
  RETURN_IF_ERROR(os::ApplyMetadata(made.get(), stat.kind, metadata));
  if (several_names && linkat(parent, leaf, links_.fd(), key.c_str(), 0) != 0) return Failed("link", path);
  return absl::OkStatus();
}

absl::Status TreeCloner::Clone(const os::Root& source, const std::string& place, const std::string& excluded_name) {
  struct Folder {
    std::string path;
    model::Metadata metadata;
  };
  // What is put into a folder changes its times, so its metadata comes last.
  std::vector<Folder> folders;
  ASSIGN_OR_RETURN(os::TreeWalk walk, os::TreeWalk::Begin(source, "", excluded_name));
  RETURN_IF_ERROR(CloneEntry(source.fd(), "", walk.start(), place));
  ASSIGN_OR_RETURN(model::Metadata of_root, MetadataAt(source.fd(), "", walk.start()));
  folders.push_back({place, std::move(of_root)});
  while (true) {
    ASSIGN_OR_RETURN(const std::optional<os::WalkEntry> entry, walk.Next());
    if (!entry.has_value()) break;
    RETURN_IF_ERROR(go_on_());
    const std::string path = model::Join(place, entry->path);
    const absl::Status cloned = CloneEntry(entry->folder_fd, entry->name, entry->stat, path);
    if (!cloned.ok()) return Annotate(cloned, fmt::format("clone '{}'", Printable(entry->path)));
    if (entry->stat.kind != FileKind::kDirectory) continue;
    ASSIGN_OR_RETURN(model::Metadata metadata, MetadataAt(entry->folder_fd, entry->name, entry->stat));
    folders.push_back({path, std::move(metadata)});
  }
  for (auto folder = folders.rbegin(); folder != folders.rend(); ++folder) {
    ASSIGN_OR_RETURN(const os::Fd made, target_->OpenPath(folder->path, O_PATH | O_DIRECTORY));
    RETURN_IF_ERROR(os::ApplyMetadata(made.get(), FileKind::kDirectory, folder->metadata));
  }
  return absl::OkStatus();
}

}  // namespace understudy::dr
