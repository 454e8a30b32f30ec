// memory_sink.h: a ReplicaSink that keeps replicas in memory: for tests of the primary's half without a disk, and the
// plainest telling of what the contract means.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "core/model/replica_sink.h"
#include "core/wire/content_limits.h"

namespace understudy::tests {

// The replicas of one imagined DR host. Thread-safe.
class MemoryReplicas {
 public:
  struct Entry {
    model::FileKind kind = model::FileKind::kRegular;
    std::string content{};
    std::string target{};
    uint64_t device = 0;
    model::Metadata metadata{};
    uint64_t link_id = 0;  // of all names of a file that was given another one; 0: it never was
    friend bool operator==(const Entry&, const Entry&) = default;
  };
  using Tree = std::map<std::string, Entry>;  // by key of the path (core/model/path.h); the root is ""

  // Replicas may lie below `export_path` only.
  explicit MemoryReplicas(std::string export_path) : export_path_(std::move(export_path)) {}

  // What the replica holds; empty when there is none.
  [[nodiscard]] Tree TreeOf(const model::VolumeName& volume) const;

  // As a promotion would.
  void RaiseEpoch(const model::VolumeName& volume);

  // The next Submit of the volume gets this error instead of being looked at.
  void FailNextSubmit(const model::VolumeName& volume, absl::Status error);

  // How many ranges one file with a base may differ in; before anything is staged. DR's own bound otherwise.
  void SetMostRanges(uint64_t most_ranges) { most_ranges_ = most_ranges; }

 private:
  friend class MemorySink;
  struct Staged {
    std::string content{};
    std::string base_path;  // empty: none
    std::string base;
    uint64_t filled_to = 0;
    uint64_t ranges = 0;  // apart from each other
    bool last_was_hole = false;
    bool finished = false;
  };
  struct Replica {
    model::ReplicaState state;
    Tree tree;
    uint64_t session = 0;  // 0: none may write
    std::map<model::Slot, Staged> staged;
    absl::Status next_error;
  };

  const std::string export_path_;
  uint64_t most_ranges_ = wire::kMaxContentRanges;
  mutable absl::Mutex mutex_;
  std::map<model::VolumeName, Replica> replicas_ ABSL_GUARDED_BY(mutex_);
  uint64_t last_session_ ABSL_GUARDED_BY(mutex_) = 0;
};

// One primary's access. `replicas` outlives it.
class MemorySink : public model::ReplicaSink {
 public:
  explicit MemorySink(MemoryReplicas& replicas) : replicas_(replicas) {}

  [[nodiscard]] absl::StatusOr<model::ReplicaState> Open(const model::VolumeSpec& spec) override;
  [[nodiscard]] absl::Status StageBegin(const model::VolumeName& volume, model::Slot slot, const std::string& path,
                                        uint64_t size, const std::string& base_path) override;
  [[nodiscard]] absl::StatusOr<std::vector<model::SegmentDigest>> StageResume(const model::VolumeName& volume,
                                                                              model::Slot slot, const std::string& path,
                                                                              uint64_t size,
                                                                              const std::string& base_path) override;
  [[nodiscard]] absl::Status StageData(const model::VolumeName& volume, model::Slot slot, uint64_t offset,
                                       std::string_view data) override;
  [[nodiscard]] absl::Status StageHole(const model::VolumeName& volume, model::Slot slot, uint64_t offset,
                                       uint64_t length) override;
  [[nodiscard]] absl::Status StageDelta(const model::VolumeName& volume, model::Slot slot,
                                        const model::SegmentDelta& delta) override;
  [[nodiscard]] absl::Status StageEnd(const model::VolumeName& volume, model::Slot slot) override;
  [[nodiscard]] absl::Status Submit(const model::Commit& commit) override;
  [[nodiscard]] model::Sequence Published(const model::VolumeName& volume) override;
  [[nodiscard]] absl::StatusOr<std::string> SegmentSignature(const model::VolumeName& volume, const std::string& path,
                                                             uint64_t number) override;
  [[nodiscard]] absl::Status Inventory(const model::VolumeName& volume, bool with_digests,
                                       const std::function<absl::Status(model::InventoryEntry)>& visit) override;

 private:
  using Replica = MemoryReplicas::Replica;
  using Staged = MemoryReplicas::Staged;

  // Runs `call` for the volume's replica if this sink may write to it; an error ends that right.
  absl::Status Write(const model::VolumeName& volume, const std::function<absl::Status(Replica&)>& call);
  absl::Status WriteRange(const model::VolumeName& volume, model::Slot slot, uint64_t offset, uint64_t length,
                          bool hole, const std::function<absl::StatusOr<std::string>(const Staged&)>& bytes,
                          bool by_delta = false);

  MemoryReplicas& replicas_;
  absl::Mutex mutex_;
  std::map<model::VolumeName, uint64_t> sessions_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace understudy::tests
