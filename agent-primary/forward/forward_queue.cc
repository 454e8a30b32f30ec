#include "agent-primary/forward/forward_queue.h"

#include <algorithm>
#include <array>

namespace understudy::primary {
namespace {

using store::Statement;
using store::Transaction;

constexpr std::array<std::string_view, 1> kSchema = {
    "CREATE TABLE waiting("
    "  id INTEGER PRIMARY KEY AUTOINCREMENT, target TEXT NOT NULL, event_id TEXT NOT NULL, body TEXT NOT NULL,"
    "  bytes INTEGER NOT NULL, added_at_nanoseconds INTEGER NOT NULL, UNIQUE(target, event_id));"
    "CREATE INDEX waiting_by_target ON waiting(target, id, bytes, added_at_nanoseconds);"
    "CREATE INDEX waiting_by_event ON waiting(event_id);",
};

}  // namespace

absl::StatusOr<std::unique_ptr<ForwardQueue>> ForwardQueue::Open(const std::string& path,
                                                                 const std::vector<std::string>& targets,
                                                                 const ForwardQueueOptions& options) {
  ASSIGN_OR_RETURN(store::Database database, store::Database::Open(path, {.durability = store::Durability::kFull}));
  RETURN_IF_ERROR(database.Migrate(kSchema));
  std::vector<std::string> gone;
  {
    ASSIGN_OR_RETURN(Statement query, database.Prepare("SELECT DISTINCT target FROM waiting"));
    while (true) {
      ASSIGN_OR_RETURN(const bool row, query.Step());
      if (!row) break;
      if (std::find(targets.begin(), targets.end(), query.Bytes(0)) == targets.end()) gone.push_back(query.String(0));
    }
  }
  ASSIGN_OR_RETURN(Statement forget, database.Prepare("DELETE FROM waiting WHERE target = ?"));
  for (const std::string& target : gone) RETURN_IF_ERROR(forget.BindText(1, target).Run());
  return std::unique_ptr<ForwardQueue>(new ForwardQueue(std::move(database), targets, options));
}

absl::StatusOr<std::vector<ForwardQueue::Dropped>> ForwardQueue::Add(const std::string& event_id, std::string_view body,
                                                                     absl::Time now, store::Durability durability) {
  absl::MutexLock lock(&mutex_);
  RETURN_IF_ERROR(database_.SetDurability(durability));
  ASSIGN_OR_RETURN(Transaction transaction, Transaction::Begin(database_));
  ASSIGN_OR_RETURN(Statement insert, database_.Prepare("INSERT OR IGNORE INTO waiting(target, event_id, body, bytes,"
                                                       " added_at_nanoseconds) VALUES(?, ?, ?, ?, ?)"));
  std::vector<Dropped> dropped;
  for (const std::string& target : targets_) {
    RETURN_IF_ERROR(MakeRoom(target, body.size(), dropped));
    insert.BindText(1, target).BindText(2, event_id).BindText(3, body).BindUnsigned(4, body.size());
    RETURN_IF_ERROR(insert.BindInteger(5, absl::ToUnixNanos(now)).Run());
  }
  RETURN_IF_ERROR(transaction.Commit());
  return dropped;
}

absl::Status ForwardQueue::MakeRoom(const std::string& target, uint64_t bytes, std::vector<Dropped>& dropped) {
  ASSIGN_OR_RETURN(Size size, MeasureLocked(target));
  while (size.events > 0 && (size.events >= options_.max_events || size.bytes + bytes > options_.max_bytes)) {
    ASSIGN_OR_RETURN(const std::optional<Item> oldest, FirstLocked(target));
    if (!oldest) break;
    RETURN_IF_ERROR(Delete(oldest->id));
    dropped.push_back({target, oldest->event_id});
    size.events -= 1;
    size.bytes -= oldest->body.size();
  }
  return absl::OkStatus();
}

absl::StatusOr<std::optional<ForwardQueue::Item>> ForwardQueue::First(const std::string& target) {
  absl::MutexLock lock(&mutex_);
  return FirstLocked(target);
}

absl::StatusOr<std::optional<ForwardQueue::Item>> ForwardQueue::FirstLocked(const std::string& target) {
  ASSIGN_OR_RETURN(Statement query,
                   database_.Prepare("SELECT id, event_id, body FROM waiting WHERE target = ? ORDER BY id LIMIT 1"));
  query.BindText(1, target);
  ASSIGN_OR_RETURN(const bool found, query.Step());
  if (!found) return std::optional<Item>();
  return std::optional<Item>({query.Unsigned(0), query.String(1), query.String(2)});
}

absl::Status ForwardQueue::Delete(uint64_t id) {
  ASSIGN_OR_RETURN(Statement remove, database_.Prepare("DELETE FROM waiting WHERE id = ?"));
  return remove.BindUnsigned(1, id).Run();
}

absl::StatusOr<uint64_t> ForwardQueue::Remove(const Item& item) {
  absl::MutexLock lock(&mutex_);
  // Forgotten by a power cut, it is posted again, and the receiver knows it by its event_id.
  RETURN_IF_ERROR(database_.SetDurability(store::Durability::kNormal));
  RETURN_IF_ERROR(Delete(item.id));
  ASSIGN_OR_RETURN(Statement query, database_.Prepare("SELECT count(*) FROM waiting WHERE event_id = ?"));
  query.BindText(1, item.event_id);
  RETURN_IF_ERROR(query.Step().status());
  return query.Unsigned(0);
}

absl::StatusOr<ForwardQueue::Size> ForwardQueue::Measure(const std::string& target) {
  absl::MutexLock lock(&mutex_);
  return MeasureLocked(target);
}

absl::StatusOr<ForwardQueue::Size> ForwardQueue::MeasureLocked(const std::string& target) {
  ASSIGN_OR_RETURN(Statement query,
                   database_.Prepare("SELECT count(*), coalesce(sum(bytes), 0), min(added_at_nanoseconds) FROM waiting"
                                     " WHERE target = ?"));
  query.BindText(1, target);
  RETURN_IF_ERROR(query.Step().status());
  Size size{.events = query.Unsigned(0), .bytes = query.Unsigned(1), .oldest = std::nullopt};
  if (!query.IsNull(2)) size.oldest = absl::FromUnixNanos(query.Integer(2));
  return size;
}

}  // namespace understudy::primary
