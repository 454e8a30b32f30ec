// volume_store.h: what DR durably knows of one replica, and its unsettled commit record (docs/formats/commit.md).
//
// One SQLite file, synchronous=FULL: what a call did is durable when it returns OK. One thread at a time.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "agent-dr/commit/content_ranges.h"
#include "agent-dr/commit/identity.h"
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
};

struct StoredReplica {
  model::ReplicaState state;
  Identity root_folder;
};

class VolumeStore {
 public:
  // `folder` exists.
  [[nodiscard]] static absl::StatusOr<VolumeStore> Open(const std::string& folder);

  // nullopt: nothing was created yet.
  [[nodiscard]] absl::StatusOr<std::optional<StoredReplica>> Load();
  [[nodiscard]] absl::Status Create(const StoredReplica& replica);
  // DATA_LOSS: the record isn't what was written.
  [[nodiscard]] absl::StatusOr<std::optional<CommitRecord>> LoadRecord();

  // The commit point: in one transaction the earlier record is settled, `record` becomes the unsettled one, and
  // `state` the replica's. An error leaves open whether it happened: read it again from a store opened anew.
  [[nodiscard]] absl::Status Commit(const CommitRecord& record, const model::ReplicaState& state);
  // Takes the record away: its effects are published and durable.
  [[nodiscard]] absl::Status Settle(const model::ReplicaState& state);
  [[nodiscard]] absl::Status SetEpoch(model::Epoch epoch);

 private:
  explicit VolumeStore(store::Database database) : database_(std::move(database)) {}
  [[nodiscard]] absl::Status LoadVacated(CommitRecord& record);
  [[nodiscard]] absl::Status LoadPatches(CommitRecord& record);
  [[nodiscard]] absl::Status DeleteRecord();
  [[nodiscard]] absl::Status WriteSequences(const model::ReplicaState& state);

  store::Database database_;
};

}  // namespace understudy::dr
