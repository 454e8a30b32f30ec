#include "agent-dr/commit/inventory.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <cerrno>
#include <optional>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "core/base/log.h"
#include "core/os/describe_entry.h"
#include "core/os/file_io.h"
#include "core/os/tree_walk.h"

namespace understudy::dr {
namespace {

using model::FileKind;

absl::StatusOr<model::InventoryEntry> EntryOf(const os::WalkEntry& found, bool with_digests,
                                              const ContentVisitor& visit_content, const os::GoOn& go_on) {
  ASSIGN_OR_RETURN(model::InventoryEntry entry, os::DescribeEntry(found.folder_fd, found.name, found.stat));
  entry.path = found.path;
  if (!with_digests || entry.kind != FileKind::kRegular) return entry;
  const os::Fd file(openat(found.folder_fd, found.name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  const absl::StatusOr<model::Digest> digest =
      file.valid() ? os::DigestOfFile(file.get(), entry.size, go_on) : ErrnoStatus(errno, "open");
  // What the disk doesn't give back has no digest, so the primary sends it anew.
  if (absl::IsDataLoss(digest.status())) return entry;
  RETURN_IF_ERROR(digest.status());
  entry.digest = *digest;
  if (visit_content != nullptr) RETURN_IF_ERROR(visit_content(found.stat, *entry.digest));
  return entry;
}

// Which files have several names in the tree.
class LinkNames {
 public:
  absl::Status Count(os::TreeWalk walk, const os::GoOn& go_on) {
    while (true) {
      RETURN_IF_ERROR(go_on());
      ASSIGN_OR_RETURN(const std::optional<os::WalkEntry> found, walk.Next());
      if (!found.has_value()) return absl::OkStatus();
      if (!MayHaveOthers(found->stat)) continue;
      const auto seen = several_.find(found->stat.inode);
      if (seen != several_.end()) {
        seen->second = true;
      } else if (several_.size() < kMaxTrackedLinks) {
        several_.emplace(found->stat.inode, false);
      }
    }
  }
  [[nodiscard]] uint64_t LinkIdOf(const os::EntryStat& stat) const {
    if (!MayHaveOthers(stat)) return 0;
    const auto seen = several_.find(stat.inode);
    return seen == several_.end() || seen->second ? stat.inode : 0;
  }

 private:
  static bool MayHaveOthers(const os::EntryStat& stat) {
    return stat.kind != FileKind::kDirectory && stat.link_count > 1;
  }
  absl::flat_hash_map<uint64_t, bool> several_;  // by inode number: whether it was met more than once
};

}  // namespace

absl::Status ListInventory(const os::Root& root, const std::string& excluded_name, bool with_digests,
                           const std::function<absl::Status(model::InventoryEntry)>& visit,
                           const ContentVisitor& visit_content, const os::GoOn& go_on) {
  ASSIGN_OR_RETURN(os::TreeWalk names, os::TreeWalk::Begin(root, "", excluded_name));
  LinkNames links;
  RETURN_IF_ERROR(links.Count(std::move(names), go_on));
  ASSIGN_OR_RETURN(os::TreeWalk walk, os::TreeWalk::Begin(root, "", excluded_name));
  while (true) {
    RETURN_IF_ERROR(go_on());
    ASSIGN_OR_RETURN(const std::optional<os::WalkEntry> found, walk.Next());
    if (!found.has_value()) return absl::OkStatus();
    absl::StatusOr<model::InventoryEntry> entry = EntryOf(*found, with_digests, visit_content, go_on);
    if (!entry.ok()) return Annotate(entry.status(), fmt::format("inventory of '{}'", Printable(found->path)));
    entry->link_id = links.LinkIdOf(found->stat);
    RETURN_IF_ERROR(visit(*std::move(entry)));
  }
}

}  // namespace understudy::dr
