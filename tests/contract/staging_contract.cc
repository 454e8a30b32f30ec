// Content that comes in pieces before its commit: whole, on top of what the replica has, as deltas.
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <string_view>

#include "core/delta/content_digest.h"
#include "core/delta/rsync_segment.h"
#include "core/wire/limits.h"
#include "core/wire/status_path.h"
#include "tests/contract/replica_sink_contract.h"

namespace understudy::tests {

GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(DeltaContract);

TEST_P(ReplicaSinkContract, LargeContentComesInPiecesWithHoles) {
  constexpr size_t kPiece = wire::kMaxStageBytes;
  std::string content = Pattern(kPiece, 1) + std::string(3 * kPiece, '\0') + Pattern(kPiece / 2, 2);
  content.resize(content.size() + 5, '\0');
  model::Commit commit = Begin();
  ASSERT_TRUE(sink_->StageBegin(kVolume, 3, "staged", content.size(), "").ok());
  ASSERT_TRUE(sink_->StageData(kVolume, 3, 0, std::string_view(content).substr(0, kPiece)).ok());
  ASSERT_TRUE(sink_->StageHole(kVolume, 3, kPiece, 3 * kPiece).ok());
  ASSERT_TRUE(sink_->StageData(kVolume, 3, 4 * kPiece, std::string_view(content).substr(4 * kPiece, kPiece / 2)).ok());
  ASSERT_TRUE(sink_->StageEnd(kVolume, 3).ok());
  commit.operations = {StagedPut("image", content, 3)};
  MustSubmit(commit);
  EXPECT_EQ(Listing(), FileLine("image", content, 0600));
}

model::StagedFile Small(model::Slot slot, const model::Put& put, const std::string& content) {
  return {slot, put.path, put.metadata, put.digest, content};
}

// With metadata of the commit that isn't what was staged, and content of no length.
TEST_P(ReplicaSinkContract, SmallFilesAreStagedAheadOfTheirCommit) {
  model::Commit commit = Begin();
  commit.operations = {model::MakeDirectory{"new", Meta(0750)},        StagedPut("new/a", "A", 1),
                       model::MakeDirectory{"new/sub", Meta(0700)},    StagedPut("new/sub/empty", "", 2),
                       StagedPut("other", std::string(9'000, 'o'), 3), InlinePut("within", "w")};
  model::StagedBatch batch{{"new", "new/sub"}, {}};
  batch.files.push_back(Small(1, StagedPut("new/a", "A", 1), "A"));
  batch.files.back().metadata = Meta(0444, 5);
  batch.files.push_back(Small(2, StagedPut("new/sub/empty", "", 2), ""));
  ASSERT_TRUE(sink_->StageFiles(kVolume, batch).ok());
  const std::string other(9'000, 'o');
  ASSERT_TRUE(sink_->StageFiles(kVolume, {{}, {Small(3, StagedPut("other", other, 3), other)}}).ok());
  MustSubmit(commit);
  const std::string first = FolderLine("new", 0750) + FileLine("new/a", "A", 0600) + FolderLine("new/sub", 0700) +
                            FileLine("new/sub/empty", "", 0600) + FileLine("other", other, 0600) +
                            FileLine("within", "w");
  EXPECT_EQ(Listing(), first);

  // A folder that DR has already, whatever the primary takes it for.
  commit = Begin();
  commit.operations = {model::MakeDirectory{"new", Meta(0711)}, StagedPut("new/b", "B", 1),
                       model::MakeDirectory{"new/more", Meta(0755)}, StagedPut("new/more/c", "C", 2)};
  batch = {{"new", "new/more"}, {}};
  batch.files.push_back(Small(1, StagedPut("new/b", "B", 1), "B"));
  batch.files.push_back(Small(2, StagedPut("new/more/c", "C", 2), "C"));
  ASSERT_TRUE(sink_->StageFiles(kVolume, batch).ok());
  MustSubmit(commit);
  EXPECT_EQ(Listing(), FolderLine("new", 0711) + FileLine("new/a", "A", 0600) + FileLine("new/b", "B", 0600) +
                           FolderLine("new/more", 0755) + FileLine("new/more/c", "C", 0600) +
                           FolderLine("new/sub", 0700) + FileLine("new/sub/empty", "", 0600) +
                           FileLine("other", other, 0600) + FileLine("within", "w"));
}

TEST_P(ReplicaSinkContract, SmallFilesThatAreNotWhatTheirDigestSaysAreRefused) {
  for (const bool in_commit : {false, true}) {
    model::Commit commit = Begin();
    commit.operations = {StagedPut("a", in_commit ? "another" : "content", 1)};
    model::StagedFile file = Small(1, StagedPut("a", "content", 1), in_commit ? "content" : "garbage");
    absl::Status status = sink_->StageFiles(kVolume, {{}, {file}});
    if (status.ok()) status = sink_->Submit(commit);  // some implementations tell with the next answer
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << status;
  }
  EXPECT_EQ(Listing(), "");
}

TEST_P(ReplicaSinkContract, ContentWithABaseKeepsWhatIsNotSent) {
  const std::string before = Pattern(3 * 1024 * 1024, 1);
  model::Commit commit = Begin();
  ASSERT_NO_FATAL_FAILURE(StageWhole(0, before));
  commit.operations = {StagedPut("image", before, 0)};
  MustSubmit(commit);

  std::string after = before;
  after.replace(100'000, 4096, Pattern(4096, 7));
  after.replace(1'000'000, 65'536, std::string(65'536, '\0'));
  after.resize(5 * 1024 * 1024, '\0');  // it grows
  commit = Begin();
  ASSERT_TRUE(sink_->StageBegin(kVolume, 0, "staged", after.size(), "image").ok());
  ASSERT_TRUE(sink_->StageData(kVolume, 0, 100'000, std::string_view(after).substr(100'000, 4096)).ok());
  ASSERT_TRUE(sink_->StageHole(kVolume, 0, 1'000'000, 65'536).ok());
  ASSERT_TRUE(sink_->StageEnd(kVolume, 0).ok());
  commit.operations = {StagedPut("image", after, 0)};
  MustSubmit(commit);
  EXPECT_EQ(Listing(), FileLine("image", after, 0600));

  const std::string cut = after.substr(0, 1'500'000);
  commit = Begin();
  ASSERT_TRUE(sink_->StageBegin(kVolume, 0, "staged", cut.size(), "image").ok());
  ASSERT_TRUE(sink_->StageEnd(kVolume, 0).ok());
  commit.operations = {StagedPut("image", cut, 0)};
  MustSubmit(commit);
  EXPECT_EQ(Listing(), FileLine("image", cut, 0600));
}

TEST_P(DeltaContract, DeltasPatchSegmentsOfTheBase) {
  PutBase("image");
  std::string next = "inserted" + base_.substr(0, 4'500'000);  // moved inside, and shorter in the end
  model::Commit commit = Begin();
  ASSERT_TRUE(sink_->StageBegin(kVolume, 9, "staged", next.size(), "image").ok());
  for (uint64_t offset : {uint64_t{0}, delta::kSegmentBytes}) {
    ASSERT_TRUE(sink_->StageDelta(kVolume, 9, DeltaOf(base_, next, offset)).ok());
  }
  ASSERT_TRUE(sink_->StageEnd(kVolume, 9).ok());
  commit.operations = {StagedPut("image", next, 9)};
  MustSubmit(commit);
  EXPECT_EQ(Listing(), FileLine("image", next, 0600));
}

TEST_P(DeltaContract, APatchChangesTheFileUnderAllItsNames) {
  PutBase("image");
  std::string next = base_;
  next.replace(10, 3, "abc");
  next.replace(4'000'000, 500'000, Pattern(500'000, 9));  // in both segments
  model::Commit commit = Begin();
  commit.operations = {model::Link{"name", "image"}};
  MustSubmit(commit);
  commit = Begin();
  ASSERT_TRUE(sink_->StageBegin(kVolume, 2, "image", next.size(), "image").ok());
  for (uint64_t offset : {uint64_t{0}, delta::kSegmentBytes}) {
    ASSERT_TRUE(sink_->StageDelta(kVolume, 2, DeltaOf(base_, next, offset)).ok());
  }
  ASSERT_TRUE(sink_->StageEnd(kVolume, 2).ok());
  // The file moves in the same commit.
  commit.operations = {model::Detach{"image", 1}, model::Attach{1, "moved"},
                       model::Patch{"moved", Meta(0600), next.size(), delta::DigestOfContent(next), 2}};
  MustSubmit(commit);
  const auto named = [](std::string line, std::string_view names) { return line.insert(line.size() - 1, names); };
  EXPECT_EQ(Listing(), named(FileLine("moved", next, 0600), " with other names") +
                           named(FileLine("name", next, 0600), " = moved"));
}

TEST_P(DeltaContract, PatchesGrowCutAndPunch) {
  PutBase("image");
  std::string next = base_;
  next.replace(100'000, 70'000, std::string(70'000, '\0'));
  next.resize(6'000'000, '\0');
  next += "end";
  model::Commit commit = Begin();
  ASSERT_TRUE(sink_->StageBegin(kVolume, 2, "image", next.size(), "image").ok());
  ASSERT_TRUE(sink_->StageHole(kVolume, 2, 100'000, 70'000).ok());
  ASSERT_TRUE(sink_->StageData(kVolume, 2, 6'000'000, "end").ok());
  ASSERT_TRUE(sink_->StageEnd(kVolume, 2).ok());
  commit.operations = {model::Patch{"image", Meta(0640), next.size(), delta::DigestOfContent(next), 2}};
  MustSubmit(commit);
  EXPECT_EQ(Listing(), FileLine("image", next, 0640));
  commit = Begin();
  const std::string cut = next.substr(0, 1'000'001);
  ASSERT_TRUE(sink_->StageBegin(kVolume, 2, "image", cut.size(), "image").ok());
  ASSERT_TRUE(sink_->StageEnd(kVolume, 2).ok());
  commit.operations = {model::Patch{"image", Meta(0640), cut.size(), delta::DigestOfContent(cut), 2}};
  MustSubmit(commit);
  EXPECT_EQ(Listing(), FileLine("image", cut, 0640));
}

TEST_P(DeltaContract, ADeltaAgainstAnotherBaseIsDataLossAndChangesNothing) {
  PutBase("image");
  std::string other = base_;
  other.replace(1'000'000, 100'000, Pattern(100'000, 99));
  std::string next = other;
  next.replace(10, 3, "abc");
  model::Commit commit = Begin();
  ASSERT_TRUE(sink_->StageBegin(kVolume, 1, "staged", next.size(), "image").ok());
  absl::Status status = sink_->StageDelta(kVolume, 1, DeltaOf(other, next, 0));
  if (status.ok()) status = sink_->StageEnd(kVolume, 1);
  commit.operations = {StagedPut("image", next, 1)};
  if (status.ok()) status = sink_->Submit(commit);
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << status;
  EXPECT_EQ(wire::PathOf(status), "image") << status;
  EXPECT_EQ(Begin().base_sequence, 1u);
  EXPECT_EQ(Listing(), FileLine("image", base_, 0600));
}

TEST_P(ReplicaSinkContract, StagedContentThatDoesNotMatchItsDigestIsRefused) {
  model::Commit commit = Begin();
  ASSERT_NO_FATAL_FAILURE(StageWhole(1, "12345678"));
  commit.operations = {StagedPut("a", "1234567x", 1)};
  EXPECT_EQ(sink_->Submit(commit).code(), absl::StatusCode::kDataLoss);
}

TEST_P(ReplicaSinkContract, StagingKeepsToItsBounds) {
  const auto code_of = [&](const std::function<absl::Status()>& stage) {
    model::Commit commit = Begin();
    EXPECT_TRUE(sink_->StageBegin(kVolume, 1, "staged", 100, "").ok());
    EXPECT_TRUE(sink_->StageData(kVolume, 1, 10, "0123456789").ok());
    absl::Status status = stage();
    if (status.ok()) status = sink_->Submit(commit);  // an implementation may tell late
    return status.code();
  };
  EXPECT_EQ(code_of([&] { return sink_->StageData(kVolume, 1, 99, "ab"); }), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code_of([&] { return sink_->StageData(kVolume, 1, 15, "a"); }), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code_of([&] { return sink_->StageData(kVolume, 2, 0, "a"); }), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code_of([&] { return sink_->StageHole(kVolume, 1, 50, ~uint64_t{0}); }),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code_of([&] { return sink_->StageBegin(kVolume, 1, "staged", 1, ""); }),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code_of([&] { return sink_->StageBegin(kVolume, wire::kMaxSlots, "staged", 1, ""); }),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code_of([&] { return sink_->StageBegin(kVolume, 3, "staged", 1, "missing"); }),
            absl::StatusCode::kDataLoss);
  EXPECT_EQ(code_of([&] { return sink_->StageEnd(kVolume, 2); }), absl::StatusCode::kInvalidArgument);
}

}  // namespace understudy::tests
