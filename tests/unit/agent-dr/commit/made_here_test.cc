// A volume that was made at one side while that was live: that side refuses everybody else's copy of it, until it is
// deleted; and at the other side its first copy goes to an empty folder only.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "core/wire/status_fence.h"
#include "tests/unit/agent-dr/commit/engine_fixture.h"

namespace understudy::tests {
namespace {

namespace fs = std::filesystem;
using model::VolumeState;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class MadeHereTest : public ::testing::Test {
 protected:
  void Write(const std::string& name, const std::string& content) const {
    fs::create_directories(host_.RootOf("vol"));
    std::ofstream(host_.RootOf("vol") + "/" + name) << content;
  }
  [[nodiscard]] model::VolumeSpec Spec(model::Epoch epoch = 1) const { return {"vol", host_.RootOf("vol"), epoch}; }

  DrHost host_;
};

TEST_F(MadeHereTest, WhatIsLiveHereRefusesEveryPrimaryAndBecomesAReplicaForALaterEpoch) {
  Write("disk", "made here");
  {
    const auto engine = host_.Start();
    ASSERT_EQ(engine->RecordMadeHere(Spec()), absl::OkStatus());
    ASSERT_EQ(engine->RecordMadeHere(Spec()), absl::OkStatus()) << "once more";
    ASSERT_TRUE(engine->LetGo("vol", 1).ok());
    EXPECT_TRUE(absl::IsFailedPrecondition(engine->RecordMadeHere({"vol", host_.RootOf("other"), 1})));
  }
  const auto engine = host_.Start();
  const auto state = engine->State("vol");
  ASSERT_TRUE(state.ok()) << state.status();
  EXPECT_EQ(state->state, VolumeState::kActive);
  EXPECT_TRUE(state->reprotected);
  for (const model::Epoch epoch : {0, 1, 9}) {
    EXPECT_EQ(wire::FenceOf(engine->Open(Spec(epoch)).status()), 1u) << epoch;
  }
  EXPECT_TRUE(absl::IsFailedPrecondition(engine->BeginDemotion("vol").status()));
  EXPECT_THAT(Show(*engine, "vol"), HasSubstr("disk"));

  ASSERT_TRUE(engine->BeginAdoption(Spec(2)).ok());
  ASSERT_TRUE(engine->FinishDemotion("vol").ok());
  EXPECT_TRUE(engine->Open(Spec(2)).ok());
  EXPECT_EQ(engine->ForgetMadeHere("vol"), absl::OkStatus());
  EXPECT_TRUE(engine->State("vol").ok()) << "it is a replica since";
}

TEST_F(MadeHereTest, ThatItIsForgottenLeavesItsFolderAndNothingElse) {
  Write("disk", "made here");
  auto engine = host_.Start();
  EXPECT_EQ(engine->ForgetMadeHere("vol"), absl::OkStatus()) << "never known";
  ASSERT_EQ(engine->RecordMadeHere(Spec()), absl::OkStatus());
  ASSERT_EQ(engine->ForgetMadeHere("vol"), absl::OkStatus());
  ASSERT_EQ(engine->ForgetMadeHere("vol"), absl::OkStatus()) << "once more";
  EXPECT_THAT(host_.LeftInWorkFolder(), IsEmpty());
  EXPECT_TRUE(fs::exists(host_.RootOf("vol") + "/disk"));
  engine.reset();
  engine = host_.Start();
  EXPECT_THAT(engine->Problems(), IsEmpty());
  EXPECT_TRUE(absl::IsNotFound(engine->State("vol").status()));
  ASSERT_EQ(engine->RecordMadeHere(Spec()), absl::OkStatus()) << "another one of that name";
}

TEST_F(MadeHereTest, ItIsForgottenThoughItsFolderWentFirst) {
  Write("disk", "made here");
  auto engine = host_.Start();
  ASSERT_EQ(engine->RecordMadeHere(Spec()), absl::OkStatus());
  engine.reset();
  fs::remove_all(host_.RootOf("vol"));
  engine = host_.Start();
  EXPECT_EQ(engine->ForgetMadeHere("vol"), absl::OkStatus());
  EXPECT_TRUE(absl::IsNotFound(engine->State("vol").status()));
}

TEST_F(MadeHereTest, WhatWasPromotedIsNotForgotten) {
  const auto engine = host_.Start();
  auto session = engine->Open(Spec());
  ASSERT_TRUE(session->SubmitDurable(NextCommit(session->State(), {InlinePut("a", "a")})).ok());
  ASSERT_TRUE(engine->BeginPromotion("vol", /*allow_incomplete=*/true).ok());
  ASSERT_TRUE(engine->FinishPromotion("vol").ok());
  ASSERT_TRUE(engine->LetGo("vol", 2).ok());
  EXPECT_EQ(engine->ForgetMadeHere("vol"), absl::OkStatus());
  EXPECT_EQ(engine->State("vol")->epoch, 2u);
}

TEST_F(MadeHereTest, OnlyWhatIsInNoOtherVolumeOfAnExportIsRecorded) {
  const auto engine = host_.Start();
  EXPECT_TRUE(absl::IsNotFound(engine->RecordMadeHere(Spec())));
  ASSERT_TRUE(engine->Open({"other", host_.RootOf("other"), 0}).ok());
  EXPECT_TRUE(absl::IsFailedPrecondition(engine->RecordMadeHere({"vol", host_.RootOf("other") + "/inside", 1})));
  EXPECT_TRUE(absl::IsInvalidArgument(engine->RecordMadeHere({"vol", host_.File("elsewhere"), 1})));
  EXPECT_TRUE(absl::IsNotFound(engine->State("vol").status()));
}

TEST_F(MadeHereTest, AtTheOtherSideAFolderWithSomethingInItIsNobodysReplica) {
  Write("disk", "somebody's");
  const auto engine = host_.Start();
  const absl::Status refused = engine->MakeEmptyReplica(Spec()).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(refused)) << refused;
  EXPECT_THAT(std::string(refused.message()), HasSubstr("isn't empty"));
  EXPECT_TRUE(absl::IsNotFound(engine->State("vol").status()));

  fs::remove(host_.RootOf("vol") + "/disk");
  ASSERT_TRUE(engine->MakeEmptyReplica(Spec()).ok());
  auto session = engine->Open(Spec(0));
  ASSERT_TRUE(session.ok()) << session.status();
  ASSERT_TRUE(session->SubmitDurable(NextCommit(session->State(), {InlinePut("a", "a")})).ok());
  ASSERT_TRUE(session->Publish().ok());
  const auto known = engine->MakeEmptyReplica(Spec());
  ASSERT_TRUE(known.ok()) << "its own by now: " << known.status();
  EXPECT_EQ(known->sequence, 1u);
  EXPECT_EQ(engine->CheckAdoption(Spec()), absl::OkStatus()) << "a replica of that live copy already";
  EXPECT_TRUE(absl::IsFailedPrecondition(engine->MakeEmptyReplica({"vol", host_.RootOf("other"), 1}).status()));
}

TEST_F(MadeHereTest, AtTheOtherSideAFolderThatIsMissingIsMade) {
  const auto engine = host_.Start();
  ASSERT_TRUE(engine->MakeEmptyReplica(Spec()).ok());
  EXPECT_TRUE(fs::is_directory(host_.RootOf("vol")));
}

}  // namespace
}  // namespace understudy::tests
