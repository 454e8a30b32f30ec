// data_plane.h: every volume of this host: registered, watched, and carried to DR by its lane.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "agent-primary/rules/volume_actions.h"
#include "agent-primary/ship/lane.h"
#include "agent-primary/ship/paused_volumes.h"
#include "agent-primary/ship/ticker.h"
#include "agent-primary/ship/volume_replicator.h"
#include "agent-primary/ship/volume_roles.h"
#include "agent-primary/watch/change_source.h"
#include "core/model/sync_demand.h"
#include "core/model/trash.h"

namespace understudy::primary {

// Volumes are spread over so many lanes, each with a connection of its own.
inline constexpr size_t kLanes = 4;

struct ExportPlace {
  std::string path;                       // absolute, here
  std::string replica_path;               // absolute, at DR
  std::vector<std::string> server_names;  // how PersistentVolumes name this NFS server
};

struct DataPlaneOptions {
  std::string state_dir;
  std::vector<ExportPlace> exports;
  ReplicatorOptions replicator;
  ChangeBackend watch = ChangeBackend::kAuto;
  // Tells DR that a volume was deleted, as VolumeActions::Discard. Thread-safe; nullptr: nobody is told.
  std::function<absl::Status(const model::DiscardedVolume& discarded)> discard;
  // After so long, bases of volumes that aren't replicated any more go.
  absl::Duration sweep_bases_after = absl::Minutes(10);
  // How long a first call of SyncToBarrier waits.
  absl::Duration barrier_patience = absl::Seconds(10);
};

enum class VolumeOrigin { kConfig, kKubernetes, kReprotect };
[[nodiscard]] std::string_view ToString(VolumeOrigin origin);

struct VolumeReport {
  model::VolumeName name;
  std::string path;
  std::string replica_root;
  VolumeOrigin origin = VolumeOrigin::kConfig;
  ReplicatorStatus status;
};

// Thread-safe.
class DataPlane : public HintSink, public VolumeActions {
 public:
  // `clock` must outlive it. Change source: inotify.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<DataPlane>> Start(const DataPlaneOptions& options,
                                                                        const SinkConnector& connect,
                                                                        const Clock& clock);
  ~DataPlane() override;

  // INVALID_ARGUMENT: `path` lies within no export. Other errors as of Register.
  [[nodiscard]] absl::Status AddListed(const model::VolumeName& name, const std::string& path);

  [[nodiscard]] std::vector<VolumeReport> Report() const;
  // Of the entry at `path`, in the volume or absolute; "": of the volume's largest files. NOT_FOUND: there is no such
  // volume or entry.
  [[nodiscard]] absl::StatusOr<std::vector<FileReport>> DescribeFiles(const model::VolumeName& name,
                                                                      const std::string& path) const;
  // OK when every lane is connected; else why one isn't.
  [[nodiscard]] absl::Status Connection() const;

  // As SyncToBarrier, with what `demand` asks for. `on_wait` is called soon, then about once a second meanwhile; false
  // ends the wait with CANCELLED. NOT_FOUND: there is no such volume. FAILED_PRECONDITION: a guard holds it back.
  [[nodiscard]] absl::Status Sync(const model::VolumeName& name, model::SyncDemand demand,
                                  const std::function<bool(const VolumeReport&)>& on_wait);

  // Lets what a guard holds back happen; recorded when it returns OK. NOT_FOUND: there is no such volume. Other errors
  // as of VolumeReplicator::AwaitApproval.
  [[nodiscard]] absl::StatusOr<VolumeReport> ApproveGuard(const model::VolumeName& name, const std::string& kind,
                                                          uint64_t entries_gone);

  // Nothing of the volume is captured or sent until ResumeByOperator, also after a restart; on disk, and nothing is
  // under way any more, when it returns OK. NOT_FOUND: there is no such volume. ABORTED: it is paused, but what is
  // under way hasn't ended yet. What object events do to it (Pause, Resume) is apart from that.
  [[nodiscard]] absl::StatusOr<VolumeReport> PauseByOperator(const model::VolumeName& name);
  [[nodiscard]] absl::StatusOr<VolumeReport> ResumeByOperator(const model::VolumeName& name);

  // The volume's live copy is at DR, at `epoch` (docs/promotion.md): nothing of it is captured or sent any more,
  // whatever registers it, until TakeUp; also after a restart. On disk, and nothing is under way, when it returns OK;
  // what the index knew is gone. Once more is fine, and so is a volume that isn't known here. FAILED_PRECONDITION: its
  // replica has that epoch, so nothing was promoted; or the live copy came here at that epoch.
  [[nodiscard]] absl::StatusOr<VolumeReport> HandOver(const model::VolumeName& name, model::Epoch epoch);
  // The volume was made at the other side, and deleted there: one of that name that comes later is another one. What
  // was handed over for a promotion stays so; one that isn't handed over is fine. UNAVAILABLE: it is still registered.
  // FAILED_PRECONDITION: the configuration lists it.
  [[nodiscard]] absl::Status ForgetHandOver(const model::VolumeName& name);
  // Its live copy is the folder `path` here, at `epoch`: replicated from now on, also after a restart, with at least
  // that epoch. `path` "": where it was when it was handed over. `replica_path` "": wherever the configuration says.
  // Once more is fine. INVALID_ARGUMENT: `path` lies within no export. NOT_FOUND: there is no such folder.
  // FAILED_PRECONDITION: a later epoch is known of it, or its replica's path is another one. Other errors as of
  // Register.
  [[nodiscard]] absl::StatusOr<VolumeReport> TakeUp(const model::VolumeName& name, const std::string& path,
                                                    const std::string& replica_path, model::Epoch epoch);
  // At the start: what was taken up and isn't registered. What can't be is logged, and stays remembered.
  void RegisterTakenUp();

