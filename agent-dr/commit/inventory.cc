#include "agent-dr/commit/inventory.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <cerrno>
#include <optional>
#include <utility>

#include "core/base/log.h"
#include "core/os/describe_entry.h"
#include "core/os/file_io.h"
#include "core/wire/limits.h"

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
      file.valid() ? os::DigestOfFile(file.get(), entry.size, {.go_on = go_on, .segments = &entry.segments})
                   : ErrnoStatus(errno, "open");
  // What the disk doesn't give back has no digest, so the primary sends it anew.
  if (absl::IsDataLoss(digest.status())) {
    entry.segments.clear();
    return entry;
  }
  RETURN_IF_ERROR(digest.status());
  entry.digest = *digest;
  // What travels inside a commit has no segments for the primary.
  if (entry.size <= wire::kMaxInlineBytes || entry.segments.size() > wire::kMaxInventorySegments) entry.segments = {};
  if (visit_content != nullptr) RETURN_IF_ERROR(visit_content(found.stat, *entry.digest));
  return entry;
}

bool MayHaveOtherNames(const os::EntryStat& stat) {
  return stat.kind != FileKind::kDirectory && stat.link_count > 1;
}

}  // namespace

absl::Status LinkNames::Count(os::TreeWalk walk, const os::GoOn& go_on) {
  while (true) {
    RETURN_IF_ERROR(go_on());
    ASSIGN_OR_RETURN(const std::optional<os::WalkEntry> found, walk.Next());
    if (!found.has_value()) return absl::OkStatus();
    if (!MayHaveOtherNames(found->stat)) continue;
    const auto seen = several_.find(found->stat.inode);
    if (seen != several_.end()) {
      seen->second = true;
    } else if (several_.size() < kMaxTrackedLinks) {
      several_.emplace(found->stat.inode, false);
    }
  }
}

uint64_t LinkNames::LinkIdOf(const os::EntryStat& stat) const {
  if (!MayHaveOtherNames(stat)) return 0;
  const auto seen = several_.find(stat.inode);
  return seen == several_.end() || seen->second ? stat.inode : 0;
}

absl::StatusOr<std::unique_ptr<InventoryWalk>> InventoryWalk::Begin(const os::Root& root,
                                                                    const std::string& excluded_name, bool with_digests,
                                                                    const os::GoOn& go_on) {
  os::Fd own(fcntl(root.fd(), F_DUPFD_CLOEXEC, 0));
  if (!own.valid()) return ErrnoStatus(errno, "hold the replica's folder");
  std::unique_ptr<InventoryWalk> begun(new InventoryWalk(os::Root(std::move(own)), with_digests));
  ASSIGN_OR_RETURN(os::TreeWalk names, os::TreeWalk::Begin(begun->root_, "", excluded_name));
  RETURN_IF_ERROR(begun->links_.Count(std::move(names), go_on));
  ASSIGN_OR_RETURN(begun->walk_, os::TreeWalk::Begin(begun->root_, "", excluded_name));
  return begun;
}

absl::StatusOr<std::optional<model::InventoryEntry>> InventoryWalk::Next(const ContentVisitor& visit_content,
                                                                         const os::GoOn& go_on) {
  RETURN_IF_ERROR(go_on());
  ASSIGN_OR_RETURN(const std::optional<os::WalkEntry> found, walk_->Next());
  if (!found.has_value()) return std::nullopt;
  absl::StatusOr<model::InventoryEntry> entry = EntryOf(*found, with_digests_, visit_content, go_on);
  if (!entry.ok()) return Annotate(entry.status(), fmt::format("inventory of '{}'", Printable(found->path)));
  entry->link_id = links_.LinkIdOf(found->stat);
  return *std::move(entry);
}

}  // namespace understudy::dr
