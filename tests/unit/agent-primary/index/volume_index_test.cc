#include "agent-primary/index/volume_index.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/temp_dir.h"

namespace understudy::primary {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

IndexRow Row(uint64_t inode, model::FileKind kind = model::FileKind::kRegular) {
  IndexRow row;
  row.inode = inode;
  row.kind = kind;
  row.size = 1'000'000;
  return row;
}

class VolumeIndexTest : public ::testing::Test {
 protected:
  void SetUp() override { Reopen(); }
  void Reopen() {
    index_.reset();
    auto index = VolumeIndex::Open(dir_.File("index.db"));
    ASSERT_TRUE(index.ok()) << index.status();
    index_ = *std::move(index);
  }
  void Commit(std::vector<IndexChange> changes) {
    ASSERT_TRUE(index_->Stage(index_->state().sequence + 1, true, changes).ok());
    ASSERT_TRUE(index_->Acknowledge().ok());
  }
  std::vector<std::string> Paths(const std::string& folder = "") {
    std::vector<std::string> paths;
    const std::vector<IndexEntry> entries = index_->ListBelow(folder, "", 1000).value();
    for (const IndexEntry& entry : entries) paths.push_back(entry.path);
    return paths;
  }
  bool HasSegment(uint64_t inode, uint64_t number) { return index_->FindSegment(inode, number).value().has_value(); }

