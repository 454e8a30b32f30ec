// volume_index.h: what the primary knows the replica of one volume to hold: what DR acknowledged, nothing else.
//
// One SQLite file for each volume. A commit's changes are staged in it before the commit is submitted and take effect
// when it is acknowledged, so that a crash in between can be settled by asking DR which sequence it has. One thread at
// a time. Losing the file costs a comparison with DR, never data; so it is written without waiting for the disk.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "agent-primary/index/base_table.h"
#include "agent-primary/index/entry_table.h"
#include "agent-primary/index/guard_record.h"
#include "agent-primary/index/index_row.h"
#include "agent-primary/index/segment_table.h"
#include "core/model/verify.h"
#include "core/store/database.h"

namespace understudy::primary {

struct IndexState {
  std::string replica_id;  // of the replica that it describes; empty: of none yet
  model::Epoch epoch = 0;
  model::Sequence sequence = 0;
  std::string commit_id;                           // of the commit that made `sequence` (ReplicaState::commit_id)
  bool complete = false;                           // a whole capture was acknowledged
  std::optional<model::Sequence> staged_sequence;  // of a commit whose acknowledgement hasn't been seen
  std::string staged_commit_id;                    // likewise
  bool staged_complete = false;                    // whether that commit completes a capture
};

class VolumeIndex {
 public:
  // Made anew when there is no file. DATA_LOSS: the file is damaged; remove it, and the replica is compared anew.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<VolumeIndex>> Open(const std::string& file);

  [[nodiscard]] const IndexState& state() const { return state_; }
  [[nodiscard]] absl::StatusOr<uint64_t> CountRows() { return rows_->CountRows(); }
  // How many entries there are but the root.
  [[nodiscard]] uint64_t entries() const { return rows_->count(); }
  // How many there are below the folder `folder`, which isn't the root; without itself.
  [[nodiscard]] absl::StatusOr<uint64_t> CountBelow(std::string_view folder) { return rows_->CountBelow(folder); }

  // Content of all of them; goes through all rows.
  [[nodiscard]] absl::StatusOr<uint64_t> CountBytes() { return rows_->CountBytes(); }

  // What the guards remember; it outlasts Rebuild.
  [[nodiscard]] const GuardRecord& guard() const { return guard_; }
  // With kFull it is on disk when this returns, unlike all else here.
  [[nodiscard]] absl::Status SaveGuard(const GuardRecord& record,
                                       store::Durability durability = store::Durability::kNormal);

  [[nodiscard]] absl::StatusOr<std::optional<IndexRow>> Find(std::string_view path);
  // Any entry with this inode number.
  [[nodiscard]] absl::StatusOr<std::optional<IndexEntry>> FindByInode(uint64_t inode) {
    return rows_->FindByInode(inode);
  }
  // All entries with this inode number, in key order.
  [[nodiscard]] absl::StatusOr<std::vector<IndexEntry>> ListByInode(uint64_t inode) {
    return rows_->ListByInode(inode);
  }
  // All names of one file at DR (IndexRow::file, not 0), in key order.
  [[nodiscard]] absl::StatusOr<std::vector<IndexEntry>> ListByFile(uint64_t file) { return rows_->ListByFile(file); }
  // A number for IndexRow::file that no row has and no call gave before.
  [[nodiscard]] absl::StatusOr<uint64_t> NewFile() { return rows_->NewFile(); }
  // At most `limit` entries below the folder `folder` that come after `after_path` in key order; `after_path` "" is the
  // beginning. The row of `folder` itself isn't one of them.
  [[nodiscard]] absl::StatusOr<std::vector<IndexEntry>> ListBelow(std::string_view folder, std::string_view after_path,
                                                                  size_t limit) {
    return rows_->ListBelow(folder, after_path, limit);
  }
  // Paths of regular files of more than kMaxSmallFileBytes that come after `after`, in key order; "" is before all.
  [[nodiscard]] absl::StatusOr<std::vector<std::string>> ListLarge(const std::string& after) {
    return rows_->ListLarge(after);
  }
  [[nodiscard]] absl::StatusOr<bool> HasLarge() { return rows_->HasLarge(); }
  // Paths with kUnsettledCtime, at most `limit` of them: what the replica lacks of them isn't known.
  [[nodiscard]] absl::StatusOr<std::vector<std::string>> ListUnsettled(size_t limit) {
    return rows_->ListUnsettled(limit);
  }
  [[nodiscard]] absl::StatusOr<std::optional<SegmentRecord>> FindSegment(uint64_t inode, uint64_t number) {
    return segments_->Find(inode, number);
  }

