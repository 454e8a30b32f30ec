#include "agent-dr/commit/commit_engine.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <optional>
#include <set>
#include <utility>

#include "agent-dr/commit/remove_tree.h"
#include "agent-dr/commit/work_area.h"
#include "core/base/log.h"
#include "core/model/path.h"
#include "core/os/file_io.h"
#include "core/os/root.h"
#include "core/os/tree_walk.h"
#include "core/wire/validate.h"

namespace understudy::dr {
namespace {

constexpr char kVolumesFolder[] = "volumes";

// Makes one folder whose name is durable.
absl::Status MakeDurableFolder(const std::string& parent, const std::string& name) {
  ASSIGN_OR_RETURN(const os::Root folder, os::Root::Open(parent));
  if (mkdirat(folder.fd(), name.c_str(), 0700) != 0) {
    if (errno == EEXIST) return absl::OkStatus();
    return ErrnoStatus(errno, fmt::format("make folder '{}' in '{}'", name, Printable(parent)));
  }
  return os::SyncFile(folder.fd());
}

bool Holds(std::string_view folder, std::string_view path) {
  return folder == "/" || model::IsWithin(path, folder);
}

std::string WithoutSlashAtEnd(std::string path) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  return path;
}

}  // namespace

absl::StatusOr<std::unique_ptr<CommitEngine>> CommitEngine::Start(CommitEngineOptions options) {
  for (std::string& path : options.exports) {
    path = WithoutSlashAtEnd(std::move(path));
    RETURN_IF_ERROR(wire::ValidateReplicaRoot(path));
    const auto opened = os::Root::Open(path);
    if (!opened.ok()) return Annotate(opened.status(), "export (mount or make it, or take it out of exports:)");
  }
  RETURN_IF_ERROR(MakeDurableFolder(options.state_dir, kVolumesFolder));
  std::unique_ptr<CommitEngine> engine(new CommitEngine(std::move(options)));
  const CommitEngineOptions& kept = engine->options_;
  ASSIGN_OR_RETURN(engine->trash_, Trash::Open({kept.state_dir, kept.exports, kept.trash_retain, kept.clock,
                                                kept.faults, kept.before_trash},
                                               engine->probe_));
  RETURN_IF_ERROR(engine->LoadAll());
  return engine;
}

std::string CommitEngine::VolumesFolder() const {
  return fmt::format("{}/{}", options_.state_dir, kVolumesFolder);
}

std::string CommitEngine::FolderOf(const model::VolumeName& volume) const {
  return fmt::format("{}/{}", VolumesFolder(), volume);
}

std::string CommitEngine::ExportOf(std::string_view root) const {
  std::string longest;
  for (const std::string& path : options_.exports) {
    if (Holds(path, root) && path.size() > longest.size()) longest = path;
  }
  return longest;
}

absl::Status CommitEngine::LoadAll() {
  ASSIGN_OR_RETURN(const std::vector<Trash::Unfinished> unfinished, trash_->FinishAllPending());
  std::set<model::VolumeName> left_alone;
  for (const Trash::Unfinished& volume : unfinished) {
    left_alone.insert(volume.volume);
    problems_.emplace_back(MessageOf(volume.reason));
  }
  ASSIGN_OR_RETURN(const os::Root volumes, os::Root::Open(VolumesFolder()));
  ASSIGN_OR_RETURN(os::TreeWalk walk, os::TreeWalk::Begin(volumes, ""));
  while (true) {
    ASSIGN_OR_RETURN(const std::optional<os::WalkEntry> entry, walk.Next());
    if (!entry.has_value()) return absl::OkStatus();
    walk.SkipChildren();
    if (!model::ValidateVolumeName(entry->name).ok() || left_alone.contains(entry->name)) continue;
    const absl::Status loaded = LoadOne(entry->name);
    if (!loaded.ok()) problems_.push_back(fmt::format("volume '{}': {}", entry->name, MessageOf(loaded)));
  }
}

// The error may be one of a replica that was loaded all the same: its folder can't be used now.
absl::Status CommitEngine::LoadOne(const model::VolumeName& volume) {
  std::string export_path;
  NoteNotLoaded(volume, std::nullopt);
  {
    ASSIGN_OR_RETURN(VolumeStore store, VolumeStore::Open(FolderOf(volume)));
    ASSIGN_OR_RETURN(const std::optional<StoredReplica> stored, store.Load());
    // Without a state its making was cut short; the next Open makes it.
    NoteNotLoaded(volume, stored.has_value() ? stored->state.state : model::VolumeState::kStandby);
    if (!stored.has_value()) return absl::OkStatus();
    export_path = ExportOf(stored->state.root);
    if (export_path.empty()) {
      return absl::FailedPreconditionError(
          fmt::format("no export holds its replica folder '{}'", Printable(stored->state.root)));
    }
  }
  ASSIGN_OR_RETURN(
      std::shared_ptr<Replica> replica,
      Replica::Load({FolderOf(volume), export_path}, {options_.points, options_.clock}, *options_.faults, probe_));
  absl::MutexLock lock(&mutex_);
  not_loaded_.erase(volume);
  replicas_[volume] = replica;
  return replica->Usable();
}

