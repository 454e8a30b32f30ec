// commit_engine.h: the replicas of a DR host and who may write to them: the receiving half of the data plane.
//
// Thread-safe. Different volumes don't wait for each other; one volume's calls take turns.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "agent-dr/commit/fault_points.h"
#include "agent-dr/commit/points.h"
#include "agent-dr/commit/probe.h"
#include "agent-dr/commit/replica.h"
#include "agent-dr/commit/trash.h"
#include "core/base/clock.h"
#include "core/base/status.h"
#include "core/model/replica_sink.h"

namespace understudy::dr {

struct CommitEngineOptions {
  std::string state_dir{};                     // exists; the engine is its only user
  std::vector<std::string> exports{};          // absolute paths of folders that exist
  FaultPoints* faults = &FaultPoints::None();  // outlives the engine
  PointBounds points{};
  absl::Duration trash_retain = absl::Hours(7 * 24);
  const Clock* clock = &Clock::System();  // outlives the engine
  // Called once it is certain that a replica goes to the trash, or is forgotten, before its folder does; again when
  // that was cut short. May block for a while; must not call the engine but for List, State and Usable. nullptr: nobody
  // wants to know.
  std::function<void(const model::VolumeName& volume)> before_trash = nullptr;
};

// The right to write to one volume, until a later session of that volume begins. Calls are as in ReplicaSink; after any
// error the session is over. One thread at a time.
class Session {
 public:
  Session() = default;

  // The epoch that the messages carry from here on; until then it is the one that the opening was answered with.
  void SetEpoch(model::Epoch epoch) { token_.epoch = epoch; }

  [[nodiscard]] absl::Status StageBegin(model::Slot slot, const std::string& path, uint64_t size,
                                        const std::string& base_path);
  [[nodiscard]] absl::StatusOr<std::vector<model::SegmentDigest>> StageResume(model::Slot slot, const std::string& path,
                                                                              uint64_t size,
                                                                              const std::string& base_path);
  [[nodiscard]] absl::Status StageData(model::Slot slot, uint64_t offset, std::string_view data);
  [[nodiscard]] absl::Status StageHole(model::Slot slot, uint64_t offset, uint64_t length);
  [[nodiscard]] absl::Status StageDelta(model::Slot slot, const model::SegmentDelta& delta);
  [[nodiscard]] absl::Status StageEnd(model::Slot slot);
  [[nodiscard]] absl::Status StageFiles(const model::StagedBatch& batch);

  // OK: the commit is durable and may be acknowledged; Publish comes next.
  [[nodiscard]] absl::Status SubmitDurable(model::Commit commit);
  // OK: the folder shows the newest durable commit. An error leaves the commit durable; the next opening of the volume
  // tries again.
  [[nodiscard]] absl::Status Publish();

  [[nodiscard]] model::ReplicaState State() const;

  // As Replica::Listen, and tells of what is damaged already; nullptr ends it.
  void ListenToDamage(std::function<void(const model::DamagedFile&)> listener);

 private:
  friend class CommitEngine;
  Session(std::shared_ptr<Replica> replica, SessionToken token) : replica_(std::move(replica)), token_(token) {}

  std::shared_ptr<Replica> replica_;
  SessionToken token_;
};

class CommitEngine {
 public:
  // Finds the replicas of earlier runs and finishes or discards what they left. NOT_FOUND: an export's folder is
  // missing. A replica that can't be used now is no error of the start: see Problems.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<CommitEngine>> Start(CommitEngineOptions options);

  // What kept replicas from being loaded at the start, one line each; opening such a volume tries again.
  [[nodiscard]] const std::vector<std::string>& Problems() const { return problems_; }

  // As ReplicaSink::Open. FAILED_PRECONDITION also when the volume is known with another root, or its root overlaps
  // another volume's.
  [[nodiscard]] absl::StatusOr<Session> Open(const model::VolumeSpec& spec);

  // Ascending by name.
  [[nodiscard]] std::vector<model::ReplicaState> List() const;
  // NOT_FOUND: no such replica here.
  [[nodiscard]] absl::StatusOr<model::ReplicaState> State(const model::VolumeName& volume) const;

  // Whether the primary still has the say over what belongs to the volume: its replica is a standby, or there is none.
  // FAILED_PRECONDITION: DR's copy is the live one (promoting, active or demoting). UNAVAILABLE: there is a replica
  // that can't be read. Waits for nothing.
  [[nodiscard]] absl::Status CheckStandby(const model::VolumeName& volume) const;

  // The first loaded replica that commits can't be brought into, and why; OK: there is none.
  [[nodiscard]] absl::Status Usable() const;

  // As ReplicaSink::Inventory. NOT_FOUND: no such replica here.
  [[nodiscard]] absl::Status Inventory(const model::VolumeName& volume, bool with_digests,
                                       const std::function<absl::Status(model::InventoryEntry)>& visit);

  // As ReplicaSink::SegmentSignature. NOT_FOUND also: no such replica here.
  [[nodiscard]] absl::StatusOr<std::string> SegmentSignature(const model::VolumeName& volume, const std::string& path,
                                                             uint64_t number);

