#include "control/runs/open_runs.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace understudy::control {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

RunRecord RunOf(const std::string& id, RunMode mode, RunState state, bool over = false) {
  return {.spec = {.id = id, .plan = "plan-of-" + id, .mode = mode}, .state = state, .over = over};
}

TEST(OpenRuns, ARealRunComesBeforeANewerRehearsal) {
  const std::vector<RunRecord> runs = {RunOf("t1", RunMode::kTest, RunState::kDone),
                                       RunOf("r2", RunMode::kUnplanned, RunState::kDone, /*over=*/true),
                                       RunOf("r1", RunMode::kPlanned, RunState::kFailed)};
  EXPECT_EQ(*ChooseOpenRun(runs, /*only_rehearsals=*/false), "r1");
  EXPECT_EQ(*ChooseOpenRun(runs, /*only_rehearsals=*/true), "t1");
  EXPECT_EQ(*ChooseOpenRun({runs[0], runs[1]}, /*only_rehearsals=*/false), "t1");
  EXPECT_TRUE(absl::IsNotFound(ChooseOpenRun({runs[1]}, /*only_rehearsals=*/false).status()));
  EXPECT_TRUE(absl::IsNotFound(ChooseOpenRun({runs[1], runs[2]}, /*only_rehearsals=*/true).status()));
}

TEST(OpenRuns, OfSeveralNoneIsChosenAndAllAreListed) {
  const std::vector<RunRecord> runs = {RunOf("t1", RunMode::kTest, RunState::kFailed),
                                       RunOf("r2", RunMode::kUnplanned, RunState::kInterrupted),
                                       RunOf("r1", RunMode::kPlanned, RunState::kFailed)};
  const absl::Status refused = ChooseOpenRun(runs, /*only_rehearsals=*/false).status();
  EXPECT_TRUE(absl::IsInvalidArgument(refused));
  EXPECT_THAT(std::string(refused.message()),
              AllOf(HasSubstr("r1: plan plan-of-r1, planned, failed"), HasSubstr("r2"), Not(HasSubstr("t1"))));
  EXPECT_EQ(*ChooseOpenRun(runs, /*only_rehearsals=*/true), "t1");
}

TEST(OpenRuns, WhatAProcessWorksOnIsNotMeantWhenThereIsAnother) {
  const std::vector<RunRecord> runs = {RunOf("r2", RunMode::kUnplanned, RunState::kRunning),
                                       RunOf("r1", RunMode::kPlanned, RunState::kFailed)};
  EXPECT_EQ(*ChooseOpenRun(runs, /*only_rehearsals=*/false), "r1");
  EXPECT_EQ(*ChooseOpenRun({runs[0]}, /*only_rehearsals=*/false), "r2");
}

}  // namespace
}  // namespace understudy::control
