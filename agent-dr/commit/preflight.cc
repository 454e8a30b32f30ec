#include "agent-dr/commit/preflight.h"

#include <fmt/format.h>

#include <optional>
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

// The names as they will be, operation by operation, over the names on disk.
class Names {
 public:
  explicit Names(const os::Root& replica) : replica_(replica) {}

  // What is on disk at `path` now; nullopt: nothing.
  absl::StatusOr<std::optional<os::EntryStat>> OnDisk(std::string_view path) const {
    absl::StatusOr<os::EntryStat> stat = replica_.Stat(path);
    if (absl::IsNotFound(stat.status())) return std::nullopt;
    RETURN_IF_ERROR(stat.status());
    return *stat;
  }

  void Vacate(const std::string& path) { vacated_.insert(path); }
  void Detach(model::Slot slot, const std::string& path, FileKind kind) { detached_[slot] = {kind, path}; }

  // Of the Detach of `slot`, which came before.
  [[nodiscard]] const std::pair<FileKind, std::string>& Detached(model::Slot slot) const { return detached_.at(slot); }

  // A new entry; `old_path` is where it was, empty for one that didn't exist.
  void Place(const std::string& path, FileKind kind, const std::string& old_path) { placed_[path] = {kind, old_path}; }

  // What will be at `path` after all operations told so far; nullopt: nothing.
  absl::StatusOr<std::optional<FileKind>> Lookup(const std::string& path) const {
    if (const auto found = placed_.find(path); found != placed_.end()) return found->second.first;
    const auto [old_path, moved_with] = ThroughMovedFolder(path);
    if (!old_path.has_value()) return std::nullopt;
    return LookupOld(*old_path, moved_with);
  }

  // Where on disk is what will be at `path`; nullopt: it is new.
  [[nodiscard]] std::optional<std::string> OldPathOf(const std::string& path) const {
    const auto found = placed_.find(path);
    if (found == placed_.end()) return ThroughMovedFolder(path).first;
    return found->second.second.empty() ? std::nullopt : std::optional(found->second.second);
  }

 private:
  // The path that `path`, itself not placed, had before, and the old path of the folder that it was moved with (empty:
  // none); nullopt: in a new folder is only what was placed there.
  [[nodiscard]] std::pair<std::optional<std::string>, std::string> ThroughMovedFolder(const std::string& path) const {
    std::string_view ancestor = path;
    while (!ancestor.empty()) {
      ancestor = model::Parent(ancestor);
      const auto found = placed_.find(std::string(ancestor));
      if (found == placed_.end()) continue;
      const std::string& old_path = found->second.second;
      if (old_path.empty()) return {std::nullopt, ""};
      return {model::Join(old_path, path.substr(ancestor.size() + 1)), old_path};
    }
    return {path, ""};
  }

  // What is at `path` of the old names, unless it, or a folder between `base` and it, went away.
  absl::StatusOr<std::optional<FileKind>> LookupOld(const std::string& path, std::string_view base) const {
    for (std::string_view at = path; at.size() > base.size(); at = model::Parent(at)) {
      if (vacated_.contains(std::string(at))) return std::nullopt;
    }
    ASSIGN_OR_RETURN(const std::optional<os::EntryStat> stat, OnDisk(path));
    return stat.has_value() ? std::optional(stat->kind) : std::nullopt;
  }

  const os::Root& replica_;
  std::unordered_set<std::string> vacated_;
  std::unordered_map<model::Slot, std::pair<FileKind, std::string>> detached_;
  std::unordered_map<std::string, std::pair<FileKind, std::string>> placed_;
};

class Planner {
 public:
  explicit Planner(const os::Root& replica) : names_(replica) {}

