// Whether a commit says truly that it shows one moment, and what of a file is told.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "agent-primary/ship/capture_moment.h"
#include "tests/unit/agent-primary/ship/extents_fixture.h"

namespace understudy::primary {
namespace {

using model::Consistency;
using ::testing::Contains;
using ::testing::Each;
using ::testing::HasSubstr;

class MomentTest : public ExtentsFixture {
 protected:
  void SetUp() override {
    clock_ = &stepping_;  // no clone takes time, so no file rests
    SetUpOn("xfs");
  }
  void WriteText(const std::string& path, const std::string& text) {
    ASSERT_TRUE(os::WriteAt(OpenFile(path).get(), 0, text).ok());
  }
  std::string AtDr(const std::string& path) const {
    return replicas_.TreeOf("web").at(model::Key(path)).content.substr(0, 1);
  }
  // Older than what a tick of the clock could hide.
  static void LetTimePass() { absl::SleepFor(absl::Milliseconds(30)); }
};

TEST_F(MomentTest, AllLargeFilesAreFrozenBeforeAnyIsRead) {
  MakeImage("a", 2 * kMebibyte);
  MakeImage("b", 2 * kMebibyte);
  ASSERT_TRUE(Sync().ok());
  WriteText("a", "1");
  WriteText("b", "1");
  LetTimePass();
  sink_.on_data = [this] {
    WriteText("a", "2");
    WriteText("b", "2");
  };
  ASSERT_TRUE(Sync().ok());
  EXPECT_EQ(AtDr("a") + AtDr("b"), "11");
  EXPECT_EQ(sink_.labels.back(), Consistency::kCrashConsistent);
}

// One that isn't frozen is read after the moment, and while another one's content is sent it can change.
TEST_F(MomentTest, AFileThatIsWrittenMeanwhileMakesItFuzzyUntilItIsQuiet) {
  MakeImage("disk", 2 * kMebibyte);
  MakeImage("first", kMebibyte / 2);
  MakeImage("log", kMebibyte / 2 + kBlock);
  ASSERT_TRUE(Sync().ok());
  for (const std::string path : {"disk", "first", "log"}) WriteText(path, "2");
  LetTimePass();
  sink_.on_data = [this] { WriteText("log", "3"); };
  ASSERT_TRUE(Sync().ok());
  EXPECT_EQ(AtDr("disk") + AtDr("log"), "23") << "which the volume never was";
  EXPECT_EQ(sink_.labels.back(), Consistency::kFuzzy);

  LetTimePass();
  size_t commits = sink_.labels.size();
  ASSERT_TRUE(Sync().ok());
  EXPECT_EQ(sink_.labels.size(), commits + 1) << "nothing changed, but now it can be told";
  EXPECT_EQ(sink_.labels.back(), Consistency::kCrashConsistent);
  EXPECT_EQ(replicator_->Status().consistency, Consistency::kCrashConsistent);
  ASSERT_TRUE(Sync().ok());
  EXPECT_EQ(sink_.labels.size(), commits + 1) << "and needn't be told again";
}

TEST_F(MomentTest, AHintOfWhatIsntInTheCommitMakesItFuzzy) {
  MakeImage("disk", 2 * kMebibyte);
  WriteText("log", "1");
  LetTimePass();
  ASSERT_TRUE(Sync().ok());
  WriteText("disk", "2");
  sink_.on_data = [this] {
    WriteText("log", "2");
    replicator_->OnHint("log", HintKind::kPath, /*at_once=*/false);
    replicator_->OnHint("disk", HintKind::kPath, /*at_once=*/false);
  };
  replicator_->OnHint("disk", HintKind::kPath, /*at_once=*/true);
  ASSERT_TRUE(replicator_->Run(sink_, {}).ok());
  EXPECT_EQ(AtDr("disk") + AtDr("log"), "21");
  EXPECT_EQ(sink_.labels.back(), Consistency::kFuzzy);
}

TEST_F(MomentTest, WhatIsntDueYetGoesAlongWithALargeFile) {
  MakeImage("disk", 2 * kMebibyte);
  MakeImage("blind", 2 * kMebibyte);
  WriteText("log", "1");
  LetTimePass();
  ASSERT_TRUE(Sync().ok());
  replicator_.reset();
  replicator_ = VolumeReplicator::Open("web", disk_->Path() + "/export/web", "/dr/web", state_.File("web.db"),
                                       {.times = {absl::Hours(1), absl::Hours(1)},
                                        .export_path = disk_->Path() + "/export",
                                        .least_frozen_bytes = kMebibyte},
                                       *clock_)
                    .value();
  ASSERT_TRUE(Sync().ok());
  WriteText("disk", "2");
  WriteText("blind", "2");
  WriteText("log", "2");
  LetTimePass();
  replicator_->OnHint("log", HintKind::kPath, /*at_once=*/false);
  replicator_->OnHint("disk", HintKind::kPath, /*at_once=*/true);
  ASSERT_TRUE(replicator_->Run(sink_, {}).ok());
  EXPECT_EQ(AtDr("disk") + AtDr("blind") + AtDr("log"), "222") << "no hint told of 'blind'";
  EXPECT_EQ(sink_.labels.back(), Consistency::kCrashConsistent);
}

TEST_F(MomentTest, OnlyTheLastCommitOfACaptureHasALabel) {
  for (size_t i = 0; i <= kMaxBuilderOperations; ++i) OpenFile("f" + std::to_string(i));
  ASSERT_TRUE(Sync().ok());
  ASSERT_GT(sink_.labels.size(), 1u);
  EXPECT_NE(sink_.labels.back(), Consistency::kUnknown);
  sink_.labels.pop_back();
  EXPECT_THAT(sink_.labels, Each(Consistency::kUnknown));
}

TEST_F(MomentTest, AFileIsToldOfWithItsBase) {
  MakeImage("disk", 2 * kMebibyte);
  WriteText("log", "1");
  ASSERT_TRUE(Sync().ok());
  absl::StatusOr<FileReport> told = replicator_->DescribeFile("disk");
  ASSERT_TRUE(told.ok()) << told.status();
  EXPECT_EQ(told->rung, "whole");
  EXPECT_THAT(told->reason, HasSubstr("no base"));
  WriteText("disk", "2");
  ASSERT_TRUE(Sync().ok());
  told = replicator_->DescribeFile("disk");
  ASSERT_TRUE(told.ok()) << told.status();
  EXPECT_EQ(told->rung, "extents");
  EXPECT_EQ(told->reason, "");
  EXPECT_EQ(told->size, 2 * kMebibyte);
  EXPECT_GT(told->captured_at_nanoseconds, 0);
  ASSERT_TRUE(told->base.has_value());
  EXPECT_EQ(told->base->size, 2 * kMebibyte);
  EXPECT_GT(told->base->extents.value_or(0), 0u);

  replicator_->OnHint("disk", HintKind::kPath, /*at_once=*/false);
  replicator_->OnDamaged({.path = "disk", .size = 1, .segments = {}});
  told = replicator_->DescribeFile("disk");
  EXPECT_TRUE(told->dirty && told->damaged);
  EXPECT_THAT(replicator_->DescribeFile("log")->reason, HasSubstr("inside their commit"));
  EXPECT_TRUE(absl::IsNotFound(replicator_->DescribeFile("nowhere").status()));
  EXPECT_FALSE(replicator_->DescribeFile("../web/disk").ok());
  ASSERT_EQ(replicator_->DescribeLargest().size(), 1u);
  EXPECT_EQ(replicator_->DescribeLargest()[0].path, "disk");

  Start();
  told = replicator_->DescribeFile("disk");
  EXPECT_TRUE(told->base.has_value() || replicator_->Status().sequence > 0);
  EXPECT_THAT(told->reason, HasSubstr("since the agent started"));
  ASSERT_TRUE(Sync().ok());
  EXPECT_TRUE(replicator_->DescribeFile("disk")->base.has_value()) << "the one from before the restart";
}

// A file in a folder of its own, and what a look at it says.
class CaptureMomentTest : public ::testing::TestWithParam<bool> {
 protected:
  os::EntryStat Write(const std::string& path, const std::string& text) {
    const os::Fd file(open(folder_.File(path).c_str(), O_RDWR | O_CREAT, 0600));
    EXPECT_TRUE(os::WriteAt(file.get(), 0, text).ok());
    return root_.Stat(path).value();
  }
  static void LetTimePass() { absl::SleepFor(absl::Milliseconds(30)); }

