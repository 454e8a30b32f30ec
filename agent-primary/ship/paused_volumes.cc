#include "agent-primary/ship/paused_volumes.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

namespace understudy::primary {
namespace {

constexpr std::array<std::string_view, 1> kSchema = {
    "CREATE TABLE paused(volume TEXT PRIMARY KEY, since_nanoseconds INTEGER NOT NULL) WITHOUT ROWID;",
};

}  // namespace

absl::StatusOr<std::unique_ptr<PausedVolumes>> PausedVolumes::Open(const std::string& file) {
  ASSIGN_OR_RETURN(store::Database database, store::Database::Open(file, {.durability = store::Durability::kFull}));
  RETURN_IF_ERROR(database.Migrate(kSchema));
  std::unique_ptr<PausedVolumes> paused(new PausedVolumes(std::move(database)));
  absl::MutexLock lock(&paused->mutex_);
  ASSIGN_OR_RETURN(store::Statement query, paused->database_.Prepare("SELECT volume, since_nanoseconds FROM paused"));
  while (true) {
    ASSIGN_OR_RETURN(const bool found, query.Step());
    if (!found) return paused;
    paused->since_[query.String(0)] = query.Integer(1);
  }
}

int64_t PausedVolumes::PausedSince(const model::VolumeName& volume) const {
  absl::MutexLock lock(&mutex_);
  const auto found = since_.find(volume);
  return found == since_.end() ? 0 : found->second;
}

absl::StatusOr<int64_t> PausedVolumes::Pause(const model::VolumeName& volume, int64_t now_nanoseconds) {
  absl::MutexLock lock(&mutex_);
  const auto found = since_.find(volume);
  if (found != since_.end()) return found->second;
  const int64_t since = std::max<int64_t>(1, now_nanoseconds);
  ASSIGN_OR_RETURN(store::Statement insert, database_.Prepare("INSERT INTO paused VALUES(?, ?)"));
  RETURN_IF_ERROR(insert.BindText(1, volume).BindInteger(2, since).Run());
  since_[volume] = since;
  return since;
}

absl::Status PausedVolumes::Resume(const model::VolumeName& volume) {
  absl::MutexLock lock(&mutex_);
  ASSIGN_OR_RETURN(store::Statement remove, database_.Prepare("DELETE FROM paused WHERE volume = ?"));
  RETURN_IF_ERROR(remove.BindText(1, volume).Run());
  since_.erase(volume);
  return absl::OkStatus();
}

}  // namespace understudy::primary
