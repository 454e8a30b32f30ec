#include "control/sync/state.h"

#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <string_view>
#include <system_error>

#include "core/base/log.h"
#include "core/daemon/process_mark.h"

namespace understudy::control {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::array<std::string_view, 4> kSchema = {
    "CREATE TABLE run(id TEXT PRIMARY KEY, trigger_name TEXT NOT NULL, made_up INTEGER NOT NULL,"
    "  dry_run INTEGER NOT NULL, started_at_nanoseconds INTEGER NOT NULL, ended_at_nanoseconds INTEGER,"
    "  process INTEGER NOT NULL, result TEXT NOT NULL, counts TEXT NOT NULL, report TEXT NOT NULL);"
    "CREATE TABLE schedule(only INTEGER PRIMARY KEY CHECK(only = 1), kept_until_nanoseconds INTEGER NOT NULL);"
    "CREATE TABLE delivery(id INTEGER PRIMARY KEY AUTOINCREMENT, run TEXT NOT NULL, target TEXT NOT NULL,"
    "  message_id TEXT NOT NULL, attempts INTEGER NOT NULL, created_at_nanoseconds INTEGER NOT NULL,"
    "  due_at_nanoseconds INTEGER NOT NULL, error TEXT NOT NULL);",
    "CREATE TABLE primary_cluster(only INTEGER PRIMARY KEY CHECK(only = 1), uid TEXT NOT NULL);"
    "CREATE TABLE owed_release(pair TEXT NOT NULL, volume TEXT NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL,"
    "  source_uid TEXT NOT NULL, server TEXT NOT NULL, path BLOB NOT NULL, PRIMARY KEY(pair, volume));",
    "CREATE TABLE letter(id INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL UNIQUE, kind TEXT NOT NULL,"
    "  document TEXT NOT NULL, written_at_nanoseconds INTEGER NOT NULL);"
    "INSERT INTO letter(key, kind, document, written_at_nanoseconds)"
    "  SELECT 'sync ' || id, 'sync', report, ended_at_nanoseconds FROM run"
    "  WHERE report <> '' AND id IN (SELECT run FROM delivery);"
    "ALTER TABLE delivery ADD COLUMN letter INTEGER NOT NULL DEFAULT 0;"
    "UPDATE delivery SET letter = coalesce((SELECT id FROM letter WHERE key = 'sync ' || run), 0);"
    "DELETE FROM delivery WHERE letter = 0;"
    "ALTER TABLE delivery DROP COLUMN run;",
    "ALTER TABLE run ADD COLUMN process_mark TEXT NOT NULL DEFAULT '';",
};

constexpr std::string_view kRunning = "running";
constexpr std::string_view kInterrupted = "interrupted";

// Whether the process that has the run is still there. Runs of earlier versions have no mark: all that is known of
// theirs is its number, which another one may have by now.
bool IsAlive(int64_t process, std::string_view mark) {
  if (!mark.empty()) return daemon::IsAlive(mark);
  return kill(static_cast<pid_t>(process), 0) == 0 || errno == EPERM;
}

Json CountsOf(const Report& report) {
  Json counts = Json::object();
  for (const auto& [outcome, count] : CountOutcomes(report)) counts[std::string(ToString(outcome))] = count;
  return counts;
}

absl::StatusOr<RunSummary> SummaryAt(const store::Statement& row) {
  RunSummary summary;
  summary.id = row.String(0);
  ASSIGN_OR_RETURN(summary.trigger, ParseTrigger(row.Bytes(1)));
  summary.made_up = row.Integer(2) != 0;
  summary.dry_run = row.Integer(3) != 0;
  summary.started_at = absl::FromUnixNanos(row.Integer(4));
  if (!row.IsNull(5)) summary.ended_at = absl::FromUnixNanos(row.Integer(5));
  summary.result = row.String(7);
  if (summary.result == kRunning && !IsAlive(row.Integer(6), row.Bytes(9))) summary.result = kInterrupted;
  summary.counts = Json::parse(row.Bytes(8), nullptr, /*allow_exceptions=*/false);
  if (summary.counts.is_discarded()) summary.counts = nullptr;
  return summary;
}

std::filesystem::path FileOf(const std::filesystem::path& state_dir) {
  return state_dir / "sync.db";
}

}  // namespace

absl::StatusOr<std::unique_ptr<SyncState>> SyncState::Open(const std::filesystem::path& state_dir) {
  RETURN_IF_ERROR(daemon::MakeStateFolder(state_dir));
  return OpenFile(state_dir);
}

