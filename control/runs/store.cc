#include "control/runs/store.h"

#include <fmt/format.h>

#include <array>
#include <system_error>

#include "core/base/log.h"
#include "core/daemon/process_mark.h"

namespace understudy::control {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::array<std::string_view, 1> kSchema = {
    "CREATE TABLE run(id TEXT PRIMARY KEY, plan TEXT NOT NULL, rehearsal INTEGER NOT NULL,"
    "  started_at_nanoseconds INTEGER NOT NULL, spec TEXT NOT NULL, state TEXT NOT NULL, over INTEGER NOT NULL, "
    "process TEXT NOT NULL,"
    "  ended_at_nanoseconds INTEGER, error TEXT NOT NULL);"
    "CREATE TABLE step(run TEXT NOT NULL, ordinal INTEGER NOT NULL, name TEXT NOT NULL, begun_at_nanoseconds INTEGER,"
    "  ended_at_nanoseconds INTEGER, PRIMARY KEY(run, ordinal)) WITHOUT ROWID;"
    "CREATE TABLE item(run TEXT NOT NULL, step TEXT NOT NULL, key TEXT NOT NULL, state TEXT NOT NULL,"
    "  begun_at_nanoseconds INTEGER, ended_at_nanoseconds INTEGER, attempts INTEGER NOT NULL, message TEXT NOT NULL,"
    "  warnings TEXT NOT NULL, facts TEXT NOT NULL, PRIMARY KEY(run, step, key)) WITHOUT ROWID;"
    "CREATE TABLE note(run TEXT NOT NULL, at_nanoseconds INTEGER NOT NULL, text TEXT NOT NULL);"
    "CREATE INDEX note_of_run ON note(run);",
};

constexpr char kRunColumns[] = "spec, state, over, process, ended_at_nanoseconds, error";

std::string TextOf(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::optional<absl::Time> TimeAt(const store::Statement& row, int column) {
  if (row.IsNull(column)) return std::nullopt;
  return absl::FromUnixNanos(row.Integer(column));
}

void BindTime(store::Statement& statement, int parameter, const std::optional<absl::Time>& time) {
  if (time) {
    statement.BindInteger(parameter, absl::ToUnixNanos(*time));
  } else {
    statement.BindNull(parameter);
  }
}

absl::StatusOr<RunRecord> RunAt(const store::Statement& row) {
  RunRecord run;
  ASSIGN_OR_RETURN(run.spec, ParseRunSpec(row.Bytes(0)));
  ASSIGN_OR_RETURN(run.state, ParseRunState(row.Bytes(1)));
  run.over = row.Integer(2) != 0;
  if (run.state == RunState::kRunning && !daemon::IsAlive(row.Bytes(3))) run.state = RunState::kInterrupted;
  run.ended_at = TimeAt(row, 4);
  run.error = row.String(5);
  return run;
}

}  // namespace

absl::StatusOr<std::unique_ptr<RunStore>> RunStore::Open(const std::filesystem::path& state_dir) {
  RETURN_IF_ERROR(daemon::MakeStateFolder(state_dir));
  return OpenFile(state_dir);
}

absl::StatusOr<std::unique_ptr<RunStore>> RunStore::OpenPresent(const std::filesystem::path& state_dir) {
  std::error_code error;
  if (!std::filesystem::exists(state_dir / "failover.db", error)) {
    return absl::NotFoundError("no failover was ever run here");
  }
  return OpenFile(state_dir);
}

absl::StatusOr<std::unique_ptr<RunStore>> RunStore::OpenFile(const std::filesystem::path& state_dir) {
  ASSIGN_OR_RETURN(store::Database database, store::Database::Open((state_dir / "failover.db").native(), {}));
  RETURN_IF_ERROR(database.Migrate(kSchema));
  return std::unique_ptr<RunStore>(new RunStore(state_dir / "failover", std::move(database)));
}

absl::StatusOr<PlanLease> RunStore::Lease(const std::string& plan) const {
  absl::StatusOr<PlanLease> lease = daemon::StateDir::Acquire(folder_ / "plans" / plan);
  if (absl::IsFailedPrecondition(lease.status())) {
    return absl::FailedPreconditionError(
        fmt::format("a run of plan {} is under way: drctl failover list shows it", plan));
  }
  return lease;
}

absl::StatusOr<std::filesystem::path> RunStore::WorkFolder(const std::string& run) const {
  const std::filesystem::path folder = folder_ / "runs" / run;
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (!error) std::filesystem::permissions(folder, std::filesystem::perms::owner_all, error);
  if (error) return ErrnoStatus(error.value(), fmt::format("can't make {}", Printable(folder.native())));
  return folder;
}

absl::Status RunStore::RemoveWorkFolder(const std::string& run) const {
  const std::filesystem::path folder = folder_ / "runs" / run;
  std::error_code error;
  std::filesystem::remove_all(folder, error);
  return error ? ErrnoStatus(error.value(), fmt::format("can't remove {}", Printable(folder.native())))
               : absl::OkStatus();
}

absl::Status RunStore::CheckNoneIsOpen(const std::string& plan, bool rehearsal) {
  ASSIGN_OR_RETURN(store::Statement query,
                   database_.Prepare("SELECT id FROM run WHERE plan = ? AND rehearsal = ? AND over = 0"));
  ASSIGN_OR_RETURN(const bool found, query.BindText(1, plan).BindInteger(2, rehearsal ? 1 : 0).Step());
  if (!found) return absl::OkStatus();
  const std::string run = query.String(0);
  const std::string ending = rehearsal ? fmt::format("remove what it made with `drctl failover clean {}`", run)
                                       : fmt::format("give it up with `drctl failover abort {}`", run);
  return absl::FailedPreconditionError(fmt::format(
      "run {} of plan {} isn't over: go on with `drctl failover resume {}`, or {}", run, plan, run, ending));
}

absl::Status RunStore::ForgetOldRuns() {
  std::vector<std::string> old;
  {
    ASSIGN_OR_RETURN(store::Statement query, database_.Prepare("SELECT id FROM run WHERE over = 1"
                                                               " ORDER BY started_at_nanoseconds DESC, id DESC"
                                                               " LIMIT -1 OFFSET ?"));
    query.BindUnsigned(1, kKeptFailoverRuns);
    while (true) {
      ASSIGN_OR_RETURN(const bool found, query.Step());
      if (!found) break;
      old.push_back(query.String(0));
    }
  }
  for (const std::string& run : old) {
    // What was fetched for it holds secrets: nobody would find the folder any more once the run is forgotten.
    if (!RemoveWorkFolder(run).ok()) continue;
    for (const char* const table : {"item WHERE run", "step WHERE run", "note WHERE run", "run WHERE id"}) {
      ASSIGN_OR_RETURN(store::Statement forget, database_.Prepare(fmt::format("DELETE FROM {} = ?", table)));
      RETURN_IF_ERROR(forget.BindText(1, run).Run());
    }
  }
  return absl::OkStatus();
}

absl::Status RunStore::Begin(const RunSpec& spec, const std::vector<std::string>& steps) {
  const absl::MutexLock lock(&mutex_);
  ASSIGN_OR_RETURN(store::Transaction transaction, store::Transaction::Begin(database_));
  RETURN_IF_ERROR(CheckNoneIsOpen(spec.plan, spec.mode == RunMode::kTest));
  {
    ASSIGN_OR_RETURN(store::Statement insert,
                     database_.Prepare("INSERT INTO run(id, plan, rehearsal, started_at_nanoseconds, spec, state, over,"
                                       " process, error) VALUES(?, ?, ?, ?, ?, ?, 0, ?, '')"));
    insert.BindText(1, spec.id).BindText(2, spec.plan).BindInteger(3, spec.mode == RunMode::kTest ? 1 : 0);
    insert.BindInteger(4, absl::ToUnixNanos(spec.started_at)).BindText(5, TextOf(ToJson(spec)));
    insert.BindText(6, ToString(RunState::kRunning));
    RETURN_IF_ERROR(insert.BindText(7, daemon::ProcessMark()).Run());
    ASSIGN_OR_RETURN(store::Statement step, database_.Prepare("INSERT INTO step(run, ordinal, name) VALUES(?, ?, ?)"));
    for (size_t i = 0; i < steps.size(); ++i) {
      RETURN_IF_ERROR(step.BindText(1, spec.id).BindUnsigned(2, i).BindText(3, steps[i]).Run());
    }
  }
  RETURN_IF_ERROR(ForgetOldRuns());
  return transaction.Commit();
}

absl::Status RunStore::TakeUp(const std::string& run) {
  const absl::MutexLock lock(&mutex_);
  ASSIGN_OR_RETURN(store::Statement update,
                   database_.Prepare("UPDATE run SET state = ?, process = ?, ended_at_nanoseconds = NULL, error = ''"
                                     " WHERE id = ? AND over = 0"));
  update.BindText(1, ToString(RunState::kRunning)).BindText(2, daemon::ProcessMark());
  RETURN_IF_ERROR(update.BindText(3, run).Run());
  if (database_.ChangedRows() == 1) return absl::OkStatus();
  return absl::FailedPreconditionError(fmt::format("run {} is over: there is nothing to go on with", Printable(run)));
}

absl::Status RunStore::Note(const std::string& run, absl::Time at, const std::string& text) {
  const absl::MutexLock lock(&mutex_);
  ASSIGN_OR_RETURN(store::Statement insert,
                   database_.Prepare("INSERT INTO note(run, at_nanoseconds, text) VALUES(?, ?, ?)"));
  return insert.BindText(1, run).BindInteger(2, absl::ToUnixNanos(at)).BindText(3, text).Run();
}

absl::Status RunStore::BeginStep(const std::string& run, const std::string& step, absl::Time at,
                                 const std::vector<std::string>& keys) {
  const absl::MutexLock lock(&mutex_);
  ASSIGN_OR_RETURN(store::Transaction transaction, store::Transaction::Begin(database_));
  {
    ASSIGN_OR_RETURN(store::Statement begin,
                     database_.Prepare("UPDATE step SET begun_at_nanoseconds = coalesce(begun_at_nanoseconds, ?)"
                                       " WHERE run = ? AND name = ?"));
    RETURN_IF_ERROR(begin.BindInteger(1, absl::ToUnixNanos(at)).BindText(2, run).BindText(3, step).Run());
    ASSIGN_OR_RETURN(store::Statement insert,
                     database_.Prepare("INSERT OR IGNORE INTO item(run, step, key, state, attempts, message, warnings,"
                                       " facts) VALUES(?, ?, ?, ?, 0, '', '[]', 'null')"));
    for (const std::string& key : keys) {
      insert.BindText(1, run).BindText(2, step).BindText(3, key);
      RETURN_IF_ERROR(insert.BindText(4, ToString(ItemState::kPending)).Run());
    }
  }
  return transaction.Commit();
}

absl::Status RunStore::WriteItem(const std::string& run, const std::string& step, const ItemRecord& item) {
  const absl::MutexLock lock(&mutex_);
  ASSIGN_OR_RETURN(store::Statement update,
                   database_.Prepare("UPDATE item SET state = ?, begun_at_nanoseconds = ?, ended_at_nanoseconds = ?,"
                                     " attempts = ?, message = ?, warnings = ?, facts = ?"
                                     " WHERE run = ? AND step = ? AND key = ?"));
  update.BindText(1, ToString(item.state));
  BindTime(update, 2, item.begun_at);
  BindTime(update, 3, item.ended_at);
  update.BindUnsigned(4, item.attempts).BindText(5, item.message).BindText(6, TextOf(Json(item.warnings)));
  update.BindText(7, TextOf(item.facts)).BindText(8, run).BindText(9, step);
  RETURN_IF_ERROR(update.BindText(10, item.key).Run());
  UNDERSTUDY_CHECK(database_.ChangedRows() == 1);
  return absl::OkStatus();
}

absl::Status RunStore::EndStep(const std::string& run, const std::string& step, absl::Time at) {
  const absl::MutexLock lock(&mutex_);
  ASSIGN_OR_RETURN(store::Statement end,
                   database_.Prepare("UPDATE step SET ended_at_nanoseconds = ? WHERE run = ? AND name = ?"));
  return end.BindInteger(1, absl::ToUnixNanos(at)).BindText(2, run).BindText(3, step).Run();
}

absl::Status RunStore::Reopen(const std::string& run, const std::vector<std::string>& steps, const std::string& why) {
  const absl::MutexLock lock(&mutex_);
  ASSIGN_OR_RETURN(store::Transaction transaction, store::Transaction::Begin(database_));
  {
    ASSIGN_OR_RETURN(store::Statement reopen,
                     database_.Prepare("UPDATE step SET ended_at_nanoseconds = NULL WHERE run = ? AND name = ?"));
    ASSIGN_OR_RETURN(store::Statement reset,
                     database_.Prepare("UPDATE item SET state = ?, ended_at_nanoseconds = NULL, message = '',"
                                       " warnings = json_insert(warnings, '$[#]', ?)"
                                       " WHERE run = ? AND step = ? AND state <> ?"));
    const std::string_view pending = ToString(ItemState::kPending);
    for (const std::string& step : steps) {
      RETURN_IF_ERROR(reopen.BindText(1, run).BindText(2, step).Run());
      reset.BindText(1, pending).BindText(2, why).BindText(3, run).BindText(4, step);
      RETURN_IF_ERROR(reset.BindText(5, pending).Run());
    }
  }
  return transaction.Commit();
}

absl::Status RunStore::EndRun(const std::string& run, const RunEnd& end) {
  const absl::MutexLock lock(&mutex_);
  ASSIGN_OR_RETURN(store::Statement update, database_.Prepare("UPDATE run SET state = ?, over = ?, error = ?,"
                                                              " ended_at_nanoseconds = ? WHERE id = ? AND over = 0"));
  update.BindText(1, ToString(end.state)).BindInteger(2, end.over ? 1 : 0).BindText(3, end.error);
  RETURN_IF_ERROR(update.BindInteger(4, absl::ToUnixNanos(end.at)).BindText(5, run).Run());
  if (database_.ChangedRows() == 1) return absl::OkStatus();
  return absl::FailedPreconditionError(fmt::format("run {} is over already: it ends only once", Printable(run)));
}

absl::StatusOr<RunRecord> RunStore::Read(const std::string& run) {
  const absl::MutexLock lock(&mutex_);
  ASSIGN_OR_RETURN(store::Statement query,
                   database_.Prepare(fmt::format("SELECT {} FROM run WHERE ? = '' OR id = ?"
                                                 " ORDER BY started_at_nanoseconds DESC, id DESC LIMIT 1",
                                                 kRunColumns)));
  ASSIGN_OR_RETURN(const bool found, query.BindText(1, run).BindText(2, run).Step());
  if (!found) {
    return absl::NotFoundError(
        run.empty() ? "no failover was ever run here"
                    : fmt::format("there is no run {}: drctl failover list shows the runs", Printable(run)));
  }
  ASSIGN_OR_RETURN(RunRecord record, RunAt(query));
  RETURN_IF_ERROR(ReadSteps(record));
  RETURN_IF_ERROR(ReadNotes(record));
  return record;
}

absl::StatusOr<std::vector<RunRecord>> RunStore::List() {
  const absl::MutexLock lock(&mutex_);
  ASSIGN_OR_RETURN(
      store::Statement query,
      database_.Prepare(fmt::format("SELECT {} FROM run ORDER BY started_at_nanoseconds DESC, id DESC", kRunColumns)));
  std::vector<RunRecord> runs;
  while (true) {
    ASSIGN_OR_RETURN(const bool found, query.Step());
    if (!found) return runs;
    ASSIGN_OR_RETURN(RunRecord run, RunAt(query));
    runs.push_back(std::move(run));
  }
}

absl::Status RunStore::ReadSteps(RunRecord& run) {
  ASSIGN_OR_RETURN(store::Statement query,
                   database_.Prepare("SELECT name, begun_at_nanoseconds, ended_at_nanoseconds FROM step WHERE run = ?"
                                     " ORDER BY ordinal"));
  query.BindText(1, run.spec.id);
  while (true) {
    ASSIGN_OR_RETURN(const bool found, query.Step());
    if (!found) break;
    run.steps.push_back({.name = query.String(0), .begun_at = TimeAt(query, 1), .ended_at = TimeAt(query, 2)});
  }
  for (StepRecord& step : run.steps) RETURN_IF_ERROR(ReadItems(run.spec.id, step));
  return absl::OkStatus();
}

absl::Status RunStore::ReadItems(const std::string& run, StepRecord& step) {
  ASSIGN_OR_RETURN(store::Statement query,
                   database_.Prepare("SELECT key, state, begun_at_nanoseconds, ended_at_nanoseconds, attempts, message,"
                                     " warnings, facts FROM item WHERE run = ? AND step = ? ORDER BY key"));
  query.BindText(1, run).BindText(2, step.name);
  while (true) {
    ASSIGN_OR_RETURN(const bool found, query.Step());
    if (!found) return absl::OkStatus();
    ItemRecord item{.key = query.String(0), .begun_at = TimeAt(query, 2), .ended_at = TimeAt(query, 3)};
    ASSIGN_OR_RETURN(item.state, ParseItemState(query.Bytes(1)));
    item.attempts = static_cast<uint32_t>(query.Unsigned(4));
    item.message = query.String(5);
    const Json warnings = Json::parse(query.Bytes(6), nullptr, /*allow_exceptions=*/false);
    item.facts = Json::parse(query.Bytes(7), nullptr, /*allow_exceptions=*/false);
    if (!warnings.is_array() || item.facts.is_discarded()) {
      return absl::DataLossError(fmt::format("{}: item {} of run {} can't be read", database_.path(), item.key, run));
    }
    for (const Json& warning : warnings) {
      if (warning.is_string()) item.warnings.push_back(warning.get<std::string>());
    }
    step.items.push_back(std::move(item));
  }
}

absl::Status RunStore::ReadNotes(RunRecord& run) {
  ASSIGN_OR_RETURN(store::Statement query,
                   database_.Prepare("SELECT at_nanoseconds, text FROM note WHERE run = ? ORDER BY rowid"));
  query.BindText(1, run.spec.id);
  while (true) {
    ASSIGN_OR_RETURN(const bool found, query.Step());
    if (!found) return absl::OkStatus();
    run.notes.push_back({absl::FromUnixNanos(query.Integer(0)), query.String(1)});
  }
}

}  // namespace understudy::control
