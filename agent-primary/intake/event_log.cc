#include "agent-primary/intake/event_log.h"

#include <fmt/format.h>

#include <array>

#include "core/kube/event_json.h"

namespace understudy::primary {
namespace {

using store::Durability;
using store::Statement;
using store::Transaction;

constexpr std::array<std::string_view, 2> kSchema = {
    "CREATE TABLE event("
    "  id INTEGER PRIMARY KEY AUTOINCREMENT, event_id TEXT NOT NULL UNIQUE, revision INTEGER NOT NULL,"
    "  type TEXT NOT NULL, kind TEXT NOT NULL, namespace_name TEXT NOT NULL, name TEXT NOT NULL, uid TEXT NOT NULL,"
    "  observed_at_nanoseconds INTEGER NOT NULL, logged_at_nanoseconds INTEGER NOT NULL, source TEXT NOT NULL,"
    "  resource TEXT NOT NULL, bytes INTEGER NOT NULL, rule TEXT NOT NULL, matched INTEGER NOT NULL,"
    "  outcome TEXT NOT NULL, detail TEXT NOT NULL, forwarding TEXT NOT NULL, forwarding_detail TEXT NOT NULL,"
    "  standing INTEGER NOT NULL, kept INTEGER NOT NULL);"
    "CREATE INDEX event_by_object ON event(kind, namespace_name, name, id);"
    "CREATE INDEX event_by_revision ON event(revision);"
    "CREATE INDEX event_finished ON event(id, bytes, logged_at_nanoseconds) WHERE kept = 0;"
    "CREATE INDEX event_kept ON event(id, bytes) WHERE kept = 1;"
    "CREATE INDEX event_to_tell ON event(id, bytes) WHERE kept = 1 AND source = 'webhook';",

    // The newest state of each object that the rules were asked about, for as long as it isn't deleted.
    "ALTER TABLE event ADD COLUMN version TEXT NOT NULL DEFAULT '';"
    "CREATE TABLE told(uid TEXT PRIMARY KEY, version TEXT NOT NULL) WITHOUT ROWID;",
};

// `resource` comes last, so that a listing can put an empty one in its place.
constexpr std::string_view kColumns =
    "id, revision, event_id, type, kind, namespace_name, name, observed_at_nanoseconds, source, rule, matched, outcome,"
    " detail, forwarding, forwarding_detail, ";

// Why a row that doesn't stand is kept: it is to be done, or what the webhook told couldn't be queued to be forwarded
// and is to be told again after a restart.
constexpr std::string_view kIsWanted =
    "(outcome = 'pending' OR (matched = 0 AND source = 'webhook' AND outcome <> 'ignored'))";

constexpr uint64_t kAppendsBetweenPrunes = 64;
constexpr size_t kMaxDetailBytes = 1024;

constexpr std::array kSources = {EventSource::kWatch, EventSource::kWebhook};
constexpr std::array kOutcomes = {EventOutcome::kPending, EventOutcome::kDone, EventOutcome::kIgnored,
                                  EventOutcome::kHeld, EventOutcome::kFailed};
constexpr std::array kForwardings = {Forwarding::kNone, Forwarding::kQueued, Forwarding::kDelivered,
                                     Forwarding::kFailed};

// A text that no program wrote reads as the first value: a listing needn't fail for it.
template <class Values>
auto Parse(const Values& values, std::string_view text) {
  for (const auto value : values) {
    if (ToString(value) == text) return value;
  }
  return values[0];
}

absl::StatusOr<LoggedEvent> EventAt(const Statement& row) {
  LoggedEvent logged;
  logged.id = row.Unsigned(0);
  logged.revision = row.Unsigned(1);
  logged.event.event_id = row.String(2);
  ASSIGN_OR_RETURN(logged.event.type, model::ParseEventType(row.Bytes(3)));
  ASSIGN_OR_RETURN(logged.event.key.kind, model::ParseObjectKind(row.Bytes(4)));
  logged.event.key.namespace_name = row.String(5);
  logged.event.key.name = row.String(6);
  logged.event.observed_at = absl::FromUnixNanos(row.Integer(7));
  logged.source = Parse(kSources, row.Bytes(8));
  logged.rule = row.String(9);
  logged.matched = row.Integer(10) != 0;
  logged.outcome = Parse(kOutcomes, row.Bytes(11));
  logged.detail = row.String(12);
  logged.forwarding = Parse(kForwardings, row.Bytes(13));
  logged.forwarding_detail = row.String(14);
  logged.event.resource = row.String(15);
  return logged;
}

absl::StatusOr<std::vector<LoggedEvent>> ReadAll(Statement& query) {
  std::vector<LoggedEvent> events;
  while (true) {
    ASSIGN_OR_RETURN(const bool row, query.Step());
    if (!row) return events;
    ASSIGN_OR_RETURN(LoggedEvent logged, EventAt(query));
    events.push_back(std::move(logged));
  }
}

// An event's facts besides its resource take about this much.
uint64_t BytesOf(const model::ObjectEvent& event) {
  constexpr uint64_t kRowBytes = 512;
  return event.resource.size() + kRowBytes;
}

}  // namespace

std::string_view ToString(EventSource source) {
  return source == EventSource::kWatch ? "watch" : "webhook";
}

std::string_view ToString(EventOutcome outcome) {
  switch (outcome) {
    case EventOutcome::kPending:
      return "pending";
    case EventOutcome::kDone:
      return "done";
    case EventOutcome::kIgnored:
      return "ignored";
    case EventOutcome::kHeld:
      return "held";
    case EventOutcome::kFailed:
      return "failed";
  }
  AbortOnBrokenInvariant("known EventOutcome", __FILE__, __LINE__);
}

std::string_view ToString(Forwarding forwarding) {
  switch (forwarding) {
    case Forwarding::kNone:
      return "";
    case Forwarding::kQueued:
      return "queued";
    case Forwarding::kDelivered:
      return "delivered";
    case Forwarding::kFailed:
      return "failed";
  }
  AbortOnBrokenInvariant("known Forwarding", __FILE__, __LINE__);
}

absl::StatusOr<std::unique_ptr<EventLog>> EventLog::Open(const std::string& path, const EventLogOptions& options,
                                                         Clock& clock) {
  ASSIGN_OR_RETURN(store::Database database, store::Database::Open(path, {.durability = Durability::kFull}));
  RETURN_IF_ERROR(database.Migrate(kSchema));
  std::unique_ptr<EventLog> log(new EventLog(std::move(database), options, clock));
  absl::MutexLock lock(&log->mutex_);
  RETURN_IF_ERROR(log->Recover());
  RETURN_IF_ERROR(log->Prune());
  return log;
}

absl::Status EventLog::Recover() {
  ASSIGN_OR_RETURN(Statement newest,
                   database_.Prepare("SELECT coalesce(max(revision), 0), coalesce(max(id), 0) FROM event"));
  RETURN_IF_ERROR(newest.Step().status());
  revision_ = newest.Unsigned(0);
  opened_at_ = newest.Unsigned(1);
  newest.Reset();
  RETURN_IF_ERROR(database_.Execute(
      "UPDATE event SET outcome = 'ignored', detail = 'the agent started anew: its list tells it again',"
      " kept = 0 WHERE kept = 1 AND source = 'watch'"));
  if (options_.retell) return absl::OkStatus();
  return database_.Execute(fmt::format("UPDATE event SET standing = 0, kept = {} WHERE kept = 1", kIsWanted));
}

absl::StatusOr<EventLog::Appended> EventLog::Append(const model::ObjectEvent& event, EventSource source) {
  const std::string uid = kube::UidOf(event);
  absl::MutexLock lock(&mutex_);
  ASSIGN_OR_RETURN(const Appended found, Find(event.event_id));
  if (found.repeated) return found;
  std::string out_of_order;
  if (source == EventSource::kWebhook) {
    RETURN_IF_ERROR(CheckRoom(event));
    ASSIGN_OR_RETURN(out_of_order, WhyOutOfOrder(event, uid));
  } else if (event.type != model::EventType::kDeleted) {
    ASSIGN_OR_RETURN(const bool told, WasTold(uid, kube::VersionOf(event)));
    if (told) return Appended{.id = 0, .repeated = true, .matched = true};
  }
  RETURN_IF_ERROR(SetDurability(source == EventSource::kWebhook ? Durability::kFull : Durability::kNormal));
  RETURN_IF_ERROR(Write(event, source, uid, out_of_order));
  const auto id = static_cast<uint64_t>(database_.LastInsertedRow());
  if (++appended_since_prune_ >= kAppendsBetweenPrunes) RETURN_IF_ERROR(Prune());
  return Appended{.id = id};
}

absl::StatusOr<EventLog::Appended> EventLog::Find(std::string_view event_id) {
  ASSIGN_OR_RETURN(Statement query, database_.Prepare("SELECT id, matched FROM event WHERE event_id = ?"));
  query.BindText(1, event_id);
  ASSIGN_OR_RETURN(const bool found, query.Step());
  if (!found) return Appended{};
  return Appended{.id = query.Unsigned(0), .repeated = true, .matched = query.Integer(1) != 0};
}

absl::Status EventLog::CheckRoom(const model::ObjectEvent& event) {
  ASSIGN_OR_RETURN(const Sum pending, SumOf("kept = 1 AND source = 'webhook' AND outcome = 'pending'"));
  if (pending.events >= options_.max_pending || pending.bytes + BytesOf(event) > options_.max_pending_bytes) {
    return absl::ResourceExhaustedError(
        fmt::format("{} events ({} bytes) wait to be done: more can't be taken", pending.events, pending.bytes));
  }
  if (!options_.retell || event.type == model::EventType::kDeleted) return absl::OkStatus();
  ASSIGN_OR_RETURN(const Sum standing, SumOf("kept = 1 AND source = 'webhook' AND standing = 1"));
  if (standing.events < options_.max_standing && standing.bytes + BytesOf(event) <= options_.max_standing_bytes) {
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(Statement query, database_.Prepare("SELECT 1 FROM event WHERE kind = ? AND namespace_name = ?"
                                                      " AND name = ? AND standing = 1"));
  query.BindText(1, model::ToString(event.key.kind)).BindText(2, event.key.namespace_name).BindText(3, event.key.name);
  ASSIGN_OR_RETURN(const bool stands, query.Step());
  if (stands) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      fmt::format("{} objects ({} bytes) stand: no more can be taken", standing.events, standing.bytes));
}

absl::StatusOr<bool> EventLog::WasTold(const std::string& uid, const std::string& version) {
  if (uid.empty() || version.empty()) return false;
  ASSIGN_OR_RETURN(Statement query, database_.Prepare("SELECT 1 FROM told WHERE uid = ? AND version = ?"));
  return query.BindText(1, uid).BindText(2, version).Step();
}

absl::StatusOr<std::string> EventLog::WhyOutOfOrder(const model::ObjectEvent& event, const std::string& uid) {
  ASSIGN_OR_RETURN(Statement query,
                   database_.Prepare("SELECT type, uid FROM event WHERE kind = ? AND namespace_name = ? AND name = ?"
                                     // What came out of order itself says nothing.
                                     " AND NOT (outcome = 'ignored' AND matched = 0) ORDER BY id DESC LIMIT 1"));
  query.BindText(1, model::ToString(event.key.kind)).BindText(2, event.key.namespace_name).BindText(3, event.key.name);
  ASSIGN_OR_RETURN(const bool found, query.Step());
  if (!found || uid.empty()) return std::string();
  if (event.type != model::EventType::kDeleted) {
    ASSIGN_OR_RETURN(Statement deletion, database_.Prepare("SELECT 1 FROM event WHERE kind = ? AND namespace_name = ?"
                                                           " AND name = ? AND uid = ? AND type = 'DELETED'"));
    deletion.BindText(1, model::ToString(event.key.kind)).BindText(2, event.key.namespace_name);
    deletion.BindText(3, event.key.name).BindText(4, uid);
    ASSIGN_OR_RETURN(const bool deleted, deletion.Step());
    return deleted ? std::string("came after the object's deletion") : std::string();
  }
  const bool was_deleted = query.Bytes(0) == model::ToString(model::EventType::kDeleted);
  const std::string known = query.String(1);
  if (!was_deleted && !known.empty() && known != uid) {
    return std::string("is the deletion of an earlier object of that name");
  }
  return std::string();
}

absl::Status EventLog::Write(const model::ObjectEvent& event, EventSource source, const std::string& uid,
                             const std::string& out_of_order) {
  ASSIGN_OR_RETURN(Transaction transaction, Transaction::Begin(database_));
  const bool in_order = out_of_order.empty();
  const bool newest = options_.retell && source == EventSource::kWebhook && in_order;
  if (newest) {
    ASSIGN_OR_RETURN(Statement replace,
                     database_.Prepare(fmt::format("UPDATE event SET standing = 0, kept = {} WHERE kind = ?"
                                                   " AND namespace_name = ? AND name = ? AND standing = 1",
                                                   kIsWanted)));
    replace.BindText(1, model::ToString(event.key.kind)).BindText(2, event.key.namespace_name);
    replace.BindText(3, event.key.name);
    RETURN_IF_ERROR(replace.Run());
  }
  const bool stands = newest && event.type != model::EventType::kDeleted;
  ASSIGN_OR_RETURN(
      Statement insert,
      database_.Prepare("INSERT INTO event(event_id, revision, type, kind, namespace_name, name, uid,"
                        " observed_at_nanoseconds, logged_at_nanoseconds, source, resource, bytes, rule,"
                        " matched, outcome, detail, forwarding, forwarding_detail, standing, kept, version)"
                        " VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, '', 0, ?, ?, '', '', ?, ?, ?)"));
  insert.BindText(1, event.event_id).BindUnsigned(2, revision_ + 1).BindText(3, model::ToString(event.type));
  insert.BindText(4, model::ToString(event.key.kind)).BindText(5, event.key.namespace_name);
  insert.BindText(6, event.key.name).BindText(7, uid).BindInteger(8, absl::ToUnixNanos(event.observed_at));
  insert.BindInteger(9, absl::ToUnixNanos(clock_.Now())).BindText(10, ToString(source));
  insert.BindText(11, event.resource).BindUnsigned(12, BytesOf(event));
  insert.BindText(13, ToString(in_order ? EventOutcome::kPending : EventOutcome::kIgnored)).BindText(14, out_of_order);
  insert.BindInteger(15, stands).BindInteger(16, in_order).BindText(17, kube::VersionOf(event));
  RETURN_IF_ERROR(insert.Run());
  RETURN_IF_ERROR(transaction.Commit());
  ++revision_;
  return absl::OkStatus();
}

absl::Status EventLog::SetRule(uint64_t id, std::string_view rule, Forwarding forwarding) {
  absl::MutexLock lock(&mutex_);
  RETURN_IF_ERROR(SetDurability(Durability::kNormal));
  ASSIGN_OR_RETURN(Transaction transaction, Transaction::Begin(database_));
  ASSIGN_OR_RETURN(Statement update, database_.Prepare("UPDATE event SET rule = ?, matched = 1,"
                                                       // The target may have answered by now.
                                                       " forwarding = iif(forwarding = '', ?, forwarding),"
                                                       " kept = (standing = 1 OR outcome = 'pending'), revision = ?"
                                                       " WHERE id = ?"));
  update.BindText(1, rule).BindText(2, ToString(forwarding)).BindUnsigned(3, revision_ + 1).BindUnsigned(4, id);
  RETURN_IF_ERROR(update.Run());
  ASSIGN_OR_RETURN(Statement told, database_.Prepare("INSERT OR REPLACE INTO told SELECT uid, version FROM event"
                                                     " WHERE id = ? AND type <> 'DELETED' AND uid <> ''"));
  RETURN_IF_ERROR(told.BindUnsigned(1, id).Run());
  ASSIGN_OR_RETURN(Statement gone, database_.Prepare("DELETE FROM told WHERE uid ="
                                                     " (SELECT uid FROM event WHERE id = ? AND type = 'DELETED')"));
  RETURN_IF_ERROR(gone.BindUnsigned(1, id).Run());
  RETURN_IF_ERROR(transaction.Commit());
  ++revision_;
  return absl::OkStatus();
}

absl::Status EventLog::SetOutcome(std::string_view event_id, EventOutcome outcome, std::string_view detail) {
  absl::MutexLock lock(&mutex_);
  RETURN_IF_ERROR(SetDurability(Durability::kNormal));
  const bool pending = outcome == EventOutcome::kPending;
  ASSIGN_OR_RETURN(Statement update,
                   database_.Prepare("UPDATE event SET outcome = ?1, detail = ?2,"
                                     // As kIsWanted, of the outcome that comes.
                                     " kept = (standing = 1 OR ?3 OR (matched = 0 AND source = 'webhook'"
                                     " AND ?1 <> 'ignored')),"
                                     " revision = ?4 WHERE event_id = ?5 AND (outcome <> ?1 OR detail <> ?2)"));
  update.BindText(1, ToString(outcome)).BindText(2, detail.substr(0, kMaxDetailBytes)).BindInteger(3, pending);
  update.BindUnsigned(4, revision_ + 1).BindText(5, event_id);
  RETURN_IF_ERROR(update.Run());
  ++revision_;
  return absl::OkStatus();
}

absl::Status EventLog::SetForwarding(std::string_view event_id, Forwarding forwarding, std::string_view detail) {
  absl::MutexLock lock(&mutex_);
  RETURN_IF_ERROR(SetDurability(Durability::kNormal));
  ASSIGN_OR_RETURN(Statement update,
                   database_.Prepare("UPDATE event SET forwarding = ?, forwarding_detail = ?, revision = ?"
                                     " WHERE event_id = ? AND forwarding <> 'failed'"));
  update.BindText(1, ToString(forwarding)).BindText(2, detail.substr(0, kMaxDetailBytes));
  update.BindUnsigned(3, revision_ + 1).BindText(4, event_id);
  RETURN_IF_ERROR(update.Run());
  ++revision_;
  return absl::OkStatus();
}

absl::StatusOr<std::vector<LoggedEvent>> EventLog::NextToTell(uint64_t after_id, size_t limit) {
  absl::MutexLock lock(&mutex_);
  ASSIGN_OR_RETURN(Statement query, database_.Prepare("SELECT " + std::string(kColumns) +
                                                      "resource FROM event WHERE kept = 1 AND id > ? AND"
                                                      " source = 'webhook' ORDER BY id LIMIT ?"));
  query.BindUnsigned(1, after_id).BindUnsigned(2, limit);
  return ReadAll(query);
}

absl::StatusOr<EventLog::Listing> EventLog::Newest(size_t limit) {
  absl::MutexLock lock(&mutex_);
  ASSIGN_OR_RETURN(Statement query, database_.Prepare("SELECT " + std::string(kColumns) +
                                                      "'' FROM event WHERE id IN (SELECT id FROM event ORDER BY id DESC"
                                                      " LIMIT ?) ORDER BY id"));
  query.BindUnsigned(1, limit);
  ASSIGN_OR_RETURN(std::vector<LoggedEvent> events, ReadAll(query));
  return Listing{std::move(events), revision_};
}

absl::StatusOr<EventLog::Listing> EventLog::ChangedSince(uint64_t revision, size_t limit) {
  absl::MutexLock lock(&mutex_);
  ASSIGN_OR_RETURN(Statement query, database_.Prepare("SELECT " + std::string(kColumns) +
                                                      "'' FROM event WHERE revision > ? ORDER BY revision LIMIT ?"));
  query.BindUnsigned(1, revision).BindUnsigned(2, limit);
  ASSIGN_OR_RETURN(std::vector<LoggedEvent> events, ReadAll(query));
  const uint64_t reached = events.size() < limit ? revision_ : events.back().revision;
  return Listing{std::move(events), reached};
}

bool EventLog::WaitForChange(uint64_t revision, absl::Duration timeout) const {
  const auto changed = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return revision_ > revision; };
  absl::MutexLock lock(&mutex_);
  return mutex_.AwaitWithTimeout(absl::Condition(&changed), timeout);
}

