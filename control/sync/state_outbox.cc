#include "control/sync/state.h"
#include "core/base/random_id.h"

namespace understudy::control {

absl::Status SyncState::QueueLetter(const Letter& letter, const std::vector<std::string>& targets) {
  const absl::MutexLock lock(&mutex_);
  ASSIGN_OR_RETURN(store::Transaction transaction, store::Transaction::Begin(database_));
  RETURN_IF_ERROR(WriteLetter(letter, targets));
  return transaction.Commit();
}

absl::Status SyncState::WriteLetter(const Letter& letter, const std::vector<std::string>& targets) {
  const int64_t now = absl::ToUnixNanos(letter.written_at);
  ASSIGN_OR_RETURN(store::Statement insert,
                   database_.Prepare("INSERT OR IGNORE INTO letter(key, kind, document, written_at_nanoseconds)"
                                     " VALUES(?, ?, ?, ?)"));
  insert.BindText(1, letter.key).BindText(2, ToString(letter.kind));
  // Without a receiver only its key is of use.
  insert.BindText(3, targets.empty() ? std::string() : letter.document);
  RETURN_IF_ERROR(insert.BindInteger(4, now).Run());
  if (database_.ChangedRows() == 0) return absl::OkStatus();
  for (const std::string& target : targets) {
    ASSIGN_OR_RETURN(store::Statement queue,
                     database_.Prepare("INSERT INTO delivery(letter, target, message_id, attempts,"
                                       " created_at_nanoseconds, due_at_nanoseconds, error)"
                                       " VALUES((SELECT id FROM letter WHERE key = ?), ?, ?, 0, ?, ?, '')"));
    queue.BindText(1, letter.key).BindText(2, target).BindText(3, RandomId());
    RETURN_IF_ERROR(queue.BindInteger(4, now).BindInteger(5, now).Run());
  }
  // A delivery is given up in the end, so that what it keeps has a bound.
  ASSIGN_OR_RETURN(store::Statement forget,
                   database_.Prepare("DELETE FROM letter WHERE id NOT IN (SELECT id FROM letter ORDER BY id DESC LIMIT"
                                     " ?) AND id NOT IN (SELECT letter FROM delivery)"));
  return forget.BindUnsigned(1, kKnownLetters).Run();
}

absl::StatusOr<std::optional<Delivery>> SyncState::TakeDelivery(absl::Time now, absl::Duration claim) {
  const absl::MutexLock lock(&mutex_);
  ASSIGN_OR_RETURN(store::Transaction transaction, store::Transaction::Begin(database_));
  Delivery delivery;
  {
    ASSIGN_OR_RETURN(store::Statement query,
                     database_.Prepare("SELECT delivery.id, target, message_id, attempts, created_at_nanoseconds, key,"
                                       " kind, document, written_at_nanoseconds FROM delivery JOIN letter"
                                       " ON letter.id = delivery.letter WHERE due_at_nanoseconds <= ?"
                                       " ORDER BY delivery.id LIMIT 1"));
    ASSIGN_OR_RETURN(const bool found, query.BindInteger(1, absl::ToUnixNanos(now)).Step());
    if (!found) return std::nullopt;
    delivery.id = query.Integer(0);
    delivery.target = query.String(1);
    delivery.message_id = query.String(2);
    delivery.attempts = static_cast<int>(query.Integer(3)) + 1;
    delivery.created_at = absl::FromUnixNanos(query.Integer(4));
    delivery.letter.key = query.String(5);
    ASSIGN_OR_RETURN(delivery.letter.kind, ParseLetterKind(query.Bytes(6)));
    delivery.letter.document = query.String(7);
    delivery.letter.written_at = absl::FromUnixNanos(query.Integer(8));
  }
  ASSIGN_OR_RETURN(store::Statement update,
                   database_.Prepare("UPDATE delivery SET attempts = ?, due_at_nanoseconds = ? WHERE id = ?"));
  update.BindInteger(1, delivery.attempts).BindInteger(2, absl::ToUnixNanos(now + claim)).BindInteger(3, delivery.id);
  RETURN_IF_ERROR(update.Run());
  RETURN_IF_ERROR(transaction.Commit());
  return delivery;
}

absl::Status SyncState::EndDelivery(int64_t id) {
  const absl::MutexLock lock(&mutex_);
  ASSIGN_OR_RETURN(store::Transaction transaction, store::Transaction::Begin(database_));
  ASSIGN_OR_RETURN(store::Statement remove, database_.Prepare("DELETE FROM delivery WHERE id = ?"));
  RETURN_IF_ERROR(remove.BindInteger(1, id).Run());
  ASSIGN_OR_RETURN(store::Statement empty, database_.Prepare("UPDATE letter SET document = '' WHERE document <> ''"
                                                             " AND id NOT IN (SELECT letter FROM delivery)"));
  RETURN_IF_ERROR(empty.Run());
  return transaction.Commit();
}

absl::Status SyncState::PostponeDelivery(int64_t id, absl::Time until, const std::string& error) {
  const absl::MutexLock lock(&mutex_);
  ASSIGN_OR_RETURN(store::Statement update,
                   database_.Prepare("UPDATE delivery SET due_at_nanoseconds = ?, error = ? WHERE id = ?"));
  return update.BindInteger(1, absl::ToUnixNanos(until)).BindText(2, error).BindInteger(3, id).Run();
}

absl::StatusOr<size_t> SyncState::PendingDeliveries() {
  const absl::MutexLock lock(&mutex_);
  ASSIGN_OR_RETURN(store::Statement query, database_.Prepare("SELECT count(*) FROM delivery"));
  RETURN_IF_ERROR(query.Step().status());
  return static_cast<size_t>(query.Unsigned(0));
}

}  // namespace understudy::control
