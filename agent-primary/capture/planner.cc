#include "agent-primary/capture/planner.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "agent-primary/capture/file_capture.h"
#include "core/model/path.h"

namespace understudy::primary {
namespace {

using model::FileKind;

bool IsFolder(FileKind kind) {
  return kind == FileKind::kDirectory;
}

// A small file with other content is sent whole in any case.
bool IsWorthMoving(const os::EntryStat& stat, const IndexRow& row) {
  return IsFolder(stat.kind) || stat.size > kMaxInlineContentBytes ||
         (stat.size == row.size && stat.mtime_nanoseconds == row.mtime_nanoseconds);
}

class Planner {
 public:
  Planner(const ChangeDetector& detector, VolumeIndex& index) : detector_(detector), index_(index) {}

  absl::StatusOr<Plan> Run() {
    // Ascending, so where a folder came from is known before its entries are looked at.
    for (const auto& [key, change] : detector_.changes()) {
      if (change.stat.has_value()) RETURN_IF_ERROR(FindOrigin(model::PathOfKey(key), change));
    }
    MoveOutOfMovedFolders();
    RETURN_IF_ERROR(GroupNames());
    ContinueInPlace();
    RETURN_IF_ERROR(SeparateFiles());
    ChooseCarriers();
    PlanDisappearances();
    RETURN_IF_ERROR(PlanBereft());
    return std::move(plan_);
  }

 private:
  // The path before the commit of what stands at `path` after it, when only folders above it moved.
  std::string PathBefore(const std::string& path) const {
    for (std::string_view folder = model::Parent(path); !folder.empty(); folder = model::Parent(folder)) {
      const auto moved = moved_from_.find(std::string(folder));
      if (moved != moved_from_.end()) return moved->second + path.substr(folder.size());
    }
    return path;
  }

  // The innermost of `path` and the folders above it that moves; empty: none does.
  std::string InnermostMoved(const std::string& path) const {
    for (std::string_view folder = path; !folder.empty(); folder = model::Parent(folder)) {
      if (moved_to_.contains(std::string(folder))) return std::string(folder);
    }
    return {};
  }

  std::string PathAfter(const std::string& path) const {
    for (std::string_view folder = path; !folder.empty(); folder = model::Parent(folder)) {
      const auto moved = moved_to_.find(std::string(folder));
      if (moved != moved_to_.end()) return moved->second + path.substr(folder.size());
    }
    return path;
  }

  // By the inode: the same object where it was, or moved.
  absl::Status FindOrigin(const std::string& path, const Change& change) {
    PlannedEntry entry{path, *change.stat, std::nullopt, std::nullopt};
    const std::string before = PathBefore(path);
    std::optional<IndexRow> in_place = change.row;
    if (before != path) {
      ASSIGN_OR_RETURN(in_place, index_.Find(before));
    }
    if (in_place.has_value() && in_place->kind == entry.stat.kind && in_place->inode == entry.stat.inode) {
      entry.base = IndexEntry{before, *in_place};
      continued_.insert(before);
    } else {
      ASSIGN_OR_RETURN(std::optional<IndexEntry> source, detector_.FindByIdentity(entry.stat));
      if (source.has_value() && IsWorthMoving(entry.stat, source->row) && !continued_.contains(source->path)) {
        entry.base = std::move(source);
        entry.move_slot = Move(*entry.base, path);
        if (in_place.has_value() && before != path) overtaken_.emplace(before, path);
      } else if (in_place.has_value() && in_place->kind == entry.stat.kind) {
        replaced_.emplace(plan_.entries.size(), IndexEntry{before, *in_place});
      }
    }
    plan_.entries.push_back(std::move(entry));
    return absl::OkStatus();
  }

  model::Slot Move(const IndexEntry& source, const std::string& target) {
    const auto slot = static_cast<model::Slot>(moves_.size() + 1);
    moves_.emplace(model::Key(source.path), Plan::Move{source, slot});
    continued_.insert(source.path);
    moved_from_[target] = source.path;
    moved_to_[source.path] = target;
    return slot;
  }

  // Another inode of the same kind at the same path continues what was there (editors replace files that way), unless
  // that moved elsewhere.
  void ContinueInPlace() {
    for (auto& [position, old] : replaced_) {
      if (PathAfter(old.path) != plan_.entries[position].path) continue;
      if (!continued_.insert(old.path).second) continue;
      plan_.entries[position].base = std::move(old);
    }
  }