void CommitEngine::NoteNotLoaded(const model::VolumeName& volume, std::optional<model::VolumeState> state) {
  absl::MutexLock lock(&mutex_);
  not_loaded_[volume] = state;
}

absl::StatusOr<bool> CommitEngine::HasState(const model::VolumeName& volume) const {
  if (Find(volume).ok()) return true;
  ASSIGN_OR_RETURN(const os::Root volumes, os::Root::Open(VolumesFolder()));
  absl::StatusOr<os::Fd> folder = volumes.OpenPath(volume, O_RDONLY | O_DIRECTORY);
  if (absl::IsNotFound(folder.status())) return false;
  RETURN_IF_ERROR(folder.status());
  {
    ASSIGN_OR_RETURN(VolumeStore store, VolumeStore::Open(FolderOf(volume)));
    ASSIGN_OR_RETURN(const std::optional<StoredReplica> stored, store.Load());
    if (stored.has_value()) return true;
  }
  RETURN_IF_ERROR(RemoveAllIn(os::Root(*std::move(folder))));
  if (unlinkat(volumes.fd(), volume.c_str(), AT_REMOVEDIR) == 0) return false;
  return ErrnoStatus(errno, fmt::format("remove the empty state folder of volume '{}'", volume));
}

absl::Status CommitEngine::CheckDiscard(const model::DiscardedVolume& discarded,
                                        const model::ReplicaState& state) const {
  if (state.root != discarded.replica_root) {
    return absl::FailedPreconditionError(fmt::format("volume '{}' has its replica in '{}', not in '{}'", state.volume,
                                                     Printable(state.root), Printable(discarded.replica_root)));
  }
  if (state.replica_id != discarded.replica_id) {
    return absl::FailedPreconditionError(
        fmt::format("volume '{}' has replica {} here, not {}", state.volume, state.replica_id, discarded.replica_id));
  }
  if (discarded.epoch < state.epoch) {
    return absl::FailedPreconditionError(
        fmt::format("volume '{}' has epoch {} here, the primary comes with {}: it was promoted meanwhile", state.volume,
                    state.epoch, discarded.epoch));
  }
  if (state.held) {
    return absl::FailedPreconditionError(
        fmt::format("volume '{}' was taken back to an earlier state on purpose and is held: its data stays in place",
                    state.volume));
  }
  for (const std::string& exported : options_.exports) {
    if (!model::IsWithin(exported, state.root)) continue;
    return absl::FailedPreconditionError(
        fmt::format("the replica of volume '{}' holds the whole export '{}', which can't be moved: its data stays in "
                    "place",
                    state.volume, Printable(exported)));
  }
  return absl::OkStatus();
}

absl::Status CommitEngine::DiscardRemoved(std::stop_token stop) const {
  absl::Status first;
  for (const model::ReplicaState& state : List()) {
    const auto replica = Find(state.volume);
    // Where it can't be reached, its work folder may not be there either.
    if (!replica.ok() || !(*replica)->Usable().ok()) continue;
    const absl::Status done = WorkArea::DiscardRemovedOf(ExportOf(state.root), state.replica_id, stop);
    if (absl::IsCancelled(done)) return done;
    first.Update(Annotate(done, fmt::format("volume '{}'", state.volume)));
  }
  return first;
}

absl::Status CommitEngine::MoveToTrash(const model::DiscardedVolume& discarded, const std::string& reason) {
  const model::VolumeName& volume = discarded.volume;
  RETURN_IF_ERROR(model::ValidateVolumeName(volume));
  absl::MutexLock creating(&create_mutex_);
  RETURN_IF_ERROR(trash_->FinishPending(volume, discarded.replica_root));
  absl::StatusOr<std::shared_ptr<Replica>> replica = Find(volume);
  if (!replica.ok()) {
    ASSIGN_OR_RETURN(const bool unloaded, HasState(volume));
    if (!unloaded) return absl::OkStatus();
    const absl::Status loaded = LoadOne(volume);
    replica = Find(volume);
    if (!replica.ok()) return absl::UnavailableError(loaded.message());
  }
  const model::ReplicaState state = (*replica)->State();
  RETURN_IF_ERROR(CheckDiscard(discarded, state));
  ASSIGN_OR_RETURN(const Identity folder, (*replica)->Retire());
  model::TrashEntry entry;
  entry.id = state.replica_id;
  entry.volume = volume;
  entry.root = state.root;
  entry.reason = reason;
  const absl::Status moved = trash_->Move({entry, ExportOf(state.root), folder});
  {
    absl::MutexLock lock(&mutex_);
    replicas_.erase(volume);
  }
  // Without a durable intent it is a replica as before.
  if (!moved.ok() && absl::IsNotFound(trash_->Find(entry.id).status())) LoadOne(volume).IgnoreError();
  return moved;
}

