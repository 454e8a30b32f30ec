#include "agent-dr/commit/preflight.h"

#include <fmt/format.h>
#include <linux/magic.h>
#include <sys/vfs.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <variant>

#include "core/base/log.h"
#include "core/model/path.h"
#include "core/wire/status_path.h"

namespace understudy::dr {
namespace {

using model::FileKind;

absl::Status Mismatch(std::string_view path, std::string_view why) {
  return wire::WithPath(absl::DataLossError(fmt::format("the replica's '{}' isn't what the primary takes it for: {}",
                                                        Printable(path), why)),
                        path);
}

// How many names a file may have, where that is known to be few enough to matter (pathconf doesn't tell btrfs from what
// it doesn't know, nor ext4 from ext2 where /sys isn't there).
absl::StatusOr<uint64_t> MostNames(int fd) {
  struct statfs filesystem {};
  if (fstatfs(fd, &filesystem) != 0) return ErrnoStatus(errno, "look at the replica's filesystem");
  switch (static_cast<uint64_t>(filesystem.f_type)) {
    case EXT4_SUPER_MAGIC:
      return 65'000;
    case BTRFS_SUPER_MAGIC:
      return 65'535;
    case F2FS_SUPER_MAGIC:
      return 32'000;
    default:
      return UINT64_MAX;
  }
}

// Where something is on disk: in the replica, or among what an undo record keeps.
struct Origin {
  bool kept = false;
  std::string path;
};

// The names as they will be, operation by operation, over the names on disk.
class Names {
 public:
  Names(const os::Root& replica, const os::Root* kept) : replica_(replica), kept_(kept) {}

  // What is on disk there now; nullopt: nothing.
  absl::StatusOr<std::optional<os::EntryStat>> OnDisk(const Origin& origin) const {
    if (origin.kept && kept_ == nullptr) return std::nullopt;
    absl::StatusOr<os::EntryStat> stat = (origin.kept ? *kept_ : replica_).Stat(origin.path);
    if (absl::IsNotFound(stat.status())) return std::nullopt;
    RETURN_IF_ERROR(stat.status());
    return *stat;
  }

  void Vacate(const std::string& path) { vacated_.insert(path); }
  void Detach(model::Slot slot, const std::string& path, FileKind kind) { detached_[slot] = {kind, path}; }

  // Of the Detach of `slot`, which came before.
  [[nodiscard]] const std::pair<FileKind, std::string>& Detached(model::Slot slot) const { return detached_.at(slot); }

  // An entry that comes to `path`; nullopt: it didn't exist.
  void Place(const std::string& path, FileKind kind, std::optional<Origin> origin) {
    placed_[path] = {kind, std::move(origin)};
  }

  // What will be at `path` after all operations told so far; nullopt: nothing.
  absl::StatusOr<std::optional<FileKind>> Lookup(const std::string& path) const {
    if (const auto found = placed_.find(path); found != placed_.end()) return found->second.kind;
    const auto [origin, moved_with] = ThroughMovedFolder(path);
    if (!origin.has_value()) return std::nullopt;
    return LookupOld(*origin, moved_with);
  }

  // Where on disk is what will be at `path`; nullopt: it is new.
  [[nodiscard]] std::optional<Origin> OriginOf(const std::string& path) const {
    const auto found = placed_.find(path);
    return found == placed_.end() ? ThroughMovedFolder(path).first : found->second.origin;
  }

 private:
  struct Placed {
    FileKind kind = FileKind::kRegular;
    std::optional<Origin> origin;
  };

  // Where `path`, itself not placed, was before, and the old path of the folder that it came with (empty: none);
  // nullopt: in a new folder is only what was placed there.
  [[nodiscard]] std::pair<std::optional<Origin>, std::string> ThroughMovedFolder(const std::string& path) const {
    std::string_view ancestor = path;
    while (!ancestor.empty()) {
      ancestor = model::Parent(ancestor);
      const auto found = placed_.find(std::string(ancestor));
      if (found == placed_.end()) continue;
      const std::optional<Origin>& origin = found->second.origin;
      if (!origin.has_value()) return {std::nullopt, ""};
      return {Origin{origin->kept, model::Join(origin->path, path.substr(ancestor.size() + 1))}, origin->path};
    }
    return {Origin{false, path}, ""};
  }