  // Of every segment record of the file, ascending.
  [[nodiscard]] absl::StatusOr<std::vector<model::SegmentDigest>> ListSegmentDigests(uint64_t inode) {
    return segments_->ListDigests(inode);
  }

  // The frozen copy of the file, if there is one: the replica's content when it has the same size and content as the
  // file's row.
  [[nodiscard]] absl::StatusOr<std::optional<BaseRecord>> FindBase(uint64_t inode) { return bases_->Find(inode); }
  // Of the largest files, descending; at most `most`.
  [[nodiscard]] absl::StatusOr<std::vector<BaseTable::Known>> ListLargestBases(size_t most) {
    return bases_->ListLargest(most);
  }
  // Forgets the bases of files that aren't in the index any more; names of the clones of all others. What a staged
  // commit brings isn't among them.
  [[nodiscard]] absl::StatusOr<std::set<std::string>> CollectBases();

  // The replica's file isn't what the rows of its names say: its content counts as unknown, so that it is captured
  // anew. Where `damaged` says which segments DR found, and they were a large file's, only those that differ do;
  // nothing is concluded from those that don't. Paths of all its names; none: there is no such file.
  [[nodiscard]] absl::StatusOr<std::vector<std::string>> Doubt(const model::DamagedFile& damaged);

  // Facts about the source alone (a new ctime, say), which no commit carries.
  [[nodiscard]] absl::Status Refresh(std::span<const IndexChange> changes);

  // Stages the changes of the commit that takes DR to `sequence`; what was staged before is dropped.
  [[nodiscard]] absl::Status Stage(model::Sequence sequence, bool completes_capture,
                                   std::span<const IndexChange> changes, std::string commit_id = {});
  // The staged commit was acknowledged: its changes take effect.
  [[nodiscard]] absl::Status Acknowledge();
  [[nodiscard]] absl::Status DropStaged();

  // Forgets everything and describes another replica from now on; `fill` puts the rows that it has.
  [[nodiscard]] absl::Status Rebuild(const IndexState& state, const std::function<absl::Status(VolumeIndex&)>& fill);
  // Only inside Rebuild's `fill`. `segments` of a file that has this name alone are kept, so that only those that
  // differ travel; they may be none.
  [[nodiscard]] absl::Status PutRebuilt(const std::string& path, IndexRow row,
                                        std::span<const model::SegmentDigest> segments = {});

  // The volume's folder is another one now: inode numbers tell nothing any more, so each entry is compared by path and
  // content once.
  [[nodiscard]] absl::Status ForgetIdentities();

  VolumeIndex(const VolumeIndex&) = delete;
  VolumeIndex& operator=(const VolumeIndex&) = delete;

 private:
  class Change;
  explicit VolumeIndex(store::Database database);
  absl::Status LoadState();
  absl::Status SaveState(const IndexState& state);
  absl::Status Apply(const IndexChange& change);
  // Removes the segments of the file with this key, unless it has another name or is inode `unless_inode`. Whether
  // there is a row with this key.
  absl::StatusOr<bool> DropSegmentsOfKey(std::string_view key, uint64_t unless_inode);
  absl::Status RemoveKey(std::string_view key);
  // The content digest that the file's rows are to have. Its segment records are changed.
  absl::StatusOr<model::Digest> DoubtSegments(const IndexRow& row, const model::DamagedFile& damaged);

  store::Database database_;
  std::optional<EntryTable> rows_;        // since Open
  std::optional<SegmentTable> segments_;  // likewise
  std::optional<BaseTable> bases_;        // likewise
  IndexState state_;
  GuardRecord guard_;
  uint64_t next_inventoried_ = kFirstInventoriedInode;  // of the newest Rebuild
};

}  // namespace understudy::primary