  [[nodiscard]] std::optional<VolumePlace> Locate(const std::string& server, const std::string& path) const override;
  [[nodiscard]] absl::Status Register(const std::string& name, const VolumePlace& place) override;
  [[nodiscard]] absl::Status Unregister(const std::string& name) override;
  // Names the replica that the volume's index describes, so that DR gives up no other one: without an index (this host
  // never replicated it, or lost its state) DR isn't told. Takes the index away in the end.
  [[nodiscard]] absl::Status Discard(const std::string& name, const VolumePlace& place) override;
  [[nodiscard]] absl::Status Pause(const std::string& name, const VolumePlace& place) override;
  [[nodiscard]] absl::Status Resume(const std::string& name) override;
  [[nodiscard]] absl::Status SyncToBarrier(const std::string& name, BarrierWait& wait, std::stop_token stop) override;

  void OnHint(const model::VolumeName& volume, std::string_view path, HintKind kind, bool at_once) override;
  void OnInode(const model::VolumeName& volume, uint64_t inode, bool at_once) override;
  void OnOverflow(const model::VolumeName& volume) override;
  void OnCoverage(const model::VolumeName& volume, const absl::Status& coverage) override;

 private:
  struct Volume {
    VolumeOrigin origin;
    Lane* lane;
    std::shared_ptr<VolumeReplicator> replicator;
  };

  DataPlane(const DataPlaneOptions& options, const Clock& clock) : options_(options), clock_(clock) {}
  // What was asked for of a volume that is handed over.
  struct HandedOver {
    VolumeOrigin origin = VolumeOrigin::kReprotect;
    VolumePlace place;
  };

  // handover.cc:
  [[nodiscard]] absl::Status CheckHandOver(const model::VolumeName& name, model::Epoch epoch) const;
  absl::StatusOr<VolumeReport> TakeUpAt(const model::VolumeName& name, const VolumePlace& place, model::Epoch epoch)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(registering_) ABSL_LOCKS_EXCLUDED(mutex_);
  [[nodiscard]] VolumeReport HandedOverReport(const model::VolumeName& name, const VolumeRole& role) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // INVALID_ARGUMENT: no export holds it.
  [[nodiscard]] absl::StatusOr<VolumePlace> PlaceOfPath(const model::VolumeName& name, const std::string& path) const;
  // Nothing of it is watched, captured or under way any more. One that isn't registered is fine.
  void Take(const model::VolumeName& name) ABSL_EXCLUSIVE_LOCKS_REQUIRED(registering_) ABSL_LOCKS_EXCLUDED(mutex_);
  // With all that it names.
  [[nodiscard]] absl::Status RemoveIndex(const model::VolumeName& name, const std::string& path) const;
  // kept_bases.cc. What stays is told; it costs room until the next start sweeps it up.
  void DiscardBases(const model::VolumeName& name, const std::string& path) const;
  void TendBases();
  void SweepBases();
  // That holds the absolute path; nullptr: none does.
  [[nodiscard]] const ExportPlace* InnermostExport(const std::string& path) const;
  absl::Status AddLocked(const model::VolumeName& name, const VolumePlace& place, VolumeOrigin origin, bool paused)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(registering_) ABSL_LOCKS_EXCLUDED(mutex_);

  [[nodiscard]] std::string IndexFile(const model::VolumeName& name) const;
  absl::Status TellDiscarded(const model::VolumeName& name, const VolumePlace& place);
  absl::Status Add(const model::VolumeName& name, const VolumePlace& place, VolumeOrigin origin, bool paused = false);
  // False: it isn't registered.
  bool PauseRegistered(const model::VolumeName& name);
  absl::StatusOr<uint64_t> RequestBarrier(const Volume& volume, bool rescan = false);
  // `go_on` is called several times a second; its error ends the wait. Errors as of Sync.
  absl::Status AwaitBarrier(const Volume& volume, uint64_t barrier, bool published,
                            const std::function<absl::Status()>& go_on);
  absl::Status CheckFree(const model::VolumeName& name, const VolumePlace& place, bool* already) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  static VolumeReport ReportOf(const Volume& volume);
  absl::StatusOr<Volume> Find(const model::VolumeName& name) const;
  void Rewatch(const model::VolumeName& name);
  absl::Status FlushHints(absl::Duration timeout);

  DataPlaneOptions options_;  // as they are after Start
  const Clock& clock_;
  std::unique_ptr<PausedVolumes> paused_;  // written by Start only
  std::unique_ptr<VolumeRoles> roles_;     // likewise
  absl::Mutex registering_;                // one registration at a time; taken before mutex_
  mutable absl::Mutex mutex_;
  std::map<model::VolumeName, Volume> volumes_ ABSL_GUARDED_BY(mutex_);
  std::map<model::VolumeName, HandedOver> handed_over_ ABSL_GUARDED_BY(mutex_);  // none of them is in volumes_
  std::vector<std::unique_ptr<Lane>> lanes_;
  // Lanes watch a volume anew while others may stop watching it; taken before mutex_.
  absl::Mutex rewatching_;
  std::unique_ptr<ChangeSource> source_;
  std::optional<absl::Duration> sweep_at_;  // the keeper's alone; nullopt: done
  std::unique_ptr<Ticker> keeper_;          // of bases
};

}  // namespace understudy::primary
