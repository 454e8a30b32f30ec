#include "agent-primary/rules/protected_volumes.h"

#include <fmt/format.h>

#include <array>
#include <map>
#include <string_view>
#include <utility>

#include "core/base/log.h"

namespace understudy::primary {
namespace {

constexpr std::array<std::string_view, 1> kSchema = {
    "CREATE TABLE volume(name TEXT PRIMARY KEY, server TEXT NOT NULL, path BLOB NOT NULL) WITHOUT ROWID;",
};

}  // namespace

absl::StatusOr<std::unique_ptr<ProtectedVolumes>> ProtectedVolumes::Open(const std::string& file,
                                                                         VolumeActions& volumes) {
  ASSIGN_OR_RETURN(store::Database database, store::Database::Open(file, {.durability = store::Durability::kFull}));
  RETURN_IF_ERROR(database.Migrate(kSchema));
  return std::unique_ptr<ProtectedVolumes>(new ProtectedVolumes(std::move(database), volumes));
}

absl::Status ProtectedVolumes::RegisterAll() {
  std::map<std::string, kube::NfsSource> remembered;
  {
    const absl::MutexLock lock(&mutex_);
    ASSIGN_OR_RETURN(store::Statement query, database_.Prepare("SELECT name, server, path FROM volume"));
    while (true) {
      ASSIGN_OR_RETURN(const bool found, query.Step());
      if (!found) break;
      remembered[query.String(0)] = {.server = query.String(1), .path = query.String(2)};
    }
  }
  for (const auto& [name, source] : remembered) {
    const absl::StatusOr<VolumePlace> place = PlaceOf(name, source);
    const absl::Status registered = place.ok() ? volumes_.Register(name, *place) : place.status();
    if (!registered.ok()) spdlog::warn("volume={} isn't protected any more: {}", name, MessageOf(registered));
  }
  return absl::OkStatus();
}

absl::Status ProtectedVolumes::Protect(const std::string& name, const kube::NfsSource& source) {
  ASSIGN_OR_RETURN(const VolumePlace place, PlaceOf(name, source));
  RETURN_IF_ERROR(volumes_.Register(name, place));
  return Remember(name, source);
}

absl::Status ProtectedVolumes::Release(const std::string& name, const kube::NfsSource& source) {
  ASSIGN_OR_RETURN(const VolumePlace place, PlaceOf(name, source));
  RETURN_IF_ERROR(Unregister(name));
  return volumes_.Discard(name, place);
}

absl::StatusOr<VolumePlace> ProtectedVolumes::PlaceOf(const std::string& name, const kube::NfsSource& source) const {
  const std::optional<VolumePlace> place = volumes_.Locate(source.server, source.path);
  if (place) return *place;
  return absl::NotFoundError(
      fmt::format("volume '{}': {}:{} lies within none of this host's exports; exports[].server_names says how the "
                  "cluster names this host",
                  name, Printable(source.server), Printable(source.path)));
}

absl::Status ProtectedVolumes::Remember(const std::string& name, const kube::NfsSource& source) {
  const absl::MutexLock lock(&mutex_);
  ASSIGN_OR_RETURN(store::Statement write, database_.Prepare("INSERT OR REPLACE INTO volume VALUES(?, ?, ?)"));
  return write.BindText(1, name).BindText(2, source.server).BindBlob(3, source.path).Run();
}

std::optional<VolumePlace> ProtectedVolumes::Locate(const std::string& server, const std::string& path) const {
  return volumes_.Locate(server, path);
}

absl::Status ProtectedVolumes::Register(const std::string& name, const VolumePlace& place) {
  return volumes_.Register(name, place);
}

absl::Status ProtectedVolumes::Unregister(const std::string& name) {
  {
    const absl::MutexLock lock(&mutex_);
    ASSIGN_OR_RETURN(store::Statement remove, database_.Prepare("DELETE FROM volume WHERE name = ?"));
    RETURN_IF_ERROR(remove.BindText(1, name).Run());
  }
  return volumes_.Unregister(name);
}

absl::Status ProtectedVolumes::Discard(const std::string& name, const VolumePlace& place) {
  return volumes_.Discard(name, place);
}

absl::Status ProtectedVolumes::Pause(const std::string& name, const VolumePlace& place) {
  return volumes_.Pause(name, place);
}

absl::Status ProtectedVolumes::Resume(const std::string& name) {
  return volumes_.Resume(name);
}

absl::Status ProtectedVolumes::SyncToBarrier(const std::string& name, BarrierWait& wait, std::stop_token stop) {
  return volumes_.SyncToBarrier(name, wait, std::move(stop));
}

}  // namespace understudy::primary
