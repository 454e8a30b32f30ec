// What outlives a run, over real files, and the outbox on top of it.
#include "control/sync/state.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include "control/report/outbox.h"
#include "control/sync/runner.h"
#include "tests/support/temp_dir.h"

namespace understudy::control {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

Report ReportOf(const std::string& run, absl::Time started = absl::FromUnixSeconds(1'800'000'000)) {
  Report report{.run = run, .started_at = started, .ended_at = started + absl::Seconds(3)};
  report.objects.push_back({.key = {model::ObjectKind::kPersistentVolume, "", "pv"}, .outcome = Outcome::kSynced});
  return report;
}

class FakeClock : public Clock {
 public:
  absl::Time Now() const override { return now; }
  absl::Duration Monotonic() const override { return now - absl::UnixEpoch(); }
  absl::Time now = absl::FromUnixSeconds(1'800'000'100);
};

class RecordingDeliverer : public Deliverer {
 public:
  absl::Status Deliver(const std::string& target, const std::string& id, const Deliverable& report,
                       std::stop_token) override {
    calls.push_back(report.run + " to " + target);
    subjects.push_back(report.subject);
    ids.push_back(id);
    return answer;
  }
  absl::Status answer;
  std::vector<std::string> calls;
  std::vector<std::string> subjects;
  std::vector<std::string> ids;
};

class StateTest : public testing::Test {
 protected:
  StateTest() {
    auto state = SyncState::Open(folder_.Path() + "/state");
    EXPECT_TRUE(state.ok()) << state.status();
    state_ = *std::move(state);
  }
  void Record(const Report& report, const std::vector<std::string>& targets = {}) {
    ASSERT_EQ(state_->BeginRun(report), absl::OkStatus());
    ASSERT_EQ(state_->EndRun(report, targets), absl::OkStatus());
  }

  tests::TempDir folder_;
  std::unique_ptr<SyncState> state_;
};

TEST_F(StateTest, RunsAndReportsAreThereAfterAReopening) {
  Record(ReportOf("a"));
  Record(ReportOf("b", absl::FromUnixSeconds(1'800'003'600)));
  state_.reset();
  auto again = SyncState::OpenPresent(folder_.Path() + "/state");
  ASSERT_TRUE(again.ok()) << again.status();
  const auto runs = (*again)->Runs();
  ASSERT_THAT(*runs, SizeIs(2));
  EXPECT_EQ((*runs)[0].id, "b");
  EXPECT_EQ((*runs)[0].result, "done");
  EXPECT_EQ((*runs)[0].counts["synced"], 1);
  EXPECT_EQ((*again)->ReportOf("")->run, "b");
  EXPECT_EQ((*again)->ReportOf("a")->objects.size(), 1U);
  EXPECT_TRUE(absl::IsNotFound((*again)->ReportOf("c").status()));
}

TEST_F(StateTest, ALookMakesNoFile) {
  const std::string nowhere = folder_.Path() + "/nowhere";
  EXPECT_TRUE(absl::IsNotFound(SyncState::OpenPresent(nowhere).status()));
  EXPECT_FALSE(std::filesystem::exists(nowhere));
}

TEST_F(StateTest, OnlyTheNewestRunsAreKept) {
  for (size_t i = 0; i < kKeptRuns + 5; ++i) {
    Record(ReportOf("run-" + std::to_string(i), absl::FromUnixSeconds(1'800'000'000 + static_cast<int64_t>(i))));
  }
  const auto runs = state_->Runs();
  ASSERT_THAT(*runs, SizeIs(kKeptRuns));
  EXPECT_EQ(runs->back().id, "run-5");
}

TEST_F(StateTest, AReportThatIsStillToBeDeliveredIsKept) {
  Record(ReportOf("undelivered", absl::FromUnixSeconds(1'700'000'000)), {"email"});
  for (size_t i = 0; i < kKeptRuns + 5; ++i) {
    Record(ReportOf("run-" + std::to_string(i), absl::FromUnixSeconds(1'800'000'000 + static_cast<int64_t>(i))));
  }
  FakeClock clock;
  RecordingDeliverer deliverer;
  EXPECT_EQ(DeliverDue(*state_, deliverer, clock, {}), absl::OkStatus());
  EXPECT_THAT(deliverer.calls, ElementsAre("undelivered to email"));
  Record(ReportOf("last", absl::FromUnixSeconds(1'900'000'000)));
  EXPECT_TRUE(absl::IsNotFound(state_->ReportOf("undelivered").status())) << "and no longer";
}

TEST_F(StateTest, TheRecognisedClusterIsKeptButNotThatOfADryRun) {
  EXPECT_EQ(*state_->PrimaryCluster(), "");
  Report report = ReportOf("a");
  report.primary_cluster = "cluster-1";
  report.dry_run = true;
  Record(report);
  EXPECT_EQ(*state_->PrimaryCluster(), "");
  report.run = "b";
  report.dry_run = false;
  Record(report);
  report.run = "c";
  report.primary_cluster = "";
  Record(report);
  state_.reset();
  state_ = *SyncState::Open(folder_.Path() + "/state");
  EXPECT_EQ(*state_->PrimaryCluster(), "cluster-1");
  EXPECT_EQ(state_->ReportOf("b")->primary_cluster, "cluster-1");
}

TEST_F(StateTest, WhatIsOwedOutlivesTheProcessUntilItIsSettled) {
  const OwedRelease release{.key = {model::ObjectKind::kPersistentVolume, "", "pv"},
                            .source_uid = "u",
                            .pair = "east",
                            .volume = "pv",
                            .source = {"nfs1", "/export/\xff"}};
  ASSERT_EQ(state_->Owe(release), absl::OkStatus());
  ASSERT_EQ(state_->Owe(release), absl::OkStatus());
  state_.reset();
  state_ = *SyncState::Open(folder_.Path() + "/state");
  const auto owed = state_->Owed();
  ASSERT_THAT(*owed, SizeIs(1));
  EXPECT_EQ(owed->at(0).key, release.key);
  EXPECT_EQ(owed->at(0).source_uid, "u");
  EXPECT_EQ(owed->at(0).pair, "east");
  EXPECT_EQ(owed->at(0).source, release.source);
  ASSERT_EQ(state_->Settle(release), absl::OkStatus());
  EXPECT_THAT(*state_->Owed(), SizeIs(0));
}

TEST_F(StateTest, OneRunAtATimeAcrossProcessesAndADeadOneLosesItsLease) {
  int ready[2];
  ASSERT_EQ(pipe(ready), 0);
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    const auto lease = state_->Lease();
    const char told = lease.ok() ? 'y' : 'n';
    if (write(ready[1], &told, 1) != 1) _exit(1);
    while (true) pause();
  }
  char told = 0;
  ASSERT_EQ(read(ready[0], &told, 1), 1);
  ASSERT_EQ(told, 'y');
  const auto refused = state_->Lease();
  EXPECT_TRUE(absl::IsFailedPrecondition(refused.status())) << refused.status();
  EXPECT_THAT(std::string(MessageOf(refused.status())), HasSubstr("another run"));
  kill(child, SIGKILL);
  ASSERT_EQ(waitpid(child, nullptr, 0), child);
  EXPECT_TRUE(state_->Lease().ok());
  close(ready[0]);
  close(ready[1]);
}

TEST_F(StateTest, ARunThatNeverEndedIsInterruptedOnceTheNextBegins) {
  ASSERT_EQ(state_->BeginRun(ReportOf("a")), absl::OkStatus());
  EXPECT_EQ(state_->Runs()->at(0).result, "running");
  EXPECT_FALSE(state_->Runs()->at(0).ended_at.has_value());
  Record(ReportOf("b", absl::FromUnixSeconds(1'800'003'600)));
  EXPECT_EQ(state_->Runs()->at(1).result, "interrupted");
}

// The number of a process that died may be another one's by now, such as this test's.
TEST_F(StateTest, ARunIsOfTheProcessThatBeganItNotOfALaterOneWithItsNumber) {
  ASSERT_EQ(state_->BeginRun(ReportOf("a")), absl::OkStatus());
  EXPECT_EQ(state_->Runs()->at(0).result, "running");
  auto database = store::Database::Open(folder_.Path() + "/state/sync.db", {});
  ASSERT_TRUE(database.ok()) << database.status();
  ASSERT_EQ(database->Execute("UPDATE run SET process_mark = process || ' 1 another-boot'"), absl::OkStatus());
  EXPECT_EQ(state_->Runs()->at(0).result, "interrupted");
}

TEST_F(StateTest, ARunOfAnEarlierVersionIsOfTheProcessWithItsNumber) {
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    while (true) pause();
  }
  ASSERT_EQ(state_->BeginRun(ReportOf("a")), absl::OkStatus());
  auto database = store::Database::Open(folder_.Path() + "/state/sync.db", {});
  ASSERT_TRUE(database.ok()) << database.status();
  ASSERT_EQ(database->Execute(fmt::format("UPDATE run SET process_mark = '', process = {}", child)), absl::OkStatus());
  EXPECT_EQ(state_->Runs()->at(0).result, "running");
  kill(child, SIGKILL);
  ASSERT_EQ(waitpid(child, nullptr, 0), child);
  EXPECT_EQ(state_->Runs()->at(0).result, "interrupted");
}

TEST_F(StateTest, ADeliveryThatFailsIsTriedAgainLaterAndOverARestart) {
  Record(ReportOf("a"), {"email", "https://hooks.example.com/x"});
  FakeClock clock;
  RecordingDeliverer deliverer;
  deliverer.answer = absl::UnavailableError("connection refused");
  EXPECT_FALSE(DeliverDue(*state_, deliverer, clock, {}).ok());
  EXPECT_THAT(deliverer.calls, ElementsAre("a to email", "a to https://hooks.example.com/x"));
  EXPECT_EQ(DeliverDue(*state_, deliverer, clock, {}), absl::OkStatus());
  EXPECT_THAT(deliverer.calls, SizeIs(2)) << "not due yet";

  state_.reset();
  state_ = *SyncState::Open(folder_.Path() + "/state");
  clock.now += kDeliveryRetryFirst;
  deliverer.answer = absl::OkStatus();
  EXPECT_EQ(DeliverDue(*state_, deliverer, clock, {}), absl::OkStatus());
  EXPECT_THAT(deliverer.calls, SizeIs(4));
  EXPECT_EQ(deliverer.ids[0], deliverer.ids[2]) << "the same message";
  EXPECT_NE(deliverer.ids[0], deliverer.ids[1]);
  EXPECT_EQ(*state_->PendingDeliveries(), 0U);
}

TEST_F(StateTest, ADeliveryIsGivenUpAfterADayOrWhenItsTargetIsGone) {
  Record(ReportOf("a"), {"email"});
  FakeClock clock;
  RecordingDeliverer deliverer;
  deliverer.answer = absl::UnavailableError("connection refused");
  for (int i = 0; i < 100 && *state_->PendingDeliveries() > 0; ++i) {
    (void)DeliverDue(*state_, deliverer, clock, {});
    clock.now += kDeliveryRetryLongest;
  }
  EXPECT_GE(deliverer.calls.size(), 48U);
  EXPECT_EQ(*state_->PendingDeliveries(), 0U);

  Record(ReportOf("b"), {"https://gone"});
  deliverer.answer = absl::NotFoundError("not configured");
  EXPECT_FALSE(DeliverDue(*state_, deliverer, clock, {}).ok());
  EXPECT_EQ(*state_->PendingDeliveries(), 0U);
}

TEST_F(StateTest, ADeliveryThatSomebodyTookIsTheirsUntilTheClaimIsOver) {
  Record(ReportOf("a"), {"email"});
  const absl::Time now = absl::FromUnixSeconds(1'800'000'100);
  EXPECT_TRUE(state_->TakeDelivery(now, kDeliveryClaim)->has_value());
  EXPECT_FALSE(state_->TakeDelivery(now, kDeliveryClaim)->has_value());
  EXPECT_TRUE(state_->TakeDelivery(now + kDeliveryClaim, kDeliveryClaim)->has_value());
}

Letter FailoverLetter(const std::string& run, RunState state, absl::Time end) {
  RunRecord record;
  record.spec.id = run;
  record.spec.started_at = absl::FromUnixSeconds(1'800'000'000);
  record.state = state;
  record.ended_at = end;
  return LetterOf(BuildFailoverReport(record, end));
}

TEST_F(StateTest, AFailoversReportIsQueuedOnceForEachEndAndOutlivesTheProcess) {
  const absl::Time end = absl::FromUnixSeconds(1'800'000'050);
  const Letter failed = FailoverLetter("f", RunState::kFailed, end);
  const Letter done = FailoverLetter("f", RunState::kDone, end + absl::Seconds(20));
  for (const Letter& letter : {failed, failed, done}) {
    ASSERT_EQ(state_->QueueLetter(letter, {"email"}), absl::OkStatus());
  }
  EXPECT_EQ(*state_->PendingDeliveries(), 2U);
  state_.reset();
  state_ = *SyncState::Open(folder_.Path() + "/state");
  FakeClock clock;
  RecordingDeliverer deliverer;
  EXPECT_EQ(DeliverDue(*state_, deliverer, clock, {}), absl::OkStatus());
  EXPECT_THAT(deliverer.calls, ElementsAre("f to email", "f to email"));
  EXPECT_THAT(deliverer.subjects, ElementsAre(HasSubstr("failed"), HasSubstr("done")));
  ASSERT_EQ(state_->QueueLetter(failed, {"email"}), absl::OkStatus());
  EXPECT_EQ(*state_->PendingDeliveries(), 0U) << "it was told";
}

TEST_F(StateTest, AFailoversReportGoesToThoseWhoWantMailOnlyForProblems) {
  config::NotifyConfig notify{.email = config::EmailConfig{}, .webhooks = {}};
  ASSERT_EQ(notify.email->when, config::MailWhen::kProblems);
  RunRecord run;
  run.spec.id = "f";
  run.state = RunState::kDone;
  run.ended_at = absl::FromUnixSeconds(1'800'000'050);
  ASSERT_EQ(QueueFailoverReport(*state_, notify, BuildFailoverReport(run, *run.ended_at)), absl::OkStatus());
  EXPECT_EQ(*state_->PendingDeliveries(), 1U);
}

TEST_F(StateTest, AFailoversReportIsTriedForAWeek) {
  ASSERT_EQ(state_->QueueLetter(FailoverLetter("f", RunState::kDone, absl::FromUnixSeconds(1'800'000'050)), {"email"}),
            absl::OkStatus());
  FakeClock clock;
  RecordingDeliverer deliverer;
  deliverer.answer = absl::UnavailableError("connection refused");
  clock.now += absl::Hours(6 * 24);
  (void)DeliverDue(*state_, deliverer, clock, {});
  EXPECT_EQ(*state_->PendingDeliveries(), 1U);
  clock.now += absl::Hours(25);
  (void)DeliverDue(*state_, deliverer, clock, {});
  EXPECT_EQ(*state_->PendingDeliveries(), 0U);
}

TEST_F(StateTest, LettersThatNobodyWaitsForAreForgottenInTheEnd) {
  const absl::Time end = absl::FromUnixSeconds(1'800'000'050);
  ASSERT_EQ(state_->QueueLetter(FailoverLetter("waits", RunState::kDone, end), {"email"}), absl::OkStatus());
  ASSERT_EQ(state_->QueueLetter(FailoverLetter("first", RunState::kDone, end), {}), absl::OkStatus());
  for (size_t i = 0; i < kKnownLetters; ++i) {
    ASSERT_EQ(state_->QueueLetter(FailoverLetter(std::to_string(i), RunState::kDone, end), {}), absl::OkStatus());
  }
  EXPECT_EQ(*state_->PendingDeliveries(), 1U);
  ASSERT_EQ(state_->QueueLetter(FailoverLetter("first", RunState::kDone, end), {"email"}), absl::OkStatus());
  EXPECT_EQ(*state_->PendingDeliveries(), 2U) << "it isn't known any more";
}

// What an earlier version left to be delivered goes on.
TEST_F(StateTest, DeliveriesOfTheSecondSchemaAreTakenOver) {
  const std::string folder = folder_.Path() + "/older";
  std::filesystem::create_directory(folder);
  auto database = store::Database::Open(folder + "/sync.db", {});
  ASSERT_TRUE(database.ok()) << database.status();
  const std::string document = DocumentText(ToJson(ReportOf("a")));
  ASSERT_EQ(database->Execute(
                "CREATE TABLE run(id TEXT PRIMARY KEY, trigger_name TEXT NOT NULL, made_up INTEGER NOT NULL,"
                "  dry_run INTEGER NOT NULL, started_at_nanoseconds INTEGER NOT NULL, ended_at_nanoseconds INTEGER,"
                "  process INTEGER NOT NULL, result TEXT NOT NULL, counts TEXT NOT NULL, report TEXT NOT NULL);"
                "CREATE TABLE schedule(only INTEGER PRIMARY KEY, kept_until_nanoseconds INTEGER NOT NULL);"
                "CREATE TABLE delivery(id INTEGER PRIMARY KEY AUTOINCREMENT, run TEXT NOT NULL, target TEXT NOT NULL,"
                "  message_id TEXT NOT NULL, attempts INTEGER NOT NULL, created_at_nanoseconds INTEGER NOT NULL,"
                "  due_at_nanoseconds INTEGER NOT NULL, error TEXT NOT NULL);"
                "CREATE TABLE primary_cluster(only INTEGER PRIMARY KEY, uid TEXT NOT NULL);"
                "CREATE TABLE owed_release(pair TEXT, volume TEXT, kind TEXT, name TEXT, source_uid TEXT, server TEXT,"
                "  path BLOB, PRIMARY KEY(pair, volume));"
                "INSERT INTO run VALUES('a', 'manual', 0, 0, 1, 2, 1, 'done', '{}', '" +
                document +
                "'), ('b', 'manual', 0, 0, 1, NULL, 1, 'running', 'null', '');"
                "INSERT INTO delivery VALUES(7, 'a', 'email', 'm-1', 3, 1799999900000000000, 0, ''),"
                "  (8, 'a', 'https://hook', 'm-2', 0, 1799999900000000000, 0, ''),"
                "  (9, 'gone', 'email', 'm-3', 0, 0, 0, '');"
                "PRAGMA user_version=2"),
            absl::OkStatus());
  const auto state = SyncState::OpenPresent(folder);
  ASSERT_TRUE(state.ok()) << state.status();
  FakeClock clock;
  RecordingDeliverer deliverer;
  EXPECT_EQ(DeliverDue(**state, deliverer, clock, {}), absl::OkStatus());
  EXPECT_THAT(deliverer.calls, ElementsAre("a to email", "a to https://hook"));
  EXPECT_THAT(deliverer.ids, ElementsAre("m-1", "m-2"));
  EXPECT_EQ(*(*state)->PendingDeliveries(), 0U);
  const auto runs = (*state)->Runs();
  ASSERT_TRUE(runs.ok()) << runs.status();
  ASSERT_THAT(*runs, SizeIs(2));
  EXPECT_EQ(runs->at(0).result, "running") << "of process 1, which is there";
  EXPECT_EQ(runs->at(1).result, "done");
}

TEST(OutboxTest, PausesGrowUpToTheirLimit) {
  EXPECT_EQ(RetryPauseAfter(1), absl::Seconds(30));
  EXPECT_EQ(RetryPauseAfter(2), absl::Seconds(60));
  EXPECT_EQ(RetryPauseAfter(1000), kDeliveryRetryLongest);
}

TEST(RunIdTest, SortsByTime) {
  EXPECT_THAT(NewRunId(absl::FromUnixSeconds(1'800'000'000)), HasSubstr("20270115T080000Z-"));
  EXPECT_NE(NewRunId(absl::UnixEpoch()), NewRunId(absl::UnixEpoch()));
}

}  // namespace
}  // namespace understudy::control
