#include "control/runs/store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/temp_dir.h"

namespace understudy::control {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::SizeIs;

RunSpec SpecOf(const std::string& id, const std::string& plan = "shop", RunMode mode = RunMode::kPlanned) {
  return {.id = id,
          .plan = plan,
          .mode = mode,
          .namespaces = {"a", "b"},
          .volumes = {"east/web"},
          .backup = "nightly",
          .started_by = "admin@host",
          .started_at = absl::FromUnixSeconds(1'800'000'000)};
}

class RunStoreTest : public testing::Test {
 protected:
  RunStoreTest() {
    auto store = RunStore::Open(folder_.Path() + "/state");
    EXPECT_TRUE(store.ok()) << store.status();
    store_ = *std::move(store);
  }
  tests::TempDir folder_;
  std::unique_ptr<RunStore> store_;
};

TEST_F(RunStoreTest, WhatWasWrittenIsReadAgain) {
  ASSERT_EQ(store_->Begin(SpecOf("r1"), {"fence", "promote"}), absl::OkStatus());
  const absl::Time now = absl::FromUnixMillis(1'800'000'000'500);
  ASSERT_EQ(store_->BeginStep("r1", "fence", now, {"east/web", "east/db"}), absl::OkStatus());
  ItemRecord item{.key = "east/web",
                  .state = ItemState::kDone,
                  .begun_at = now,
                  .ended_at = now + absl::Seconds(1),
                  .attempts = 2,
                  .message = "m",
                  .warnings = {"w1", "w2"},
                  .facts = {{"epoch", 3}}};
  ASSERT_EQ(store_->WriteItem("r1", "fence", item), absl::OkStatus());
  ASSERT_EQ(store_->EndStep("r1", "fence", now + absl::Seconds(2)), absl::OkStatus());
  ASSERT_EQ(store_->Note("r1", now, "begun"), absl::OkStatus());

  const auto run = store_->Read("r1");
  ASSERT_TRUE(run.ok()) << run.status();
  EXPECT_EQ(run->spec.namespaces, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(run->spec.started_by, "admin@host");
  EXPECT_EQ(run->spec.started_at, absl::FromUnixSeconds(1'800'000'000));
  EXPECT_EQ(run->state, RunState::kRunning);
  ASSERT_THAT(run->steps, SizeIs(2));
  EXPECT_EQ(run->steps[0].ended_at, now + absl::Seconds(2));
  EXPECT_FALSE(run->steps[1].begun_at.has_value());
  const ItemRecord* const read = run->steps[0].Find("east/web");
  ASSERT_NE(read, nullptr);
  EXPECT_EQ(read->state, ItemState::kDone);
  EXPECT_EQ(read->attempts, 2U);
  EXPECT_EQ(read->begun_at, now);
  EXPECT_THAT(read->warnings, ElementsAre("w1", "w2"));
  EXPECT_EQ(read->facts["epoch"], 3);
  EXPECT_EQ(run->steps[0].Find("east/db")->state, ItemState::kPending);
  ASSERT_THAT(run->notes, SizeIs(1));
  EXPECT_EQ(run->notes[0].text, "begun");
}

TEST_F(RunStoreTest, StepsThatAreReopenedKeepTheirAttemptsFactsAndWarnings) {
  ASSERT_EQ(store_->Begin(SpecOf("r1"), {"look", "fence", "pause"}), absl::OkStatus());
  const absl::Time now = absl::FromUnixSeconds(1'800'000'000);
  for (const std::string step : {"look", "fence", "pause"}) {
    ASSERT_EQ(store_->BeginStep("r1", step, now, {"east/db", "east/web"}), absl::OkStatus());
    const ItemRecord item{.key = "east/web",
                          .state = ItemState::kBroken,
                          .begun_at = now,
                          .ended_at = now,
                          .attempts = 2,
                          .message = "m",
                          .warnings = {"w"},
                          .facts = {{"epoch", 3}}};
    ASSERT_EQ(store_->WriteItem("r1", step, item), absl::OkStatus());
    ASSERT_EQ(store_->EndStep("r1", step, now), absl::OkStatus());
  }
  ASSERT_EQ(store_->Reopen("r1", {"fence", "pause"}, "it's \"so\""), absl::OkStatus());
  const auto run = store_->Read("r1");
  ASSERT_TRUE(run.ok()) << run.status();
  EXPECT_TRUE(run->steps[0].ended_at.has_value());
  EXPECT_EQ(run->steps[0].Find("east/web")->state, ItemState::kBroken);
  for (const size_t i : {1, 2}) {
    EXPECT_FALSE(run->steps[i].ended_at.has_value());
    EXPECT_EQ(run->steps[i].begun_at, now);
    const ItemRecord& item = *run->steps[i].Find("east/web");
    EXPECT_EQ(item.state, ItemState::kPending);
    EXPECT_FALSE(item.ended_at.has_value());
    EXPECT_EQ(item.attempts, 2U);
    EXPECT_EQ(item.message, "");
    EXPECT_EQ(item.facts["epoch"], 3);
    EXPECT_THAT(item.warnings, ElementsAre("w", "it's \"so\""));
    EXPECT_THAT(run->steps[i].Find("east/db")->warnings, SizeIs(0));
  }
}

TEST_F(RunStoreTest, WhileARunIsOpenNoOtherOfItsPlanBegins) {
  ASSERT_EQ(store_->Begin(SpecOf("r1"), {"fence"}), absl::OkStatus());
  const absl::Status refused = store_->Begin(SpecOf("r2"), {"fence"});
  EXPECT_TRUE(absl::IsFailedPrecondition(refused));
  EXPECT_THAT(std::string(refused.message()), HasSubstr("drctl failover resume r1"));
  EXPECT_EQ(store_->Begin(SpecOf("r3", "other"), {"fence"}), absl::OkStatus());
  ASSERT_EQ(store_->EndRun("r1", {.state = RunState::kFailed, .over = false, .error = "e", .at = absl::Now()}),
            absl::OkStatus());
  EXPECT_TRUE(absl::IsFailedPrecondition(store_->Begin(SpecOf("r2"), {"fence"})));
  ASSERT_EQ(store_->EndRun("r1", {.state = RunState::kAborted, .error = "", .at = absl::Now()}), absl::OkStatus());
  EXPECT_EQ(store_->Begin(SpecOf("r2"), {"fence"}), absl::OkStatus());
}

// A disaster doesn't wait for a rehearsal whose copies are still there.
TEST_F(RunStoreTest, ARehearsalThatIsOpenHoldsNoRealRunUp) {
  ASSERT_EQ(store_->Begin(SpecOf("t1", "shop", RunMode::kTest), {"points"}), absl::OkStatus());
  const absl::Status refused = store_->Begin(SpecOf("t2", "shop", RunMode::kTest), {"points"});
  EXPECT_TRUE(absl::IsFailedPrecondition(refused));
  EXPECT_THAT(std::string(refused.message()), HasSubstr("drctl failover clean t1"));
  EXPECT_THAT(std::string(refused.message()), Not(HasSubstr("abort")));
  EXPECT_EQ(store_->Begin(SpecOf("r1"), {"fence"}), absl::OkStatus());
}

TEST_F(RunStoreTest, ARunThatIsOverIsNotTakenUp) {
  ASSERT_EQ(store_->Begin(SpecOf("r1"), {"fence"}), absl::OkStatus());
  EXPECT_EQ(store_->TakeUp("r1"), absl::OkStatus());
  ASSERT_EQ(store_->EndRun("r1", {.state = RunState::kDone, .error = "", .at = absl::Now()}), absl::OkStatus());
  EXPECT_TRUE(absl::IsFailedPrecondition(store_->TakeUp("r1")));
  EXPECT_TRUE(absl::IsNotFound(store_->Read("r2").status()));
}

TEST_F(RunStoreTest, TheOldestRunsThatAreOverAreForgotten) {
  ASSERT_EQ(store_->Begin(SpecOf("open", "other"), {"fence"}), absl::OkStatus());
  for (size_t i = 0; i < kKeptFailoverRuns + 5; ++i) {
    RunSpec spec = SpecOf("r" + std::to_string(i));
    spec.started_at += absl::Seconds(i + 1);
    ASSERT_EQ(store_->Begin(spec, {"fence"}), absl::OkStatus());
    ASSERT_TRUE(store_->WorkFolder(spec.id).ok());
    ASSERT_EQ(store_->EndRun(spec.id, {.state = RunState::kDone, .error = "", .at = absl::Now()}), absl::OkStatus());
  }
  const auto runs = store_->List();
  ASSERT_TRUE(runs.ok()) << runs.status();
  EXPECT_EQ(runs->back().spec.id, "open");
  EXPECT_TRUE(absl::IsNotFound(store_->Read("r0").status()));
  EXPECT_TRUE(store_->Read("r104").ok());
  // A run that is forgotten leaves no backup archive behind.
  const std::string folders = folder_.Path() + "/state/failover/runs/";
  EXPECT_FALSE(std::filesystem::exists(folders + "r0"));
  EXPECT_TRUE(std::filesystem::exists(folders + "r104"));
}

// A process that is late must not make something else of a run that somebody gave up.
TEST_F(RunStoreTest, ARunThatIsOverStaysAsItEnded) {
  ASSERT_EQ(store_->Begin(SpecOf("r1"), {"fence"}), absl::OkStatus());
  ASSERT_EQ(store_->EndRun("r1", {.state = RunState::kAborted, .error = "given up", .at = absl::Now()}),
            absl::OkStatus());
  const absl::Status late = store_->EndRun("r1", {.state = RunState::kDone, .error = "", .at = absl::Now()});
  EXPECT_TRUE(absl::IsFailedPrecondition(late)) << late;
  EXPECT_EQ(store_->Read("r1")->state, RunState::kAborted);
  EXPECT_EQ(store_->Read("r1")->error, "given up");
}

TEST_F(RunStoreTest, OneProcessHasAPlan) {
  auto lease = store_->Lease("shop");
  ASSERT_TRUE(lease.ok()) << lease.status();
  EXPECT_TRUE(absl::IsFailedPrecondition(store_->Lease("shop").status()));
  EXPECT_TRUE(store_->Lease("other").ok());
}

}  // namespace
}  // namespace understudy::control