  // What is where it was although a folder above it moved away has to be taken out of that; unless it is a new name of
  // a file whose old one moved along (hard-linked copies that are rotated).
  void MoveOutOfMovedFolders() {
    std::set<std::string> moved_along;
    for (PlannedEntry& entry : plan_.entries) {
      if (!entry.base.has_value() || entry.move_slot.has_value()) continue;
      const std::string before = entry.base->path;
      if (PathAfter(before) == entry.path) continue;
      const std::string innermost = InnermostMoved(before);
      const bool along = innermost != before && !detector_.IsGoneFromMoved(before, innermost);
      if (IsFolder(entry.stat.kind) || !along) {
        entry.move_slot = Move(*entry.base, entry.path);
      } else {
        moved_along.insert(before);
        entry.base.reset();
      }
    }
    for (const PlannedEntry& entry : plan_.entries) {
      if (entry.base.has_value()) moved_along.erase(entry.base->path);
    }
    for (const std::string& path : moved_along) continued_.erase(path);
  }

  // The names of each inode with several of them.
  absl::Status GroupNames() {
    std::map<uint64_t, std::vector<size_t>> by_inode;
    for (size_t i = 0; i < plan_.entries.size(); ++i) {
      if (!IsFolder(plan_.entries[i].stat.kind)) by_inode[plan_.entries[i].stat.inode].push_back(i);
    }
    for (auto& [inode, names] : by_inode) {
      if (names.size() == 1 && plan_.entries[names[0]].stat.link_count == 1) continue;
      ASSIGN_OR_RETURN(const std::vector<IndexEntry> known, index_.ListByInode(inode));
      PlannedLinks links{FindSettled(known), std::move(names)};
      const bool continues = std::any_of(links.names.begin(), links.names.end(),
                                         [&](size_t name) { return plan_.entries[name].base.has_value(); });
      if (!links.settled.has_value() && !continues) MoveOneName(known, links.names[0]);
      if (links.names.size() == 1 && !links.settled.has_value()) continue;  // its other names are outside the volume
      for (const size_t name : links.names) plan_.entries[name].linked = true;
      plan_.links.push_back(std::move(links));
    }
    return absl::OkStatus();
  }

  // A name that nothing happened to, but for folders above it that moved.
  std::optional<IndexEntry> FindSettled(const std::vector<IndexEntry>& known) const {
    for (const IndexEntry& name : known) {
      const std::string after = PathAfter(name.path);
      const std::string innermost = InnermostMoved(name.path);
      const bool moved_along = !innermost.empty() && !detector_.IsGoneFromMoved(name.path, innermost);
      const bool met = detector_.changes().contains(model::Key(name.path));
      const bool settled = moved_along ? !detector_.changes().contains(model::Key(after)) : !met;
      if (settled && !continued_.contains(name.path)) return IndexEntry{after, name.row};
    }
    return std::nullopt;
  }

  // Every name that DR has is gone: one of them is renamed, so that the content needn't travel.
  void MoveOneName(const std::vector<IndexEntry>& known, size_t position) {
    PlannedEntry& entry = plan_.entries[position];
    if (!detector_.moves()) return;
    for (const IndexEntry& name : known) {
      const bool fits = name.row.kind == entry.stat.kind && IsWorthMoving(entry.stat, name.row);
      if (!fits || continued_.contains(name.path)) continue;
      entry.base = name;
      entry.move_slot = Move(name, entry.path);
      const auto old = replaced_.find(position);
      if (old == replaced_.end()) return;
      if (old->second.path != entry.path) overtaken_.emplace(old->second.path, entry.path);
      replaced_.erase(old);
      return;
    }
  }

  // What DR has as one file and are several by now mustn't be changed as one: one of them continues it at most, the
  // others are made anew.
  absl::Status SeparateFiles() {
    std::map<uint64_t, uint64_t> owners;  // inode by file
    for (PlannedEntry& entry : plan_.entries) {
      if (!entry.base.has_value() || entry.base->row.file == 0 || entry.move_slot.has_value()) continue;
      const uint64_t file = entry.base->row.file;
      if (!owners.contains(file)) {
        ASSIGN_OR_RETURN(const std::vector<IndexEntry> names, index_.ListByFile(file));
        const auto known =
            std::find_if(names.begin(), names.end(), [](const IndexEntry& name) { return name.row.inode != 0; });
        owners[file] = known != names.end() ? known->row.inode : entry.stat.inode;
      }
      if (owners[file] == entry.stat.inode) continue;
      entry.base.reset();
      ++plan_.replaced;
    }
    return absl::OkStatus();
  }

  void ChooseCarriers() {
    for (PlannedLinks& links : plan_.links) {
      const auto fitness = [&](size_t name) {
        const PlannedEntry& entry = plan_.entries[name];
        if (!entry.base.has_value()) return 2;
        return entry.base->row.inode == entry.stat.inode ? 0 : 1;
      };
      std::stable_sort(links.names.begin(), links.names.end(),
                       [&](size_t a, size_t b) { return fitness(a) < fitness(b); });
    }
  }

