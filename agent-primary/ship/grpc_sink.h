// grpc_sink.h: the replica's half of the data plane behind gRPC: one Replicate stream for any number of volumes.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "core/model/replica_sink.h"
#include "core/wire/messages.h"

namespace grpc {
class Channel;
}  // namespace grpc

namespace understudy::v1 {
class ReplicateRequest;
}  // namespace understudy::v1

namespace understudy::primary {

// How long DR may take for one answer: a commit is a sync of its filesystem, which can be long on a busy disk.
inline constexpr absl::Duration kAnswerTimeout = absl::Minutes(5);
// DR reads all that it staged before it answers StageResume: a disk that is slower than this is broken.
inline constexpr uint64_t kSlowestReadBytesPerSecond = 16 * 1024 * 1024;

// Calls of the stream come from one thread (its lane); a thread of its own reads the answers.
class GrpcReplicaSink : public model::ReplicaSink {
 public:
  struct Listener {
    // Both are called on the reading thread.
    std::function<void(const model::VolumeName&, model::Sequence)> on_published;
    std::function<void()> on_broken;
  };

  // Opens the stream after a handshake. UNAVAILABLE: can't reach `address`; FAILED_PRECONDITION: another protocol
  // version.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<GrpcReplicaSink>> Connect(std::shared_ptr<grpc::Channel> channel,
                                                                                const std::string& address,
                                                                                Listener listener);
  ~GrpcReplicaSink() override;

  // Why the stream ended; OK while it lives. Thread-safe.
  [[nodiscard]] absl::Status health() const;

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
  [[nodiscard]] absl::Status StageFiles(const model::VolumeName& volume, const model::StagedBatch& batch) override;
  [[nodiscard]] absl::Status StageEnd(const model::VolumeName& volume, model::Slot slot) override;
  [[nodiscard]] absl::Status Submit(const model::Commit& commit) override;
  [[nodiscard]] model::Sequence Published(const model::VolumeName& volume) override;
  void ListenToDamage(const DamageListener& listener) override;
  [[nodiscard]] absl::Status Inventory(const model::VolumeName& volume, bool with_digests,
                                       const std::function<absl::Status(model::InventoryEntry)>& visit) override;
  [[nodiscard]] absl::StatusOr<std::string> SegmentSignature(const model::VolumeName& volume, const std::string& path,
                                                             uint64_t number) override;

 private:
  struct Stream;
  struct Batches;
  struct VolumeSession {
    uint64_t session = 0;
    std::optional<model::ReplicaState> opened;
    model::Sequence acknowledged = 0;
    model::Sequence published = 0;
    absl::Status refused;
    std::optional<wire::StageResumed> resumed;  // of the newest StageResume
  };

  GrpcReplicaSink(std::unique_ptr<Stream> stream, std::string address, Listener listener);
  void ReadAnswers();
  // Ranges of one slot are gathered into messages; whatever else is written of the volume comes after those.
  absl::Status StageRange(const model::VolumeName& volume, model::Slot slot, uint64_t offset, uint64_t length,
                          std::string_view data);
  void WriteRanges(const model::VolumeName& volume, model::Epoch epoch);
  void WriteAfterRanges(const model::VolumeName& volume, model::Epoch epoch, v1::ReplicateRequest request);
  // The epoch that the volume's messages carry, while its session may go on.
  absl::StatusOr<model::Epoch> CheckSession(const model::VolumeName& volume) const;
  // Waits until `done` holds for the volume, it is refused, or the stream ends.
  absl::Status Await(const model::VolumeName& volume, const std::function<bool(const VolumeSession&)>& done,
                     std::string_view what, absl::Duration timeout = kAnswerTimeout);
  absl::Status Broken() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const std::unique_ptr<Stream> stream_;
  const std::string address_;
  const Listener listener_;
  mutable absl::Mutex mutex_;
  std::map<model::VolumeName, VolumeSession> sessions_ ABSL_GUARDED_BY(mutex_);
  absl::Status ended_ ABSL_GUARDED_BY(mutex_);
  DamageListener on_damaged_ ABSL_GUARDED_BY(mutex_);
  uint64_t last_session_ = 0;
  std::unique_ptr<Batches> batches_;
  std::thread reader_;
};

}  // namespace understudy::primary
