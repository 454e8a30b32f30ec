#include "agent-dr/commit/replica.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "agent-dr/commit/admission.h"
#include "agent-dr/commit/preflight.h"
#include "agent-dr/commit/prepare.h"
#include "agent-dr/commit/publish.h"
#include "agent-dr/commit/reverse.h"
#include "agent-dr/commit/state_change.h"
#include "core/base/clock.h"
#include "core/base/log.h"
#include "core/base/random_id.h"
#include "core/os/file_io.h"

namespace understudy::dr {

absl::StatusOr<std::unique_ptr<Replica>> Replica::Create(const model::VolumeSpec& spec, Place place,
                                                         const Settings& settings, FaultPoints& faults, Probe& probe) {
  std::unique_ptr<Replica> replica(new Replica(std::move(place), settings, faults, probe));
  absl::MutexLock lock(&replica->work_mutex_);
  RETURN_IF_ERROR(replica->CreateState(spec));
  RETURN_IF_ERROR(replica->Recover());
  return replica;
}

absl::StatusOr<std::unique_ptr<Replica>> Replica::Load(Place place, const Settings& settings, FaultPoints& faults,
                                                       Probe& probe) {
  std::unique_ptr<Replica> replica(new Replica(std::move(place), settings, faults, probe));
  absl::MutexLock lock(&replica->work_mutex_);
  const absl::Status recovered = replica->view_.SetUsable(replica->Recover());
  if (!replica->store_.has_value()) return recovered;
  return replica;
}

absl::Status Replica::CreateState(const model::VolumeSpec& spec) {
  ASSIGN_OR_RETURN(VolumeStore store, VolumeStore::Open(place_.state_folder));
  ASSIGN_OR_RETURN(const std::optional<StoredReplica> present, store.Load());
  if (present.has_value()) return absl::OkStatus();
  // The folder has to be there for good before anything says that it is.
  ASSIGN_OR_RETURN(const Identity made, MakeReplicaFolder(spec.replica_root, place_.export_path));
  StoredReplica replica;
  replica.state.volume = spec.name;
  replica.state.replica_id = RandomId();
  replica.state.epoch = std::max<model::Epoch>(1, spec.epoch);
  replica.state.root = spec.replica_root;
  replica.root_folder = made;
  return store.Create(replica);
}

absl::Status Replica::Recover() {
  session_ = 0;
  must_recover_ = true;
  store_.reset();
  ASSIGN_OR_RETURN(VolumeStore store, VolumeStore::Open(place_.state_folder));
  ASSIGN_OR_RETURN(const std::optional<StoredReplica> stored, store.Load());
  if (!stored.has_value()) return absl::NotFoundError("no replica was made here");
  ASSIGN_OR_RETURN(unpublished_, store.LoadRecord());
  store_ = std::move(store);
  root_folder_ = stored->root_folder;
  view_.SetState(stored->state);
  RETURN_IF_ERROR(LoadUndo(stored->point));
  folders_.reset();
  ASSIGN_OR_RETURN(folders_, ReplicaFolders::Open(place_, stored->state, root_folder_));
  if (unpublished_.has_value()) {
    if (unpublished_->work_folder != folders_->work.identity()) {
      return absl::FailedPreconditionError(fmt::format(
          "commit {} was staged in another work folder than '{}' has now: mount the export as it was mounted before",
          unpublished_->commit.sequence, Printable(place_.export_path)));
    }
    RETURN_IF_ERROR(PublishLocked());
    RETURN_IF_ERROR(SettleLocked());
  }
  RETURN_IF_ERROR(folders_->leftovers.Load(Clock::System().Now()));
  RETURN_IF_ERROR(EndStaging(0));
  applied_patches_.clear();
  RETURN_IF_ERROR(RecoverUndo());
  must_recover_ = false;
  return absl::OkStatus();
}

absl::Status Replica::AdoptEpoch(model::Epoch epoch) {
  model::ReplicaState state = State();
  if (epoch <= state.epoch) return absl::OkStatus();
  RETURN_IF_ERROR(store_->SetEpoch(epoch));
  state.epoch = epoch;
  view_.SetState(state);
  return absl::OkStatus();
}

absl::StatusOr<Identity> Replica::Retire() {
  RETURN_IF_ERROR(CheckNoCopy());
  absl::MutexLock lock(&work_mutex_);
  const model::ReplicaState state = State();
  if (state.state != model::VolumeState::kStandby) {
    return absl::FailedPreconditionError(fmt::format("volume '{}' is {} here, not a standby: its data stays in place",
                                                     state.volume, model::ToString(state.state)));
  }
  session_ = 0;
  if (must_recover_ || unpublished_.has_value() || folders_ == nullptr) {
    const absl::Status recovered = view_.SetUsable(Recover());
    if (!recovered.ok()) return absl::UnavailableError(recovered.message());
    if (State().state != model::VolumeState::kStandby)
      return absl::UnavailableError("it was being promoted: try again");
  }
  RETURN_IF_ERROR(SettleLocked());
  // Nobody goes on with what was staged; its space isn't held for as long as the trash keeps the rest.
  while (folders_->leftovers.DropOldest()) {
  }
  folders_->work.DiscardStaging(0).IgnoreError();
  folders_.reset();
  store_.reset();
  retired_ = true;
  return root_folder_;
}

absl::StatusOr<SessionToken> Replica::Open(const model::VolumeSpec& spec) {
  RETURN_IF_ERROR(CheckNoCopy());
  absl::MutexLock lock(&work_mutex_);
  if (retired_) {
    return absl::UnavailableError(fmt::format("volume '{}' went to the trash just now: open it again", spec.name));
  }
  const model::ReplicaState state = State();
  if (state.root != spec.replica_root) {
    return absl::FailedPreconditionError(fmt::format("volume '{}' has its replica in '{}', not in '{}'", spec.name,
                                                     Printable(state.root), Printable(spec.replica_root)));
  }
  RETURN_IF_ERROR(CheckPrimary(state, spec.epoch));
  session_ = 0;
  if (must_recover_ || unpublished_.has_value()) {
    const absl::Status recovered = view_.SetUsable(Recover());
    if (!recovered.ok()) return Annotate(recovered, fmt::format("volume '{}'", spec.name));
    RETURN_IF_ERROR(CheckPrimary(State(), spec.epoch));  // what was found may be ahead of what was known
  } else {
    RETURN_IF_ERROR(EndStaging(state.sequence));
  }
  RETURN_IF_ERROR(AdoptEpoch(spec.epoch));
  view_.SetLeftoverPaths(folders_->leftovers.Paths());
  rewinding_to_.reset();
  session_ = ++last_session_;
  return SessionToken{session_, State().epoch};
}

absl::Status Replica::CheckSession(SessionToken token) const {
  // First, so that a primary that was left behind is told why.
  RETURN_IF_ERROR(CheckMessage(State(), token.epoch));
  if (token.number != 0 && token.number == session_) return absl::OkStatus();
  return absl::FailedPreconditionError(
      fmt::format("volume '{}' was opened anew, or failed before: open it again", State().volume));
}

bool Replica::HoldsWorkFolder() const {
  return folders_->work.inside_export() && State().root == place_.export_path;
}

absl::Status Replica::Fail(absl::Status error) {
  session_ = 0;
  ++probe_.refusals;
  if (folders_ == nullptr) return error;
  folders_->staging.Clear();
  // While a record may need its staged files they stay; the next Open sorts them out.
  if (must_recover_ || unpublished_.has_value()) return error;
  if (absl::IsResourceExhausted(error)) {
    // Space is worth more than what it saves to go on with unfinished content.
    folders_->work.DiscardStaging(State().sequence).IgnoreError();
    while (folders_->leftovers.DropOldest()) {
    }
  }
  EndStaging(State().sequence).IgnoreError();
  return error;
}

absl::Status Replica::EndStaging(model::Sequence kept) {
  folders_->staging.Clear();
  // What can't be kept is sent again.
  folders_->leftovers.Keep(Clock::System().Now()).IgnoreError();
  return folders_->work.DiscardStaging(kept);
}

absl::Status Replica::Stage(SessionToken token, uint64_t bytes, const std::function<absl::Status(Staging&)>& call,
                            uint64_t entries) {
  RETURN_IF_ERROR(CheckNoCopy());
  LetStateChangesPass();
  absl::MutexLock lock(&work_mutex_);
  RETURN_IF_ERROR(CheckSession(token));
  // What is staged now is for the commit after the unpublished one, whose staged files have to be out of the way.
  const absl::Status published = PublishLocked();
  if (!published.ok()) return Fail(Annotate(published, "the commit before couldn't be published"));
  absl::Status done = MakeRoom(bytes, entries);
  if (done.ok()) done = call(folders_->staging);
  return done.ok() ? done : Fail(done);
}

absl::Status Replica::StageBegin(SessionToken token, model::Slot slot, const std::string& path, uint64_t size,
                                 const std::string& base_path) {
  return Stage(token, 0, [&](Staging& staging) ABSL_EXCLUSIVE_LOCKS_REQUIRED(work_mutex_) -> absl::Status {
    RETURN_IF_ERROR(CheckNoWorkFolder(path, HoldsWorkFolder()));
    RETURN_IF_ERROR(CheckNoWorkFolder(base_path, HoldsWorkFolder()));
    return staging.Begin(slot, path, size, base_path);
  });
}

absl::StatusOr<std::vector<model::SegmentDigest>> Replica::StageResume(SessionToken token, model::Slot slot,
                                                                       const std::string& path, uint64_t size,
                                                                       const std::string& base_path) {
  absl::StatusOr<std::vector<model::SegmentDigest>> held;
  const absl::Status done = Stage(token, 0, [&](Staging& staging) ABSL_EXCLUSIVE_LOCKS_REQUIRED(work_mutex_) {
    RETURN_IF_ERROR(CheckNoWorkFolder(path, HoldsWorkFolder()));
    RETURN_IF_ERROR(CheckNoWorkFolder(base_path, HoldsWorkFolder()));
    held = staging.Resume(slot, path, size, base_path);
    return absl::IsNotFound(held.status()) ? absl::OkStatus() : held.status();
  });
  RETURN_IF_ERROR(done);
  return held;
}

absl::Status Replica::StageData(SessionToken token, model::Slot slot, uint64_t offset, std::string_view data) {
  probe_.staged_bytes += data.size();
  return Stage(token, data.size(), [&](Staging& staging) { return staging.Data(slot, offset, data); });
}

absl::Status Replica::StageHole(SessionToken token, model::Slot slot, uint64_t offset, uint64_t length) {
  return Stage(token, 0, [&](Staging& staging) { return staging.Hole(slot, offset, length); });
}

absl::Status Replica::StageDelta(SessionToken token, model::Slot slot, const model::SegmentDelta& delta) {
  probe_.staged_bytes += delta.delta.size();
  return Stage(token, delta.length, [&](Staging& staging) { return staging.Delta(slot, delta); });
}

absl::Status Replica::StageEnd(SessionToken token, model::Slot slot) {
  return Stage(token, 0, [&](Staging& staging) { return staging.End(slot); });
}

absl::Status Replica::StageFiles(SessionToken token, const model::StagedBatch& batch) {
  constexpr uint64_t kBlockBytes = 4096;
  uint64_t bytes = 0;
  for (const model::StagedFile& file : batch.files) {
    bytes += (file.content.size() + kBlockBytes - 1) / kBlockBytes * kBlockBytes;
    probe_.staged_bytes += file.content.size();
  }
  const auto stage = [&](Staging& staging) ABSL_EXCLUSIVE_LOCKS_REQUIRED(work_mutex_) -> absl::Status {
    for (const std::string& path : batch.folders) RETURN_IF_ERROR(CheckNoWorkFolder(path, HoldsWorkFolder()));
    for (const model::StagedFile& file : batch.files) {
      RETURN_IF_ERROR(CheckNoWorkFolder(file.path, HoldsWorkFolder()));
    }
    return staging.Files(batch);
  };
  return Stage(token, bytes, stage, batch.files.size() + batch.folders.size());
}

absl::Status Replica::CheckSpaceFor(const model::Commit& commit) {
  const SpaceNeed need = SpaceNeedOf(commit, folders_->staging.small());
  if (!need.for_undo_alone) return MakeRoom(need.bytes, need.entries);
  // Going back is worth less than what it may make room for.
  if (!settings_.points.KeepsAny()) return absl::OkStatus();
  const absl::Status room = MakeRoom(need.bytes, need.entries, Reserve::kOpen);
  leave_no_undo_ |= absl::IsResourceExhausted(room);
  return absl::IsResourceExhausted(room) ? absl::OkStatus() : room;
}

absl::StatusOr<Replica::ReadyCommit> Replica::MakeReady(model::Commit commit, const UndoRecord* run) {
  // The reserve is for going back, too.
  if (run == nullptr) RETURN_IF_ERROR(CheckSpaceFor(commit));
  const model::Sequence sequence = commit.sequence;
  absl::StatusOr<ReadyCommit> ready = PrepareAndSync(std::move(commit), run);
  if (ready.ok()) return ready;
  folders_->work.DropUndoFolder(sequence).IgnoreError();
  if (IsForWantOfSpace(ready.status(), folders_->work.staging().fd())) {
    // Replicating is worth more than going back: at last not even this commit's own undo record stands in its way.
    const absl::StatusOr<size_t> dropped = DropOlderHalf();
    leave_no_undo_ = run == nullptr && dropped.ok() && *dropped == 0;
  }
  folders_->work.DiscardRemoved([this] { return MakeWay(); }).IgnoreError();
  return ready;
}

absl::StatusOr<Replica::ReadyCommit> Replica::PrepareAndSync(model::Commit commit, const UndoRecord* run) {
  std::optional<os::Root> kept;
  if (run != nullptr) {
    absl::StatusOr<os::Root> folder = folders_->work.OpenUndoFolder(run->about.sequence);
    if (!folder.ok() && !absl::IsNotFound(folder.status())) return folder.status();
    if (folder.ok()) kept = *std::move(folder);
  }
  const bool keep = run != nullptr || (settings_.points.KeepsAny() && !leave_no_undo_);
  ASSIGN_OR_RETURN(CommitPlan plan, PlanCommit(folders_->root, kept.has_value() ? &*kept : nullptr, commit, keep));
  const int64_t now = absl::ToUnixNanos(settings_.clock->Now());
  ReadyCommit ready;
  ready.record.keeps = keep && plan.Displaces(commit);
  ready.point = run != nullptr ? run->about.point
                               : Point{commit.sequence, now, commit.captured_at_nanoseconds, commit.completes_capture,
                                       State().complete || commit.completes_capture};
  if (run == nullptr && commit.completes_capture) ready.point.consistency = commit.consistency;
  ready.point.held_bytes = 0;
  if (keep) {
    ASSIGN_OR_RETURN(auto old, ReadOldEntries(folders_->root, plan));
    RETURN_IF_ERROR(FindOldDigests(plan, old));
    UndoRecord& left = ready.undo.left.emplace();
    left.about = {commit.sequence, ready.point.sequence, NewestPoint(), now, /*measured=*/!ready.record.keeps};
    left.operations = ReverseOf(commit, plan, old);
    left.about.knows_several_names = true;
    for (const auto& [path, entry] : old) {
      if (entry.several_names) left.several_names.insert(path);
    }
    ASSIGN_OR_RETURN(left.kept_several_names, DisplacedWithSeveralNames(folders_->root, plan, commit));
  }
  ASSIGN_OR_RETURN(PreparedCommit prepared,
                   PrepareCommit(folders_->root, folders_->work, folders_->staging, plan, run, keep, faults_, commit));
  if (keep) ready.undo.left->kept_content = std::move(prepared.kept_content);
  ready.contents.brought = std::move(prepared.contents);
  ASSIGN_OR_RETURN(ready.contents.holds_entries, HoldsEntriesAfter(commit));
  RETURN_IF_ERROR(faults_.Reach(Step::kSync, 0));
  // Also makes durable what the commit before published, which is settled with this one's record.
  RETURN_IF_ERROR(os::SyncFilesystem(folders_->work.staging().fd()));
  ready.undo.dropped = run != nullptr ? std::vector<model::Sequence>() : BeyondBounds(/*chain_ends=*/!keep);
  ready.undo.measured = measured_;
  ready.record.commit = std::move(commit);
  ready.record.sources = std::move(plan.sources);
  ready.record.patches = std::move(prepared.patches);
  ready.record.work_folder = folders_->work.identity();
  ready.record.runs = run != nullptr ? run->about.sequence : 0;
  return ready;
}

absl::Status Replica::WriteRecord(ReadyCommit ready) {
  RETURN_IF_ERROR(faults_.Reach(Step::kRecord, 0));
  model::ReplicaState next = State();
  next.published_sequence = next.sequence;
  next.sequence = ready.record.commit.sequence;
  next.commit_id = ready.record.commit.id;
  next.complete = ready.point.complete;
  next.awaits_primary = false;
  next.demoted_whole = false;
  must_recover_ = true;
  RETURN_IF_ERROR(store_->Commit(ready.record, next, ready.point, ready.undo, ready.contents));
  must_recover_ = false;
  // The commit before is settled, so its patches won't be needed again; what stays now goes with the next start.
  for (const std::string& name : applied_patches_) folders_->work.DiscardStaged(name).IgnoreError();
  applied_patches_.clear();
  NoteUndo(ready.record, ready.point, ready.undo);
  ++probe_.commits;
  probe_.operations += ready.record.commit.operations.size();
  unpublished_ = std::move(ready.record);
  view_.SetState(next);
  return absl::OkStatus();
}

absl::Status Replica::SubmitDurable(SessionToken token, model::Commit commit) {
  RETURN_IF_ERROR(CheckNoCopy());
  LetStateChangesPass();
  absl::MutexLock lock(&work_mutex_);
  RETURN_IF_ERROR(CheckSession(token));
  const Stopwatch stopwatch(probe_.durable_nanoseconds);
  // Only when the caller left it out, or it failed: then this says why.
  const absl::Status published = PublishLocked();
  if (!published.ok()) return Fail(Annotate(published, "the commit before couldn't be published"));
  const absl::Status fits = CheckAdmission(commit, State(), HoldsWorkFolder());
  if (!fits.ok()) return Fail(fits);
  absl::StatusOr<ReadyCommit> ready = MakeReady(std::move(commit), nullptr);
  if (!ready.ok()) return Fail(ready.status());
  const absl::Status written = WriteRecord(*std::move(ready));
  if (!written.ok()) return Fail(written);
  folders_->staging.Clear();
  folders_->leftovers.Committed(unpublished_->commit);
  folders_->leftovers.DropExpired(Clock::System().Now());
  // The commit is durable whatever comes now; what fails here is told by Publish.
  return absl::OkStatus();
}

absl::Status Replica::Publish() {
  RETURN_IF_ERROR(CheckNoCopy());
  LetStateChangesPass();
  absl::MutexLock lock(&work_mutex_);
  return PublishLocked();
}

absl::Status Replica::PublishLocked() {
  if (!unpublished_.has_value()) return absl::OkStatus();
  const Stopwatch stopwatch(probe_.publish_nanoseconds);
  absl::Status published = faults_.Reach(Step::kRecorded, 0);
  while (published.ok()) {
    published = PublishCommit(folders_->root, folders_->work, *unpublished_, faults_);
    if (!IsForWantOfSpace(published, folders_->work.staging().fd())) break;
    const absl::StatusOr<size_t> dropped = DropOlderHalf();
    if (!dropped.ok() || *dropped == 0) break;
    published = absl::OkStatus();
  }
  if (!published.ok()) {
    ++probe_.publish_failures;
    session_ = 0;
    return view_.SetUsable(Annotate(
        published,
        fmt::format("publish commit {} of volume '{}'", unpublished_->commit.sequence, unpublished_->commit.volume)));
  }
  model::ReplicaState state = State();
  state.published_sequence = unpublished_->commit.sequence;
  for (const auto& [index, file] : unpublished_->patches) {
    applied_patches_.push_back(WorkArea::StagedEntry(unpublished_->commit.sequence, index));
  }
  if (unpublished_->keeps) MeasureKept(unpublished_->commit.sequence);
  ran_ = unpublished_->runs;
  unpublished_.reset();
  view_.SetState(state);
  DiscardSomeRemoved();
  return absl::OkStatus();
}

// Out of the replica it is already: what is too much to wait for, or can't be taken apart now, the next commit or
// CommitEngine::DiscardRemoved takes.
void Replica::DiscardSomeRemoved() {
  constexpr size_t kEntriesAtOnce = 1000;
  size_t entries = 0;
  const os::GoOn go_on = [&] { return ++entries > kEntriesAtOnce ? absl::CancelledError("enough") : MakeWay(); };
  folders_->work.DiscardRemoved(go_on).IgnoreError();
}

absl::Status Replica::SettleLocked() {
  RETURN_IF_ERROR(faults_.Reach(Step::kSettle, 0));
  RETURN_IF_ERROR(os::SyncFilesystem(folders_->root.fd()));
  return store_->Settle(State());
}

absl::StatusOr<Replica::Entry> Replica::Stat(const std::string& path) {
  LetStateChangesPass();
  absl::MutexLock lock(&work_mutex_);
  if (folders_ == nullptr) {
    return absl::UnavailableError(fmt::format("replica folder '{}' can't be reached", Printable(State().root)));
  }
  RETURN_IF_ERROR(CheckNoWorkFolder(path, HoldsWorkFolder()));
  RETURN_IF_ERROR(PublishLocked());
  ASSIGN_OR_RETURN(const os::EntryStat stat, folders_->root.Stat(path));
  return Entry{.stat = stat, .sequence = State().sequence};
}

}  // namespace understudy::dr