  // Old entries that nothing continues, and the sources of moves.
  void PlanDisappearances() {
    std::set<std::string> removed;
    for (const auto& [key, change] : detector_.changes()) {
      const std::string path = model::PathOfKey(key);
      if (!change.row.has_value() || continued_.contains(path)) continue;
      bool goes_with_its_folder = false;
      for (std::string_view folder = model::Parent(path); !folder.empty(); folder = model::Parent(folder)) {
        const std::string above(folder);
        if (moved_to_.contains(above)) break;  // it is out of what is removed above it
        goes_with_its_folder |= removed.contains(above);
      }
      const std::string innermost = InnermostMoved(path);
      // A folder may be moved to where it was, out of one above it that moves away: what is in it stays.
      const bool folder_above_moved = !innermost.empty() && PathAfter(path) != path;
      const bool moved_along = folder_above_moved && !detector_.IsGoneFromMoved(path, innermost);
      const bool replaced_by_rename =
          !folder_above_moved && change.stat.has_value() && !IsFolder(change.stat->kind) && !IsFolder(change.row->kind);
      plan_.replaced += replaced_by_rename && !goes_with_its_folder ? 1 : 0;
      if (goes_with_its_folder || moved_along || replaced_by_rename) continue;
      removed.insert(path);
      plan_.removals.push_back({path, *change.row});
    }
    for (const auto& [before, after] : overtaken_) {
      const bool moved_along = !detector_.IsGoneFromMoved(before, InnermostMoved(before));
      if (!continued_.contains(before) && PathAfter(before) == after && moved_along) ++plan_.replaced;
    }
    std::reverse(plan_.removals.begin(), plan_.removals.end());
    for (auto move = moves_.rbegin(); move != moves_.rend(); ++move) plan_.moves.push_back(move->second);
  }

  absl::Status PlanBereft() {
    std::set<std::string> paths;
    for (const IndexEntry& removal : plan_.removals) {
      paths.insert(PathAfter(std::string(model::Parent(removal.path))));
    }
    for (const Plan::Move& move : plan_.moves) {
      paths.insert(PathAfter(std::string(model::Parent(move.source.path))));
    }
    for (const std::string& path : paths) {
      ASSIGN_OR_RETURN(const bool there, WillBeFolder(path));
      if (there) plan_.bereft.push_back(path);
    }
    return absl::OkStatus();
  }

  // Whether the replica has a folder at `path` after the commit.
  absl::StatusOr<bool> WillBeFolder(const std::string& path) {
    const auto change = detector_.changes().find(model::Key(path));
    if (change != detector_.changes().end()) {
      return change->second.stat.has_value() && IsFolder(change->second.stat->kind);
    }
    if (path.empty()) return true;
    ASSIGN_OR_RETURN(const std::optional<IndexRow> row, index_.Find(PathBefore(path)));
    return row.has_value() && IsFolder(row->kind);
  }

  const ChangeDetector& detector_;
  VolumeIndex& index_;
  Plan plan_;
  std::map<std::string, Plan::Move> moves_;        // by key of the source
  std::map<size_t, IndexEntry> replaced_;          // by position in plan_.entries
  std::set<std::string> continued_;                // paths before the commit
  std::map<std::string, std::string> overtaken_;   // what came along with a folder to a name that a move takes
  std::map<std::string, std::string> moved_from_;  // target → source
  std::map<std::string, std::string> moved_to_;    // source → target
};

}  // namespace

absl::StatusOr<Plan> MakePlan(const ChangeDetector& detector, VolumeIndex& index) {
  return Planner(detector, index).Run();
}

absl::StatusOr<uint64_t> CountEntriesAfter(const Plan& plan, VolumeIndex& index) {
  std::map<std::string_view, bool> leaves;  // paths before the commit; true: removed, false: moved
  for (const IndexEntry& removal : plan.removals) leaves.emplace(removal.path, true);
  for (const Plan::Move& move : plan.moves) leaves.emplace(move.source.path, false);
  const auto size_of = [&](const IndexEntry& entry) -> absl::StatusOr<uint64_t> {
    if (!IsFolder(entry.row.kind)) return 1;
    ASSIGN_OR_RETURN(const uint64_t below, index.CountBelow(entry.path));
    return below + 1;
  };
  uint64_t kept = index.entries();
  for (const PlannedEntry& entry : plan.entries) kept += entry.base.has_value() || entry.path.empty() ? 0 : 1;
  // What is moved out of a folder that is removed stays; added first, so that the sum never goes below 0.
  for (const Plan::Move& move : plan.moves) {
    std::string_view folder = model::Parent(move.source.path);
    while (!folder.empty() && !leaves.contains(folder)) folder = model::Parent(folder);
    if (folder.empty() || !leaves.at(folder)) continue;
    ASSIGN_OR_RETURN(const uint64_t moved, size_of(move.source));
    kept += moved;
  }
  uint64_t gone = plan.replaced;
  for (const IndexEntry& removal : plan.removals) {
    ASSIGN_OR_RETURN(const uint64_t removed, size_of(removal));
    gone += removed;
  }
  return kept > gone ? kept - gone : 0;
}

}  // namespace understudy::primary
