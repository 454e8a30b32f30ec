#include "agent-dr/commit/reverse.h"

#include <fcntl.h>

#include <functional>
#include <optional>
#include <utility>
#include <variant>

#include "core/model/path.h"
#include "core/os/metadata.h"
#include "core/os/stat.h"

namespace understudy::dr {
namespace {

using model::FileKind;

class Reverser {
 public:
  Reverser(const CommitPlan& plan, const std::map<std::string, OldEntry>& old) : plan_(plan), old_(old) {}

  void operator()(const model::Remove& op) { BringBack(op.path); }
  void operator()(const model::Detach& op) { old_paths_[op.slot] = op.path; }
  void operator()(const model::Attach& op) {
    Displace();
    if (IsKeptSlot(op.slot)) return TakeAway(op.path, plan_.placed_kinds.at(index_));
    come_[old_paths_.at(op.slot)] = op.slot;
    go_[model::Key(op.path)] = model::Detach{op.path, op.slot};
    holds_new_[op.path] = false;
  }
  void operator()(const model::MakeDirectory& op) {
    if (!plan_.existing_directories.contains(index_)) TakeAway(op.path, FileKind::kDirectory);
  }
  void operator()(const model::Put& op) { Replace(op.path, FileKind::kRegular); }
  void operator()(const model::MakeSymlink& op) { Replace(op.path, FileKind::kSymlink); }
  void operator()(const model::MakeNode& op) { Replace(op.path, op.kind); }
  void operator()(const model::Link& op) {
    if (plan_.idle_links.contains(index_)) return;
    Replace(op.path, plan_.placed_kinds.at(index_));
  }
  void operator()(const model::Patch&) {
    const std::string& path = plan_.patched_paths.at(index_);
    const OldEntry& entry = old_.at(path);
    patches_[model::Key(path)] = model::Patch{path, entry.metadata, entry.size, entry.digest, KeptSlot(index_)};
  }
  void operator()(const model::SetMetadata&) {}  // plan_.touched

  std::vector<model::Operation> Reverse(const model::Commit& commit) {
    for (; index_ < commit.operations.size(); ++index_) std::visit(*this, commit.operations[index_]);
    std::vector<model::Operation> reverse;
    for (auto& [key, operation] : go_) reverse.push_back(std::move(operation));
    std::map<std::string, model::Slot> ascending;
    for (const auto& [path, slot] : come_) ascending[model::Key(path)] = slot;
    for (const auto& [key, slot] : ascending) reverse.emplace_back(model::Attach{slot, model::PathOfKey(key)});
    for (auto& [key, patch] : patches_) reverse.emplace_back(std::move(patch));
    std::map<std::string, const std::string*, std::greater<>> descending;
    for (const std::string& path : plan_.touched) descending[model::Key(path)] = &path;
    for (const auto& [key, path] : descending) {
      const OldEntry& entry = old_.at(*path);
      reverse.emplace_back(model::SetMetadata{*path, entry.kind, entry.metadata});
    }
    return reverse;
  }

 private:
  void BringBack(const std::string& path) { come_[path] = KeptSlot(index_); }
  void Displace() {
    const auto displaced = plan_.displaced.find(index_);
    if (displaced != plan_.displaced.end()) BringBack(displaced->second);
  }
  void Replace(const std::string& path, FileKind kind) {
    Displace();
    TakeAway(path, kind);
  }

  // A new entry. What is new in a new folder goes with it.
  void TakeAway(const std::string& path, FileKind kind) {
    if (kind == FileKind::kDirectory) holds_new_[path] = true;
    go_.erase(model::Key(path));  // of an entry that only moved here to be replaced
    if (!IsInNewFolder(path)) go_[model::Key(path)] = model::Remove{path, kind};
  }

  // Whether the innermost folder around `path` that this commit placed is a new one.
  [[nodiscard]] bool IsInNewFolder(std::string_view path) const {
    while (!path.empty()) {
      path = model::Parent(path);
      const auto found = holds_new_.find(path);
      if (found != holds_new_.end()) return found->second;
    }
    return false;
  }

  const CommitPlan& plan_;
  const std::map<std::string, OldEntry>& old_;
  size_t index_ = 0;
  std::map<model::Slot, std::string> old_paths_;        // of detached entries
  std::map<std::string, bool, std::less<>> holds_new_;  // placed entries that may be folders: whether they are new
  std::map<std::string, model::Operation, std::greater<>> go_;  // by key
  std::map<std::string, model::Slot> come_;                     // by path
  std::map<std::string, model::Patch> patches_;                 // by key
};

}  // namespace

absl::StatusOr<std::map<std::string, OldEntry>> ReadOldEntries(const os::Root& replica, const CommitPlan& plan) {
  std::map<std::string, OldEntry> old;
  const auto read = [&](const std::string& path) -> absl::Status {
    ASSIGN_OR_RETURN(const os::Fd entry, replica.OpenPath(path, O_PATH));
    ASSIGN_OR_RETURN(const os::EntryStat stat, os::StatAt(entry.get(), ""));
    OldEntry found;
    found.kind = stat.kind;
    found.size = stat.size;
    found.metadata = os::MetadataOf(stat);
    found.several_names = stat.kind != FileKind::kDirectory && stat.link_count > 1;
    ASSIGN_OR_RETURN(found.metadata.xattrs, os::ReadXattrs(entry.get(), "", os::Labels::kTake));
    old[path] = std::move(found);
    return absl::OkStatus();
  };
  for (const std::string& path : plan.touched) RETURN_IF_ERROR(read(path));
  for (const auto& [index, path] : plan.patched_paths) RETURN_IF_ERROR(read(path));
  return old;
}

absl::StatusOr<std::set<std::string>> DisplacedWithSeveralNames(const os::Root& replica, const CommitPlan& plan,
                                                                const model::Commit& commit) {
  std::set<std::string> paths;
  for (const auto& [index, source] : plan.sources) {
    const auto* const remove = std::get_if<model::Remove>(&commit.operations[index]);
    if (remove != nullptr && source.several_names) paths.insert(remove->path);
  }
  for (const auto& [index, path] : plan.displaced) {
    ASSIGN_OR_RETURN(const os::EntryStat stat, replica.Stat(path));
    if (stat.kind != FileKind::kDirectory && stat.link_count > 1) paths.insert(path);
  }
  return paths;
}

std::vector<model::Operation> ReverseOf(const model::Commit& commit, const CommitPlan& plan,
                                        const std::map<std::string, OldEntry>& old) {
  return Reverser(plan, old).Reverse(commit);
}

}  // namespace understudy::dr