absl::StatusOr<std::unique_ptr<SyncState>> SyncState::OpenPresent(const std::filesystem::path& state_dir) {
  std::error_code error;
  if (!std::filesystem::exists(FileOf(state_dir), error)) {
    return absl::NotFoundError(fmt::format("no run of the scheduled sync is known in {}: drctl sync run makes one",
                                           Printable(state_dir.native())));
  }
  return OpenFile(state_dir);
}

absl::StatusOr<std::unique_ptr<SyncState>> SyncState::OpenFile(const std::filesystem::path& state_dir) {
  ASSIGN_OR_RETURN(store::Database database,
                   store::Database::Open(FileOf(state_dir).native(), {.durability = store::Durability::kFull}));
  RETURN_IF_ERROR(database.Migrate(kSchema));
  return std::unique_ptr<SyncState>(new SyncState(state_dir, std::move(database)));
}

absl::StatusOr<RunLease> SyncState::Lease() const {
  absl::StatusOr<RunLease> lease = daemon::StateDir::Acquire(folder_ / "run");
  if (absl::IsFailedPrecondition(lease.status())) {
    return absl::FailedPreconditionError("another run of the scheduled sync is under way; drctl sync list shows it");
  }
  return lease;
}

absl::Status SyncState::BeginRun(const Report& begun) {
  const absl::MutexLock lock(&mutex_);
  ASSIGN_OR_RETURN(store::Transaction transaction, store::Transaction::Begin(database_));
  ASSIGN_OR_RETURN(store::Statement interrupt, database_.Prepare("UPDATE run SET result = ? WHERE result = ?"));
  RETURN_IF_ERROR(interrupt.BindText(1, kInterrupted).BindText(2, kRunning).Run());
  ASSIGN_OR_RETURN(store::Statement insert,
                   database_.Prepare("INSERT INTO run(id, trigger_name, made_up, dry_run, started_at_nanoseconds,"
                                     " process, process_mark, result, counts, report)"
                                     " VALUES(?, ?, ?, ?, ?, ?, ?, ?, 'null', '')"));
  insert.BindText(1, begun.run).BindText(2, ToString(begun.trigger)).BindInteger(3, begun.made_up);
  insert.BindInteger(4, begun.dry_run).BindInteger(5, absl::ToUnixNanos(begun.started_at));
  RETURN_IF_ERROR(insert.BindInteger(6, getpid()).BindText(7, daemon::ProcessMark()).BindText(8, kRunning).Run());
  return transaction.Commit();
}

absl::Status SyncState::EndRun(const Report& report, const std::vector<std::string>& targets) {
  const absl::MutexLock lock(&mutex_);
  ASSIGN_OR_RETURN(store::Transaction transaction, store::Transaction::Begin(database_));
  RETURN_IF_ERROR(WriteEnd(report, targets));
  return transaction.Commit();
}

absl::Status SyncState::WriteEnd(const Report& report, const std::vector<std::string>& targets) {
  ASSIGN_OR_RETURN(store::Statement update, database_.Prepare("UPDATE run SET ended_at_nanoseconds = ?, result = ?,"
                                                              " counts = ?, report = ? WHERE id = ?"));
  update.BindInteger(1, absl::ToUnixNanos(report.ended_at)).BindText(2, ResultOf(report));
  update.BindText(3, DocumentText(CountsOf(report))).BindText(4, DocumentText(ToJson(report)));
  RETURN_IF_ERROR(update.BindText(5, report.run).Run());
  RETURN_IF_ERROR(WriteLetter(LetterOf(report), targets));
  if (!report.dry_run && !report.primary_cluster.empty()) {
    ASSIGN_OR_RETURN(store::Statement keep, database_.Prepare("INSERT OR REPLACE INTO primary_cluster VALUES(1, ?)"));
    RETURN_IF_ERROR(keep.BindText(1, report.primary_cluster).Run());
  }
  ASSIGN_OR_RETURN(store::Statement forget, database_.Prepare("DELETE FROM run WHERE id NOT IN (SELECT id FROM run"
                                                              " ORDER BY started_at_nanoseconds DESC, id DESC LIMIT"
                                                              " ?)"));
  return forget.BindUnsigned(1, kKeptRuns).Run();
}