  // What is at an old place, unless it, or a folder between `base` and it, went away.
  absl::StatusOr<std::optional<FileKind>> LookupOld(const Origin& origin, std::string_view base) const {
    for (std::string_view at = origin.path; !origin.kept && at.size() > base.size(); at = model::Parent(at)) {
      if (vacated_.contains(std::string(at))) return std::nullopt;
    }
    ASSIGN_OR_RETURN(const std::optional<os::EntryStat> stat, OnDisk(origin));
    return stat.has_value() ? std::optional(stat->kind) : std::nullopt;
  }

  const os::Root& replica_;
  const os::Root* const kept_;
  std::unordered_set<std::string> vacated_;
  std::unordered_map<model::Slot, std::pair<FileKind, std::string>> detached_;
  std::unordered_map<std::string, Placed> placed_;
};

class Planner {
 public:
  Planner(const os::Root& replica, const os::Root* kept, bool keeps)
      : replica_(replica), keeps_(keeps), names_(replica, kept) {}

  absl::Status operator()(const model::Remove& op) {
    ASSIGN_OR_RETURN(const os::EntryStat stat, Source(op.path));
    if (stat.kind != op.kind) return Mismatch(op.path, "it is of another kind");
    names_.Vacate(op.path);
    if (!keeps_ && stat.kind != FileKind::kDirectory) ++names_removed_[IdentityOf(stat)];
    return absl::OkStatus();
  }
  absl::Status operator()(const model::Detach& op) {
    ASSIGN_OR_RETURN(const os::EntryStat stat, Source(op.path));
    names_.Vacate(op.path);
    names_.Detach(op.slot, op.path, stat.kind);
    return absl::OkStatus();
  }
  absl::Status operator()(const model::Attach& op) {
    if (IsKeptSlot(op.slot)) return BringBack(op);
    const auto& [kind, old_path] = names_.Detached(op.slot);
    ASSIGN_OR_RETURN(const std::optional<FileKind> present, Target(op.path));
    if (kind == FileKind::kDirectory && present.has_value()) return Mismatch(op.path, "a folder is to be moved there");
    return Come(op.path, kind, present, Origin{false, old_path});
  }
  absl::Status operator()(const model::MakeDirectory& op) {
    ASSIGN_OR_RETURN(const std::optional<FileKind> present, Target(op.path));
    if (present == FileKind::kDirectory) {
      plan_.existing_directories.insert(index_);
      ChangeMetadata(op.path);
      return absl::OkStatus();
    }
    if (present.has_value()) return Mismatch(op.path, "it is no folder");
    names_.Place(op.path, FileKind::kDirectory, std::nullopt);
    return absl::OkStatus();
  }
  absl::Status operator()(const model::Put& op) { return PlaceNew(op.path, FileKind::kRegular); }
  absl::Status operator()(const model::MakeSymlink& op) { return PlaceNew(op.path, FileKind::kSymlink); }
  absl::Status operator()(const model::MakeNode& op) { return PlaceNew(op.path, op.kind); }
  absl::Status operator()(const model::Link& op) {
    ASSIGN_OR_RETURN(const std::optional<FileKind> target, names_.Lookup(op.target));
    if (!target.has_value()) return Mismatch(op.target, "it isn't there");
    if (target == FileKind::kDirectory) return Mismatch(op.target, "it is a folder");
    ASSIGN_OR_RETURN(const std::optional<FileKind> present, Target(op.path));
    plan_.placed_kinds[index_] = *target;
    if (present.has_value()) {
      ASSIGN_OR_RETURN(const bool same, AreOneFile(op.path, op.target));
      if (same) {
        plan_.idle_links.insert(index_);
        return absl::OkStatus();
      }
    }
    RETURN_IF_ERROR(CheckNames(op));
    return Come(op.path, *target, present, names_.OriginOf(op.target));
  }
  absl::Status operator()(const model::Patch& op) {
    ASSIGN_OR_RETURN(const std::optional<FileKind> present, names_.Lookup(op.path));
    if (!present.has_value()) return Mismatch(op.path, "it isn't there");
    if (present != FileKind::kRegular) return Mismatch(op.path, "it is no regular file");
    const std::optional<Origin> origin = names_.OriginOf(op.path);
    if (!origin.has_value() || origin->kept) return Mismatch(op.path, "it is new in this commit");
    ASSIGN_OR_RETURN(const std::optional<os::EntryStat> stat, names_.OnDisk(*origin));
    if (!stat.has_value()) return Mismatch(op.path, "it isn't there");
    if (!patched_files_.emplace(stat->inode, stat->btime_nanoseconds).second) {
      return absl::InvalidArgumentError(
          fmt::format("'{}' is patched by another of its names, too", Printable(op.path)));
    }
    plan_.patched[index_] = IdentityOf(*stat);
    plan_.patched_paths[index_] = origin->path;
    return absl::OkStatus();
  }
  absl::Status operator()(const model::SetMetadata& op) {
    ASSIGN_OR_RETURN(const std::optional<FileKind> present, names_.Lookup(op.path));
    if (!present.has_value()) return Mismatch(op.path, "it isn't there");
    if (present != op.kind) return Mismatch(op.path, "it is of another kind");
    ChangeMetadata(op.path);
    return absl::OkStatus();
  }

