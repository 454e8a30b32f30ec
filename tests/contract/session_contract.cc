// What an opening tells and ends, and which commits it lets in.
#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "tests/contract/replica_sink_contract.h"

namespace understudy::tests {

GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(ReplicaSinkContract);

TEST_P(ReplicaSinkContract, ANewReplicaIsEmptyAndStandsByAtSequenceZero) {
  const auto state = sink_->Open({kVolume, bed_->RootFor("vol"), 0});
  ASSERT_TRUE(state.ok()) << state.status();
  EXPECT_EQ(state->volume, kVolume);
  EXPECT_FALSE(state->replica_id.empty());
  EXPECT_EQ(state->sequence, 0u);
  EXPECT_EQ(state->published_sequence, 0u);
  EXPECT_GE(state->epoch, 1u);
  EXPECT_EQ(state->state, model::VolumeState::kStandby);
  EXPECT_EQ(state->root, bed_->RootFor("vol"));
  EXPECT_FALSE(state->complete);
  EXPECT_EQ(Listing(), "");
}

TEST_P(ReplicaSinkContract, ACommitOnTheWrongBaseIsRefused) {
  model::Commit commit = Begin();
  commit.operations = {InlinePut("a", "A")};
  MustSubmit(commit);
  ASSERT_EQ(Begin().base_sequence, 1u);
  EXPECT_EQ(sink_->Submit(commit).code(), absl::StatusCode::kFailedPrecondition) << "the same commit again";
  commit = Begin();
  commit.base_sequence = 5;
  commit.sequence = 6;
  EXPECT_EQ(sink_->Submit(commit).code(), absl::StatusCode::kFailedPrecondition);
  commit = Begin();
  ++commit.epoch;
  EXPECT_EQ(sink_->Submit(commit).code(), absl::StatusCode::kFailedPrecondition);
}

TEST_P(ReplicaSinkContract, AfterAnErrorTheVolumeHasToBeOpenedAgain) {
  model::Commit commit = Begin();
  model::Commit wrong = commit;
  wrong.base_sequence = 7;
  wrong.sequence = 8;
  ASSERT_FALSE(sink_->Submit(wrong).ok());
  EXPECT_FALSE(sink_->Submit(commit).ok());
  MustSubmit(Begin());
}

TEST_P(ReplicaSinkContract, ALaterOpeningSupersedesAnEarlierOne) {
  const std::unique_ptr<model::ReplicaSink> later = bed_->Connect();
  model::Commit commit = Begin();
  const auto opened = later->Open({kVolume, bed_->RootFor("vol"), 0});
  ASSERT_TRUE(opened.ok()) << opened.status();
  EXPECT_EQ(sink_->Submit(commit).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(later->Submit(commit).ok());
}

TEST_P(ReplicaSinkContract, AnEpochOnlyRises) {
  const auto first = sink_->Open({kVolume, bed_->RootFor("vol"), 0});
  ASSERT_TRUE(first.ok());
  const auto raised = sink_->Open({kVolume, bed_->RootFor("vol"), first->epoch + 3});
  ASSERT_TRUE(raised.ok());
  EXPECT_EQ(raised->epoch, first->epoch + 3);
  EXPECT_EQ(sink_->Open({kVolume, bed_->RootFor("vol"), first->epoch}).status().code(),
            absl::StatusCode::kFailedPrecondition);
  model::Commit commit = Begin();
  EXPECT_EQ(commit.epoch, first->epoch + 3);
  commit.epoch = first->epoch;
  EXPECT_EQ(sink_->Submit(commit).code(), absl::StatusCode::kFailedPrecondition);
}

TEST_P(ReplicaSinkContract, AVolumeKeepsItsRootAndSharesItWithNoOther) {
  ASSERT_TRUE(sink_->Open({kVolume, bed_->RootFor("vol"), 0}).ok());
  const auto code = [&](const std::string& name, const std::string& root) {
    return sink_->Open({name, root, 0}).status().code();
  };
  EXPECT_EQ(code(kVolume, bed_->RootFor("elsewhere")), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(code("other", bed_->RootFor("vol")), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(code("other", bed_->RootFor("vol") + "/below"), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(code("other", "/nowhere/exported"), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code("other", bed_->RootFor("x") + "/../vol"), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code("other", bed_->RootFor("vol2")), absl::StatusCode::kOk);
}

TEST_P(ReplicaSinkContract, CompleteOnceACaptureIsWhole) {
  model::Commit commit = Begin();
  commit.completes_capture = false;
  MustSubmit(commit);
  auto state = sink_->Open({kVolume, bed_->RootFor("vol"), 0});
  ASSERT_TRUE(state.ok());
  EXPECT_FALSE(state->complete);
  MustSubmit(Begin());
  state = sink_->Open({kVolume, bed_->RootFor("vol"), 0});
  ASSERT_TRUE(state.ok());
  EXPECT_TRUE(state->complete);
}

// So that a primary tells its own commit from another's with the same number, whoever has restarted meanwhile.
TEST_P(ReplicaSinkContract, AnOpeningTellsWhichCommitIsTheNewest) {
  model::Commit commit = Begin();
  commit.id = "the first";
  MustSubmit(commit);
  auto state = sink_->Open({kVolume, bed_->RootFor("vol"), 0});
  ASSERT_TRUE(state.ok()) << state.status();
  EXPECT_EQ(state->commit_id, "the first");
  commit = Begin();
  commit.id = "the second";
  MustSubmit(commit);
  state = sink_->Open({kVolume, bed_->RootFor("vol"), 0});
  ASSERT_TRUE(state.ok()) << state.status();
  EXPECT_EQ(state->commit_id, "the second");
  commit = Begin();
  commit.id = std::string(65, 'x');
  EXPECT_EQ(sink_->Submit(commit).code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace understudy::tests
