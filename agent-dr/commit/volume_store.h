// volume_store.h: what DR durably knows of one replica: its state, its unsettled commit record
// (docs/formats/commit.md) and its undo records (docs/formats/undo.md).
//
// One SQLite file, synchronous=FULL: what a call did is durable when it returns OK. One thread at a time.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "agent-dr/commit/content_ranges.h"
#include "agent-dr/commit/content_table.h"
#include "agent-dr/commit/identity.h"
#include "agent-dr/commit/points.h"
#include "core/base/status.h"
#include "core/model/commit.h"
#include "core/model/volume.h"
#include "core/store/database.h"

namespace understudy::dr {

// What a Remove or Detach was meant for.
struct VacatedEntry {
  Identity identity;
  bool several_names = false;  // the identity alone doesn't tell whether it went away: another name may have come here
};

// The file that a Patch is for, and where it changes.
struct PatchedFile {
  Identity identity;
  std::vector<ContentRange> ranges;
};

// The operations of a commit without contents (inline contents are empty), and what Remove and Detach were meant for.
struct CommitRecord {
  model::Commit commit;
  std::map<size_t, VacatedEntry> sources;  // by index of the operation
  std::map<size_t, PatchedFile> patches;   // likewise
  Identity work_folder;                    // where its content is staged
  bool keeps = false;                      // what it displaces is kept (WorkArea::OpenUndoFolder)
  model::Sequence runs = 0;                // the undo record that it runs, whose kept entries it may use; 0: none
};

// What takes the replica back from the state `about.from` to the state `about.point`.
struct UndoRecord {
  UndoAbout about;
  std::vector<model::Operation> operations;                  // agent-dr/commit/reverse.h
  std::map<size_t, std::vector<ContentRange>> kept_content;  // where the old content of a patched file is kept
  // Paths of all but folders that it patches or sets metadata of, and that have several names in the state
  // `about.point`, kept ones counted.
  std::set<std::string> several_names;
  std::set<std::string> kept_several_names;  // the same of what it brings back
};

// To be renamed into the folder of the record that it belongs to now.
struct KeptMove {
  KeptPlace from;
  size_t to = 0;
};

struct StoredReplica {
  model::ReplicaState state;
  Identity root_folder;
  Point point;  // the state that the newest commit leads to
};

// What becomes of the undo records with a commit.
struct UndoChanges {
  std::optional<UndoRecord> left;        // by the commit
  std::vector<model::Sequence> dropped;  // past the bounds
  std::vector<UndoAbout> measured;       // whose held bytes are known now
};

class VolumeStore {
 public:
  // `folder` exists.
  [[nodiscard]] static absl::StatusOr<VolumeStore> Open(const std::string& folder);

  // nullopt: nothing was created yet.
  [[nodiscard]] absl::StatusOr<std::optional<StoredReplica>> Load();
  // In one transaction, with a label for its first state where there is one.
  [[nodiscard]] absl::Status Create(const StoredReplica& replica, const std::optional<PointLabel>& label = {});
  // DATA_LOSS: the record isn't what was written.
  [[nodiscard]] absl::StatusOr<std::optional<CommitRecord>> LoadRecord();

  // The commit point: in one transaction the earlier record is settled, `record` becomes the unsettled one, `state` and
  // `point` the replica's, what is known of its contents and the undo records change; the one that `record` runs goes.
  // An error leaves open whether it happened: read it again from a store opened anew. Sets the held bytes of what the
  // commit left to those of its row.
  [[nodiscard]] absl::Status Commit(const CommitRecord& record, const model::ReplicaState& state, const Point& point,
                                    UndoChanges& undo, const ContentChanges& contents = {});
  // Takes the record away: its effects are published and durable.
  [[nodiscard]] absl::Status Settle(const model::ReplicaState& state);
  [[nodiscard]] absl::Status SetEpoch(model::Epoch epoch);
  // In one transaction: `state` and `point` become the replica's, and every undo record and label but `label` goes. No
  // record is unsettled. An error leaves open whether it happened.
  [[nodiscard]] absl::Status ChangeState(const model::ReplicaState& state, const Point& point,
                                         const std::optional<PointLabel>& label = {});
  // ReplicaState::reprotected, until ChangeState.
  [[nodiscard]] absl::Status SetReprotected();
  // The hooks that were due have run.
  [[nodiscard]] absl::Status SetHooksRun();

  // Ascending by sequence.
  [[nodiscard]] absl::StatusOr<std::vector<UndoAbout>> ListUndo();
  // NOT_FOUND: there is none. DATA_LOSS: it isn't what was written.
  [[nodiscard]] absl::StatusOr<UndoRecord> LoadUndo(model::Sequence sequence);
  [[nodiscard]] absl::Status DropUndo(std::span<const model::Sequence> sequences);

  // In one transaction: `merged` takes the place of the records `replaces`, and `moves` are due. Sets its held bytes to
  // those of its row. An error leaves open whether it happened.
  [[nodiscard]] absl::Status MergeUndo(UndoRecord& merged, std::span<const model::Sequence> replaces,
                                       std::span<const KeptMove> moves);
  struct DueMoves {
    model::Sequence into = 0;
    std::vector<KeptMove> moves;
  };
  // What MergeUndo left to be done; empty: nothing. Of one merged record at most.
  [[nodiscard]] absl::StatusOr<DueMoves> LoadMoves();
  [[nodiscard]] absl::Status ForgetMoves();

  // Ascending by point.
  [[nodiscard]] absl::StatusOr<std::vector<PointLabel>> ListLabels();
  // Replaces an earlier one of that state, whose pin this may be.
  [[nodiscard]] absl::Status SetLabel(const PointLabel& label);
  // None is fine.
  [[nodiscard]] absl::Status DropLabel(model::Sequence point);

  // ReplicaState::held.
  [[nodiscard]] absl::Status SetHeld(bool held);

  // What is known of the replica's contents; for as long as the store lives.
  [[nodiscard]] ContentTable contents() { return ContentTable(database_); }

 private:
  explicit VolumeStore(store::Database database) : database_(std::move(database)) {}
  [[nodiscard]] absl::Status LoadVacated(CommitRecord& record);
  [[nodiscard]] absl::Status LoadPatches(CommitRecord& record);
  [[nodiscard]] absl::Status DeleteRecord();
  [[nodiscard]] absl::Status WriteSequences(const model::ReplicaState& state);
  [[nodiscard]] absl::Status WritePoint(const Point& point);
  [[nodiscard]] absl::Status ChangeUndo(const CommitRecord& record, UndoChanges& undo);
  [[nodiscard]] absl::Status InsertUndo(UndoRecord& undo);
  [[nodiscard]] absl::Status LoadSeveralNames(UndoRecord& undo);
  [[nodiscard]] absl::Status DeleteUndo(std::span<const model::Sequence> sequences);

  store::Database database_;
};

}  // namespace understudy::dr