  absl::StatusOr<CommitPlan> Plan(const model::Commit& commit) {
    for (; index_ < commit.operations.size(); ++index_) RETURN_IF_ERROR(std::visit(*this, commit.operations[index_]));
    return std::move(plan_);
  }

 private:
  absl::StatusOr<os::EntryStat> Source(const std::string& path) {
    ASSIGN_OR_RETURN(const std::optional<os::EntryStat> stat, names_.OnDisk({false, path}));
    if (!stat.has_value()) return Mismatch(path, "it isn't there");
    plan_.sources[index_] = {IdentityOf(*stat), stat->kind != FileKind::kDirectory && stat->link_count > 1};
    if (!last_source_folder_.has_value() || *last_source_folder_ != model::Parent(path)) {
      last_source_folder_ = std::string(model::Parent(path));
      plan_.touched.insert(*last_source_folder_);
    }
    return *stat;
  }

  // What stands at a target, whose folder has to be one.
  absl::StatusOr<std::optional<FileKind>> Target(const std::string& path) {
    const std::string parent(model::Parent(path));
    if (!last_parent_.has_value() || *last_parent_ != parent) {
      ASSIGN_OR_RETURN(const std::optional<FileKind> folder, names_.Lookup(parent));
      if (folder != FileKind::kDirectory) return Mismatch(path, "the folder that holds it isn't there");
      last_parent_ = parent;
      Touch(parent);
    }
    return names_.Lookup(path);
  }

  // The metadata of what will be at `path` changes. What is new goes as a whole when the commit is undone.
  void Touch(const std::string& path) {
    const std::optional<Origin> origin = names_.OriginOf(path);
    if (origin.has_value() && !origin->kept) plan_.touched.insert(origin->path);
  }

  void ChangeMetadata(const std::string& path) {
    Touch(path);
    const std::optional<Origin> origin = names_.OriginOf(path);
    if (origin.has_value() && !origin->kept) plan_.metadata_of[index_] = origin->path;
  }

  // Of the target with this name and those that the commit gave it before.
  absl::Status CheckNames(const model::Link& op) {
    if (!most_names_.has_value()) {
      ASSIGN_OR_RETURN(most_names_, MostNames(replica_.fd()));
    }
    const std::optional<Origin> origin = names_.OriginOf(op.target);
    std::optional<os::EntryStat> stat;
    if (origin.has_value()) {
      ASSIGN_OR_RETURN(stat, names_.OnDisk(*origin));
    }
    uint64_t before = 1;
    uint64_t added = 0;
    if (stat.has_value()) {
      const Identity identity = IdentityOf(*stat);
      const auto removed = names_removed_.find(identity);
      before = stat->link_count - (removed == names_removed_.end() ? 0 : removed->second);
      added = ++names_added_[identity];
    } else {
      added = ++names_of_new_[op.target];
    }
    if (before + added <= *most_names_) return absl::OkStatus();
    return wire::WithPath(
        absl::FailedPreconditionError(fmt::format(
            "link '{}': '{}' has as many names as the replica's filesystem allows ({}; what recovery points keep "
            "counts): take names away at the primary, or give the replica a filesystem that allows as many as the "
            "primary's, as XFS",
            Printable(op.path), Printable(op.target), *most_names_)),
        op.path);
  }

