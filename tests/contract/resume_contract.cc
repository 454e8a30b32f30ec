// What becomes of content that a session staged and didn't commit.
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/delta/content_digest.h"
#include "core/wire/limits.h"
#include "tests/contract/replica_sink_contract.h"

namespace understudy::tests {

TEST_P(ReplicaSinkContract, WhatAnEarlierOpeningStagedIsGone) {
  Begin();
  ASSERT_NO_FATAL_FAILURE(StageWhole(1, "x"));
  model::Commit commit = Begin();
  commit.operations = {StagedPut("a", "x", 1)};
  EXPECT_EQ(sink_->Submit(commit).code(), absl::StatusCode::kInvalidArgument);
}

TEST_P(ReplicaSinkContract, ALaterSessionGoesOnWithUnfinishedContent) {
  constexpr uint64_t kSegment = delta::kSegmentBytes;
  const std::string content = Pattern(2 * kSegment + wire::kMaxStageBytes, 5);
  const auto stage = [&](const std::unique_ptr<model::ReplicaSink>& sink, uint64_t begin, uint64_t end) {
    for (uint64_t at = begin; at < end; at += wire::kMaxStageBytes) {
      ASSERT_TRUE(sink->StageData(kVolume, 1, at, std::string_view(content).substr(at, wire::kMaxStageBytes)).ok());
    }
  };
  EXPECT_TRUE(sink_->Open({kVolume, bed_->RootFor("vol"), 0})->leftovers.empty());
  ASSERT_TRUE(sink_->StageBegin(kVolume, 1, "image", content.size(), "").ok());
  stage(sink_, 0, kSegment + wire::kMaxStageBytes);
  // Answered after what was staged before.
  EXPECT_TRUE(absl::IsNotFound(sink_->StageResume(kVolume, 2, "other", content.size(), "").status()));

  const std::unique_ptr<model::ReplicaSink> later = bed_->Connect();
  const auto opened = later->Open({kVolume, bed_->RootFor("vol"), 0});
  ASSERT_TRUE(opened.ok()) << opened.status();
  EXPECT_EQ(opened->leftovers, bed_->KeepsLeftovers() ? std::vector<std::string>{"image"} : std::vector<std::string>());
  const auto held = later->StageResume(kVolume, 1, "image", content.size(), "");
  uint64_t staged = 0;
  if (bed_->KeepsLeftovers()) {
    ASSERT_TRUE(held.ok()) << held.status();
    ASSERT_EQ(held->size(), 2u);
    EXPECT_EQ((*held)[0],
              (model::SegmentDigest{0, delta::DigestOfSegment(0, std::string_view(content).substr(0, kSegment))}));
    EXPECT_EQ((*held)[1].number, 1u);
    staged = kSegment;
  } else {
    EXPECT_TRUE(absl::IsNotFound(held.status())) << held.status();
    ASSERT_TRUE(later->StageBegin(kVolume, 1, "image", content.size(), "").ok());
  }
  stage(later, staged, content.size());
  ASSERT_TRUE(later->StageEnd(kVolume, 1).ok());
  model::Commit commit;
  commit.volume = kVolume;
  commit.epoch = opened->epoch;
  commit.sequence = 1;
  commit.operations = {StagedPut("image", content, 1)};
  const absl::Status submitted = later->Submit(commit);
  ASSERT_TRUE(submitted.ok()) << submitted;
  EXPECT_EQ(Listing(), FileLine("image", content, 0600));
  EXPECT_TRUE(sink_->Open({kVolume, bed_->RootFor("vol"), 0})->leftovers.empty());
}

}  // namespace understudy::tests
