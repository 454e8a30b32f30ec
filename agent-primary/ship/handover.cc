// The part of DataPlane that gives volumes up to the other side, and takes them up from there (docs/promotion.md).
#include "agent-primary/ship/handover.h"

#include <fmt/format.h>
#include <unistd.h>

#include <utility>

#include "agent-primary/index/volume_index.h"
#include "agent-primary/ship/data_plane.h"
#include "core/base/log.h"
#include "core/base/time_text.h"

namespace understudy::primary {

std::string HandedOverText(const model::VolumeName& volume, const VolumeRole& role) {
  if (IsMadeThere(role)) {
    return fmt::format(
        "volume '{0}' was made at DR ({1}): its live copy is there, and nothing of it is captured or sent from here. "
        "To make the copy here the live one, promote it (`drctl volumes promote {0}`), and then `drctl volumes "
        "reprotect {0}`",
        volume, Rfc3339Seconds(absl::FromUnixNanos(role.since_nanoseconds)));
  }
  return fmt::format(
      "volume '{0}' was handed over to DR at epoch {1} ({2}): its live copy is there, and nothing of it is captured or "
      "sent from here, whatever the configuration lists. To make the copy here the live one again, promote it "
      "(`drctl volumes promote {0}`), and then `drctl volumes reprotect {0}`",
      volume, role.epoch, Rfc3339Seconds(absl::FromUnixNanos(role.since_nanoseconds)));
}

VolumeReport DataPlane::HandedOverReport(const model::VolumeName& name, const VolumeRole& role) const {
  VolumeReport report;
  report.name = name;
  report.path = role.path;
  report.origin = VolumeOrigin::kReprotect;
  const auto asked = handed_over_.find(name);
  if (asked != handed_over_.end()) {
    report.origin = asked->second.origin;
    report.path = asked->second.place.path;
  }
  if (const auto place = PlaceOfPath(name, report.path); place.ok()) report.replica_root = place->replica_path;
  report.status.state = ReplicationState::kHandedOver;
  report.status.epoch = role.epoch;
  report.status.handed_over_reason = HandedOverText(name, role);
  return report;
}

absl::Status DataPlane::CheckHandOver(const model::VolumeName& name, model::Epoch epoch) const {
  model::Epoch known = 0;
  const absl::StatusOr<Volume> volume = Find(name);
  if (volume.ok()) {
    known = volume->replicator->Status().epoch;
  } else if (::access(IndexFile(name).c_str(), F_OK) == 0) {
    const absl::StatusOr<std::unique_ptr<VolumeIndex>> index = VolumeIndex::Open(IndexFile(name));
    // One that can't be read goes with the hand-over.
    if (index.ok()) known = (*index)->state().epoch;
  }
  if (known < epoch) return absl::OkStatus();
  return absl::FailedPreconditionError(fmt::format(
      "volume '{}' is replicated at epoch {}: it isn't handed over for epoch {}, as nothing was promoted since", name,
      known, epoch));
}

absl::StatusOr<VolumeReport> DataPlane::HandOver(const model::VolumeName& name, model::Epoch epoch) {
  RETURN_IF_ERROR(model::ValidateVolumeName(name));
  absl::MutexLock registering(&registering_);
  RETURN_IF_ERROR(CheckHandOver(name, epoch));
  HandedOver asked;
  bool known = false;
  {
    absl::MutexLock lock(&mutex_);
    const auto found = volumes_.find(name);
    known = found != volumes_.end();
    if (known) {
      const VolumeReplicator& replicator = *found->second.replicator;
      asked = {found->second.origin, {replicator.path(), replicator.replica_root()}};
    } else if (const auto earlier = handed_over_.find(name); earlier != handed_over_.end()) {
      asked = earlier->second;
      known = true;
    }
  }
  // First, so that whatever ends this leaves nothing that is replicated.
  RETURN_IF_ERROR(roles_->HandOver(name, asked.place.path, epoch, absl::ToUnixNanos(clock_.Now())));
  Take(name);
  if (known) {
    absl::MutexLock lock(&mutex_);
    handed_over_[name] = std::move(asked);
  }
  // Its state says more than a pause does; when it is taken up, it is to go on.
  RETURN_IF_ERROR(paused_->Resume(name));
  RETURN_IF_ERROR(RemoveIndex(name, roles_->Find(name).value_or(VolumeRole{}).path));
  spdlog::info("volume={} epoch={} handed over: its live copy is at DR", name, epoch);
  absl::MutexLock lock(&mutex_);
  return HandedOverReport(name, roles_->Find(name).value_or(VolumeRole{}));
}

absl::Status DataPlane::ForgetHandOver(const model::VolumeName& name) {
  RETURN_IF_ERROR(model::ValidateVolumeName(name));
  absl::MutexLock registering(&registering_);
  const std::optional<VolumeRole> role = roles_->Find(name);
  if (!role.has_value() || !IsMadeThere(*role)) return absl::OkStatus();
  {
    absl::MutexLock lock(&mutex_);
    const auto asked = handed_over_.find(name);
    if (asked != handed_over_.end() && asked->second.origin == VolumeOrigin::kConfig) {
      return absl::FailedPreconditionError(
          fmt::format("volume '{}' was made at DR, and this agent's configuration lists one of that name: take it out "
                      "there, or its folder here is replicated",
                      name));
    }
    if (asked != handed_over_.end()) {
      return absl::UnavailableError(
          fmt::format("volume '{}' was made at DR, and its PersistentVolume is still here: it has to go first", name));
    }
  }
  RETURN_IF_ERROR(roles_->ForgetMadeThere(name));
  spdlog::info("volume={} was made at DR and deleted there: one of that name is another one", name);
  return absl::OkStatus();
}

absl::StatusOr<VolumeReport> DataPlane::TakeUp(const model::VolumeName& name, const std::string& path,
                                               const std::string& replica_path, model::Epoch epoch) {
  RETURN_IF_ERROR(model::ValidateVolumeName(name));
  absl::MutexLock registering(&registering_);
  std::string wanted = path;
  if (wanted.empty()) wanted = roles_->Find(name).value_or(VolumeRole{}).path;
  if (wanted.empty()) {
    return absl::NotFoundError(
        fmt::format("volume '{}' wasn't handed over by this agent: say where its folder is", name));
  }
  ASSIGN_OR_RETURN(const VolumePlace place, PlaceOfPath(name, wanted));
  if (!replica_path.empty() && replica_path != place.replica_path) {
    return absl::FailedPreconditionError(
        fmt::format("volume '{}' in '{}' goes to '{}' by this agent's configuration, but the other side has it in "
                    "'{}': mend dr_path "
                    "of its export",
                    name, Printable(place.path), Printable(place.replica_path), Printable(replica_path)));
  }
  RETURN_IF_ERROR(CheckVolumeFolder(name, place.path));
  return TakeUpAt(name, place, epoch);
}

absl::StatusOr<VolumeReport> DataPlane::TakeUpAt(const model::VolumeName& name, const VolumePlace& place,
                                                 model::Epoch epoch) {
  VolumeOrigin origin = VolumeOrigin::kReprotect;
  {
    absl::MutexLock lock(&mutex_);
    bool already = false;
    RETURN_IF_ERROR(CheckFree(name, place, &already));
    if (already) origin = volumes_.at(name).origin;
    if (const auto asked = handed_over_.find(name); asked != handed_over_.end()) origin = asked->second.origin;
  }
  const std::optional<VolumeRole> before = roles_->Find(name);
  RETURN_IF_ERROR(roles_->TakeUp(name, place.path, epoch, absl::ToUnixNanos(clock_.Now())));
  // One that is replicated with an earlier epoch begins anew.
  if (!before.has_value() || !before->live || before->epoch != epoch) Take(name);
  {
    absl::MutexLock lock(&mutex_);
    handed_over_.erase(name);
  }
  RETURN_IF_ERROR(AddLocked(name, place, origin, /*paused=*/false));
  spdlog::info("volume={} epoch={} taken up: its live copy is here", name, epoch);
  ASSIGN_OR_RETURN(const Volume volume, Find(name));
  return ReportOf(volume);
}

void DataPlane::RegisterTakenUp() {
  for (const auto& [name, role] : roles_->List()) {
    if (!role.live || Find(name).ok()) continue;
    const absl::StatusOr<VolumePlace> place = PlaceOfPath(name, role.path);
    const absl::Status added = place.ok() ? Add(name, *place, VolumeOrigin::kReprotect) : place.status();
    if (!added.ok()) spdlog::error("volume={} was taken up here and isn't replicated: {}", name, MessageOf(added));
  }
}

}  // namespace understudy::primary
