// database.h: SQLite behind values and RAII: a database file, its statements and its transactions.
//
// A Database and the Statements and Transactions made from it belong to one thread at a time; the caller guards them
// (they carry no lock of their own). Statements and Transactions must not outlive their Database. Every database is in
// WAL mode: readers in other connections don't wait for the writer.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "absl/time/time.h"
#include "core/base/status.h"

struct sqlite3;
struct sqlite3_stmt;

namespace understudy::store {

// What a returned commit promises.
enum class Durability {
  kFull,    // it survives a power cut (synchronous=FULL: the log is synced at each commit)
  kNormal,  // it survives the process; a power cut may take the newest commits, never the order or the file
};

struct DatabaseOptions {
  Durability durability = Durability::kFull;
  absl::Duration busy_timeout = absl::Seconds(10);  // how long to wait for another connection's lock
  // No other connection can open the file meanwhile. Locks are taken once instead of at every statement, and the index
  // of the log is in memory instead of in a file that is mapped.
  bool exclusive = false;
};

class Statement;

// Movable. Errors of every call: RESOURCE_EXHAUSTED: no space; UNAVAILABLE: locked for longer than the busy timeout;
// DATA_LOSS: the file is damaged, or the disk fails; PERMISSION_DENIED: read-only; ALREADY_EXISTS: a constraint.
class Database {
 public:
  // Opens the file, made anew when there is none (its folder must exist), for writing: never one that can only be read.
  // UNAVAILABLE: another connection has it. The messages of later errors name `path`.
  [[nodiscard]] static absl::StatusOr<Database> Open(const std::string& path, const DatabaseOptions& options);

  Database(Database&&) noexcept = default;
  Database& operator=(Database&&) noexcept = default;

  // For the commits from here on; not inside a transaction.
  [[nodiscard]] absl::Status SetDurability(Durability durability);

  // Brings the schema up to date: step i (from 0) takes user_version i to i + 1, each in a transaction of its own.
  // FAILED_PRECONDITION: the file was written by a newer program, which knows more steps.
  [[nodiscard]] absl::Status Migrate(std::span<const std::string_view> steps);

  // Runs one or more statements that give no rows.
  [[nodiscard]] absl::Status Execute(std::string_view sql);
  [[nodiscard]] absl::StatusOr<Statement> Prepare(std::string_view sql);

  // Of the newest INSERT, UPDATE or DELETE.
  [[nodiscard]] int64_t ChangedRows() const;
  [[nodiscard]] int64_t LastInsertedRow() const;

  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  friend class Statement;
  friend class Transaction;
  struct Close {
    void operator()(sqlite3* handle) const;
  };
  Database(std::string path, sqlite3* handle) : path_(std::move(path)), handle_(handle) {}

  std::string path_;
  std::unique_ptr<sqlite3, Close> handle_;
};

// A prepared statement, to be run any number of times. Parameters count from 1, columns from 0. What was bound stays
// bound until bound anew. A failed Bind is reported by the next Step or Run.
class Statement {
 public:
  Statement(Statement&&) noexcept = default;
  Statement& operator=(Statement&&) noexcept = default;

  Statement& BindInteger(int parameter, int64_t value);
  Statement& BindUnsigned(int parameter, uint64_t value);  // the same 64 bits; compares as signed inside SQLite
  Statement& BindText(int parameter, std::string_view value);
  Statement& BindBlob(int parameter, std::string_view value);  // empty is an empty blob, not NULL
  Statement& BindNull(int parameter);

  // True: a row is there to be read by the columns; false: no more rows, and the statement is ready to run again.
  [[nodiscard]] absl::StatusOr<bool> Step();
  // Runs a statement that gives no rows (rows are passed over) and makes it ready to run again.
  [[nodiscard]] absl::Status Run();
  // Makes it ready to run again before all rows are read.
  void Reset();

  [[nodiscard]] bool IsNull(int column) const;
  [[nodiscard]] int64_t Integer(int column) const;
  [[nodiscard]] uint64_t Unsigned(int column) const;
  // Bytes of a text or blob column; valid until the next Step, Run or Reset.
  [[nodiscard]] std::string_view Bytes(int column) const;
  [[nodiscard]] std::string String(int column) const { return std::string(Bytes(column)); }

 private:
  friend class Database;
  struct Finalize {
    void operator()(sqlite3_stmt* handle) const;
  };
  Statement(std::string path, sqlite3_stmt* handle) : path_(std::move(path)), handle_(handle) {}
  void Remember(int result);

  std::string path_;
  std::unique_ptr<sqlite3_stmt, Finalize> handle_;
  int bind_error_ = 0;  // the first failed Bind since the last Step
};

// Everything between Begin and Commit, or nothing: a Transaction that ends without Commit rolls back. Takes the write
// lock at Begin, so that it can't fail for a lock later. Not nested.
class Transaction {
 public:
  [[nodiscard]] static absl::StatusOr<Transaction> Begin(Database& database);
  Transaction(Transaction&& other) noexcept : database_(other.database_) { other.database_ = nullptr; }
  Transaction& operator=(Transaction&&) = delete;
  ~Transaction();

  // Durable, as the database's Durability says, when it returns OK; rolled back when it doesn't.
  [[nodiscard]] absl::Status Commit();

 private:
  explicit Transaction(Database& database) : database_(&database) {}
  Database* database_;  // nullptr once ended
};

}  // namespace understudy::store
