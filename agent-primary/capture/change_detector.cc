#include "agent-primary/capture/change_detector.h"

#include <algorithm>
#include <functional>
#include <utility>
#include <vector>

#include "core/model/path.h"
#include "core/os/tree_walk.h"

namespace understudy::primary {
namespace {

constexpr size_t kIndexPage = 1000;

// Reads the index below a folder page by page.
class IndexCursor {
 public:
  IndexCursor(VolumeIndex& index, std::string folder) : index_(index), folder_(std::move(folder)) {}

  // nullptr at the end.
  absl::StatusOr<const IndexEntry*> Peek() {
    if (next_ == page_.size() && !ended_) {
      const std::string after = page_.empty() ? std::string() : page_.back().path;
      ASSIGN_OR_RETURN(page_, index_.ListBelow(folder_, after, kIndexPage));
      next_ = 0;
      ended_ = page_.empty();
    }
    return ended_ ? nullptr : &page_[next_];
  }
  void Advance() { ++next_; }
  absl::Status SkipBelow(const std::string& path) {
    for (;;) {
      ASSIGN_OR_RETURN(const IndexEntry* entry, Peek());
      if (entry == nullptr || !model::IsWithin(entry->path, path)) return absl::OkStatus();
      Advance();
    }
  }

 private:
  VolumeIndex& index_;
  const std::string folder_;
  std::vector<IndexEntry> page_;
  size_t next_ = 0;
  bool ended_ = false;
};

// As of their keys (model::Key), without making them.
int CompareInKeyOrder(std::string_view a, std::string_view b) {
  const auto [at, other] = std::mismatch(a.begin(), a.end(), b.begin(), b.end());
  if (at == a.end() || other == b.end()) return static_cast<int>(at != a.end()) - static_cast<int>(other != b.end());
  const auto rank = [](char c) { return c == '/' ? 0 : static_cast<int>(static_cast<unsigned char>(c)); };
  return rank(*at) - rank(*other);
}

bool IsFolder(const std::optional<os::EntryStat>& stat) {
  return stat.has_value() && stat->kind == model::FileKind::kDirectory;
}

}  // namespace

void ChangeDetector::Add(const std::string& path, std::optional<IndexRow> row, std::optional<os::EntryStat> stat) {
  if (row.has_value() && stat.has_value() && IsUnchanged(*row, *stat)) return;
  // What was there and what is there can be met at different times, when folders above were moved.
  Change& change = changes_[model::Key(path)];
  if (row.has_value()) change.row = std::move(row);
  if (stat.has_value()) change.stat = std::move(stat);
  truncated_ |= changes_.size() >= kMaxChangesPerCapture;
}

void ChangeDetector::Meet(const std::string& path, const os::EntryStat& stat) {
  if (stat.kind != model::FileKind::kDirectory) return;
  const uint64_t hash = std::hash<std::string>()(path);
  torn_ |= folders_met_.try_emplace({stat.filesystem, stat.inode}, hash).first->second != hash;
  // What is planned for the path is by what was met there first.
  const auto change = changes_.find(model::Key(path));
  torn_ |= change != changes_.end() && change->second.stat.has_value() && change->second.stat->inode != stat.inode;
}

absl::StatusOr<std::string> ChangeDetector::TopmostNew(const std::string& path) {
  for (size_t slash = path.find('/'); slash != std::string::npos; slash = path.find('/', slash + 1)) {
    std::string folder = path.substr(0, slash);
    ASSIGN_OR_RETURN(const std::optional<IndexRow> row, index_.Find(folder));
    if (!row.has_value() || row->kind != model::FileKind::kDirectory) return folder;
  }
  return path;
}

absl::StatusOr<std::optional<IndexEntry>> ChangeDetector::FindByIdentity(const os::EntryStat& stat) const {
  const bool folder = stat.kind == model::FileKind::kDirectory;
  if (!moves_ || !(folder || (stat.kind == model::FileKind::kRegular && stat.link_count == 1))) return std::nullopt;
  if (folder) {
    // A folder that was renamed while it was captured may be in the index twice: then its inode doesn't tell.
    ASSIGN_OR_RETURN(std::vector<IndexEntry> known, index_.ListByInode(stat.inode));
    if (known.size() != 1 || known[0].row.kind != stat.kind) return std::nullopt;
    return std::move(known[0]);
  }
  ASSIGN_OR_RETURN(std::optional<IndexEntry> entry, index_.FindByInode(stat.inode));
  if (entry.has_value() && entry->row.kind != stat.kind) entry.reset();
  return entry;
}

absl::StatusOr<bool> ChangeDetector::CameFromElsewhere(const std::string& before, const os::EntryStat& stat) {
  ASSIGN_OR_RETURN(const std::optional<IndexEntry> source, FindByIdentity(stat));
  return source.has_value() && source->path != before;
}

bool ChangeDetector::IsGoneFromMoved(std::string_view path, const std::string& folder) const {
  for (; path.size() > folder.size(); path = model::Parent(path)) {
    const auto gone = gone_from_moved_.find(std::string(path));
    if (gone != gone_from_moved_.end() && gone->second.size() >= folder.size()) return true;
  }
  return false;
}

absl::Status ChangeDetector::LookAt(const std::string& path) {
  RETURN_IF_ERROR(LookAtOne(path));
  return LookAtHolder(path);
}

absl::Status ChangeDetector::LookBelow(const std::string& path) {
  RETURN_IF_ERROR(LookBelowOne(path));
  return LookAtHolder(path);
}

absl::Status ChangeDetector::LookAtHolder(const std::string& path) {
  const std::string holder(model::Parent(path));
  if (path.empty() || !holders_.insert(holder).second) return absl::OkStatus();
  return LookAtOne(holder);
}

absl::Status ChangeDetector::LookAtNames(const std::vector<IndexEntry>& names) {
  for (const IndexEntry& name : names) {
    if (!changes_.contains(model::Key(name.path))) RETURN_IF_ERROR(LookAtOne(name.path));
  }
  return absl::OkStatus();
}

absl::Status ChangeDetector::LookAtOtherNames() {
  std::set<uint64_t> inodes;
  std::set<uint64_t> files;
  for (size_t before = 0; before != changes_.size();) {  // what is looked at may lead to more
    before = changes_.size();
    for (const auto& [key, change] : changes_) {
      if (changes_.size() > 2 * kMaxChangesPerCapture) return absl::OkStatus();  // truncated: the next look goes on
      if (change.row.has_value() && change.row->file != 0 && files.insert(change.row->file).second) {
        ASSIGN_OR_RETURN(const std::vector<IndexEntry> names, index_.ListByFile(change.row->file));
        RETURN_IF_ERROR(LookAtNames(names));
      }
      if (!change.stat.has_value() || IsFolder(change.stat)) continue;
      const bool as_known = change.row.has_value() && change.row->inode == change.stat->inode;
      if ((as_known && change.stat->link_count == 1) || !inodes.insert(change.stat->inode).second) continue;
      ASSIGN_OR_RETURN(const std::vector<IndexEntry> names, index_.ListByInode(change.stat->inode));
      RETURN_IF_ERROR(LookAtNames(names));
    }
  }
  return absl::OkStatus();
}

absl::Status ChangeDetector::LookAtOne(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string top, TopmostNew(path));
  if (model::IsWithin(top, os::kWorkFolderName)) return absl::OkStatus();
  if (top != path && changes_.contains(model::Key(top))) return absl::OkStatus();  // looked at with all below it
  ASSIGN_OR_RETURN(const std::optional<IndexRow> row, index_.Find(top));
  absl::StatusOr<os::EntryStat> found = root_.Stat(top);
  if (!found.ok() && !absl::IsNotFound(found.status())) return found.status();
  std::optional<os::EntryStat> stat;
  if (found.ok()) stat = *found;
  if (!row.has_value() && !stat.has_value()) return absl::OkStatus();
  if (stat.has_value()) Meet(top, *stat);
  const bool same_folder =
      row.has_value() && row->kind == model::FileKind::kDirectory && IsFolder(stat) && row->inode == stat->inode;
  if (IsFolder(stat) && !same_folder) return LookBelowOne(top);
  Add(top, row, stat);
  return absl::OkStatus();
}

