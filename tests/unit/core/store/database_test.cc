#include "core/store/database.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <limits>

namespace understudy::store {
namespace {

class DatabaseTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (std::filesystem::temp_directory_path() / "understudy-store-XXXXXX").string();
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::string Path() const { return (folder_ / "test.db").string(); }
  Database Open(const std::string& path) {
    auto database = Database::Open(path, {.busy_timeout = absl::Milliseconds(1)});
    EXPECT_TRUE(database.ok()) << database.status();
    return *std::move(database);
  }
  Database WithTable() {
    Database database = Open(Path());
    EXPECT_TRUE(database.Execute("CREATE TABLE t(k BLOB PRIMARY KEY, v INTEGER) WITHOUT ROWID").ok());
    return database;
  }
  static int64_t Count(Database& database) {
    auto query = database.Prepare("SELECT count(*) FROM t");
    EXPECT_TRUE(query.ok()) << query.status();
    EXPECT_TRUE(query->Step().value());
    return query->Integer(0);
  }

  std::filesystem::path folder_;
};

TEST_F(DatabaseTest, GivesBackTheBytesAndIntegersThatWereBound) {
  Database database = WithTable();
  const std::string key("a\0\xff/b", 5);
  auto insert = database.Prepare("INSERT INTO t VALUES(?, ?)");
  ASSERT_TRUE(insert.ok()) << insert.status();
  ASSERT_TRUE(insert->BindBlob(1, key).BindUnsigned(2, std::numeric_limits<uint64_t>::max()).Run().ok());
  ASSERT_TRUE(insert->BindBlob(1, "").BindNull(2).Run().ok());
  auto query = database.Prepare("SELECT k, v FROM t ORDER BY k");
  ASSERT_TRUE(query.ok());
  ASSERT_TRUE(query->Step().value());
  EXPECT_EQ(query->Bytes(0), "");
  EXPECT_FALSE(query->IsNull(0));
  EXPECT_TRUE(query->IsNull(1));
  ASSERT_TRUE(query->Step().value());
  EXPECT_EQ(query->String(0), key);
  EXPECT_EQ(query->Unsigned(1), std::numeric_limits<uint64_t>::max());
  EXPECT_FALSE(query->Step().value());
}

TEST_F(DatabaseTest, ATransactionThatIsNotCommittedLeavesNothing) {
  Database database = WithTable();
  {
    auto transaction = Transaction::Begin(database);
    ASSERT_TRUE(transaction.ok());
    ASSERT_TRUE(database.Execute("INSERT INTO t VALUES(x'01', 1)").ok());
  }
  EXPECT_EQ(Count(database), 0);
  auto transaction = Transaction::Begin(database);
  ASSERT_TRUE(transaction.ok());
  ASSERT_TRUE(database.Execute("INSERT INTO t VALUES(x'01', 1)").ok());
  ASSERT_TRUE(transaction->Commit().ok());
  EXPECT_EQ(Count(database), 1);
}

TEST_F(DatabaseTest, MigratesFromWhereTheFileStands) {
  constexpr std::array<std::string_view, 1> kFirst = {"CREATE TABLE t(k INTEGER)"};
  constexpr std::array<std::string_view, 2> kBoth = {"CREATE TABLE t(k INTEGER)", "INSERT INTO t VALUES(1)"};
  {
    Database database = Open(Path());
    ASSERT_TRUE(database.Migrate(kFirst).ok());
    EXPECT_EQ(Count(database), 0);
  }
  Database database = Open(Path());
  ASSERT_TRUE(database.Migrate(kBoth).ok());
  ASSERT_TRUE(database.Migrate(kBoth).ok());
  EXPECT_EQ(Count(database), 1);
  EXPECT_EQ(database.Migrate(kFirst).code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(DatabaseTest, AFailedMigrationStepLeavesItsVersion) {
  constexpr std::array<std::string_view, 1> kBroken = {"CREATE TABLE t(k INTEGER); INSERT INTO nowhere VALUES(1)"};
  constexpr std::array<std::string_view, 1> kRight = {"CREATE TABLE t(k INTEGER)"};
  Database database = Open(Path());
  EXPECT_FALSE(database.Migrate(kBroken).ok());
  EXPECT_TRUE(database.Migrate(kRight).ok());
}

TEST_F(DatabaseTest, TellsKindsOfErrorsApart) {
  Database database = WithTable();
  ASSERT_TRUE(database.Execute("INSERT INTO t VALUES(x'01', 1)").ok());
  EXPECT_EQ(database.Execute("INSERT INTO t VALUES(x'01', 1)").code(), absl::StatusCode::kAlreadyExists);
  EXPECT_FALSE(database.Prepare("SELECT nonsense").ok());
  EXPECT_EQ(Database::Open((folder_ / "missing" / "x.db").string(), {}).status().code(), absl::StatusCode::kNotFound);

  Database other = Open(Path());
  auto lock = Transaction::Begin(other);
  ASSERT_TRUE(lock.ok());
  EXPECT_EQ(Transaction::Begin(database).status().code(), absl::StatusCode::kUnavailable);
}

TEST_F(DatabaseTest, AnExclusiveOneIsOpenOnce) {
  { Database database = WithTable(); }
  auto database = Database::Open(Path(), {.busy_timeout = absl::Milliseconds(1), .exclusive = true});
  ASSERT_TRUE(database.ok()) << database.status();
  ASSERT_TRUE(database->Execute("INSERT INTO t VALUES(x'01', 1)").ok());
  EXPECT_EQ(Count(*database), 1);
  EXPECT_FALSE(std::filesystem::exists(Path() + "-shm"));
  for (const bool exclusive : {false, true}) {
    const auto other = Database::Open(Path(), {.busy_timeout = absl::Milliseconds(1), .exclusive = exclusive});
    EXPECT_EQ(other.status().code(), absl::StatusCode::kUnavailable) << other.status();
  }
}

TEST_F(DatabaseTest, WhatCanOnlyBeReadIsNotOpened) {
  { Database database = WithTable(); }
  ASSERT_EQ(chmod(folder_.c_str(), 0755), 0);
  ASSERT_EQ(chmod(Path().c_str(), 0444), 0);
  const uid_t before = geteuid();
  if (before == 0) {
    ASSERT_EQ(seteuid(65534), 0);  // root may write to anything
  }
  for (const bool exclusive : {false, true}) {
    const auto database = Database::Open(Path(), {.exclusive = exclusive});
    EXPECT_EQ(database.status().code(), absl::StatusCode::kPermissionDenied) << database.status();
  }
  ASSERT_EQ(seteuid(before), 0);
}

TEST_F(DatabaseTest, AFailedBindIsReportedByTheRun) {
  Database database = WithTable();
  auto insert = database.Prepare("INSERT INTO t VALUES(?, 1)");
  ASSERT_TRUE(insert.ok());
  EXPECT_FALSE(insert->BindBlob(7, "x").Run().ok());
  EXPECT_TRUE(insert->BindBlob(1, "x").Run().ok());
}

TEST_F(DatabaseTest, RefusesADamagedFile) {
  { Database database = WithTable(); }
  std::filesystem::remove(Path() + "-wal");
  FILE* file = fopen(Path().c_str(), "w");
  ASSERT_NE(file, nullptr);
  fputs("this is no database, and long enough to be read as one would be read", file);
  fclose(file);
  EXPECT_EQ(Database::Open(Path(), {}).status().code(), absl::StatusCode::kDataLoss);
}

}  // namespace
}  // namespace understudy::store