absl::StatusOr<EventLog::Size> EventLog::Measure() {
  absl::MutexLock lock(&mutex_);
  ASSIGN_OR_RETURN(const Sum kept, SumOf("kept = 1"));
  ASSIGN_OR_RETURN(const Sum finished, SumOf("kept = 0"));
  return Size{.events = kept.events + finished.events, .kept = kept.events, .bytes = kept.bytes + finished.bytes};
}

absl::StatusOr<EventLog::Sum> EventLog::SumOf(std::string_view condition) {
  ASSIGN_OR_RETURN(Statement query, database_.Prepare("SELECT count(*), coalesce(sum(bytes), 0) FROM event WHERE " +
                                                      std::string(condition)));
  RETURN_IF_ERROR(query.Step().status());
  return Sum{.events = query.Unsigned(0), .bytes = query.Unsigned(1)};
}

absl::Status EventLog::Prune() {
  appended_since_prune_ = 0;
  ASSIGN_OR_RETURN(Sum finished, SumOf("kept = 0"));
  const int64_t oldest = absl::ToUnixNanos(clock_.Now() - options_.max_age);
  uint64_t last = 0;
  {
    ASSIGN_OR_RETURN(Statement query, database_.Prepare("SELECT id, bytes, logged_at_nanoseconds FROM event"
                                                        " WHERE kept = 0 ORDER BY id"));
    while (true) {
      ASSIGN_OR_RETURN(const bool row, query.Step());
      if (!row) break;
      const bool fits = finished.events <= options_.max_finished && finished.bytes <= options_.max_finished_bytes;
      if (fits && query.Integer(2) >= oldest) break;
      last = query.Unsigned(0);
      finished.events -= 1;
      finished.bytes -= query.Unsigned(1);
    }
  }
  if (last == 0) return absl::OkStatus();
  ASSIGN_OR_RETURN(Statement remove, database_.Prepare("DELETE FROM event WHERE kept = 0 AND id <= ?"));
  remove.BindUnsigned(1, last);
  return remove.Run();
}

absl::Status EventLog::SetDurability(Durability durability) {
  if (durability == durability_) return absl::OkStatus();
  RETURN_IF_ERROR(database_.SetDurability(durability));
  durability_ = durability;
  return absl::OkStatus();
}

}  // namespace understudy::primary