  absl::StatusOr<bool> AreOneFile(const std::string& path, const std::string& other) const {
    const std::optional<Origin> one = names_.OriginOf(path);
    const std::optional<Origin> two = names_.OriginOf(other);
    if (!one.has_value() || !two.has_value()) return false;
    ASSIGN_OR_RETURN(const std::optional<os::EntryStat> first, names_.OnDisk(*one));
    ASSIGN_OR_RETURN(const std::optional<os::EntryStat> second, names_.OnDisk(*two));
    return first.has_value() && second.has_value() && IdentityOf(*first) == IdentityOf(*second);
  }

  absl::Status BringBack(const model::Attach& op) {
    const Origin origin{true, fmt::format("{}", op.slot - kFirstKeptSlot)};
    ASSIGN_OR_RETURN(const std::optional<os::EntryStat> stat, names_.OnDisk(origin));
    if (!stat.has_value()) return Mismatch(op.path, "what was kept of it is gone");
    ASSIGN_OR_RETURN(const std::optional<FileKind> present, Target(op.path));
    if (present.has_value()) return Mismatch(op.path, "it is there again");
    plan_.placed_kinds[index_] = stat->kind;
    names_.Place(op.path, stat->kind, origin);
    return absl::OkStatus();
  }

  absl::Status PlaceNew(const std::string& path, FileKind kind) {
    ASSIGN_OR_RETURN(const std::optional<FileKind> present, Target(path));
    return Come(path, kind, present, std::nullopt);
  }

  // Over what is `present`, which is no folder.
  absl::Status Come(const std::string& path, FileKind kind, std::optional<FileKind> present,
                    std::optional<Origin> origin) {
    if (present == FileKind::kDirectory) return Mismatch(path, "it is a folder");
    const std::optional<Origin> replaced = names_.OriginOf(path);
    if (present.has_value() && replaced.has_value()) plan_.displaced[index_] = replaced->path;
    names_.Place(path, kind, std::move(origin));
    return absl::OkStatus();
  }

  struct ByIdentity {
    bool operator()(const Identity& one, const Identity& other) const {
      return std::pair(one.inode, one.btime_nanoseconds) < std::pair(other.inode, other.btime_nanoseconds);
    }
  };

  const os::Root& replica_;
  const bool keeps_;
  Names names_;
  CommitPlan plan_;
  std::optional<uint64_t> most_names_;                      // of a file; nullopt: not asked yet
  std::map<Identity, uint64_t, ByIdentity> names_removed_;  // for good
  std::map<Identity, uint64_t, ByIdentity> names_added_;    // to files that are there
  std::unordered_map<std::string, uint64_t> names_of_new_;  // added to new files, by the path of the first one
  std::set<std::pair<uint64_t, int64_t>> patched_files_;    // by inode and birth time
  size_t index_ = 0;
  std::optional<std::string> last_parent_;
  std::optional<std::string> last_source_folder_;
};

}  // namespace

bool CommitPlan::Displaces(const model::Commit& commit) const {
  return !displaced.empty() || !patched.empty() ||
         std::any_of(commit.operations.begin(), commit.operations.end(), [](const model::Operation& operation) {
           return std::holds_alternative<model::Remove>(operation);
         });
}

absl::StatusOr<CommitPlan> PlanCommit(const os::Root& replica, const os::Root* kept, const model::Commit& commit,
                                      bool keeps) {
  return Planner(replica, kept, keeps).Plan(commit);
}

}  // namespace understudy::dr