absl::Status ChangeDetector::LookBelowOne(const std::string& path) {
  ASSIGN_OR_RETURN(const std::optional<IndexRow> row, index_.Find(path));
  const absl::StatusOr<os::EntryStat> stat = root_.Stat(path);
  if (absl::IsNotFound(stat.status())) {
    if (row.has_value()) Add(path, row, std::nullopt);
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(stat.status());
  Meet(path, *stat);
  Add(path, row, *stat);
  if (stat->kind != model::FileKind::kDirectory) return absl::OkStatus();
  moved_folders_.push_back(path);
  while (!moved_folders_.empty() && !truncated_) {
    const std::string folder = std::move(moved_folders_.back());
    moved_folders_.pop_back();
    absl::StatusOr<os::TreeWalk> walk = os::TreeWalk::Begin(root_, folder, os::kWorkFolderName, os::Walk::kAllAhead);
    if (absl::IsNotFound(walk.status())) continue;  // gone since: a hint will tell
    RETURN_IF_ERROR(walk.status());
    Meet(folder, walk->start());
    ASSIGN_OR_RETURN(const std::optional<IndexEntry> source, FindByIdentity(walk->start()));
    RETURN_IF_ERROR(Compare(*walk, folder, source.has_value() ? source->path : folder));
    torn_ |= walk->torn();
  }
  moved_folders_.clear();
  return absl::OkStatus();
}

absl::Status ChangeDetector::Compare(os::TreeWalk& walk, const std::string& path, const std::string& source) {
  const auto here = [&](const std::string& known) { return path + known.substr(source.size()); };
  const bool moved = path != source;
  const auto add_gone = [&](const std::string& known, const IndexRow& row) {
    Add(known, row, std::nullopt);
    if (!moved) return;
    std::string& from = gone_from_moved_[known];
    if (from.size() < source.size()) from = source;
  };
  IndexCursor cursor(index_, source);
  // Both come in key order: a merge tells what is only in one of them.
  ASSIGN_OR_RETURN(std::optional<os::WalkEntry> found, walk.Next());
  while (!truncated_) {
    ASSIGN_OR_RETURN(const IndexEntry* known, cursor.Peek());
    if (!found.has_value() && known == nullptr) break;
    int order = found.has_value() ? -1 : 1;
    if (found.has_value() && known != nullptr) {
      order = CompareInKeyOrder(found->path, moved ? here(known->path) : known->path);
    }
    if (order > 0) {
      const std::string gone = known->path;
      add_gone(gone, known->row);
      RETURN_IF_ERROR(cursor.SkipBelow(gone));
      continue;
    }
    Meet(found->path, found->stat);
    if (order == 0 && IsUnchanged(known->row, found->stat)) {
      cursor.Advance();
      ASSIGN_OR_RETURN(found, walk.Next());
      continue;
    }
    const std::optional<IndexRow> row = order == 0 ? std::optional(known->row) : std::nullopt;
    const std::string known_path = order == 0 ? known->path : std::string();
    // The rows that a moved folder brings along belong to their own paths, not to the new ones.
    if (!row.has_value() || !IsUnchanged(*row, found->stat)) Add(found->path, moved ? std::nullopt : row, found->stat);
    const bool another_folder =
        found->stat.kind == model::FileKind::kDirectory && (!row.has_value() || row->inode != found->stat.inode);
    bool compared_elsewhere = false;
    if (another_folder) {
      const std::string before = source + found->path.substr(path.size());
      ASSIGN_OR_RETURN(compared_elsewhere, CameFromElsewhere(before, found->stat));
    }
    if (compared_elsewhere) {
      moved_folders_.push_back(found->path);
      walk.SkipChildren();
    }
    if (order == 0) {
      const bool rows_below_stand_alone = row->kind == model::FileKind::kDirectory &&
                                          (compared_elsewhere || found->stat.kind != model::FileKind::kDirectory);
      if (rows_below_stand_alone) {
        if (moved) add_gone(known_path, *row);
        RETURN_IF_ERROR(cursor.SkipBelow(known_path));
      } else {
        if (moved && row->kind != found->stat.kind) add_gone(known_path, *row);
        cursor.Advance();
      }
    }
    ASSIGN_OR_RETURN(found, walk.Next());
  }
  return absl::OkStatus();
}

}  // namespace understudy::primary