  tests::TempDir dir_;
  std::unique_ptr<VolumeIndex> index_;
};

TEST_F(VolumeIndexTest, StagedChangesTakeEffectWhenAcknowledged) {
  ASSERT_TRUE(index_->Stage(1, true, std::vector<IndexChange>{PutRow{"a", Row(1)}}).ok());
  EXPECT_THAT(Paths(), IsEmpty());
  ASSERT_TRUE(index_->Acknowledge().ok());
  EXPECT_THAT(Paths(), ElementsAre("a"));
  EXPECT_EQ(index_->state().sequence, 1u);
  EXPECT_TRUE(index_->state().complete);
  EXPECT_EQ(index_->Find("a").value(), Row(1));
}

TEST_F(VolumeIndexTest, StagedChangesSurviveARestartUntilSettled) {
  const std::vector<IndexChange> changes = {
      PutRow{"a", Row(1)}, DetachRows{"x", 3}, AttachRows{3, "y"},     PutSegment{1, {7, {}, "marks"}},
      RemoveSegment{1, 8}, CopySegments{1, 2}, TruncateSegments{2, 9}, RemoveRow{"z"},
      UnsettleRow{"y"}};
  ASSERT_TRUE(index_->Stage(5, false, changes).ok());
  Reopen();
  EXPECT_EQ(index_->state().staged_sequence, 5u);
  ASSERT_TRUE(index_->Acknowledge().ok());
  EXPECT_EQ(index_->state().sequence, 5u);
  EXPECT_FALSE(index_->state().complete);
  const std::optional<SegmentRecord> segment = index_->FindSegment(1, 7).value();
  ASSERT_TRUE(segment.has_value());
  EXPECT_EQ(segment->blocks, "marks");
  EXPECT_TRUE(HasSegment(2, 7)) << "copied";
  ASSERT_TRUE(index_->Stage(6, true, std::vector<IndexChange>{PutRow{"b", Row(2)}}).ok());
  Reopen();
  ASSERT_TRUE(index_->DropStaged().ok());
  EXPECT_THAT(Paths(), ElementsAre("a"));
  EXPECT_EQ(index_->state().sequence, 5u);
}

TEST_F(VolumeIndexTest, MovesCarryEverythingBelowWhateverTheNames) {
  Commit({PutRow{"d", Row(1, model::FileKind::kDirectory)}, PutRow{"d/\xff\xfe", Row(2)}, PutRow{"d/e", Row(3)},
          PutRow{"d/e/f", Row(4)}, PutRow{"d-", Row(5)}, PutRow{"target", Row(6)}});
  Commit({DetachRows{"d", 1}, DetachRows{"d-", 2}, AttachRows{2, "d"}, AttachRows{1, "target"}});
  EXPECT_THAT(Paths(), ElementsAre("d", "target", "target/e", "target/e/f", "target/\xff\xfe"));
  EXPECT_EQ(index_->Find("d").value()->inode, 5u);
  EXPECT_EQ(index_->FindByInode(4).value()->path, "target/e/f");
}

TEST_F(VolumeIndexTest, ABaseGoesWithTheContentThatItHolds) {
  IndexRow row = Row(1);
  row.content = {1};
  Commit({PutRow{"disk", row}, PutBase{1, {"clone", 5, row.content, 9, 9}}});
  EXPECT_THAT(index_->CollectBases().value(), ElementsAre("clone"));
  IndexRow another = Row(1);  // a new file that was given the number
  another.content = {2};
  Commit({RemoveRow{"disk"}, PutRow{"note", another}});
  EXPECT_THAT(index_->CollectBases().value(), IsEmpty());
}

// What version 5 of the schema kept in place of marks.
TEST_F(VolumeIndexTest, SignaturesOfAnOlderIndexAreForgotten) {
  Commit({PutRow{"disk", Row(1)}, PutSegment{1, {3, {7}, "signature"}}});
  ASSERT_TRUE(
      index_->Stage(index_->state().sequence + 1, true, std::vector<IndexChange>{PutSegment{1, {4, {8}, "signature"}}})
          .ok());
  index_.reset();
  {
    auto older = store::Database::Open(dir_.File("index.db"), {}).value();
    ASSERT_TRUE(older
                    .Execute("ALTER TABLE segment RENAME COLUMN blocks TO signature; DROP INDEX entry_large;"
                             "DROP TABLE staged; CREATE TABLE staged (n INTEGER PRIMARY KEY, change INTEGER NOT NULL,"
                             "signature BLOB); INSERT INTO staged VALUES (1, 5, x'00'); PRAGMA user_version = 5;")
                    .ok());
  }
  Reopen();
  EXPECT_FALSE(index_->state().staged_sequence.has_value()) << "what was staged in another form is forgotten, too";
  const std::optional<SegmentRecord> segment = index_->FindSegment(1, 3).value();
  ASSERT_TRUE(segment.has_value());
  EXPECT_EQ(segment->blocks, "");
  EXPECT_NE(segment->digest, model::Digest{});
}

TEST_F(VolumeIndexTest, ARemovedFolderTakesItsRowsAndSegmentsAlong) {
  Commit({PutRow{"d", Row(1, model::FileKind::kDirectory)}, PutRow{"d/a", Row(2)}, PutRow{"d/b", Row(3)},
          PutRow{"da", Row(3)}, PutSegment{2, {}}, PutSegment{3, {}}});
  Commit({RemoveRow{"d"}});
  EXPECT_THAT(Paths(), ElementsAre("da"));
  EXPECT_FALSE(HasSegment(2, 0));
  EXPECT_TRUE(HasSegment(3, 0)) << "another name has that file still";
  Commit({RemoveRow{"da"}});
  EXPECT_FALSE(HasSegment(3, 0));
}

TEST_F(VolumeIndexTest, SegmentsGoWithTheLastNameOfAFile) {
  Commit({PutRow{"a", Row(1)}, PutRow{"b", Row(1)}, PutRow{"c", Row(2)}, PutSegment{1, {}}, PutSegment{2, {}}});
  Commit({RemoveRow{"a"}});
  EXPECT_TRUE(HasSegment(1, 0)) << "b has that file still";
  Commit({DetachRows{"c", 1}, AttachRows{1, "b"}});
  EXPECT_FALSE(HasSegment(1, 0)) << "b was the last name, and was renamed over";
  EXPECT_TRUE(HasSegment(2, 0));
}

TEST_F(VolumeIndexTest, ACutFileLosesTheSegmentsFromTheCutOn) {
  Commit({PutRow{"a", Row(1)}, PutSegment{1, {3, {}, ""}}, PutSegment{1, {4, {}, ""}}, PutSegment{1, {5, {}, ""}}});
  Commit({TruncateSegments{1, 4}});
  EXPECT_TRUE(HasSegment(1, 3));
  EXPECT_FALSE(HasSegment(1, 4));
  EXPECT_FALSE(HasSegment(1, 5));
  Commit({RemoveSegment{1, 3}});
  EXPECT_FALSE(HasSegment(1, 3));
}

TEST_F(VolumeIndexTest, WhatWasCompleteStaysCompleteWhileALaterCaptureIsUnderWay) {
  Commit({PutRow{"a", Row(1)}});
  ASSERT_TRUE(index_->Stage(2, /*completes_capture=*/false, std::vector<IndexChange>{PutRow{"b", Row(2)}}).ok());
  ASSERT_TRUE(index_->Acknowledge().ok());
  EXPECT_TRUE(index_->state().complete);
}

TEST_F(VolumeIndexTest, AReplacedFileLosesItsSegments) {
  Commit({PutRow{"a", Row(1)}, PutSegment{1, {}}});
  Commit({PutRow{"a", Row(1)}});
  EXPECT_TRUE(HasSegment(1, 0)) << "the same inode continues";
  Commit({PutRow{"a", Row(2)}});
  EXPECT_FALSE(HasSegment(1, 0));
}

TEST_F(VolumeIndexTest, AnUnsettledRowIsLookedAtUntilItIsPutAnew) {
  ASSERT_TRUE(index_->Refresh(std::vector<IndexChange>{PutRow{"a", Row(1)}, PutRow{"b", Row(2)}}).ok());
  ASSERT_TRUE(index_->Stage(1, true, std::vector<IndexChange>{UnsettleRow{"a"}, UnsettleRow{"none"}}).ok());
  EXPECT_THAT(index_->ListUnsettled(10).value(), IsEmpty());
  Reopen();
  ASSERT_TRUE(index_->Acknowledge().ok());
  EXPECT_THAT(index_->ListUnsettled(10).value(), ElementsAre("a"));
  IndexRow unsettled = Row(1);
  unsettled.ctime_nanoseconds = kUnsettledCtime;
  unsettled.mtime_nanoseconds = kUnknownMtime;
  EXPECT_EQ(index_->Find("a").value(), unsettled);
  EXPECT_EQ(index_->Find("b").value(), Row(2));
  EXPECT_EQ(index_->Find("none").value(), std::nullopt);
  ASSERT_TRUE(index_->Refresh(std::vector<IndexChange>{PutRow{"a", Row(1)}}).ok());
  EXPECT_THAT(index_->ListUnsettled(10).value(), IsEmpty());
}

TEST_F(VolumeIndexTest, PagesOfAFolder) {
  Commit({PutRow{"a", Row(1)}, PutRow{"d", Row(2)}, PutRow{"d/x", Row(3)}, PutRow{"d/y", Row(4)}, PutRow{"e", Row(5)}});
  EXPECT_THAT(Paths("d"), ElementsAre("d/x", "d/y"));
  EXPECT_EQ(index_->ListBelow("d", "d/x", 10).value().size(), 1u);
  EXPECT_EQ(index_->ListBelow("", "d", 2).value()[1].path, "d/y");
}

TEST_F(VolumeIndexTest, RebuildForgetsAllThatWasKnown) {
  Commit({PutRow{"a", Row(1)}, PutSegment{1, {}}});
  IndexState state;
  state.replica_id = "other";
  state.sequence = 42;
  ASSERT_TRUE(index_->Rebuild(state, [](VolumeIndex& index) { return index.PutRebuilt("b", Row(0)); }).ok());
  EXPECT_THAT(Paths(), ElementsAre("b"));
  EXPECT_FALSE(HasSegment(1, 0));
  Reopen();
  EXPECT_EQ(index_->state().replica_id, "other");
  EXPECT_EQ(index_->state().sequence, 42u);
}

TEST_F(VolumeIndexTest, AFailedRebuildChangesNothing) {
  Commit({PutRow{"a", Row(1)}});
  const absl::Status failed =
      index_->Rebuild({}, [](VolumeIndex&) { return absl::UnavailableError("the connection broke"); });
  EXPECT_TRUE(absl::IsUnavailable(failed));
  EXPECT_THAT(Paths(), ElementsAre("a"));
  EXPECT_EQ(index_->state().sequence, 1u);
}

TEST_F(VolumeIndexTest, EntriesAreCountedThroughEveryKindOfChange) {
  const auto dir = model::FileKind::kDirectory;
  const auto check = [&](uint64_t entries) {
    EXPECT_EQ(index_->entries(), entries);
    EXPECT_EQ(Paths().size(), entries + (index_->Find("").value().has_value() ? 1 : 0));
  };
  Commit({PutRow{"", Row(1, dir)}, PutRow{"a", Row(2, dir)}, PutRow{"a/b", Row(3)}, PutRow{"c", Row(4)}});
  EXPECT_EQ(index_->entries(), 3u);
  EXPECT_EQ(index_->CountBelow("a").value(), 1u);
  EXPECT_EQ(index_->CountBelow("c").value(), 0u);
  Commit({PutRow{"c", Row(5)}});
  EXPECT_EQ(index_->entries(), 3u);
  Commit({DetachRows{"a/b", 1}, AttachRows{1, "c"}});  // replaces a file
  EXPECT_EQ(index_->entries(), 2u);
  Reopen();
  EXPECT_EQ(index_->entries(), 2u);
  Commit({PutRow{"a/x", Row(6)}, RemoveRow{"c"}, RemoveRow{"nothing"}});
  EXPECT_EQ(index_->entries(), 2u);
  Commit({RemoveRow{"a"}});
  EXPECT_EQ(index_->entries(), 0u);
  ASSERT_TRUE(index_->Rebuild({}, [](VolumeIndex& index) { return index.PutRebuilt("z", Row(0)); }).ok());
  check(1);
  EXPECT_FALSE(index_->Rebuild({}, [](VolumeIndex&) { return absl::UnavailableError("cut"); }).ok());
  check(1);
}

TEST_F(VolumeIndexTest, GuardRecordOutlivesTheProcessAndARebuild) {
  const GuardRecord record{{{5, 70}, {9, 60}}, HeldDeletion{70, 50, -3, true}, RootIdentity{1ull << 63, 2, 3}};
  ASSERT_TRUE(index_->SaveGuard(record).ok());
  Reopen();
  EXPECT_EQ(index_->guard(), record);
  ASSERT_TRUE(index_->Rebuild({}, [](VolumeIndex&) { return absl::OkStatus(); }).ok());
  ASSERT_TRUE(index_->SaveGuard({.counts = {{9, 60}}, .held = {}, .root = record.root}).ok());
  Reopen();
  EXPECT_EQ(index_->guard(), (GuardRecord{{{9, 60}}, std::nullopt, record.root}));
}

TEST_F(VolumeIndexTest, ForgottenIdentitiesKeepWhatTheReplicaHolds) {
  Commit({PutRow{"", Row(1, model::FileKind::kDirectory)}, PutRow{"a", Row(2)}, PutSegment{2, {0, {}, "s"}}});
  ASSERT_TRUE(index_->ForgetIdentities().ok());
  EXPECT_FALSE(index_->Find("").value().has_value());
  EXPECT_FALSE(index_->FindByInode(2).value().has_value());
  EXPECT_EQ(index_->Find("a").value()->size, 1'000'000u);
  EXPECT_EQ(index_->Find("a").value()->ctime_nanoseconds, kUnsettledCtime);
  EXPECT_FALSE(HasSegment(2, 0));
  EXPECT_EQ(index_->entries(), 1u);
}

TEST_F(VolumeIndexTest, SegmentsOfAnInventoryAreFoundByTheirRowUntilTheFileIsCaptured) {
  IndexState state;
  state.replica_id = "r";
  const std::vector<model::SegmentDigest> segments = {{0, {1}}, {2, {2}}};
  IndexRow with_names = Row(0);
  with_names.file = 5;
  ASSERT_TRUE(index_
                  ->Rebuild(state,
                            [&](VolumeIndex& index) -> absl::Status {
                              RETURN_IF_ERROR(index.PutRebuilt("a", Row(0), segments));
                              RETURN_IF_ERROR(index.PutRebuilt("b", Row(0), segments));
                              RETURN_IF_ERROR(index.PutRebuilt("linked", with_names, segments));
                              return index.PutRebuilt("small", Row(0), {});
                            })
                  .ok());
  const IndexRow a = index_->Find("a").value().value();
  const IndexRow b = index_->Find("b").value().value();
  EXPECT_TRUE(IsInventoried(a) && IsInventoried(b));
  EXPECT_NE(a.inode, b.inode);
  EXPECT_EQ(index_->ListSegmentDigests(a.inode).value(), segments);
  EXPECT_EQ(index_->FindSegment(a.inode, 2).value()->blocks, "");
  EXPECT_EQ(index_->Find("linked").value()->inode, 0u) << "which of its names would have them isn't known";
  EXPECT_EQ(index_->Find("small").value()->inode, 0u);
  Commit({CopySegments{a.inode, 7}, PutRow{"a", Row(7)}});
  EXPECT_EQ(index_->ListSegmentDigests(7).value(), segments);
  EXPECT_FALSE(HasSegment(a.inode, 0));
  EXPECT_TRUE(HasSegment(b.inode, 0));
}

}  // namespace
}  // namespace understudy::primary
