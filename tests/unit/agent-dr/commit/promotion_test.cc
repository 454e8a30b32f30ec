// Promotion and demotion of a replica: what they end, what they keep, and that each of their steps may be cut by a
// crash and asked for again.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <set>
#include <stop_token>
#include <string>
#include <vector>

#include "core/wire/status_fence.h"
#include "tests/unit/agent-dr/commit/engine_fixture.h"
#include "tests/unit/agent-dr/commit/waiting_promotion.h"

namespace understudy::tests {
namespace {

using model::VolumeState;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// Ends the process, or fails, at the `at`-th step that is reached once it is armed.
class EndAt : public dr::FaultPoints {
 public:
  EndAt(size_t at, bool fails) : at_(at), fails_(fails) {}
  absl::Status Reach(dr::Step, size_t) override {
    if (!armed_ || reached_++ != at_) return absl::OkStatus();
    if (fails_) return absl::InternalError("EIO");
    _exit(kCrashed);
  }
  void Arm() { armed_ = true; }
  [[nodiscard]] bool was_reached() const { return reached_ > at_; }

 private:
  const size_t at_;
  const bool fails_;
  bool armed_ = false;
  size_t reached_ = 0;
};

// The newest commit is durable, and not in the folder yet.
absl::Status MakeTwoCommits(dr::CommitEngine& engine, const std::string& root) {
  auto session = engine.Open({"vol", root, 0});
  RETURN_IF_ERROR(session.status());
  RETURN_IF_ERROR(session->SubmitDurable(NextCommit(session->State(), {InlinePut("a", "old"), InlinePut("b", "b")})));
  RETURN_IF_ERROR(session->Publish());
  return session->SubmitDurable(NextCommit(
      session->State(), {model::Remove{"b", model::FileKind::kRegular}, InlinePut("a", "new"), InlinePut("c", "c")}));
}

bool Promote(dr::CommitEngine& engine) {
  return engine.BeginPromotion("vol", false).ok() && engine.FinishPromotion("vol").ok();
}
bool Demote(dr::CommitEngine& engine) {
  return engine.BeginDemotion("vol").ok() && engine.FinishDemotion("vol").ok();
}

class PromotionTest : public ::testing::Test {
 protected:
  std::string Content(const std::string& name) {
    std::ifstream file(host_.RootOf("vol") + "/" + name);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  DrHost host_;
};

TEST_F(PromotionTest, ShowsWhatWasDurableEndsTheSessionAndGivesUndoRecordsUp) {
  const auto engine = host_.Start();
  ASSERT_TRUE(MakeTwoCommits(*engine, host_.RootOf("vol")).ok());
  auto session = engine->Open({"vol", host_.RootOf("vol"), 0});
  ASSERT_TRUE(session.ok());
  ASSERT_TRUE(session->StageBegin(1, "large", 1 << 20, "").ok());
  const model::Commit late = NextCommit(session->State(), {InlinePut("late", "late")});
  ASSERT_FALSE(engine->Points("vol")->empty());

  const auto promoting = engine->BeginPromotion("vol", false);
  ASSERT_TRUE(promoting.ok()) << promoting.status();
  EXPECT_EQ(promoting->state, VolumeState::kPromoting);
  EXPECT_EQ(promoting->epoch, 2u);
  EXPECT_EQ(promoting->published_sequence, 2u);
  EXPECT_EQ(Content("a"), "new");
  EXPECT_FALSE(std::filesystem::exists(host_.RootOf("vol") + "/b"));
  EXPECT_THAT(*engine->Points("vol"), IsEmpty());
  EXPECT_THAT(host_.KeptForUndo(), IsEmpty());
  const std::vector<std::string> left = host_.LeftInWorkFolder();

  // Not one byte of an earlier session.
  const std::string shown = Show(*engine, "vol");
  for (const absl::Status& refused : {session->StageData(1, 0, "x"), session->StageHole(1, 0, 1), session->StageEnd(1),
                                      session->StageBegin(2, "other", 1, ""),
                                      session->StageResume(2, "other", 1, "").status(), session->SubmitDurable(late)}) {
    EXPECT_TRUE(absl::IsFailedPrecondition(refused)) << refused;
    EXPECT_EQ(wire::FenceOf(refused), 2u);
    EXPECT_THAT(std::string(refused.message()), HasSubstr("drctl volumes demote vol"));
  }
  EXPECT_EQ(Show(*engine, "vol"), shown);
  EXPECT_EQ(host_.LeftInWorkFolder(), left);
  ASSERT_TRUE(engine->FinishPromotion("vol").ok());
  ASSERT_TRUE(engine->SetHooksRun("vol").ok());
  EXPECT_TRUE(engine->DiscardRemoved({}).ok());
  EXPECT_THAT(host_.LeftInWorkFolder(), IsEmpty());
  for (const model::Epoch epoch : {0, 1, 2, 3}) {
    EXPECT_EQ(wire::FenceOf(engine->Open({"vol", host_.RootOf("vol"), epoch}).status()), 2u) << epoch;
  }
  EXPECT_TRUE(absl::IsFailedPrecondition(engine->Rewind("vol", 2)));
}

// A commit whose number and base would fit, by whoever claims the new epoch.
TEST_F(PromotionTest, AMessageThatClaimsTheNewEpochNeedsASessionAllTheSame) {
  const auto engine = host_.Start();
  ASSERT_TRUE(MakeTwoCommits(*engine, host_.RootOf("vol")).ok());
  auto session = engine->Open({"vol", host_.RootOf("vol"), 0});
  ASSERT_TRUE(Promote(*engine) && Demote(*engine));
  model::Commit commit = NextCommit(*engine->State("vol"), {InlinePut("late", "late")});
  EXPECT_EQ(wire::FenceOf(session->SubmitDurable(commit)), 2u);
  session->SetEpoch(2);
  EXPECT_TRUE(absl::IsFailedPrecondition(session->SubmitDurable(commit)));
  EXPECT_EQ(engine->State("vol")->sequence, 4u);
}

TEST_F(PromotionTest, IsKnownAfterARestart) {
  {
    const auto engine = host_.Start();
    ASSERT_TRUE(MakeTwoCommits(*engine, host_.RootOf("vol")).ok());
    ASSERT_TRUE(Promote(*engine));
    ASSERT_TRUE(Promote(*engine)) << "once more";
  }
  const auto engine = host_.Start();
  EXPECT_EQ(engine->State("vol")->state, VolumeState::kActive);
  EXPECT_EQ(engine->State("vol")->epoch, 2u);
  EXPECT_TRUE(engine->State("vol")->hooks_due);
  ASSERT_TRUE(engine->SetHooksRun("vol").ok());
  EXPECT_FALSE(engine->State("vol")->hooks_due);
  EXPECT_TRUE(absl::IsFailedPrecondition(engine->FinishDemotion("vol").status()));
}

TEST_F(PromotionTest, ADemotedReplicaTakesAnyPrimaryUntilOneHasCommitted) {
  std::string replica_id;
  {
    const auto engine = host_.Start();
    ASSERT_TRUE(MakeTwoCommits(*engine, host_.RootOf("vol")).ok());
    ASSERT_TRUE(Promote(*engine));
    std::ofstream(host_.RootOf("vol") + "/a") << "written at DR";
    ASSERT_TRUE(Demote(*engine));
    ASSERT_TRUE(Demote(*engine)) << "once more";
  }
  const auto engine = host_.Start();
  auto state = engine->State("vol");
  EXPECT_EQ(state->state, VolumeState::kStandby);
  EXPECT_EQ(state->sequence, 4u);
  EXPECT_EQ(state->commit_id, "");
  EXPECT_FALSE(state->complete);

  // The old primary, twice: what it learned may have been lost.
  ASSERT_TRUE(engine->Open({"vol", host_.RootOf("vol"), 1}).ok());
  auto session = engine->Open({"vol", host_.RootOf("vol"), 1});
  ASSERT_TRUE(session.ok()) << session.status();
  EXPECT_EQ(session->State().epoch, 2u);
  model::Commit commit = NextCommit(session->State(), {InlinePut("a", "the primary's")});
  ASSERT_TRUE(session->SubmitDurable(commit).ok());
  ASSERT_TRUE(session->Publish().ok());
  EXPECT_EQ(Content("a"), "the primary's");
  EXPECT_TRUE(engine->State("vol")->complete);
  EXPECT_EQ(wire::FenceOf(engine->Open({"vol", host_.RootOf("vol"), 1}).status()), 2u) << "another old one";
  EXPECT_TRUE(engine->Open({"vol", host_.RootOf("vol"), 2}).ok());
  // What was written at DR is a state like any other.
  ASSERT_TRUE(engine->Rewind("vol", 4).ok());
  EXPECT_EQ(Content("a"), "written at DR");
}

// What clients left is whole; half of it and half of a primary's capture isn't.
TEST_F(PromotionTest, ADemotedReplicaIsPromotedAgainAsItIsUntilACommitCame) {
  {
    const auto engine = host_.Start();
    ASSERT_TRUE(MakeTwoCommits(*engine, host_.RootOf("vol")).ok());
    ASSERT_TRUE(Promote(*engine));
    std::ofstream(host_.RootOf("vol") + "/a") << "written at DR";
    ASSERT_TRUE(Demote(*engine));
  }
  {
    const auto engine = host_.Start();
    EXPECT_TRUE(engine->NewestPoint("vol")->complete);
    ASSERT_TRUE(Promote(*engine));
    EXPECT_TRUE(engine->State("vol")->complete);
    EXPECT_EQ(engine->State("vol")->epoch, 3u);
    ASSERT_TRUE(Demote(*engine));
    auto session = engine->Open({"vol", host_.RootOf("vol"), 1});
    ASSERT_TRUE(session.ok());
    model::Commit part = NextCommit(session->State(), {InlinePut("a", "the primary's")});
    part.completes_capture = false;
    ASSERT_TRUE(session->SubmitDurable(part).ok());
    EXPECT_TRUE(absl::IsFailedPrecondition(engine->BeginPromotion("vol", false).status()));
  }
  const auto engine = host_.Start();
  EXPECT_TRUE(absl::IsFailedPrecondition(engine->BeginPromotion("vol", false).status()));
  ASSERT_TRUE(engine->Rewind("vol", 6).ok());
  EXPECT_EQ(Content("a"), "written at DR");
  EXPECT_TRUE(engine->BeginPromotion("vol", false).ok());
}

TEST_F(PromotionTest, APartStaysAPartWhenItWasPromotedAllTheSame) {
  const auto engine = host_.Start();
  auto session = engine->Open({"vol", host_.RootOf("vol"), 0});
  model::Commit part = NextCommit(session->State(), {InlinePut("a", "a")});
  part.completes_capture = false;
  ASSERT_TRUE(session->SubmitDurable(part).ok());
  ASSERT_TRUE(engine->BeginPromotion("vol", true).ok() && engine->FinishPromotion("vol").ok());
  ASSERT_TRUE(Demote(*engine));
  EXPECT_TRUE(absl::IsFailedPrecondition(engine->BeginPromotion("vol", false).status()));
}

TEST_F(PromotionTest, ThatBelongsToARestartIsFencedAsWell) {
  {
    const auto engine = host_.Start();
    ASSERT_TRUE(MakeTwoCommits(*engine, host_.RootOf("vol")).ok());
    ASSERT_TRUE(Promote(*engine) && Demote(*engine));
    auto session = engine->Open({"vol", host_.RootOf("vol"), 1});
    ASSERT_TRUE(session->SubmitDurable(NextCommit(session->State(), {InlinePut("a", "x")})).ok());
  }
  EXPECT_EQ(wire::FenceOf(host_.Start()->Open({"vol", host_.RootOf("vol"), 1}).status()), 2u);
}

TEST_F(PromotionTest, NothingIsKnownOfContentsThatClientsWriteTo) {
  const auto engine = host_.Start();
  ASSERT_TRUE(MakeTwoCommits(*engine, host_.RootOf("vol")).ok());
  const auto known = [&] {
    uint64_t files = 0;
    const absl::Status looked =
        (*engine->FindReplica("vol"))->WithPublished([&](const dr::Replica::Published& published) -> absl::Status {
          dr::ContentTable contents = published.contents;
          ASSIGN_OR_RETURN(files, contents.Count());
          ASSIGN_OR_RETURN(const auto damages, contents.ListDamage());
          ASSIGN_OR_RETURN(const auto place, contents.LoadPlace());
          return damages.empty() && !place.under_way ? absl::OkStatus() : absl::DataLossError("more is known");
        });
    EXPECT_TRUE(looked.ok()) << looked;
    return files;
  };
  EXPECT_GT(known(), 0u);
  ASSERT_TRUE((*engine->FindReplica("vol"))
                  ->WithPublished([](const dr::Replica::Published& published) -> absl::Status {
                    dr::ContentTable contents = published.contents;
                    RETURN_IF_ERROR(contents.PutDamage({.file = {"a", 3, std::nullopt}, .why = "a bit"}).status());
                    return contents.SavePlace({.pass = 3, .under_way = true, .path = "a"}, {});
                  })
                  .ok());
  ASSERT_TRUE(engine->BeginPromotion("vol", false).ok());
  EXPECT_EQ(known(), 0u);
}

TEST_F(PromotionTest, NoTreeIsMadeOfWhatClientsWriteToAndNothingIsCalledOrHeld) {
  const auto engine = host_.Start();
  ASSERT_TRUE(MakeTwoCommits(*engine, host_.RootOf("vol")).ok());
  ASSERT_TRUE(engine->BeginPromotion("vol", false).ok());
  std::filesystem::create_directory(host_.File("clone"));
  for (int state = 0; state < 2; ++state) {
    EXPECT_TRUE(absl::IsFailedPrecondition(engine->ClonePoint("vol", 2, *os::Root::Open(host_.File("clone")), {})));
    EXPECT_TRUE(absl::IsFailedPrecondition(engine->SetLabel("vol", {.point = 2, .label = "mine", .pinned = false})));
    EXPECT_TRUE(absl::IsFailedPrecondition(engine->SetHeld("vol", true)));
    ASSERT_TRUE(engine->FinishPromotion("vol").ok());
  }
  EXPECT_TRUE(std::filesystem::is_empty(host_.File("clone")));
}

// What undo records kept can be more than anybody waits for.
TEST_F(PromotionTest, NeitherItNorAStartTakesApartWhatUndoRecordsKept) {
  {
    const auto engine = host_.Start();
    ASSERT_TRUE(MakeTwoCommits(*engine, host_.RootOf("vol")).ok());
    ASSERT_TRUE(Promote(*engine));
    ASSERT_TRUE(engine->SetHooksRun("vol").ok());
    EXPECT_THAT(host_.LeftInWorkFolder(), testing::Contains(HasSubstr("removed/undo-2/")));
  }
  const auto engine = host_.Start();
  ASSERT_TRUE(Demote(*engine));
  EXPECT_THAT(host_.LeftInWorkFolder(), testing::Contains(HasSubstr("removed/undo-2/")));
  std::stop_source stopped;
  stopped.request_stop();
  EXPECT_TRUE(absl::IsCancelled(engine->DiscardRemoved(stopped.get_token())));
  EXPECT_TRUE(engine->DiscardRemoved({}).ok());
  EXPECT_THAT(host_.LeftInWorkFolder(), IsEmpty());
}

TEST_F(PromotionTest, ADemotionThatIsGivenUpChangesNothing) {
  const auto engine = host_.Start();
  ASSERT_TRUE(MakeTwoCommits(*engine, host_.RootOf("vol")).ok());
  ASSERT_TRUE(Promote(*engine));
  EXPECT_TRUE(absl::IsCancelled(engine->BeginDemotion("vol", [] { return true; }).status()));
  EXPECT_EQ(engine->State("vol")->state, VolumeState::kActive);
}

// Whatever step is cut, the replica is in one of the states, the epoch rose once, and the same request ends it.
void EndEachStep(bool fails, bool (*prepare)(dr::CommitEngine&), bool (*run)(dr::CommitEngine&),
                 const std::set<VolumeState>& expected) {
  std::set<VolumeState> seen;
  for (size_t at = 0;; ++at) {
    SCOPED_TRACE(at);
    DrHost host;
    const auto body = [&] {
      EndAt end(at, fails);
      const auto engine = host.Start(end);
      if (!MakeTwoCommits(*engine, host.RootOf("vol")).ok() || !prepare(*engine)) return false;
      end.Arm();
      const bool done = run(*engine);
      if (!fails) return done;
      if (end.was_reached() && !done) {
        // In the same process: nothing is left that keeps it from going on.
        if (engine->Open({"vol", host.RootOf("vol"), 1}).ok() && engine->State("vol")->state != VolumeState::kStandby)
          return false;
        return run(*engine);
      }
      return done;
    };
    const int result = InProcess(body);
    ASSERT_TRUE(result == 0 || result == kCrashed) << result;
    {
      const auto engine = host.Start();
      ASSERT_THAT(engine->Problems(), IsEmpty());
      const auto state = engine->State("vol");
      seen.insert(state->state);
      const bool before = state->state == VolumeState::kStandby && state->sequence == 2;
      EXPECT_EQ(state->epoch, before ? 1u : 2u);
      EXPECT_EQ(state->published_sequence, state->sequence);
      EXPECT_EQ(engine->Points("vol")->empty(), !before);
      EXPECT_EQ(host.KeptForUndo().empty(), !before);
      if (!before && state->state != VolumeState::kStandby) {
        EXPECT_EQ(wire::FenceOf(engine->Open({"vol", host.RootOf("vol"), 1}).status()), 2u);
      }
      ASSERT_TRUE(run(*engine));
      EXPECT_EQ(engine->State("vol")->epoch, 2u);
      EXPECT_THAT(Show(*engine, "vol"), HasSubstr("a kind1"));
      ASSERT_TRUE(engine->SetHooksRun("vol").ok());
      EXPECT_TRUE(engine->DiscardRemoved({}).ok());
      EXPECT_THAT(host.LeftInWorkFolder(), IsEmpty());
    }
    if (result == 0 && (!fails || at > 40)) break;
  }
  EXPECT_EQ(seen, expected);
}

TEST(PromotionCrashTest, AtEachStepOfAPromotion) {
  EndEachStep(false, [](dr::CommitEngine&) { return true; }, Promote,
              {VolumeState::kStandby, VolumeState::kPromoting, VolumeState::kActive});
}

TEST(PromotionCrashTest, AtEachStepOfADemotion) {
  EndEachStep(false, Promote, Demote, {VolumeState::kActive, VolumeState::kDemoting, VolumeState::kStandby});
}

TEST(PromotionCrashTest, AnErrorAtEachStepOfAPromotionIsNoEnd) {
  EndEachStep(true, [](dr::CommitEngine&) { return true; }, Promote, {VolumeState::kActive});
}

TEST(PromotionCrashTest, AnErrorAtEachStepOfADemotionIsNoEnd) {
  EndEachStep(true, Promote, Demote, {VolumeState::kStandby});
}

}  // namespace
}  // namespace understudy::tests
