// A replica in the midst of a capture that takes several commits: a state that the primary never had.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <string>

#include "tests/unit/agent-dr/commit/engine_fixture.h"

namespace understudy::tests {
namespace {

using ::testing::HasSubstr;

class MidstOfCaptureTest : public ::testing::Test {
 protected:
  std::string Content(const std::string& name) {
    std::ifstream file(host_.RootOf("vol") + "/" + name);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  DrHost host_;
};

TEST_F(MidstOfCaptureTest, IsNotPromotedAndTheWayBackStays) {
  const auto promote = [](dr::CommitEngine& engine) { return engine.BeginPromotion("vol", false); };
  {
    const auto engine = host_.Start();
    auto session = engine->Open({"vol", host_.RootOf("vol"), 0});
    model::Commit whole = NextCommit(session->State(), {InlinePut("a", "1"), InlinePut("b", "1")});
    whole.captured_at_nanoseconds = 5;
    ASSERT_TRUE(session->SubmitDurable(whole).ok());
    ASSERT_TRUE(session->Publish().ok());
    for (const char* const name : {"a", "c"}) {
      model::Commit part = NextCommit(session->State(), {InlinePut(name, "2")});
      part.completes_capture = false;
      ASSERT_TRUE(session->SubmitDurable(part).ok());
      ASSERT_TRUE(session->Publish().ok());
    }
    const absl::Status refused = promote(*engine).status();
    EXPECT_TRUE(absl::IsFailedPrecondition(refused)) << refused;
    EXPECT_THAT(std::string(refused.message()), HasSubstr("drctl points rewind vol 1"));
  }
  const auto engine = host_.Start();
  EXPECT_TRUE(absl::IsFailedPrecondition(promote(*engine).status())) << "after a restart, too";
  EXPECT_TRUE(engine->State("vol")->midst_of_capture);
  EXPECT_EQ(engine->State("vol")->newest_whole, (model::WholeState{1, 5}));
  ASSERT_TRUE(engine->Rewind("vol", 1).ok());
  EXPECT_FALSE(engine->State("vol")->midst_of_capture);
  EXPECT_EQ(engine->Points("vol")->size(), 3u) << "what came after is kept until the promotion";
  EXPECT_TRUE(promote(*engine).ok());
  EXPECT_EQ(Content("a"), "1");
}

TEST_F(MidstOfCaptureTest, KeepsTheNewestWholeStateWhateverTheClockSays) {
  const auto engine = host_.Start();
  auto session = engine->Open({"vol", host_.RootOf("vol"), 0});
  const auto commit = [&](const char* content, bool completes) {
    model::Commit next = NextCommit(session->State(), {InlinePut("a", content)});
    next.completes_capture = completes;
    ASSERT_TRUE(session->SubmitDurable(next).ok());
    ASSERT_TRUE(session->Publish().ok());
  };
  commit("1", true);
  commit("2", true);
  // The clock was ahead, and is set right.
  host_.AdvanceClock(-absl::Hours(1));
  commit("3", true);
  commit("part", false);
  commit("another part", false);
  EXPECT_EQ(engine->State("vol")->newest_whole->sequence, 3u);
  // All that isn't of the newest quarter of an hour is more than is kept.
  host_.AdvanceClock(absl::Hours(48));
  absl::StatusOr<size_t> merged = 1;
  while (merged.ok() && *merged > 0) merged = engine->Thin("vol");
  ASSERT_TRUE(merged.ok()) << merged.status();
  EXPECT_EQ(engine->State("vol")->newest_whole->sequence, 3u);
  ASSERT_TRUE(engine->Rewind("vol", 3).ok());
  EXPECT_EQ(Content("a"), "3");
}

TEST_F(MidstOfCaptureTest, WasNeverWholeWhenItWasPromotedAllTheSame) {
  const auto engine = host_.Start();
  auto session = engine->Open({"vol", host_.RootOf("vol"), 0});
  for (const bool completes : {true, false}) {
    model::Commit commit = NextCommit(session->State(), {InlinePut("a", completes ? "1" : "2")});
    commit.completes_capture = completes;
    ASSERT_TRUE(session->SubmitDurable(commit).ok());
    ASSERT_TRUE(session->Publish().ok());
  }
  ASSERT_TRUE(engine->BeginPromotion("vol", true).ok() && engine->FinishPromotion("vol").ok());
  EXPECT_EQ(Content("a"), "2");
  EXPECT_FALSE(engine->State("vol")->complete);
  ASSERT_TRUE(engine->BeginDemotion("vol").ok() && engine->FinishDemotion("vol").ok());
  EXPECT_TRUE(absl::IsFailedPrecondition(engine->BeginPromotion("vol", false).status()));
}

}  // namespace
}  // namespace understudy::tests
