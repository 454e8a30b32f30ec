// The report of a failover run as a value and as JSON. golden/NAME.json and golden/NAME.txt are what the samples
// become; with UNDERSTUDY_WRITE_GOLDEN set they are written anew, to be read before they are kept.
#include "control/report/failover_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <sstream>

#include "control/report/failover_advice.h"
#include "control/report/failover_render.h"
#include "tests/support/process.h"
#include "tests/unit/control/report/failover_samples.h"

namespace understudy::control {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

FailoverReport Built(const RunRecord& run) {
  return BuildFailoverReport(run, At(30'000));
}

std::vector<std::string> Commands(const std::vector<Advice>& advice) {
  std::vector<std::string> commands;
  for (const Advice& one : advice) {
    if (!one.command.empty()) commands.push_back(one.command);
  }
  return commands;
}

std::string Texts(const std::vector<Advice>& advice) {
  std::string texts;
  for (const Advice& one : advice) texts += one.text + "\n";
  return texts;
}

struct Sample {
  std::string name;
  RunRecord run;
};

std::vector<Sample> Samples() {
  return {{"planned_done", PlannedRun()}, {"unplanned_done", UnplannedRun()}, {"failed", FailedRun()},
          {"partial", PartialRun()},      {"aborted", AbortedRun()},          {"resumed", ResumedRun()},
          {"test_done", TestRun(false)}};
}

class FailoverGoldenTest : public testing::TestWithParam<Sample> {
 protected:
  static void ExpectAsGolden(const std::string& ending, const std::string& text) {
    const std::string path = tests::SourcePath("tests/unit/control/report/golden/" + GetParam().name + ending);
    if (std::getenv("UNDERSTUDY_WRITE_GOLDEN") != nullptr) std::ofstream(path) << text;
    std::ifstream file(path);
    std::stringstream golden;
    golden << file.rdbuf();
    EXPECT_EQ(text, golden.str()) << path;
  }
};

TEST_P(FailoverGoldenTest, IsTheDocumentAndTheTextOfTheFiles) {
  const FailoverReport report = Built(GetParam().run);
  ExpectAsGolden(".json", ToJson(report).dump(2) + "\n");
  ExpectAsGolden(".txt", RenderText(report));
  if (GetParam().name == "resumed") ExpectAsGolden(".html", RenderHtml(report));
}

TEST_P(FailoverGoldenTest, TheDocumentHoldsAllThatTheReportIs) {
  const nlohmann::ordered_json json = ToJson(Built(GetParam().run));
  const absl::StatusOr<FailoverReport> parsed = ParseFailoverReport(json.dump());
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(ToJson(*parsed), json);
  EXPECT_EQ(RenderHtml(*parsed), RenderHtml(Built(GetParam().run)));
}

INSTANTIATE_TEST_SUITE_P(Samples, FailoverGoldenTest, testing::ValuesIn(Samples()),
                         [](const auto& sample) { return sample.param.name; });

TEST(FailoverReportTest, WhatIsNoSuchDocumentIsRefused) {
  EXPECT_TRUE(absl::IsInvalidArgument(ParseFailoverReport("").status()));
  EXPECT_TRUE(absl::IsInvalidArgument(ParseFailoverReport("{}").status()));
  nlohmann::ordered_json json = ToJson(Built(PlannedRun()));
  json["schema_version"] = 2;
  EXPECT_TRUE(absl::IsFailedPrecondition(ParseFailoverReport(json.dump()).status()));
  json["schema_version"] = 1;
  json["steps"][0]["items"][0]["state"] = "eaten";
  EXPECT_THAT(std::string(MessageOf(ParseFailoverReport(json.dump()).status())), HasSubstr("eaten"));
}

// Facts are of other steps' making; what isn't as it should be is as if it weren't there.
TEST(FailoverReportTest, FactsThatAreMissingOrOfAnotherKindAreNotKnown) {
  for (const char* const facts : {"null", "[]", "{}", R"({"volumes": 3, "machines": [1, {"name": 2}]})",
                                  R"({"epoch": "x", "data_age_seconds": "y", "captured_at": 3, "hooks": [7]})"}) {
    RunRecord run = PlannedRun();
    for (StepRecord& step : run.steps) {
      for (ItemRecord& item : step.items) item.facts = nlohmann::ordered_json::parse(facts);
    }
    const FailoverReport report = Built(run);
    ASSERT_THAT(report.volumes, SizeIs(2)) << facts;
    EXPECT_FALSE(report.volumes[0].epoch.has_value());
    EXPECT_FALSE(report.volumes[0].data_age.has_value());
    EXPECT_EQ(report.machines.size(), 3U);
    EXPECT_THAT(RenderText(report), HasSubstr("promotion done"));
    EXPECT_THAT(RenderHtml(report), HasSubstr("</html>"));
  }
  RunRecord nothing;
  nothing.spec.started_at = At(0);
  EXPECT_THAT(Built(nothing).volumes, IsEmpty());
  EXPECT_THAT(RenderHtml(Built(nothing)), HasSubstr("</html>"));
}

TEST(RecoveryTimeTest, EndsWhenTheLastMachineIsWell) {
  const RecoveryTime time = Built(PlannedRun()).recovery_time;
  EXPECT_EQ(time.basis, RecoveryBasis::kMachines);
  EXPECT_EQ(time.of, 2U) << "the third isn't to run";
  EXPECT_EQ(time.took, absl::Seconds(175.5));
}

TEST(RecoveryTimeTest, WithoutMachinesEndsWhenTheLastVolumeIsActive) {
  RunRecord run = PlannedRun();
  StepOf(run, "inventory").items[0].facts["machines"] = nlohmann::ordered_json::array();
  for (const char* const step : {"stop-vms", "boot", "probe"}) StepOf(run, step).items.clear();
  const RecoveryTime time = Built(run).recovery_time;
  EXPECT_EQ(time.basis, RecoveryBasis::kVolumes);
  EXPECT_EQ(time.took, absl::Seconds(80));
}

TEST(RecoveryTimeTest, IsNotReachedUntilAllAreWell) {
  const RecoveryTime partial = Built(PartialRun()).recovery_time;
  EXPECT_EQ(partial.reached, 1U);
  EXPECT_EQ(partial.of, 2U);
  EXPECT_FALSE(partial.took.has_value());
  EXPECT_EQ(partial.last_at, At(150));
  const RecoveryTime failed = Built(FailedRun()).recovery_time;
  EXPECT_EQ(failed.basis, RecoveryBasis::kMachines);
  EXPECT_EQ(failed.reached, 0U);
  EXPECT_EQ(failed.of, 2U) << "the machine that is off isn't waited for";
}

TEST(RecoveryPointTest, IsNothingAfterAFenceAndElseTheAgeOfTheWorst) {
  EXPECT_EQ(Built(PlannedRun()).recovery_point.worst, absl::ZeroDuration());
  const FailoverReport unplanned = Built(UnplannedRun());
  EXPECT_EQ(unplanned.recovery_point.worst, absl::Seconds(32.5));
  EXPECT_EQ(unplanned.volumes[1].recovery_point, absl::Seconds(29.5));
  RunRecord unfenced = PlannedRun();
  StepOf(unfenced, "fence").items[0].state = ItemState::kLeftOut;
  EXPECT_EQ(Built(unfenced).recovery_point.worst, absl::Seconds(32.5));
}

TEST(RecoveryPointTest, IsNotKnownWhenItIsNotKnownOfOne) {
  RunRecord run = UnplannedRun();
  StepOf(run, "promote").items[0].facts.erase("data_age_seconds");
  const RecoveryPoint point = Built(run).recovery_point;
  EXPECT_FALSE(point.worst.has_value());
  EXPECT_EQ(point.unknown, 1U);
  EXPECT_EQ(point.volumes, 2U);
}

TEST(GapsTest, AStepThatWasTakenUpAgainHasAGapInIt) {
  const std::vector<RunGap> gaps = Built(ResumedRun()).gaps;
  ASSERT_THAT(gaps, SizeIs(1));
  EXPECT_EQ(gaps[0].begin, At(77)) << "the last thing recorded before: the other volume's end";
  EXPECT_EQ(gaps[0].end, At(2480));
  EXPECT_EQ(gaps[0].after, "promote");
  EXPECT_EQ(gaps[0].before, "promote");
  EXPECT_EQ(gaps[0].reason, "resumed by bob@bastion");
}

TEST(GapsTest, BetweenStepsAndBeforeTheEnd) {
  EXPECT_THAT(Built(PlannedRun()).gaps, IsEmpty());
  RunRecord run = PlannedRun();
  for (StepRecord* const step : {&StepOf(run, "clean-up")}) {
    step->begun_at = step->items[0].begun_at = At(500);
    step->ended_at = step->items[0].ended_at = At(501);
  }
  run.ended_at = At(600);
  const std::vector<RunGap> gaps = Built(run).gaps;
  ASSERT_THAT(gaps, SizeIs(2));
  EXPECT_EQ(gaps[0].begin, At(178));
  EXPECT_EQ(gaps[0].end, At(500));
  EXPECT_EQ(gaps[0].after, "probe");
  EXPECT_EQ(gaps[0].before, "clean-up");
  EXPECT_EQ(gaps[0].reason, "");
  EXPECT_EQ(gaps[1].end, At(600));
  EXPECT_EQ(gaps[1].before, "");
}

TEST(GapsTest, ARunThatNobodyRunsIsAGapUntilNow) {
  RunRecord run = FailedRun();
  run.state = RunState::kInterrupted;
  run.ended_at.reset();
  ItemRecord& item = StepOf(run, "promote").items[0];
  item.state = ItemState::kRunning;
  item.ended_at.reset();
  std::vector<RunGap> gaps = Built(run).gaps;
  ASSERT_THAT(gaps, SizeIs(1));
  EXPECT_EQ(gaps[0].begin, At(77));
  EXPECT_EQ(gaps[0].end, At(30'000));
  EXPECT_EQ(gaps[0].reason, "nobody runs it");
  run.state = RunState::kRunning;
  EXPECT_THAT(Built(run).gaps, IsEmpty()) << "it is at work";
}

TEST(AdviceTest, AFailedRunNamesTheCauseAndBothWaysOn) {
  const FailoverReport report = Built(FailedRun());
  EXPECT_THAT(report.next[0].text, HasSubstr("promote east/pv-db: hook pre-promote/10-dns: exit code 1"));
  EXPECT_THAT(Commands(report.next),
              ElementsAre("drctl failover resume 20260102T030405Z-1f2e", "drctl failover abort 20260102T030405Z-1f2e"));
  EXPECT_THAT(report.stays, SizeIs(8)) << "what would stay";
}

TEST(AdviceTest, AnAbortedRunIsTakenBackTheLastThingFirst) {
  const FailoverReport report = Built(AbortedRun());
  EXPECT_THAT(Commands(report.stays),
              ElementsAre("drctl volumes demote pv-db --pair east", "drctl volumes demote pv-web --pair east",
                          "drctl volumes resume pv-db --pair east", "drctl volumes resume pv-web --pair east",
                          "drctl exports set pv-db rw --site primary --pair east",
                          "drctl exports set pv-web rw --site primary --pair east", "virtctl start db -n shop",
                          "virtctl start web -n shop"))
      << "what was so before, as a machine that was off, isn't taken back";
  EXPECT_THAT(report.stays[0].text, HasSubstr("Perhaps"));
  EXPECT_THAT(report.stays[1].text, testing::Not(HasSubstr("Perhaps")));
}

TEST(AdviceTest, WhatWasTakenBackAndNotPromotedIsHeldUntilItIsResumed) {
  RunRecord run = UnplannedRun();
  run.state = RunState::kAborted;
  for (StepRecord& step : run.steps) {
    for (ItemRecord& item : step.items) {
      if (step.name == "verify") item.facts["taken_back"] = 11;
      if (step.name != "promote") continue;
      item.facts["taken_back"] = 12;
      if (item.key == "east/pv-web") item.state = ItemState::kFailed;
    }
  }
  const std::vector<Advice> stays = StaysOf(run);
  ASSERT_FALSE(stays.empty());
  EXPECT_THAT(stays.back().text, HasSubstr("Volume east/pv-web was taken back to commit 12"));
  EXPECT_EQ(stays.back().command, "drctl volumes resume pv-web --pair east");
  EXPECT_THAT(Commands(stays), testing::Not(testing::Contains("drctl volumes resume pv-db --pair east")));
  EXPECT_THAT(Commands(stays), testing::Contains("drctl volumes resume pv-web --pair east").Times(1));
}

TEST(AdviceTest, ADoneRunLeadsToProtectionTheOtherWay) {
  EXPECT_THAT(Commands(Built(PlannedRun()).next), ElementsAre("drctl reprotect shop"));
  EXPECT_THAT(Built(PlannedRun()).stays, IsEmpty());
  const std::string unplanned = Texts(Built(UnplannedRun()).next);
  EXPECT_THAT(unplanned, HasSubstr("east/pv-web was never across as a whole"));
  EXPECT_THAT(unplanned, HasSubstr("in the last 32.5 s before the promotion of east/pv-db"));
  EXPECT_THAT(unplanned, HasSubstr("keep its virtual machines stopped"));
  RunRecord reprotect = PlannedRun();
  reprotect.spec.mode = RunMode::kReprotect;
  EXPECT_THAT(Commands(Built(reprotect).next), ElementsAre("drctl status", "drctl failback shop"));
}

TEST(AdviceTest, APartialRunNamesItsMachines) {
  const FailoverReport report = Built(PartialRun());
  EXPECT_THAT(Commands(report.next), ElementsAre("kubectl -n shop describe vm,vmi db",
                                                 "kubectl -n shop describe vm,vmi web", "drctl reprotect shop"));
  EXPECT_THAT(Texts(report.next), HasSubstr("shop/web at DR: ErrorUnschedulable"));
}

TEST(AdviceTest, ATestSaysWhatIsLeftOver) {
  EXPECT_THAT(Texts(Built(TestRun(false)).next), HasSubstr("Nothing is left over"));
  EXPECT_THAT(Commands(Built(TestRun(true)).next), ElementsAre("drctl failover clean 20260102T030405Z-1f2e"));
  RunRecord half = TestRun(false);
  StepOf(half, "remove").items[0].state = ItemState::kFailed;
  StepOf(half, "remove").ended_at.reset();
  const std::string texts = Texts(Built(half).next);
  EXPECT_THAT(texts, HasSubstr("isn't removed yet"));
  EXPECT_THAT(texts, HasSubstr("Left over: remove copy of east/pv-db"));
  EXPECT_THAT(texts, testing::Not(HasSubstr("objects\n")));
}

TEST(AdviceTest, ARehearsalThatFailedIsResumedOrRemovedUntilItIsOver) {
  RunRecord run = TestRun(/*keep=*/true);
  run.state = RunState::kFailed;
  EXPECT_THAT(Commands(Built(run).next),
              ElementsAre("drctl failover clean 20260102T030405Z-1f2e", "drctl failover resume 20260102T030405Z-1f2e"));
  run = TestRun(/*keep=*/false);
  run.state = RunState::kFailed;
  EXPECT_THAT(Commands(Built(run).next), ElementsAre("drctl failover test shop"));
}

TEST(AdviceTest, AnExportThatWasOffGoesOffAgain) {
  RunRecord run = AbortedRun();
  StepOf(run, "fence").items[0].facts["exported_before"] = "none";
  EXPECT_THAT(Commands(Built(run).stays), testing::Contains("drctl exports set pv-db none --site primary --pair east"));
}

TEST(AdviceTest, AFailbackIsTakenBackAtDr) {
  RunRecord run = AbortedRun();
  run.spec.mode = RunMode::kFailback;
  const FailoverReport report = Built(run);
  EXPECT_THAT(Commands(report.stays), testing::Contains("drctl exports set pv-db rw --site dr --pair east"));
  EXPECT_THAT(Texts(report.stays), testing::AllOf(HasSubstr("is read-only at DR"), HasSubstr("is stopped at DR")));
  EXPECT_THAT(RenderHtml(report), HasSubstr("stopped at DR"));
  run.state = RunState::kDone;
  EXPECT_THAT(Texts(Built(run).next), HasSubstr("Check the applications at the primary"));
}

TEST(AdviceTest, AReprotectionAfterAFailbackStopsMachinesAtDr) {
  RunRecord run{.spec = {.id = "r", .plan = "shop", .mode = RunMode::kReprotect}, .state = RunState::kFailed};
  run.steps.push_back({.name = "inventory", .items = {{.state = ItemState::kDone, .facts = {{"live_at", "primary"}}}}});
  run.steps.push_back({.name = "stop-vms", .items = {{.key = "shop/db", .state = ItemState::kDone}}});
  EXPECT_THAT(Texts(Built(run).stays), HasSubstr("shop/db is stopped at DR"));
  run.steps[0].items[0].facts["live_at"] = "dr";
  EXPECT_THAT(Texts(Built(run).stays), HasSubstr("shop/db is stopped at the primary"));
}

TEST(WarningsTest, AreInTheFirstLinesTheSubjectAndEachRendering) {
  RunRecord run = PlannedRun();
  for (StepRecord& step : run.steps) {
    for (ItemRecord& item : step.items) item.warnings.clear();
  }
  StepOf(run, "inventory").items[0].facts.erase("unknown_storage");
  ASSERT_EQ(run.state, RunState::kDone);
  StepOf(run, "restore").items[0].warnings = {"Restore r1: Completed, 2 warnings"};
  const FailoverReport report = Built(run);
  const std::string text = RenderText(report);
  EXPECT_LT(text.find("1 warning: restore: Restore r1: Completed, 2 warnings"), text.find("WHAT TO DO NEXT"));
  EXPECT_THAT(SubjectOf(report), testing::EndsWith(", 1 warning"));
  EXPECT_THAT(RenderHtml(report), HasSubstr("1 warning: restore: Restore r1"));
  EXPECT_EQ(ToJson(report)["warnings"][0]["text"], "Restore r1: Completed, 2 warnings");
}

TEST(AdviceTest, ANameCantBecomeAnotherCommand) {
  EXPECT_EQ(ShellWord("pv-db"), "pv-db");
  EXPECT_EQ(ShellWord("-rf"), "'-rf'");
  EXPECT_EQ(ShellWord("a; rm -rf $HOME"), "'a; rm -rf $HOME'");
  EXPECT_EQ(ShellWord("it's"), "'it'\\''s'");
  EXPECT_EQ(ShellWord(""), "''");
}

}  // namespace
}  // namespace understudy::control
