// What replica.h and commit_engine.h declare of a live copy that changes sides (docs/promotion.md).
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <optional>
#include <utility>

#include "agent-dr/commit/commit_engine.h"
#include "agent-dr/commit/remove_tree.h"
#include "agent-dr/commit/replica.h"
#include "agent-dr/commit/state_change.h"
#include "agent-dr/commit/work_area.h"
#include "core/base/log.h"
#include "core/base/random_id.h"
#include "core/os/file_io.h"
#include "core/os/root.h"
#include "core/wire/validate.h"

namespace understudy::dr {
namespace {

absl::Status NotLoaded(const model::VolumeName& volume) {
  return absl::UnavailableError(
      fmt::format("volume '{}' has a replica here that can't be loaded; understudy-dr's log says why", volume));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Replica>> Replica::Adopt(const model::VolumeSpec& spec, Place place,
                                                        const Settings& settings, FaultPoints& faults, Probe& probe) {
  std::unique_ptr<Replica> replica(new Replica(std::move(place), settings, faults, probe));
  absl::MutexLock lock(&replica->work_mutex_);
  RETURN_IF_ERROR(replica->CreateAdopted(spec));
  RETURN_IF_ERROR(replica->Recover());
  return replica;
}

absl::Status Replica::CreateAdopted(const model::VolumeSpec& spec) {
  ASSIGN_OR_RETURN(VolumeStore store, VolumeStore::Open(place_.state_folder));
  ASSIGN_OR_RETURN(const std::optional<StoredReplica> present, store.Load());
  if (present.has_value()) return absl::OkStatus();
  const int64_t now = absl::ToUnixNanos(settings_.clock->Now());
  StoredReplica replica;
  replica.state = Adopted(spec, now);
  replica.state.replica_id = RandomId();
  // Makes what was written there durable, too: the next primary's index will say that the replica holds it.
  ASSIGN_OR_RETURN(replica.root_folder, FindReplicaFolder(spec.replica_root, place_.export_path));
  replica.point.sequence = replica.state.sequence;
  replica.point.committed_at_nanoseconds = now;
  replica.point.completes_capture = true;
  RETURN_IF_ERROR(faults_.Reach(Step::kState, 0));
  RETURN_IF_ERROR(
      store.Create(replica, PointLabel{replica.point.sequence, AdoptionLabel(spec.epoch), /*pinned=*/true}));
  return faults_.Reach(Step::kState, 1);
}

absl::StatusOr<std::unique_ptr<Replica>> Replica::RecordLive(const model::VolumeSpec& spec, Place place,
                                                             const Settings& settings, FaultPoints& faults,
                                                             Probe& probe) {
  std::unique_ptr<Replica> replica(new Replica(std::move(place), settings, faults, probe));
  absl::MutexLock lock(&replica->work_mutex_);
  RETURN_IF_ERROR(replica->CreateLive(spec));
  RETURN_IF_ERROR(replica->Recover());
  return replica;
}

absl::Status Replica::CreateLive(const model::VolumeSpec& spec) {
  ASSIGN_OR_RETURN(VolumeStore store, VolumeStore::Open(place_.state_folder));
  ASSIGN_OR_RETURN(const std::optional<StoredReplica> present, store.Load());
  if (present.has_value()) return absl::OkStatus();
  StoredReplica replica;
  replica.state = MadeHere(spec, absl::ToUnixNanos(settings_.clock->Now()));
  replica.state.replica_id = RandomId();
  ASSIGN_OR_RETURN(replica.root_folder, FindReplicaFolder(spec.replica_root, place_.export_path));
  RETURN_IF_ERROR(faults_.Reach(Step::kState, 0));
  RETURN_IF_ERROR(store.Create(replica));
  return faults_.Reach(Step::kState, 1);
}

absl::Status Replica::RetireMadeHere() {
  const StateLock lock(*this, nullptr);
  // Whoever deleted the volume may have deleted its folder, too.
  if (must_recover_) view_.SetUsable(Recover()).IgnoreError();
  const model::ReplicaState state = State();
  if (!store_.has_value()) return NotLoaded(state.volume);
  if (!IsMadeHere(state)) {
    return absl::FailedPreconditionError(
        fmt::format("volume '{}' was promoted here: it isn't forgotten", state.volume));
  }
  session_ = 0;
  folders_.reset();
  store_.reset();
  retired_ = true;
  return absl::OkStatus();
}

absl::StatusOr<model::ReplicaState> Replica::LetGo(model::Epoch epoch) {
  const StateLock lock(*this, nullptr);
  RETURN_IF_ERROR(BeSure());
  ASSIGN_OR_RETURN(const auto next, dr::LetGo(State(), epoch));
  if (!next.has_value()) return State();
  RETURN_IF_ERROR(faults_.Reach(Step::kState, 0));
  must_recover_ = true;
  RETURN_IF_ERROR(store_->SetReprotected());
  must_recover_ = false;
  view_.SetState(*next);
  spdlog::info("volume={} epoch={} is replicated by this host's primary from now on", next->volume, next->epoch);
  RETURN_IF_ERROR(faults_.Reach(Step::kState, 1));
  return State();
}

absl::StatusOr<model::ReplicaState> Replica::BeginAdoption(const model::VolumeSpec& spec) {
  const StateLock lock(*this, nullptr);
  RETURN_IF_ERROR(BeSure());
  if (State().root != spec.replica_root) {
    return absl::FailedPreconditionError(fmt::format("volume '{}' has its folder in '{}' here, not in '{}'", spec.name,
                                                     Printable(State().root), Printable(spec.replica_root)));
  }
  const int64_t now = absl::ToUnixNanos(settings_.clock->Now());
  ASSIGN_OR_RETURN(const auto next, dr::BeginAdoption(State(), spec.epoch, now));
  if (next.has_value()) RETURN_IF_ERROR(WriteState(*next, NewestPoint()));
  return State();
}

absl::Status CommitEngine::CheckAdoption(const model::VolumeSpec& spec) {
  absl::MutexLock creating(&create_mutex_);
  return CheckAdoptionLocked(spec);
}

absl::Status CommitEngine::CheckAdoptionLocked(const model::VolumeSpec& spec) const {
  RETURN_IF_ERROR(wire::ValidateVolumeSpec(spec));
  RETURN_IF_ERROR(wire::ValidateLiveEpoch(spec.epoch));
  if (!options_.points.KeepsAny()) {
    return absl::FailedPreconditionError(fmt::format(
        "volume '{}' isn't taken as a replica: this agent keeps no recovery points, so what its folder holds "
        "and the live copy doesn't would be lost (points.keep_for, points.max_bytes)",
        spec.name));
  }
  const absl::StatusOr<std::shared_ptr<Replica>> replica = Find(spec.name);
  if (replica.ok()) return dr::BeginAdoption((*replica)->State(), spec.epoch, 0).status();
  const std::string export_path = ExportOf(spec.replica_root);
  if (export_path.empty()) {
    return absl::InvalidArgumentError(
        fmt::format("no export of understudy-dr holds '{}': add one to its exports:", Printable(spec.replica_root)));
  }
  ASSIGN_OR_RETURN(const bool unloaded, HasState(spec.name));
  if (unloaded) return NotLoaded(spec.name);
  RETURN_IF_ERROR(CheckOverlap(spec));
  return FindReplicaFolder(spec.replica_root, export_path).status();
}

absl::Status CommitEngine::RecordMadeHere(const model::VolumeSpec& spec) {
  RETURN_IF_ERROR(wire::ValidateVolumeSpec(spec));
  RETURN_IF_ERROR(wire::ValidateLiveEpoch(spec.epoch));
  absl::MutexLock creating(&create_mutex_);
  RETURN_IF_ERROR(trash_->FinishPending(spec.name, spec.replica_root));
  if (const auto known = Find(spec.name); known.ok()) {
    const std::string root = (*known)->State().root;
    if (root == spec.replica_root) return absl::OkStatus();
    return absl::FailedPreconditionError(fmt::format("volume '{}' has its folder in '{}' here, not in '{}'", spec.name,
                                                     Printable(root), Printable(spec.replica_root)));
  }
  const std::string export_path = ExportOf(spec.replica_root);
  if (export_path.empty()) {
    return absl::InvalidArgumentError(
        fmt::format("no export of understudy-dr holds '{}': add one to its exports:", Printable(spec.replica_root)));
  }
  ASSIGN_OR_RETURN(const bool unloaded, HasState(spec.name));
  if (unloaded) return NotLoaded(spec.name);
  RETURN_IF_ERROR(CheckOverlap(spec));
  RETURN_IF_ERROR(FindReplicaFolder(spec.replica_root, export_path).status());
  RETURN_IF_ERROR(MakeStateFolder(spec.name));
  ASSIGN_OR_RETURN(std::shared_ptr<Replica> replica,
                   Replica::RecordLive(spec, {FolderOf(spec.name), export_path}, {options_.points, options_.clock},
                                       *options_.faults, probe_));
  spdlog::info("volume={} '{}' was made here, and is replicated by this host's primary", spec.name,
               Printable(spec.replica_root));
  absl::MutexLock lock(&mutex_);
  replicas_[spec.name] = std::move(replica);
  return absl::OkStatus();
}

absl::Status CommitEngine::ForgetMadeHere(const model::VolumeName& volume) {
  RETURN_IF_ERROR(model::ValidateVolumeName(volume));
  absl::MutexLock creating(&create_mutex_);
  const absl::StatusOr<std::shared_ptr<Replica>> replica = Find(volume);
  if (!replica.ok()) {
    ASSIGN_OR_RETURN(const bool unloaded, HasState(volume));
    return unloaded ? NotLoaded(volume) : absl::OkStatus();
  }
  const model::ReplicaState state = (*replica)->State();
  if (!IsMadeHere(state)) return absl::OkStatus();
  if (options_.before_trash != nullptr) options_.before_trash(volume);
  RETURN_IF_ERROR((*replica)->RetireMadeHere());
  const absl::Status removed = RemoveStateFolder(state);
  {
    absl::MutexLock lock(&mutex_);
    replicas_.erase(volume);
  }
  // Else it is known as before.
  if (!removed.ok()) {
    LoadOne(volume).IgnoreError();
    return removed;
  }
  spdlog::info("volume={} was deleted: '{}' is nobody's here any more", volume, Printable(state.root));
  return absl::OkStatus();
}

absl::Status CommitEngine::RemoveStateFolder(const model::ReplicaState& state) const {
  ASSIGN_OR_RETURN(const os::WorkFolder work, os::OpenWorkFolder(ExportOf(state.root)));
  const std::string own = WorkArea::FolderName(state.replica_id);
  ASSIGN_OR_RETURN(const os::Root volumes, os::Root::Open(VolumesFolder()));
  for (const auto& [parent, name] : {std::pair(&work.folder, own), std::pair(&volumes, state.volume)}) {
    absl::StatusOr<os::Fd> folder = parent->OpenPath(name, O_RDONLY | O_DIRECTORY);
    if (absl::IsNotFound(folder.status())) continue;
    RETURN_IF_ERROR(folder.status());
    RETURN_IF_ERROR(RemoveAllIn(os::Root(*std::move(folder))));
    if (unlinkat(parent->fd(), name.c_str(), AT_REMOVEDIR) != 0) {
      return ErrnoStatus(errno, fmt::format("remove the empty folder '{}'", name));
    }
  }
  return os::SyncFile(volumes.fd());
}

absl::StatusOr<model::ReplicaState> CommitEngine::MakeEmptyReplica(const model::VolumeSpec& spec) {
  RETURN_IF_ERROR(wire::ValidateVolumeSpec(spec));
  absl::MutexLock creating(&create_mutex_);
  if (const auto known = Find(spec.name); known.ok()) {
    const model::ReplicaState state = (*known)->State();
    if (state.root == spec.replica_root && state.state == model::VolumeState::kStandby) return state;
    return absl::FailedPreconditionError(fmt::format("volume '{}' is {} in '{}' here: it isn't made in '{}'", spec.name,
                                                     model::ToString(state.state), Printable(state.root),
                                                     Printable(spec.replica_root)));
  }
  const std::string export_path = ExportOf(spec.replica_root);
  if (!export_path.empty()) RETURN_IF_ERROR(CheckEmptyFolder(spec.replica_root, export_path));
  ASSIGN_OR_RETURN(const std::shared_ptr<Replica> replica, CreateLocked(spec));
  return replica->State();
}

absl::StatusOr<model::ReplicaState> CommitEngine::AdoptFolder(const model::VolumeSpec& spec) {
  absl::MutexLock creating(&create_mutex_);
  RETURN_IF_ERROR(trash_->FinishPending(spec.name, spec.replica_root));
  RETURN_IF_ERROR(CheckAdoptionLocked(spec));
  if (Find(spec.name).ok()) return State(spec.name);
  RETURN_IF_ERROR(MakeStateFolder(spec.name));
  ASSIGN_OR_RETURN(std::shared_ptr<Replica> replica,
                   Replica::Adopt(spec, {FolderOf(spec.name), ExportOf(spec.replica_root)},
                                  {options_.points, options_.clock}, *options_.faults, probe_));
  const model::ReplicaState state = replica->State();
  spdlog::info("volume={} epoch={} '{}' is a replica from now on", state.volume, state.epoch, Printable(state.root));
  absl::MutexLock lock(&mutex_);
  replicas_[spec.name] = std::move(replica);
  return state;
}

absl::StatusOr<model::ReplicaState> CommitEngine::BeginAdoption(const model::VolumeSpec& spec) {
  ASSIGN_OR_RETURN(const std::shared_ptr<Replica> replica, Find(spec.name));
  return replica->BeginAdoption(spec);
}

absl::StatusOr<model::ReplicaState> CommitEngine::LetGo(const model::VolumeName& volume, model::Epoch epoch) {
  ASSIGN_OR_RETURN(const std::shared_ptr<Replica> replica, Find(volume));
  return replica->LetGo(epoch);
}

}  // namespace understudy::dr