  // As Replica::Stat. FAILED_PRECONDITION: no such replica here.
  [[nodiscard]] absl::StatusOr<Replica::Entry> Stat(const model::VolumeName& volume, const std::string& path);

  // The replica itself, for who works file by file. NOT_FOUND: no such replica here.
  [[nodiscard]] absl::StatusOr<std::shared_ptr<Replica>> FindReplica(const model::VolumeName& volume) const {
    return Find(volume);
  }

  // As Replica::NewestPoint, Points and Rewind. NOT_FOUND: no such replica here.
  [[nodiscard]] absl::StatusOr<Point> NewestPoint(const model::VolumeName& volume) const;
  [[nodiscard]] absl::StatusOr<std::vector<Point>> Points(const model::VolumeName& volume) const;
  [[nodiscard]] absl::StatusOr<PointTotals> TotalsOfPoints(const model::VolumeName& volume) const;
  [[nodiscard]] absl::Status Rewind(
      const model::VolumeName& volume, model::Sequence to,
      const std::function<void(size_t, size_t)>& step = [](size_t, size_t) {}, bool hold = false);

  // No replica is made in, or around, one of the folders that `folders` gives; to be called before there are sessions.
  // It is called while a replica is made, and must not call the engine.
  void SetTaken(std::function<std::vector<std::string>()> folders) { taken_ = std::move(folders); }

  // As Replica::ClonePoint. NOT_FOUND also: no such replica here.
  [[nodiscard]] absl::Status ClonePoint(const model::VolumeName& volume, model::Sequence to, os::Root folder,
                                        const CloneWatcher& watcher);
  // The export that holds the volume's replica. NOT_FOUND: no such replica here.
  [[nodiscard]] absl::StatusOr<std::string> ExportOfVolume(const model::VolumeName& volume) const;

  // As Replica::Thin, SetLabel, DropLabel and SetHeld. NOT_FOUND: no such replica here.
  [[nodiscard]] absl::StatusOr<size_t> Thin(const model::VolumeName& volume);
  [[nodiscard]] absl::Status SetLabel(const model::VolumeName& volume, const PointLabel& label);
  [[nodiscard]] absl::Status DropLabel(const model::VolumeName& volume, model::Sequence point);
  [[nodiscard]] absl::Status SetHeld(const model::VolumeName& volume, bool held);

  // As in Replica. NOT_FOUND: no such replica here.
  [[nodiscard]] absl::StatusOr<model::ReplicaState> BeginPromotion(const model::VolumeName& volume,
                                                                   bool allow_incomplete,
                                                                   const Replica::GivenUp& given_up = nullptr);
  [[nodiscard]] absl::StatusOr<model::ReplicaState> FinishPromotion(const model::VolumeName& volume);
  [[nodiscard]] absl::StatusOr<model::ReplicaState> BeginDemotion(const model::VolumeName& volume,
                                                                  const Replica::GivenUp& given_up = nullptr);
  [[nodiscard]] absl::StatusOr<model::ReplicaState> FinishDemotion(const model::VolumeName& volume);
  [[nodiscard]] absl::Status SetHooksRun(const model::VolumeName& volume);
  [[nodiscard]] absl::StatusOr<model::ReplicaState> LetGo(const model::VolumeName& volume, model::Epoch epoch);
  // Of a volume that has a replica here; FinishDemotion ends it.
  [[nodiscard]] absl::StatusOr<model::ReplicaState> BeginAdoption(const model::VolumeSpec& spec);
  // Of one that has none: the folder is its replica when this returns OK, as Replica::Adopt. One that has one already
  // is fine. Errors as of CheckAdoption.
  [[nodiscard]] absl::StatusOr<model::ReplicaState> AdoptFolder(const model::VolumeSpec& spec);
  // Whether `spec` may be adopted; nothing is changed. FAILED_PRECONDITION: no (state_change.h), the folder overlaps
  // another volume's, or no recovery points are kept; NOT_FOUND: no such folder; INVALID_ARGUMENT: in no export;
  // UNAVAILABLE: the volume's replica can't be loaded.
  [[nodiscard]] absl::Status CheckAdoption(const model::VolumeSpec& spec);

  // A volume that was made here, with its folder: active from now on, and its primary is this host's, so that any other
  // one is refused (MadeHere in state_change.h). One that is known is fine as it is. FAILED_PRECONDITION: it has
  // another folder, or that overlaps another volume's; NOT_FOUND: no such folder; INVALID_ARGUMENT: in no export;
  // UNAVAILABLE: what is known of it can't be loaded.
  [[nodiscard]] absl::Status RecordMadeHere(const model::VolumeSpec& spec);
  // It was deleted: nothing is known of it any more, and its folder stays as it is. One that isn't known, or was
  // promoted since, is fine as it is. UNAVAILABLE: what is known of it can't be loaded.
  [[nodiscard]] absl::Status ForgetMadeHere(const model::VolumeName& volume);
  // The replica of a volume that was made at the other side, before anything of it comes. One that is there is fine.
  // FAILED_PRECONDITION: the folder isn't empty; it has another folder, or is no standby. Other errors as of Open.
  [[nodiscard]] absl::StatusOr<model::ReplicaState> MakeEmptyReplica(const model::VolumeSpec& spec);

