#include "agent-primary/ship/data_plane.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <functional>
#include <memory>
#include <utility>

#include "absl/synchronization/mutex.h"
#include "agent-primary/ship/handover.h"
#include "core/base/log.h"
#include "core/model/path.h"

namespace understudy::primary {
namespace {

constexpr absl::Duration kFlushTimeout = absl::Seconds(30);
constexpr absl::Duration kWaitStep = absl::Seconds(1);
constexpr absl::Duration kApprovalTimeout = absl::Seconds(30);
// For the commit that is under way when a volume is paused.
constexpr absl::Duration kQuietTimeout = absl::Seconds(30);
constexpr absl::Duration kStopCheckStep = absl::Milliseconds(200);

// `path` relative to `folder` when it lies within it. Both are absolute.
std::optional<std::string> Within(const std::string& path, const std::string& folder) {
  if (folder == "/") return path.substr(1);
  if (!model::IsWithin(path, folder)) return std::nullopt;
  return path == folder ? std::string() : path.substr(folder.size() + 1);
}

std::string JoinAbsolute(const std::string& folder, const std::string& rest) {
  if (rest.empty()) return folder;
  return folder.ends_with('/') ? folder + rest : folder + "/" + rest;
}

std::string WithoutTrailingSlashes(std::string path) {
  while (path.size() > 1 && path.ends_with('/')) path.pop_back();
  return path;
}

absl::Status MakeFolder(const std::string& path) {
  if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST)
    return ErrnoStatus(errno, fmt::format("make folder '{}'", path));
  return absl::OkStatus();
}

// Every lane meets the same trouble; it is told once, until a connection is made.
SinkConnector TellingTrouble(SinkConnector connect) {
  struct Told {
    absl::Mutex mutex;
    std::string text ABSL_GUARDED_BY(mutex);
  };
  return [connect = std::move(connect), told = std::make_shared<Told>()](auto on_published, auto on_broken) {
    auto sink = connect(std::move(on_published), std::move(on_broken));
    const std::string text(sink.ok() ? std::string_view() : MessageOf(sink.status()));
    absl::MutexLock lock(&told->mutex);
    if (!text.empty() && text != told->text) spdlog::warn("{}", text);
    told->text = text;
    return sink;
  };
}

}  // namespace

std::string_view ToString(VolumeOrigin origin) {
  switch (origin) {
    case VolumeOrigin::kConfig:
      return "config";
    case VolumeOrigin::kKubernetes:
      return "kubernetes";
    case VolumeOrigin::kReprotect:
      return "reprotect";
  }
  AbortOnBrokenInvariant("known VolumeOrigin", __FILE__, __LINE__);
}

