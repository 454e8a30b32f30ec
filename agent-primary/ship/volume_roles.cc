#include "agent-primary/ship/volume_roles.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

#include "core/model/epoch.h"

namespace understudy::primary {
namespace {

constexpr std::array<std::string_view, 1> kSchema = {
    "CREATE TABLE volume(name TEXT PRIMARY KEY, live INTEGER NOT NULL, epoch INTEGER NOT NULL,"
    "  since_nanoseconds INTEGER NOT NULL, path BLOB NOT NULL) WITHOUT ROWID;",
};

}  // namespace

bool IsMadeThere(const VolumeRole& role) {
  return !role.live && role.epoch == model::kFirstEpoch;
}

absl::StatusOr<std::unique_ptr<VolumeRoles>> VolumeRoles::Open(const std::string& file) {
  ASSIGN_OR_RETURN(store::Database database, store::Database::Open(file, {.durability = store::Durability::kFull}));
  RETURN_IF_ERROR(database.Migrate(kSchema));
  std::unique_ptr<VolumeRoles> roles(new VolumeRoles(std::move(database)));
  absl::MutexLock lock(&roles->mutex_);
  ASSIGN_OR_RETURN(store::Statement query,
                   roles->database_.Prepare("SELECT name, live, epoch, since_nanoseconds, path FROM volume"));
  while (true) {
    ASSIGN_OR_RETURN(const bool found, query.Step());
    if (!found) return roles;
    roles->roles_[query.String(0)] = {.live = query.Integer(1) != 0,
                                      .epoch = query.Unsigned(2),
                                      .since_nanoseconds = query.Integer(3),
                                      .path = query.String(4)};
  }
}

std::optional<VolumeRole> VolumeRoles::Find(const model::VolumeName& volume) const {
  absl::MutexLock lock(&mutex_);
  const auto found = roles_.find(volume);
  return found == roles_.end() ? std::nullopt : std::optional(found->second);
}

std::map<model::VolumeName, VolumeRole> VolumeRoles::List() const {
  absl::MutexLock lock(&mutex_);
  return roles_;
}

absl::Status VolumeRoles::Write(const model::VolumeName& volume, const VolumeRole& role) {
  ASSIGN_OR_RETURN(store::Statement write, database_.Prepare("INSERT OR REPLACE INTO volume VALUES(?, ?, ?, ?, ?)"));
  write.BindText(1, volume).BindInteger(2, role.live).BindUnsigned(3, role.epoch);
  RETURN_IF_ERROR(write.BindInteger(4, role.since_nanoseconds).BindBlob(5, role.path).Run());
  roles_[volume] = role;
  return absl::OkStatus();
}

absl::Status VolumeRoles::HandOver(const model::VolumeName& volume, const std::string& path, model::Epoch epoch,
                                   int64_t now_nanoseconds) {
  absl::MutexLock lock(&mutex_);
  VolumeRole next{.live = false, .epoch = epoch, .since_nanoseconds = now_nanoseconds, .path = path};
  const auto known = roles_.find(volume);
  if (known != roles_.end() && known->second.live && epoch <= known->second.epoch) {
    return absl::FailedPreconditionError(
        fmt::format("volume '{}' has its live copy here since epoch {}: it isn't handed over for epoch {}", volume,
                    known->second.epoch, epoch));
  }
  if (known != roles_.end() && path.empty()) next.path = known->second.path;
  if (known != roles_.end() && !known->second.live) {
    if (epoch <= known->second.epoch && next.path == known->second.path) return absl::OkStatus();
    next.since_nanoseconds = known->second.since_nanoseconds;
    next.epoch = std::max(epoch, known->second.epoch);
  }
  return Write(volume, next);
}

absl::Status VolumeRoles::TakeUp(const model::VolumeName& volume, const std::string& path, model::Epoch epoch,
                                 int64_t now_nanoseconds) {
  absl::MutexLock lock(&mutex_);
  const auto known = roles_.find(volume);
  if (known != roles_.end() && epoch < known->second.epoch) {
    return absl::FailedPreconditionError(
        fmt::format("volume '{}' {} at epoch {}: a live copy of epoch {} isn't taken up after that", volume,
                    known->second.live ? "was taken up here" : "was handed over", known->second.epoch, epoch));
  }
  if (known != roles_.end() && known->second.live && epoch == known->second.epoch && path == known->second.path) {
    return absl::OkStatus();
  }
  return Write(volume, {.live = true, .epoch = epoch, .since_nanoseconds = now_nanoseconds, .path = path});
}

absl::Status VolumeRoles::ForgetLive(const model::VolumeName& volume) {
  absl::MutexLock lock(&mutex_);
  const auto known = roles_.find(volume);
  return known == roles_.end() || !known->second.live ? absl::OkStatus() : Remove(volume);
}

absl::Status VolumeRoles::ForgetMadeThere(const model::VolumeName& volume) {
  absl::MutexLock lock(&mutex_);
  const auto known = roles_.find(volume);
  return known == roles_.end() || !IsMadeThere(known->second) ? absl::OkStatus() : Remove(volume);
}

absl::Status VolumeRoles::Remove(const model::VolumeName& volume) {
  ASSIGN_OR_RETURN(store::Statement remove, database_.Prepare("DELETE FROM volume WHERE name = ?"));
  RETURN_IF_ERROR(remove.BindText(1, volume).Run());
  roles_.erase(volume);
  return absl::OkStatus();
}

}  // namespace understudy::primary