  // Takes apart what commits, dropped undo records and promotions of all replicas moved aside; neither a start nor a
  // promotion waits for that. CANCELLED: `stop`. Other errors: the first one; the others were tried all the same.
  [[nodiscard]] absl::Status DiscardRemoved(std::stop_token stop) const;

  // Ends the volume's session, publishes what is durable, and moves the replica to the trash, from where Restore brings
  // it back; a volume of that name that comes later is a new one. No such replica here (any more) is fine.
  // FAILED_PRECONDITION: another replica has the name, it was promoted since, it is no standby, or it holds a whole
  // export; UNAVAILABLE: its folder can't be reached now. Whatever is cut short is finished by the next start, or by
  // the next opening.
  [[nodiscard]] absl::Status MoveToTrash(const model::DiscardedVolume& discarded, const std::string& reason);
  // NOT_FOUND: no such entry. FAILED_PRECONDITION: there is a replica of that name or one that overlaps its folder,
  // something stands in its place, or it is being purged.
  [[nodiscard]] absl::StatusOr<model::ReplicaState> Restore(const std::string& trash_id);
  [[nodiscard]] Trash& trash() { return *trash_; }
  [[nodiscard]] const Trash& trash() const { return *trash_; }

  [[nodiscard]] const Probe& probe() const { return probe_; }
  [[nodiscard]] Probe& probe() { return probe_; }

 private:
  explicit CommitEngine(CommitEngineOptions options) : options_(std::move(options)) {}

  [[nodiscard]] std::string VolumesFolder() const;
  [[nodiscard]] std::string FolderOf(const model::VolumeName& volume) const;
  // The longest export that holds `root`; empty: none.
  [[nodiscard]] std::string ExportOf(std::string_view root) const;
  absl::Status LoadAll();
  absl::Status LoadOne(const model::VolumeName& volume);
  void NoteNotLoaded(const model::VolumeName& volume, std::optional<model::VolumeState> state);
  // Whether a replica of that name is loaded, or its durable state stands there; what a making that was cut short left
  // is removed.
  absl::StatusOr<bool> HasState(const model::VolumeName& volume) const;
  [[nodiscard]] absl::Status MakeStateFolder(const model::VolumeName& volume) const;
  absl::Status CheckAdoptionLocked(const model::VolumeSpec& spec) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(create_mutex_);
  absl::StatusOr<std::shared_ptr<Replica>> FindOrCreate(const model::VolumeSpec& spec);
  absl::StatusOr<std::shared_ptr<Replica>> CreateLocked(const model::VolumeSpec& spec)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(create_mutex_);
  // Of nobody's any more.
  absl::Status RemoveStateFolder(const model::ReplicaState& state) const;
  // Whether that is the replica that the primary means, and one that may go.
  absl::Status CheckDiscard(const model::DiscardedVolume& discarded, const model::ReplicaState& state) const;
  absl::Status CheckOverlap(const model::VolumeSpec& spec) const;
  absl::StatusOr<std::shared_ptr<Replica>> Find(const model::VolumeName& volume) const;

  const CommitEngineOptions options_;
  Probe probe_;
  std::vector<std::string> problems_;  // written by Start only
  std::function<std::vector<std::string>()> taken_ = [] { return std::vector<std::string>(); };
  std::unique_ptr<Trash> trash_;  // likewise

  absl::Mutex create_mutex_;  // one replica is made, trashed or restored at a time, so that no two of them overlap
  mutable absl::Mutex mutex_ ABSL_ACQUIRED_AFTER(create_mutex_);
  std::map<model::VolumeName, std::shared_ptr<Replica>> replicas_ ABSL_GUARDED_BY(mutex_);
  // Of replicas that were found and not loaded, the durable state; nullopt: it can't be read.
  std::map<model::VolumeName, std::optional<model::VolumeState>> not_loaded_ ABSL_GUARDED_BY(mutex_);
};

// The engine as the primary side sees it, called in the same process: one LocalSink is one primary. Submit publishes
// before it returns; a commit that is durable but couldn't be published is OK, and the next call says why.
class LocalSink : public model::ReplicaSink {
 public:
  explicit LocalSink(CommitEngine& engine) : engine_(engine) {}

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
  [[nodiscard]] absl::Status Inventory(const model::VolumeName& volume, bool with_digests,
                                       const std::function<absl::Status(model::InventoryEntry)>& visit) override;
  [[nodiscard]] absl::StatusOr<std::string> SegmentSignature(const model::VolumeName& volume, const std::string& path,
                                                             uint64_t number) override;

 private:
  absl::StatusOr<Session> Find(const model::VolumeName& volume) const;

  CommitEngine& engine_;
  mutable absl::Mutex mutex_;
  std::map<model::VolumeName, Session> sessions_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace understudy::dr
