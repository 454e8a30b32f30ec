#include "core/store/database.h"

#include <fmt/format.h>
#include <sqlite3.h>

#include "core/base/log.h"

namespace understudy::store {
namespace {

absl::StatusCode CodeOf(int result) {
  switch (result & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return absl::StatusCode::kUnavailable;
    case SQLITE_FULL:
    case SQLITE_NOMEM:
      return absl::StatusCode::kResourceExhausted;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_IOERR:
      return absl::StatusCode::kDataLoss;
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_AUTH:
      return absl::StatusCode::kPermissionDenied;
    case SQLITE_CONSTRAINT:
      return absl::StatusCode::kAlreadyExists;
    case SQLITE_CANTOPEN:
      return absl::StatusCode::kNotFound;
    default:
      return absl::StatusCode::kInternal;
  }
}

absl::Status SqliteStatus(sqlite3* handle, int result, const std::string& path) {
  std::string message = fmt::format("database {}: {}", Printable(path), sqlite3_errstr(result));
  if (handle != nullptr && sqlite3_extended_errcode(handle) == result) {
    message = fmt::format("database {}: {}", Printable(path), sqlite3_errmsg(handle));
    const int error_number = sqlite3_system_errno(handle);
    const bool of_the_system = (result & 0xff) == SQLITE_IOERR || (result & 0xff) == SQLITE_CANTOPEN;
    if (of_the_system && error_number != 0) return ErrnoStatus(error_number, message);
  }
  return absl::Status(CodeOf(result), message);
}

}  // namespace

void Database::Close::operator()(sqlite3* handle) const {
  sqlite3_close_v2(handle);
}
void Statement::Finalize::operator()(sqlite3_stmt* handle) const {
  sqlite3_finalize(handle);
}

absl::StatusOr<Database> Database::Open(const std::string& path, const DatabaseOptions& options) {
  sqlite3* handle = nullptr;
  const int result = sqlite3_open_v2(
      path.c_str(), &handle,
      SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE | SQLITE_OPEN_NOFOLLOW,
      nullptr);
  Database database(path, handle);
  if (result != SQLITE_OK) return SqliteStatus(handle, result, path);
  sqlite3_busy_timeout(handle, static_cast<int>(absl::ToInt64Milliseconds(options.busy_timeout)));
  // A file that can't be opened for writing is opened for reading instead, without a word (https://sqlite.org/c3ref/
  // open.html), and with it the files beside it; a moment's trouble would last for as long as this is open.
  if (sqlite3_db_readonly(handle, "main") != 0) {
    return absl::PermissionDeniedError(fmt::format("database {} can't be opened for writing", Printable(path)));
  }
  if (options.exclusive) RETURN_IF_ERROR(database.Execute("PRAGMA locking_mode=EXCLUSIVE"));
  RETURN_IF_ERROR(database.Execute("PRAGMA journal_mode=WAL"));
  RETURN_IF_ERROR(database.SetDurability(options.durability));
  RETURN_IF_ERROR(database.Execute("PRAGMA foreign_keys=ON"));
  RETURN_IF_ERROR(database.Execute("BEGIN IMMEDIATE; ROLLBACK"));  // takes the lock, and shows that the log is writable
  return database;
}

absl::Status Database::SetDurability(Durability durability) {
  return Execute(durability == Durability::kFull ? "PRAGMA synchronous=FULL" : "PRAGMA synchronous=NORMAL");
}

absl::Status Database::Migrate(std::span<const std::string_view> steps) {
  ASSIGN_OR_RETURN(Statement query, Prepare("PRAGMA user_version"));
  ASSIGN_OR_RETURN(const bool has_version, query.Step());
  UNDERSTUDY_CHECK(has_version);
  const int64_t version = query.Integer(0);
  query.Reset();
  if (version < 0 || version > static_cast<int64_t>(steps.size())) {
    return absl::FailedPreconditionError(
        fmt::format("database {} has schema version {}, this program knows up to {}: upgrade this program",
                    Printable(path_), version, steps.size()));
  }
  for (size_t step = static_cast<size_t>(version); step < steps.size(); ++step) {
    ASSIGN_OR_RETURN(Transaction transaction, Transaction::Begin(*this));
    RETURN_IF_ERROR(Execute(steps[step]));
    RETURN_IF_ERROR(Execute(fmt::format("PRAGMA user_version={}", step + 1)));
    RETURN_IF_ERROR(transaction.Commit());
  }
  return absl::OkStatus();
}

absl::Status Database::Execute(std::string_view sql) {
  const int result = sqlite3_exec(handle_.get(), std::string(sql).c_str(), nullptr, nullptr, nullptr);
  return result == SQLITE_OK ? absl::OkStatus() : SqliteStatus(handle_.get(), result, path_);
}

absl::StatusOr<Statement> Database::Prepare(std::string_view sql) {
  sqlite3_stmt* handle = nullptr;
  const int result = sqlite3_prepare_v3(handle_.get(), sql.data(), static_cast<int>(sql.size()),
                                        SQLITE_PREPARE_PERSISTENT, &handle, nullptr);
  if (result != SQLITE_OK) return SqliteStatus(handle_.get(), result, path_);
  UNDERSTUDY_CHECK(handle != nullptr);
  return Statement(path_, handle);
}

int64_t Database::ChangedRows() const {
  return sqlite3_changes64(handle_.get());
}
int64_t Database::LastInsertedRow() const {
  return sqlite3_last_insert_rowid(handle_.get());
}

void Statement::Remember(int result) {
  if (result != SQLITE_OK && bind_error_ == SQLITE_OK) bind_error_ = result;
}

Statement& Statement::BindInteger(int parameter, int64_t value) {
  Remember(sqlite3_bind_int64(handle_.get(), parameter, value));
  return *this;
}

Statement& Statement::BindUnsigned(int parameter, uint64_t value) {
  return BindInteger(parameter, static_cast<int64_t>(value));
}

Statement& Statement::BindText(int parameter, std::string_view value) {
  const char* data = value.data() == nullptr ? "" : value.data();
  Remember(sqlite3_bind_text64(handle_.get(), parameter, data, value.size(), SQLITE_TRANSIENT, SQLITE_UTF8));
  return *this;
}

Statement& Statement::BindBlob(int parameter, std::string_view value) {
  const char* data = value.data() == nullptr ? "" : value.data();
  Remember(sqlite3_bind_blob64(handle_.get(), parameter, data, value.size(), SQLITE_TRANSIENT));
  return *this;
}

Statement& Statement::BindNull(int parameter) {
  Remember(sqlite3_bind_null(handle_.get(), parameter));
  return *this;
}

absl::StatusOr<bool> Statement::Step() {
  int result = bind_error_;
  bind_error_ = SQLITE_OK;
  if (result == SQLITE_OK) {
    result = sqlite3_step(handle_.get());
    if (result == SQLITE_ROW) return true;
  }
  absl::StatusOr<bool> outcome = false;
  if (result != SQLITE_DONE) outcome = SqliteStatus(sqlite3_db_handle(handle_.get()), result, path_);
  Reset();
  return outcome;
}

absl::Status Statement::Run() {
  while (true) {
    ASSIGN_OR_RETURN(const bool row, Step());
    if (!row) return absl::OkStatus();
  }
}

void Statement::Reset() {
  sqlite3_reset(handle_.get());
}

bool Statement::IsNull(int column) const {
  return sqlite3_column_type(handle_.get(), column) == SQLITE_NULL;
}
int64_t Statement::Integer(int column) const {
  return sqlite3_column_int64(handle_.get(), column);
}
uint64_t Statement::Unsigned(int column) const {
  return static_cast<uint64_t>(Integer(column));
}

std::string_view Statement::Bytes(int column) const {
  const auto* data = static_cast<const char*>(sqlite3_column_blob(handle_.get(), column));
  const int size = sqlite3_column_bytes(handle_.get(), column);
  return data == nullptr ? std::string_view() : std::string_view(data, static_cast<size_t>(size));
}

absl::StatusOr<Transaction> Transaction::Begin(Database& database) {
  RETURN_IF_ERROR(database.Execute("BEGIN IMMEDIATE"));
  return Transaction(database);
}

Transaction::~Transaction() {
  // SQLite may have rolled back by itself already; a failed rollback then has nothing left to do.
  if (database_ != nullptr) database_->Execute("ROLLBACK").IgnoreError();
}

absl::Status Transaction::Commit() {
  RETURN_IF_ERROR(database_->Execute("COMMIT"));
  database_ = nullptr;
  return absl::OkStatus();
}

}  // namespace understudy::store