absl::Status CheckVolumeFolder(const model::VolumeName& name, const std::string& path) {
  struct stat raw {};
  if (::stat(path.c_str(), &raw) != 0) {
    return ErrnoStatus(errno, fmt::format("volume '{}': its folder '{}'", name, Printable(path)));
  }
  if (!S_ISDIR(raw.st_mode)) {
    return absl::InvalidArgumentError(fmt::format("volume '{}': '{}' isn't a folder", name, Printable(path)));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<DataPlane>> DataPlane::Start(const DataPlaneOptions& options,
                                                            const SinkConnector& connect, const Clock& clock) {
  RETURN_IF_ERROR(MakeFolder(options.state_dir + "/index"));
  RETURN_IF_ERROR(MakeFolder(options.state_dir + "/cookies"));
  std::unique_ptr<DataPlane> plane(new DataPlane(options, clock));
  plane->options_.replicator.flush_hints = [raw = plane.get()](absl::Duration timeout) {
    return raw->FlushHints(timeout);
  };
  plane->options_.replicator.rewatch = [raw = plane.get()](const model::VolumeName& name) { raw->Rewatch(name); };
  ASSIGN_OR_RETURN(plane->paused_, PausedVolumes::Open(options.state_dir + "/paused.db"));
  ASSIGN_OR_RETURN(plane->roles_, VolumeRoles::Open(options.state_dir + "/roles.db"));
  ASSIGN_OR_RETURN(plane->source_, StartChangeSource(options.watch, options.state_dir + "/cookies", *plane));
  const SinkConnector telling = TellingTrouble(connect);
  for (size_t i = 0; i < kLanes; ++i) plane->lanes_.push_back(std::make_unique<Lane>(telling, clock));
  plane->sweep_at_ = clock.Monotonic() + options.sweep_bases_after;
  plane->keeper_ = std::make_unique<Ticker>(kTendBases, [raw = plane.get()] { raw->TendBases(); });
  return plane;
}

DataPlane::~DataPlane() {
  keeper_.reset();
  // Hints first: they reach into the lanes. No lane watches anything from here on.
  std::unique_ptr<ChangeSource> source;
  {
    absl::MutexLock rewatching(&rewatching_);
    source = std::move(source_);
  }
  source.reset();
  lanes_.clear();
}

std::optional<VolumePlace> DataPlane::Locate(const std::string& server, const std::string& path) const {
  const std::string wanted = WithoutTrailingSlashes(path);
  // Through the innermost export that holds it.
  const ExportPlace* best = nullptr;
  for (const ExportPlace& candidate : options_.exports) {
    const auto& names = candidate.server_names;
    if (std::find(names.begin(), names.end(), server) == names.end()) continue;
    if (!Within(wanted, candidate.path).has_value()) continue;
    if (best == nullptr || candidate.path.size() > best->path.size()) best = &candidate;
  }
  if (best == nullptr) return std::nullopt;
  return VolumePlace{wanted, JoinAbsolute(best->replica_path, *Within(wanted, best->path))};
}

const ExportPlace* DataPlane::InnermostExport(const std::string& path) const {
  const ExportPlace* best = nullptr;
  for (const ExportPlace& candidate : options_.exports) {
    if (!Within(path, candidate.path).has_value()) continue;
    if (best == nullptr || candidate.path.size() > best->path.size()) best = &candidate;
  }
  return best;
}

absl::StatusOr<VolumePlace> DataPlane::PlaceOfPath(const model::VolumeName& name, const std::string& path) const {
  const std::string wanted = WithoutTrailingSlashes(path);
  const ExportPlace* const best = InnermostExport(wanted);
  if (best == nullptr) {
    return absl::InvalidArgumentError(
        fmt::format("volume '{}': '{}' lies within none of the exports; add its export to "
                    "`exports` in the configuration",
                    name, Printable(path)));
  }
  return VolumePlace{wanted, JoinAbsolute(best->replica_path, *Within(wanted, best->path))};
}

absl::Status DataPlane::AddListed(const model::VolumeName& name, const std::string& path) {
  ASSIGN_OR_RETURN(const VolumePlace place, PlaceOfPath(name, path));
  return Add(name, place, VolumeOrigin::kConfig);
}

absl::Status DataPlane::Register(const std::string& name, const VolumePlace& place) {
  return Add(name, place, VolumeOrigin::kKubernetes);
}

absl::Status DataPlane::CheckFree(const model::VolumeName& name, const VolumePlace& place, bool* already) const {
  *already = false;
  for (const auto& [other, volume] : volumes_) {
    const std::string& path = volume.replicator->path();
    if (other == name) {
      if (path == place.path && volume.replicator->replica_root() == place.replica_path) {
        *already = true;
        return absl::OkStatus();
      }
      return absl::AlreadyExistsError(fmt::format("volume '{}' stands for '{}' already, not for '{}'", name,
                                                  Printable(path), Printable(place.path)));
    }
    if (model::IsWithin(path, place.path) || model::IsWithin(place.path, path)) {
      return absl::AlreadyExistsError(
          fmt::format("volume '{}' at '{}' overlaps volume '{}' at '{}'; a folder belongs to one "
                      "volume only",
                      name, Printable(place.path), other, Printable(path)));
    }
  }
  return absl::OkStatus();
}

std::string DataPlane::IndexFile(const model::VolumeName& name) const {
  return fmt::format("{}/index/{}.db", options_.state_dir, name);
}

absl::Status DataPlane::Add(const model::VolumeName& name, const VolumePlace& place, VolumeOrigin origin, bool paused) {
  RETURN_IF_ERROR(model::ValidateVolumeName(name));
  absl::MutexLock registering(&registering_);
  return AddLocked(name, place, origin, paused);
}

absl::Status DataPlane::AddLocked(const model::VolumeName& name, const VolumePlace& place, VolumeOrigin origin,
                                  bool paused) {
  const VolumeRole role = roles_->Find(name).value_or(VolumeRole{.live = true, .path = place.path});
  if (role.live && role.path != place.path) {
    return absl::FailedPreconditionError(
        fmt::format("volume '{}' has its live copy in '{}' since epoch {}, not in '{}': mend what says so", name,
                    Printable(role.path), role.epoch, Printable(place.path)));
  }
  {
    absl::MutexLock lock(&mutex_);
    if (!role.live) {
      handed_over_[name] = {origin, place};
      return absl::OkStatus();
    }
    bool already = false;
    RETURN_IF_ERROR(CheckFree(name, place, &already));
    if (already) {
      VolumeOrigin& known = volumes_.at(name).origin;
      if (known == VolumeOrigin::kReprotect) known = origin;
      return absl::OkStatus();
    }
  }
  const std::string index_file = IndexFile(name);
  const absl::Status folder = CheckVolumeFolder(name, place.path);
  // A mistake in the configuration, unless the volume was replicated before: then a guard waits for its folder.
  if (!folder.ok() && ::access(index_file.c_str(), F_OK) != 0) return folder;
  ReplicatorOptions options = options_.replicator;
  options.least_epoch = role.epoch;
  if (const ExportPlace* const place_of = InnermostExport(place.path)) options.export_path = place_of->path;
  ASSIGN_OR_RETURN(std::shared_ptr<VolumeReplicator> replicator,
                   VolumeReplicator::Open(name, place.path, place.replica_path, index_file, options, clock_));
  if (paused) replicator->Pause(PauseReason::kReclaim);
  if (const int64_t since = paused_->PausedSince(name); since != 0) {
    replicator->Pause(PauseReason::kOperator, since, /*restored=*/true);
  }
  Lane* const lane = lanes_[std::hash<std::string>()(name) % lanes_.size()].get();
  {
    absl::MutexLock lock(&mutex_);
    volumes_.emplace(name, Volume{origin, lane, replicator});
  }
  // Watched before the first scan begins, so that nothing slips in between.
  const absl::Status watched = folder.ok() ? source_->AddVolume(name, place.path) : absl::OkStatus();
  if (!folder.ok()) {
    spdlog::error("volume={} {}", name, MessageOf(folder));
    replicator->HoldWithoutFolder(folder);
  } else if (!watched.ok()) {
    source_->RemoveVolume(name);
    absl::MutexLock lock(&mutex_);
    volumes_.erase(name);
    return watched;
  }
  spdlog::info("volume={} path={} replica={} replicating", name, Printable(place.path), Printable(place.replica_path));
  lane->Add(std::move(replicator));
  return absl::OkStatus();
}

absl::Status DataPlane::Unregister(const std::string& name) {
  absl::MutexLock registering(&registering_);
  std::string path;
  {
    absl::MutexLock lock(&mutex_);
    const auto handed_over = handed_over_.find(name);
    if (handed_over != handed_over_.end() && handed_over->second.origin != VolumeOrigin::kConfig) {
      handed_over_.erase(handed_over);
    }
    const auto found = volumes_.find(name);
    if (found == volumes_.end() || found->second.origin == VolumeOrigin::kConfig) return absl::OkStatus();
    path = found->second.replicator->path();
  }
  RETURN_IF_ERROR(roles_->ForgetLive(name));
  Take(name);
  spdlog::info("volume={} not replicated any more", name);
  DiscardBases(name, path);
  return absl::OkStatus();
}

void DataPlane::Take(const model::VolumeName& name) {
  std::optional<Volume> volume;
  {
    absl::MutexLock lock(&mutex_);
    const auto found = volumes_.find(name);
    if (found == volumes_.end()) return;
    volume = found->second;
    volumes_.erase(found);
  }
  {
    absl::MutexLock rewatching(&rewatching_);
    source_->RemoveVolume(name);
  }
  volume->replicator->Pause(PauseReason::kReclaim);  // else what is under way would have to end first
  volume->lane->Remove(name);
}

bool DataPlane::PauseRegistered(const model::VolumeName& name) {
  absl::MutexLock lock(&mutex_);
  const auto found = volumes_.find(name);
  if (found == volumes_.end()) return false;
  if (found->second.origin == VolumeOrigin::kKubernetes) found->second.replicator->Pause(PauseReason::kReclaim);
  return true;
}

absl::Status DataPlane::Pause(const std::string& name, const VolumePlace& place) {
  RETURN_IF_ERROR(model::ValidateVolumeName(name));
  if (PauseRegistered(name) || ::access(IndexFile(name).c_str(), F_OK) != 0) return absl::OkStatus();
  RETURN_IF_ERROR(Add(name, place, VolumeOrigin::kKubernetes, /*paused=*/true));
  PauseRegistered(name);  // if somebody else came first
  return absl::OkStatus();
}

absl::Status DataPlane::Resume(const std::string& name) {
  absl::MutexLock lock(&mutex_);
  const auto found = volumes_.find(name);
  if (found == volumes_.end()) return absl::OkStatus();
  found->second.replicator->Resume(PauseReason::kReclaim);
  found->second.lane->Wake();
  return absl::OkStatus();
}

absl::StatusOr<VolumeReport> DataPlane::PauseByOperator(const model::VolumeName& name) {
  ASSIGN_OR_RETURN(const Volume volume, Find(name));
  ASSIGN_OR_RETURN(const int64_t since, paused_->Pause(name, absl::ToUnixNanos(clock_.Now())));
  volume.replicator->Pause(PauseReason::kOperator, since);
  if (volume.replicator->AwaitQuiet(kQuietTimeout)) return ReportOf(volume);
  return absl::AbortedError(
      fmt::format("volume '{}' is paused, but a commit is still under way: it ends with that; ask again", name));
}

absl::StatusOr<VolumeReport> DataPlane::ResumeByOperator(const model::VolumeName& name) {
  ASSIGN_OR_RETURN(const Volume volume, Find(name));
  RETURN_IF_ERROR(paused_->Resume(name));
  volume.replicator->Resume(PauseReason::kOperator);
  volume.lane->Wake();
  return ReportOf(volume);
}

void DataPlane::Rewatch(const model::VolumeName& name) {
  absl::MutexLock rewatching(&rewatching_);
  const absl::StatusOr<Volume> volume = Find(name);
  if (source_ == nullptr || !volume.ok()) return;
  source_->RemoveVolume(name);
  volume->replicator->OnCoverage(absl::OkStatus());
  const absl::Status watched = source_->AddVolume(name, volume->replicator->path());
  if (watched.ok()) return;
  spdlog::warn("volume={} {}; scans find what changes in it", name, MessageOf(watched));
  volume->replicator->OnCoverage(watched);
}

absl::Status DataPlane::FlushHints(absl::Duration timeout) {
  // Whoever holds it may walk a whole tree.
  if (!rewatching_.ReaderTryLock()) return absl::DeadlineExceededError("a volume is being watched anew");
  absl::Status flushed =
      source_ == nullptr ? absl::CancelledError("nothing is watched any more") : source_->Flush(timeout);
  rewatching_.ReaderUnlock();
  return flushed;
}

VolumeReport DataPlane::ReportOf(const Volume& volume) {
  return {volume.replicator->name(), volume.replicator->path(), volume.replicator->replica_root(), volume.origin,
          volume.replicator->Status()};
}

std::vector<VolumeReport> DataPlane::Report() const {
  absl::MutexLock lock(&mutex_);
  std::vector<VolumeReport> report;
  for (const auto& [name, volume] : volumes_) report.push_back(ReportOf(volume));
  for (const auto& [name, role] : roles_->List()) {
    if (!role.live) report.push_back(HandedOverReport(name, role));
  }
  std::sort(report.begin(), report.end(), [](const VolumeReport& a, const VolumeReport& b) { return a.name < b.name; });
  return report;
}

absl::Status DataPlane::Connection() const {
  for (const auto& lane : lanes_) RETURN_IF_ERROR(lane->connection());
  return absl::OkStatus();
}

absl::StatusOr<DataPlane::Volume> DataPlane::Find(const model::VolumeName& name) const {
  absl::MutexLock lock(&mutex_);
  const auto found = volumes_.find(name);
  if (found != volumes_.end()) return found->second;
  if (const auto role = roles_->Find(name); role.has_value() && !role->live) {
    return absl::FailedPreconditionError(HandedOverText(name, *role));
  }
  return absl::NotFoundError(fmt::format("there is no volume '{}' on this host", Printable(name)));
}

absl::Status DataPlane::Sync(const model::VolumeName& name, model::SyncDemand demand,
                             const std::function<bool(const VolumeReport&)>& on_wait) {
  ASSIGN_OR_RETURN(const Volume volume, Find(name));
  ASSIGN_OR_RETURN(const uint64_t barrier, RequestBarrier(volume, demand.rescan));
  absl::Duration next_report = clock_.Monotonic();
  return AwaitBarrier(volume, barrier, demand.published, [&]() -> absl::Status {
    if (clock_.Monotonic() < next_report) return absl::OkStatus();
    next_report += kWaitStep;
    return on_wait(ReportOf(volume)) ? absl::OkStatus() : absl::CancelledError("the caller went away");
  });
}

absl::StatusOr<uint64_t> DataPlane::RequestBarrier(const Volume& volume, bool rescan) {
  RETURN_IF_ERROR(source_->Flush(kFlushTimeout));
  const uint64_t barrier = volume.replicator->RequestBarrier(rescan);
  volume.lane->Wake();
  return barrier;
}

absl::Status DataPlane::AwaitBarrier(const Volume& volume, uint64_t barrier, bool published,
                                     const std::function<absl::Status()>& go_on) {
  while (!volume.replicator->AwaitBarrier(barrier, published, kStopCheckStep)) {
    RETURN_IF_ERROR(volume.replicator->BarrierRefusal(barrier));
    {
      absl::MutexLock lock(&mutex_);
      const auto found = volumes_.find(volume.replicator->name());
      if (found == volumes_.end() || found->second.replicator != volume.replicator) {
        return absl::NotFoundError(fmt::format("volume '{}' isn't replicated any more", volume.replicator->name()));
      }
    }
    RETURN_IF_ERROR(go_on());
  }
  return absl::OkStatus();
}

absl::StatusOr<VolumeReport> DataPlane::ApproveGuard(const model::VolumeName& name, const std::string& kind,
                                                     uint64_t entries_gone) {
  ASSIGN_OR_RETURN(const Volume volume, Find(name));
  ASSIGN_OR_RETURN(const uint64_t approval, volume.replicator->RequestApproval(kind, entries_gone));
  volume.lane->Wake();
  RETURN_IF_ERROR(volume.replicator->AwaitApproval(approval, kApprovalTimeout));
  return ReportOf(volume);
}

absl::Status DataPlane::SyncToBarrier(const std::string& name, BarrierWait& wait, std::stop_token stop) {
  ASSIGN_OR_RETURN(const Volume volume, Find(name));
  absl::Duration patience;
  if (wait.volume.lock() != volume.replicator) {
    ASSIGN_OR_RETURN(const uint64_t barrier, RequestBarrier(volume));
    wait = {.volume = volume.replicator, .barrier = barrier};
    patience = options_.barrier_patience;
  }
  const absl::Duration end = clock_.Monotonic() + patience;
  const absl::Status reached = AwaitBarrier(volume, wait.barrier, /*published=*/false, [&]() -> absl::Status {
    if (stop.stop_requested()) return absl::CancelledError("not waited for any more");
    const ReplicatorStatus status = volume.replicator->Status();
    const bool stuck = status.state == ReplicationState::kError || status.state == ReplicationState::kConnecting;
    if (stuck && !status.error.empty()) return absl::UnavailableError(status.error);
    if (clock_.Monotonic() < end) return absl::OkStatus();
    return absl::DeadlineExceededError(fmt::format("the data of volume '{}' isn't across yet", name));
  });
  // What a guard refused is asked for anew.
  if (absl::IsFailedPrecondition(reached)) wait = {};
  return reached;
}

void DataPlane::OnHint(const model::VolumeName& volume, std::string_view path, HintKind kind, bool at_once) {
  absl::MutexLock lock(&mutex_);
  const auto found = volumes_.find(volume);
  if (found == volumes_.end()) return;
  found->second.replicator->OnHint(path, kind, at_once);
  found->second.lane->Wake();
}

void DataPlane::OnInode(const model::VolumeName& volume, uint64_t inode, bool at_once) {
  absl::MutexLock lock(&mutex_);
  const auto found = volumes_.find(volume);
  if (found == volumes_.end()) return;
  found->second.replicator->OnInode(inode, at_once);
  found->second.lane->Wake();
}

void DataPlane::OnOverflow(const model::VolumeName& volume) {
  absl::MutexLock lock(&mutex_);
  const auto found = volumes_.find(volume);
  if (found == volumes_.end()) return;
  found->second.replicator->OnOverflow();
  found->second.lane->Wake();
}

void DataPlane::OnCoverage(const model::VolumeName& volume, const absl::Status& coverage) {
  absl::MutexLock lock(&mutex_);
  const auto found = volumes_.find(volume);
  if (found == volumes_.end()) return;
  found->second.replicator->OnCoverage(coverage);
  found->second.lane->Wake();
}

}  // namespace understudy::primary
