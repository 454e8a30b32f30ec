#include "agent-dr/standby/confirmations.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <iterator>
#include <string_view>
#include <system_error>
#include <utility>

namespace understudy::dr {
namespace {

constexpr std::array<std::string_view, 1> kSchema = {
    "CREATE TABLE confirmation(volume TEXT PRIMARY KEY, replica_id TEXT NOT NULL, epoch INTEGER NOT NULL, "
    "sequence INTEGER NOT NULL, as_of_nanoseconds INTEGER NOT NULL) WITHOUT ROWID;",
};

absl::StatusOr<store::Database> OpenStore(const std::string& file) {
  ASSIGN_OR_RETURN(store::Database database, store::Database::Open(file, {.durability = store::Durability::kNormal}));
  RETURN_IF_ERROR(database.Migrate(kSchema));
  return database;
}

}  // namespace

bool Fits(const model::Confirmation& confirmation, const model::ReplicaState& state) {
  return confirmation.volume == state.volume && confirmation.epoch == state.epoch &&
         confirmation.sequence == state.sequence;
}

absl::StatusOr<std::unique_ptr<Confirmations>> Confirmations::Open(const std::string& file, const Clock& clock) {
  absl::StatusOr<store::Database> database = OpenStore(file);
  if (absl::IsDataLoss(database.status())) {
    for (const char* const ending : {"", "-wal", "-shm"}) {
      std::error_code error;
      std::filesystem::remove(file + ending, error);
    }
    database = OpenStore(file);
  }
  RETURN_IF_ERROR(database.status());
  std::unique_ptr<Confirmations> confirmations(new Confirmations(*std::move(database), clock));
  RETURN_IF_ERROR(confirmations->Load());
  return confirmations;
}

absl::Status Confirmations::Load() {
  const absl::MutexLock lock(&mutex_);
  ASSIGN_OR_RETURN(
      store::Statement query,
      database_.Prepare("SELECT volume, replica_id, epoch, sequence, as_of_nanoseconds FROM confirmation"));
  while (true) {
    ASSIGN_OR_RETURN(const bool found, query.Step());
    if (!found) return absl::OkStatus();
    known_[query.String(0)] = {.replica_id = query.String(1),
                               .confirmation = {.volume = query.String(0),
                                                .epoch = static_cast<model::Epoch>(query.Integer(2)),
                                                .sequence = static_cast<model::Sequence>(query.Integer(3)),
                                                .as_of = absl::FromUnixNanos(query.Integer(4))},
                               .written = true};
  }
}

absl::Status Confirmations::Take(std::span<const model::Confirmation> confirmations,
                                 const std::vector<model::ReplicaState>& states) {
  const absl::MutexLock lock(&mutex_);
  for (const model::Confirmation& confirmation : confirmations) {
    const auto state = std::find_if(states.begin(), states.end(),
                                    [&](const model::ReplicaState& each) { return Fits(confirmation, each); });
    // What was promoted, or taken back on purpose, isn't its primary's to speak of.
    if (state == states.end() || state->state != model::VolumeState::kStandby || state->held) continue;
    Known& known = known_[confirmation.volume];
    const bool same = known.replica_id == state->replica_id && Fits(known.confirmation, *state);
    if (same && confirmation.as_of <= known.confirmation.as_of) continue;
    known = {.replica_id = state->replica_id, .confirmation = confirmation};
  }
  if (clock_.Monotonic() < next_write_) return absl::OkStatus();
  next_write_ = clock_.Monotonic() + kWriteInterval;
  return Write(states);
}

absl::Status Confirmations::Write(const std::vector<model::ReplicaState>& states) {
  ASSIGN_OR_RETURN(store::Transaction transaction, store::Transaction::Begin(database_));
  ASSIGN_OR_RETURN(store::Statement put,
                   database_.Prepare("INSERT OR REPLACE INTO confirmation VALUES(?, ?, ?, ?, ?)"));
  ASSIGN_OR_RETURN(store::Statement drop, database_.Prepare("DELETE FROM confirmation WHERE volume = ?"));
  for (auto known = known_.begin(); known != known_.end();) {
    const bool has_replica = std::any_of(
        states.begin(), states.end(), [&](const model::ReplicaState& state) { return state.volume == known->first; });
    if (!has_replica) RETURN_IF_ERROR(drop.BindText(1, known->first).Run());
    known = has_replica ? std::next(known) : known_.erase(known);
  }
  for (const auto& [volume, known] : known_) {
    if (known.written) continue;
    RETURN_IF_ERROR(put.BindText(1, volume)
                        .BindText(2, known.replica_id)
                        .BindInteger(3, static_cast<int64_t>(known.confirmation.epoch))
                        .BindInteger(4, static_cast<int64_t>(known.confirmation.sequence))
                        .BindInteger(5, absl::ToUnixNanos(known.confirmation.as_of))
                        .Run());
  }
  RETURN_IF_ERROR(transaction.Commit());
  for (auto& [volume, known] : known_) known.written = true;
  return absl::OkStatus();
}

std::vector<model::Confirmation> Confirmations::Of(const std::vector<model::ReplicaState>& states) const {
  const absl::MutexLock lock(&mutex_);
  std::vector<model::Confirmation> confirmations;
  for (const auto& entry : known_) {
    const Known& known = entry.second;
    const bool holds = std::any_of(states.begin(), states.end(), [&](const model::ReplicaState& state) {
      return known.replica_id == state.replica_id && Fits(known.confirmation, state);
    });
    if (holds) confirmations.push_back(known.confirmation);
  }
  return confirmations;
}

}  // namespace understudy::dr