absl::StatusOr<std::vector<RunSummary>> SyncState::Runs() {
  const absl::MutexLock lock(&mutex_);
  ASSIGN_OR_RETURN(store::Statement query,
                   database_.Prepare("SELECT id, trigger_name, made_up, dry_run, started_at_nanoseconds,"
                                     " ended_at_nanoseconds, process, result, counts, process_mark FROM run"
                                     " ORDER BY started_at_nanoseconds DESC, id DESC"));
  std::vector<RunSummary> runs;
  while (true) {
    ASSIGN_OR_RETURN(const bool found, query.Step());
    if (!found) return runs;
    ASSIGN_OR_RETURN(RunSummary run, SummaryAt(query));
    runs.push_back(std::move(run));
  }
}

absl::StatusOr<Report> SyncState::ReportOf(const std::string& run) {
  const absl::MutexLock lock(&mutex_);
  ASSIGN_OR_RETURN(store::Statement query,
                   database_.Prepare("SELECT report FROM run WHERE report <> '' AND (? = '' OR id = ?)"
                                     " ORDER BY started_at_nanoseconds DESC, id DESC LIMIT 1"));
  ASSIGN_OR_RETURN(const bool found, query.BindText(1, run).BindText(2, run).Step());
  if (found) return ParseReport(query.Bytes(0));
  if (run.empty()) return absl::NotFoundError("no run of the scheduled sync has ended yet");
  return absl::NotFoundError(
      fmt::format("there is no report of a run {}: drctl sync list shows the runs", Printable(run)));
}

absl::StatusOr<std::string> SyncState::PrimaryCluster() {
  const absl::MutexLock lock(&mutex_);
  ASSIGN_OR_RETURN(store::Statement query, database_.Prepare("SELECT uid FROM primary_cluster"));
  ASSIGN_OR_RETURN(const bool found, query.Step());
  return found ? query.String(0) : std::string();
}

absl::StatusOr<std::vector<OwedRelease>> SyncState::Owed() {
  const absl::MutexLock lock(&mutex_);
  ASSIGN_OR_RETURN(store::Statement query,
                   database_.Prepare("SELECT pair, volume, kind, name, source_uid, server, path FROM owed_release"));
  std::vector<OwedRelease> owed;
  while (true) {
    ASSIGN_OR_RETURN(const bool found, query.Step());
    if (!found) return owed;
    OwedRelease release{.key = {},
                        .source_uid = query.String(4),
                        .pair = query.String(0),
                        .volume = query.String(1),
                        .source = {query.String(5), query.String(6)}};
    ASSIGN_OR_RETURN(release.key.kind, model::ParseObjectKind(query.Bytes(2)));
    release.key.name = query.String(3);
    owed.push_back(std::move(release));
  }
}

absl::Status SyncState::Owe(const OwedRelease& release) {
  const absl::MutexLock lock(&mutex_);
  ASSIGN_OR_RETURN(store::Statement write,
                   database_.Prepare("INSERT OR REPLACE INTO owed_release VALUES(?, ?, ?, ?, ?, ?, ?)"));
  write.BindText(1, release.pair).BindText(2, release.volume).BindText(3, model::ToString(release.key.kind));
  write.BindText(4, release.key.name).BindText(5, release.source_uid);
  return write.BindText(6, release.source.server).BindBlob(7, release.source.path).Run();
}

absl::Status SyncState::Settle(const OwedRelease& release) {
  const absl::MutexLock lock(&mutex_);
  ASSIGN_OR_RETURN(store::Statement remove,
                   database_.Prepare("DELETE FROM owed_release WHERE pair = ? AND volume = ?"));
  return remove.BindText(1, release.pair).BindText(2, release.volume).Run();
}

absl::StatusOr<std::optional<absl::Time>> SyncState::ScheduleKeptUntil() {
  const absl::MutexLock lock(&mutex_);
  ASSIGN_OR_RETURN(store::Statement query, database_.Prepare("SELECT kept_until_nanoseconds FROM schedule"));
  ASSIGN_OR_RETURN(const bool found, query.Step());
  if (!found) return std::nullopt;
  return absl::FromUnixNanos(query.Integer(0));
}

absl::Status SyncState::SetScheduleKeptUntil(absl::Time time) {
  const absl::MutexLock lock(&mutex_);
  ASSIGN_OR_RETURN(store::Statement write, database_.Prepare("INSERT OR REPLACE INTO schedule VALUES(1, ?)"));
  return write.BindInteger(1, absl::ToUnixNanos(time)).Run();
}

}  // namespace understudy::control