  absl::Status operator()(const model::Remove& op) {
    ASSIGN_OR_RETURN(const os::EntryStat stat, Source(op.path));
    if (stat.kind != op.kind) return Mismatch(op.path, "it is of another kind");
    names_.Vacate(op.path);
    return absl::OkStatus();
  }
  absl::Status operator()(const model::Detach& op) {
    ASSIGN_OR_RETURN(const os::EntryStat stat, Source(op.path));
    names_.Vacate(op.path);
    names_.Detach(op.slot, op.path, stat.kind);
    return absl::OkStatus();
  }
  absl::Status operator()(const model::Attach& op) {
    const auto& [kind, old_path] = names_.Detached(op.slot);
    ASSIGN_OR_RETURN(const std::optional<FileKind> present, Target(op.path));
    if (kind == FileKind::kDirectory && present.has_value()) return Mismatch(op.path, "a folder is to be moved there");
    if (present == FileKind::kDirectory) return Mismatch(op.path, "it is a folder");
    names_.Place(op.path, kind, old_path);
    return absl::OkStatus();
  }
  absl::Status operator()(const model::MakeDirectory& op) {
    ASSIGN_OR_RETURN(const std::optional<FileKind> present, Target(op.path));
    if (present == FileKind::kDirectory) {
      plan_.existing_directories.insert(index_);
      return absl::OkStatus();
    }
    if (present.has_value()) return Mismatch(op.path, "it is no folder");
    names_.Place(op.path, FileKind::kDirectory, "");
    return absl::OkStatus();
  }
  absl::Status operator()(const model::Put& op) { return PlaceEntry(op.path, FileKind::kRegular); }
  absl::Status operator()(const model::MakeSymlink& op) { return PlaceEntry(op.path, FileKind::kSymlink); }
  absl::Status operator()(const model::MakeNode& op) { return PlaceEntry(op.path, op.kind); }
  absl::Status operator()(const model::Link& op) {
    ASSIGN_OR_RETURN(const std::optional<FileKind> target, names_.Lookup(op.target));
    if (!target.has_value()) return Mismatch(op.target, "it isn't there");
    if (target == FileKind::kDirectory) return Mismatch(op.target, "it is a folder");
    return PlaceEntry(op.path, *target);
  }
  absl::Status operator()(const model::Patch& op) {
    ASSIGN_OR_RETURN(const std::optional<FileKind> present, names_.Lookup(op.path));
    if (!present.has_value()) return Mismatch(op.path, "it isn't there");
    if (present != FileKind::kRegular) return Mismatch(op.path, "it is no regular file");
    const std::optional<std::string> old_path = names_.OldPathOf(op.path);
    if (!old_path.has_value()) return Mismatch(op.path, "it is new in this commit");
    ASSIGN_OR_RETURN(const std::optional<os::EntryStat> stat, names_.OnDisk(*old_path));
    if (!stat.has_value()) return Mismatch(op.path, "it isn't there");
    for (const auto& [index, identity] : plan_.patched) {
      if (identity == IdentityOf(*stat)) {
        return absl::InvalidArgumentError(
            fmt::format("'{}' is patched by another of its names, too", Printable(op.path)));
      }
    }
    plan_.patched[index_] = IdentityOf(*stat);
    return absl::OkStatus();
  }
  absl::Status operator()(const model::SetMetadata& op) {
    ASSIGN_OR_RETURN(const std::optional<FileKind> present, names_.Lookup(op.path));
    if (!present.has_value()) return Mismatch(op.path, "it isn't there");
    return present == op.kind ? absl::OkStatus() : Mismatch(op.path, "it is of another kind");
  }

  absl::StatusOr<CommitPlan> Plan(const model::Commit& commit) {
    for (; index_ < commit.operations.size(); ++index_) RETURN_IF_ERROR(std::visit(*this, commit.operations[index_]));
    return std::move(plan_);
  }

 private:
  absl::StatusOr<os::EntryStat> Source(const std::string& path) {
    ASSIGN_OR_RETURN(const std::optional<os::EntryStat> stat, names_.OnDisk(path));
    if (!stat.has_value()) return Mismatch(path, "it isn't there");
    plan_.sources[index_] = {IdentityOf(*stat), stat->kind != FileKind::kDirectory && stat->link_count > 1};
    return *stat;
  }

  // What stands at a target, whose folder has to be one.
  absl::StatusOr<std::optional<FileKind>> Target(const std::string& path) {
    const std::string parent(model::Parent(path));
    if (!last_parent_.has_value() || *last_parent_ != parent) {
      ASSIGN_OR_RETURN(const std::optional<FileKind> folder, names_.Lookup(parent));
      if (folder != FileKind::kDirectory) return Mismatch(path, "the folder that holds it isn't there");
      last_parent_ = parent;
    }
    return names_.Lookup(path);
  }

  absl::Status PlaceEntry(const std::string& path, FileKind kind) {
    ASSIGN_OR_RETURN(const std::optional<FileKind> present, Target(path));
    if (present == FileKind::kDirectory) return Mismatch(path, "it is a folder");
    names_.Place(path, kind, "");
    return absl::OkStatus();
  }

  Names names_;
  CommitPlan plan_;
  size_t index_ = 0;
  std::optional<std::string> last_parent_;
};

}  // namespace

absl::StatusOr<CommitPlan> PlanCommit(const os::Root& replica, const model::Commit& commit) {
  return Planner(replica).Plan(commit);
}

}  // namespace understudy::dr