absl::StatusOr<model::ReplicaState> CommitEngine::Restore(const std::string& trash_id) {
  RETURN_IF_ERROR(model::ValidateTrashId(trash_id));
  absl::MutexLock creating(&create_mutex_);
  ASSIGN_OR_RETURN(const TrashedReplica trashed, trash_->Find(trash_id));
  const model::VolumeSpec spec{trashed.entry.volume, trashed.entry.root, 0};
  RETURN_IF_ERROR(trash_->FinishPending(spec.name, spec.replica_root));
  ASSIGN_OR_RETURN(const bool taken, HasState(spec.name));
  if (taken && !absl::IsNotFound(trash_->Find(trash_id).status())) {
    return absl::FailedPreconditionError(
        fmt::format("there is a replica of a volume '{}' already: it would have to go first", spec.name));
  }
  if (!taken) {
    RETURN_IF_ERROR(CheckOverlap(spec));
    RETURN_IF_ERROR(trash_->Restore(trash_id));
  }
  RETURN_IF_ERROR(LoadOne(spec.name));
  return State(spec.name);
}

absl::Status CommitEngine::CheckOverlap(const model::VolumeSpec& spec) const {
  for (const std::string& taken : taken_()) {
    if (!model::IsWithin(taken, spec.replica_root) && !model::IsWithin(spec.replica_root, taken)) continue;
    return absl::FailedPreconditionError(
        fmt::format("the replica folder '{}' of volume '{}' overlaps '{}', a tree that was made of a recovery point: "
                    "take that away first (drctl points remove)",
                    Printable(spec.replica_root), spec.name, Printable(taken)));
  }
  absl::MutexLock lock(&mutex_);
  for (const auto& [name, replica] : replicas_) {
    if (name == spec.name) continue;
    const std::string root = replica->State().root;
    if (model::IsWithin(root, spec.replica_root) || model::IsWithin(spec.replica_root, root)) {
      return absl::FailedPreconditionError(
          fmt::format("the replica folder '{}' of volume '{}' overlaps '{}' of volume '{}'",
                      Printable(spec.replica_root), spec.name, Printable(root), name));
    }
  }
  return absl::OkStatus();
}

absl::Status CommitEngine::MakeStateFolder(const model::VolumeName& volume) const {
  return MakeDurableFolder(VolumesFolder(), volume);
}

absl::StatusOr<std::shared_ptr<Replica>> CommitEngine::FindOrCreate(const model::VolumeSpec& spec) {
  // Making one syncs its filesystem; whoever asks for the list meanwhile doesn't wait for that.
  absl::MutexLock creating(&create_mutex_);
  absl::StatusOr<std::shared_ptr<Replica>> found = Find(spec.name);
  if (found.ok()) return found;
  return CreateLocked(spec);
}

absl::StatusOr<std::shared_ptr<Replica>> CommitEngine::CreateLocked(const model::VolumeSpec& spec) {
  RETURN_IF_ERROR(trash_->FinishPending(spec.name, spec.replica_root));
  RETURN_IF_ERROR(CheckOverlap(spec));
  const std::string export_path = ExportOf(spec.replica_root);
  if (export_path.empty()) {
    return absl::InvalidArgumentError(
        fmt::format("no export of understudy-dr holds '{}': add one to its exports:, or mend dr_path at the primary",
                    Printable(spec.replica_root)));
  }
  RETURN_IF_ERROR(MakeStateFolder(spec.name));
  ASSIGN_OR_RETURN(std::shared_ptr<Replica> replica,
                   Replica::Create(spec, {FolderOf(spec.name), export_path}, {options_.points, options_.clock},
                                   *options_.faults, probe_));
  absl::MutexLock lock(&mutex_);
  replicas_[spec.name] = replica;
  return replica;
}

