#include "agent-dr/commit/commit_engine.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <cerrno>
#include <optional>
#include <utility>

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
  RETURN_IF_ERROR(engine->LoadAll());
  return engine;
}

std::string CommitEngine::FolderOf(const model::VolumeName& volume) const {
  return fmt::format("{}/{}/{}", options_.state_dir, kVolumesFolder, volume);
}

std::string CommitEngine::ExportOf(std::string_view root) const {
  std::string longest;
  for (const std::string& path : options_.exports) {
    if (Holds(path, root) && path.size() > longest.size()) longest = path;
  }
  return longest;
}

absl::Status CommitEngine::LoadAll() {
  ASSIGN_OR_RETURN(const os::Root volumes, os::Root::Open(fmt::format("{}/{}", options_.state_dir, kVolumesFolder)));
  ASSIGN_OR_RETURN(os::TreeWalk walk, os::TreeWalk::Begin(volumes, ""));
  while (true) {
    ASSIGN_OR_RETURN(const std::optional<os::WalkEntry> entry, walk.Next());
    if (!entry.has_value()) return absl::OkStatus();
    walk.SkipChildren();
    if (model::ValidateVolumeName(entry->name).ok()) LoadOne(entry->name);
  }
}

void CommitEngine::LoadOne(const model::VolumeName& volume) {
  const auto problem = [&](const absl::Status& status) {
    problems_.push_back(fmt::format("volume '{}': {}", volume, MessageOf(status)));
  };
  auto store = VolumeStore::Open(FolderOf(volume));
  if (!store.ok()) return problem(store.status());
  const auto stored = store->Load();
  if (!stored.ok()) return problem(stored.status());
  if (!stored->has_value()) return;  // its making was cut short; the next Open makes it
  const std::string export_path = ExportOf((*stored)->state.root);
  if (export_path.empty()) {
    return problem(absl::FailedPreconditionError(
        fmt::format("no export holds its replica folder '{}'", Printable((*stored)->state.root))));
  }
  auto replica = Replica::Load({FolderOf(volume), export_path}, *options_.faults, probe_);
  if (!replica.ok()) return problem(replica.status());
  const absl::Status usable = (*replica)->Usable();
  if (!usable.ok()) problem(usable);
  absl::MutexLock lock(&mutex_);
  replicas_[volume] = *std::move(replica);
}

absl::Status CommitEngine::CheckOverlap(const model::VolumeSpec& spec) const {
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

absl::StatusOr<std::shared_ptr<Replica>> CommitEngine::FindOrCreate(const model::VolumeSpec& spec) {
  // Making one syncs its filesystem; whoever asks for the list meanwhile doesn't wait for that.
  absl::MutexLock creating(&create_mutex_);
  absl::StatusOr<std::shared_ptr<Replica>> found = Find(spec.name);
  if (found.ok()) return found;
  RETURN_IF_ERROR(CheckOverlap(spec));
  const std::string export_path = ExportOf(spec.replica_root);
  if (export_path.empty()) {
    return absl::InvalidArgumentError(
        fmt::format("no export of understudy-dr holds '{}': add one to its exports:, or mend dr_path at the primary",
                    Printable(spec.replica_root)));
  }
  RETURN_IF_ERROR(MakeDurableFolder(fmt::format("{}/{}", options_.state_dir, kVolumesFolder), spec.name));
  ASSIGN_OR_RETURN(std::shared_ptr<Replica> replica,
                   Replica::Create(spec, {FolderOf(spec.name), export_path}, *options_.faults, probe_));
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

absl::Status CommitEngine::Inventory(const model::VolumeName& volume, bool with_digests,
                                     const std::function<absl::Status(model::InventoryEntry)>& visit) {
  ASSIGN_OR_RETURN(const std::shared_ptr<Replica> replica, Find(volume));
  return replica->Inventory(with_digests, visit);
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
model::ReplicaState Session::State() const {
  model::ReplicaState state = replica_->State();
  state.leftovers = replica_->LeftoverPaths();
  return state;
}

}  // namespace understudy::dr
