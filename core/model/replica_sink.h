// replica_sink.h: the seam between the two halves of the data plane.
//
// The primary side opens a volume, stages large content, submits commits and is told when they are durable. Three
// implementations pass one contract suite (tests/contract): the gRPC one (agent-primary/ship), the commit engine called
// in the same process (agent-dr/commit), and a memory one (tests/support).
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "core/base/status.h"
#include "core/model/commit.h"
#include "core/model/verify.h"
#include "core/model/volume.h"

namespace understudy::model {

// A small file, staged as a whole.
struct StagedFile {
  Slot slot = 0;
  std::string path;   // where it is to stand after the commit
  Metadata metadata;  // that its Put will give it
  Digest digest{};    // of the content
  std::string content;
};

// Small files ahead of their commit, many at a time.
struct StagedBatch {
  // That the commit will make: what is staged for a path in one of them is made in it, so that the folder can be
  // published with all that it holds. Each before what is in it.
  std::vector<std::string> folders;
  std::vector<StagedFile> files;
};

// One volume is driven by one thread at a time; different volumes may be driven by different threads.
// After any error of Stage* or Submit the volume has to be opened again; what was staged and not submitted is gone
// then.
class ReplicaSink {
 public:
  using DamageListener = std::function<void(const VolumeName&, const DamagedFile&)>;

  virtual ~ReplicaSink() = default;

  // Makes the caller the volume's only writer and says what DR has. Creates the replica when there is none.
  // FAILED_PRECONDITION: `spec.epoch` is older than DR's, or the volume isn't a standby. INVALID_ARGUMENT: DR has no
  // export that holds `spec.replica_root`. UNAVAILABLE: no connection.
  [[nodiscard]] virtual absl::StatusOr<ReplicaState> Open(const VolumeSpec& spec) = 0;

  // Begins large content under `slot`, which is to stand at `path`. `base_path`: the replica's file that it continues,
  // by its path before the commit; empty for new content.
  [[nodiscard]] virtual absl::Status StageBegin(const VolumeName& volume, Slot slot, const std::string& path,
                                                uint64_t size, const std::string& base_path) = 0;
  // As StageBegin, but what an earlier session staged for `path` is the beginning. The segments that it holds already
  // come back, in ascending order, as they will be; each may be staged once more (with a delta that changes nothing it
  // is the base's again). Those that don't come back are the base's, or zeros.
  // NOT_FOUND: there is nothing (any more) that fits; the session goes on, and StageBegin is the way.
  [[nodiscard]] virtual absl::StatusOr<std::vector<SegmentDigest>> StageResume(const VolumeName& volume, Slot slot,
                                                                               const std::string& path, uint64_t size,
                                                                               const std::string& base_path) = 0;
  // Ranges of one slot come in ascending order and don't overlap; each is at most kMaxStageBytes long, holes may be
  // longer.
  [[nodiscard]] virtual absl::Status StageData(const VolumeName& volume, Slot slot, uint64_t offset,
                                               std::string_view data) = 0;
  [[nodiscard]] virtual absl::Status StageHole(const VolumeName& volume, Slot slot, uint64_t offset,
                                               uint64_t length) = 0;
  // DATA_LOSS, at the latest from Submit: the base wasn't what the delta was made against.
  [[nodiscard]] virtual absl::Status StageDelta(const VolumeName& volume, Slot slot, const SegmentDelta& delta) = 0;
  [[nodiscard]] virtual absl::Status StageEnd(const VolumeName& volume, Slot slot) = 0;

  // Stages small files as wholes, each under its slot. By itself it stages each as any other content.
  [[nodiscard]] virtual absl::Status StageFiles(const VolumeName& volume, const StagedBatch& batch) {
    for (const StagedFile& file : batch.files) {
      RETURN_IF_ERROR(StageBegin(volume, file.slot, file.path, file.content.size(), ""));
      if (!file.content.empty()) RETURN_IF_ERROR(StageData(volume, file.slot, 0, file.content));
      RETURN_IF_ERROR(StageEnd(volume, file.slot));
    }
    return absl::OkStatus();
  }

  // Returns when the commit is durable at DR. FAILED_PRECONDITION: wrong base sequence, superseded session or old
  // epoch; RESOURCE_EXHAUSTED: no space at DR, nothing was changed; DATA_LOSS: content doesn't match its digest.
  [[nodiscard]] virtual absl::Status Submit(const Commit& commit) = 0;

  // The newest sequence that the replica's folder is known to show.
  [[nodiscard]] virtual Sequence Published(const VolumeName& volume) = 0;

  // librsync's signature of one segment (core/delta/content_digest.h) of the replica's file at `path`, as the folder
  // shows it, for a delta against that. The session goes on whatever it says. NOT_FOUND, UNIMPLEMENTED: there is none
  // to be had.
  [[nodiscard]] virtual absl::StatusOr<std::string> SegmentSignature(const VolumeName& /*volume*/,
                                                                     const std::string& /*path*/, uint64_t /*number*/) {
    return absl::UnimplementedError("no signatures here");
  }

  // `listener` is told, from any thread, of files that DR finds damaged, while their volume is open. An implementation
  // that finds nothing has nobody to tell. Before the first Open.
  virtual void ListenToDamage(const DamageListener& /*listener*/) {}

  // Every entry of the replica but its root folder, in key order (core/model/path.h), to `visit`; an error of `visit`
  // ends it.
  [[nodiscard]] virtual absl::Status Inventory(const VolumeName& volume, bool with_digests,
                                               const std::function<absl::Status(InventoryEntry)>& visit) = 0;
};

}  // namespace understudy::model