absl::StatusOr<Session> CommitEngine::Open(const model::VolumeSpec& spec) {
  RETURN_IF_ERROR(wire::ValidateVolumeSpec(spec));
  ASSIGN_OR_RETURN(std::shared_ptr<Replica> replica, FindOrCreate(spec));
  ASSIGN_OR_RETURN(const SessionToken token, replica->Open(spec));
  return Session(std::move(replica), token);
}

std::vector<model::ReplicaState> CommitEngine::List() const {
  absl::MutexLock lock(&mutex_);
  std::vector<model::ReplicaState> states;
  states.reserve(replicas_.size());
  for (const auto& [name, replica] : replicas_) states.push_back(replica->State());
  return states;
}

absl::Status CommitEngine::Usable() const {
  absl::MutexLock lock(&mutex_);
  for (const auto& [name, replica] : replicas_) {
    const absl::Status usable = replica->Usable();
    if (!usable.ok()) return Annotate(usable, fmt::format("volume '{}'", name));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<Replica>> CommitEngine::Find(const model::VolumeName& volume) const {
  absl::MutexLock lock(&mutex_);
  const auto found = replicas_.find(volume);
  if (found == replicas_.end()) return absl::NotFoundError(fmt::format("no replica of volume '{}' here", volume));
  return found->second;
}

absl::StatusOr<model::ReplicaState> CommitEngine::State(const model::VolumeName& volume) const {
  ASSIGN_OR_RETURN(const std::shared_ptr<Replica> replica, Find(volume));
  return replica->State();
}

absl::Status CommitEngine::CheckStandby(const model::VolumeName& volume) const {
  std::optional<model::VolumeState> state = model::VolumeState::kStandby;
  {
    absl::MutexLock lock(&mutex_);
    const auto loaded = replicas_.find(volume);
    const auto found = not_loaded_.find(volume);
    if (found != not_loaded_.end()) state = found->second;
    if (loaded != replicas_.end()) state = loaded->second->State().state;
  }
  if (!state) {
    return absl::UnavailableError(fmt::format(
        "the replica of volume '{}' can't be read, so that nobody knows whether it is promoted: understudy-dr "
        "says why when it starts",
        volume));
  }
  if (*state == model::VolumeState::kStandby) return absl::OkStatus();
  return absl::FailedPreconditionError(fmt::format(
      "held back while volume '{0}' is {1} at DR, where its copy is the live one: `drctl volumes demote {0}` "
      "gives the word back to the primary",
      volume, model::ToString(*state)));
}

absl::Status CommitEngine::Inventory(const model::VolumeName& volume, bool with_digests,
                                     const std::function<absl::Status(model::InventoryEntry)>& visit) {
  ASSIGN_OR_RETURN(const std::shared_ptr<Replica> replica, Find(volume));
  return replica->Inventory(with_digests, visit);
}

absl::StatusOr<Replica::Entry> CommitEngine::Stat(const model::VolumeName& volume, const std::string& path) {
  const absl::StatusOr<std::shared_ptr<Replica>> replica = Find(volume);
  if (absl::IsNotFound(replica.status())) return absl::FailedPreconditionError(replica.status().message());
  RETURN_IF_ERROR(replica.status());
  return (*replica)->Stat(path);
}

absl::StatusOr<Point> CommitEngine::NewestPoint(const model::VolumeName& volume) const {
  ASSIGN_OR_RETURN(const std::shared_ptr<Replica> replica, Find(volume));
  return replica->NewestPoint();
}

absl::StatusOr<std::vector<Point>> CommitEngine::Points(const model::VolumeName& volume) const {
  ASSIGN_OR_RETURN(const std::shared_ptr<Replica> replica, Find(volume));
  return replica->Points();
}

absl::StatusOr<PointTotals> CommitEngine::TotalsOfPoints(const model::VolumeName& volume) const {
  ASSIGN_OR_RETURN(const std::shared_ptr<Replica> replica, Find(volume));
  return replica->Totals();
}

absl::Status CommitEngine::Rewind(const model::VolumeName& volume, model::Sequence to,
                                  const std::function<void(size_t, size_t)>& step, bool hold) {
  ASSIGN_OR_RETURN(const std::shared_ptr<Replica> replica, Find(volume));
  return replica->Rewind(to, step, hold);
}

absl::Status CommitEngine::ClonePoint(const model::VolumeName& volume, model::Sequence to, os::Root folder,
                                      const CloneWatcher& watcher) {
  ASSIGN_OR_RETURN(const std::shared_ptr<Replica> replica, Find(volume));
  return replica->ClonePoint(to, std::move(folder), watcher);
}

absl::StatusOr<std::string> CommitEngine::ExportOfVolume(const model::VolumeName& volume) const {
  ASSIGN_OR_RETURN(const std::shared_ptr<Replica> replica, Find(volume));
  return ExportOf(replica->State().root);
}

absl::StatusOr<size_t> CommitEngine::Thin(const model::VolumeName& volume) {
  ASSIGN_OR_RETURN(const std::shared_ptr<Replica> replica, Find(volume));
  return replica->Thin();
}

absl::Status CommitEngine::SetLabel(const model::VolumeName& volume, const PointLabel& label) {
  ASSIGN_OR_RETURN(const std::shared_ptr<Replica> replica, Find(volume));
  return replica->SetLabel(label);
}

absl::Status CommitEngine::DropLabel(const model::VolumeName& volume, model::Sequence point) {
  ASSIGN_OR_RETURN(const std::shared_ptr<Replica> replica, Find(volume));
  return replica->DropLabel(point);
}

absl::Status CommitEngine::SetHeld(const model::VolumeName& volume, bool held) {
  ASSIGN_OR_RETURN(const std::shared_ptr<Replica> replica, Find(volume));
  return replica->SetHeld(held);
}

absl::StatusOr<model::ReplicaState> CommitEngine::BeginPromotion(const model::VolumeName& volume, bool allow_incomplete,
                                                                 const Replica::GivenUp& given_up) {
  ASSIGN_OR_RETURN(const std::shared_ptr<Replica> replica, Find(volume));
  return replica->BeginPromotion(allow_incomplete, given_up);
}

absl::StatusOr<model::ReplicaState> CommitEngine::FinishPromotion(const model::VolumeName& volume) {
  ASSIGN_OR_RETURN(const std::shared_ptr<Replica> replica, Find(volume));
  return replica->FinishPromotion();
}

absl::StatusOr<model::ReplicaState> CommitEngine::BeginDemotion(const model::VolumeName& volume,
                                                                const Replica::GivenUp& given_up) {
  ASSIGN_OR_RETURN(const std::shared_ptr<Replica> replica, Find(volume));
  return replica->BeginDemotion(given_up);
}

absl::StatusOr<model::ReplicaState> CommitEngine::FinishDemotion(const model::VolumeName& volume) {
  ASSIGN_OR_RETURN(const std::shared_ptr<Replica> replica, Find(volume));
  return replica->FinishDemotion();
}

absl::Status CommitEngine::SetHooksRun(const model::VolumeName& volume) {
  ASSIGN_OR_RETURN(const std::shared_ptr<Replica> replica, Find(volume));
  return replica->SetHooksRun();
}

absl::Status Session::StageBegin(model::Slot slot, const std::string& path, uint64_t size,
                                 const std::string& base_path) {
  return replica_->StageBegin(token_, slot, path, size, base_path);
}
absl::StatusOr<std::vector<model::SegmentDigest>> Session::StageResume(model::Slot slot, const std::string& path,
                                                                       uint64_t size, const std::string& base_path) {
  return replica_->StageResume(token_, slot, path, size, base_path);
}
absl::Status Session::StageData(model::Slot slot, uint64_t offset, std::string_view data) {
  return replica_->StageData(token_, slot, offset, data);
}
absl::Status Session::StageFiles(const model::StagedBatch& batch) {
  return replica_->StageFiles(token_, batch);
}
absl::Status Session::StageHole(model::Slot slot, uint64_t offset, uint64_t length) {
  return replica_->StageHole(token_, slot, offset, length);
}
absl::Status Session::StageDelta(model::Slot slot, const model::SegmentDelta& delta) {
  return replica_->StageDelta(token_, slot, delta);
}
absl::Status Session::StageEnd(model::Slot slot) {
  return replica_->StageEnd(token_, slot);
}
absl::Status Session::SubmitDurable(model::Commit commit) {
  return replica_->SubmitDurable(token_, std::move(commit));
}
absl::Status Session::Publish() {
  return replica_->Publish();
}
void Session::ListenToDamage(std::function<void(const model::DamagedFile&)> listener) {
  const bool begins = listener != nullptr;
  replica_->Listen(token_, std::move(listener));
  if (!begins) return;
  // What can't be read now is told when it is found again.
  std::vector<Damage> damages;
  replica_
      ->WithPublished([&](const Replica::Published& published) -> absl::Status {
        ContentTable contents = published.contents;
        ASSIGN_OR_RETURN(damages, contents.ListDamage());
        return absl::OkStatus();
      })
      .IgnoreError();
  for (const Damage& damage : damages) replica_->TellDamage(damage.file);
}
model::ReplicaState Session::State() const {
  model::ReplicaState state = replica_->State();
  state.leftovers = replica_->LeftoverPaths();
  return state;
}

}  // namespace understudy::dr