  const tests::TempDir folder_;
  const os::Root root_ = os::Root::Open(folder_.Path()).value();
};

TEST_P(CaptureMomentTest, WhatWasFrozenFirstStandsStillUntilTheLast) {
  const os::EntryStat a = Write("a", "1");
  const os::EntryStat b = Write("b", "1");
  LetTimePass();
  CaptureMoment still(root_, GetParam());
  still.AddFrozen("a", a);
  still.AddFrozen("b", b);
  Write("b", "2");
  still.Pass();
  EXPECT_TRUE(still.is_one()) << "the last one may change, it makes the moment";
  Write("a", "2");
  EXPECT_TRUE(still.is_one()) << "after the moment";

  CaptureMoment torn(root_, GetParam());
  torn.AddFrozen("a", a);
  torn.AddFrozen("b", b);
  torn.Pass();
  EXPECT_FALSE(torn.is_one());
}

TEST_P(CaptureMomentTest, WhatIsReadDirectlyIsAsItWasBeforeTheMoment) {
  CapturedFile file;
  file.stat = Write("a", "1");
  const os::EntryStat looked = file.stat;
  LetTimePass();
  CaptureMoment moment(root_, GetParam());
  moment.Pass();
  moment.AddRead(looked, file);
  EXPECT_TRUE(moment.is_one());
  file.stat = Write("a", "2");
  moment.AddRead(looked, file);
  EXPECT_FALSE(moment.is_one());

  CaptureMoment other(root_, GetParam());
  other.Pass();
  file.stat = looked;
  file.changed = true;
  other.AddRead(looked, file);
  EXPECT_FALSE(other.is_one()) << "it changed while it was read";
}

INSTANTIATE_TEST_SUITE_P(Times, CaptureMomentTest, ::testing::Bool());

TEST(CaptureMoment, AChangeThatATickCouldHideCounts) {
  const tests::TempDir folder;
  const os::Root root = os::Root::Open(folder.Path()).value();
  const os::Fd file(open(folder.File("a").c_str(), O_RDWR | O_CREAT, 0600));
  const os::EntryStat stat = root.Stat("a").value();
  for (const bool fine_times : {false, true}) {
    CaptureMoment moment(root, fine_times);
    moment.AddFrozen("a", stat);
    moment.AddFrozen("b", stat);
    moment.Pass();
    EXPECT_EQ(moment.is_one(), fine_times);
  }
}

}  // namespace
}  // namespace understudy::primary
