#include "core/wire/validate.h"

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "core/wire/limits.h"

namespace understudy::wire {
namespace {

using model::FileKind;

bool IsInvalid(const absl::Status& status) {
  return absl::IsInvalidArgument(status);
}

model::Metadata WithXattrs(std::vector<model::Xattr> xattrs) {
  model::Metadata metadata;
  metadata.xattrs = std::move(xattrs);
  return metadata;
}

TEST(ValidateMetadata, ModeNanosecondsAndOwnersAreBounded) {
  model::Metadata metadata;
  metadata.mode = 07777;
  metadata.mtime_nanoseconds = 999'999'999;
  metadata.mtime_seconds = -1;
  metadata.uid = 0xfffffffe;
  EXPECT_TRUE(ValidateMetadata(metadata).ok());
  model::Metadata bad = metadata;
  bad.mode = 010000;
  EXPECT_TRUE(IsInvalid(ValidateMetadata(bad)));
  bad = metadata;
  bad.mtime_nanoseconds = 1'000'000'000;
  EXPECT_TRUE(IsInvalid(ValidateMetadata(bad)));
  bad = metadata;
  bad.gid = 0xffffffff;
  EXPECT_TRUE(IsInvalid(ValidateMetadata(bad)));
}

TEST(ValidateMetadata, XattrsAreBoundedSortedAndUnique) {
  EXPECT_TRUE(ValidateMetadata(WithXattrs({{std::string(255, 'a'), std::string(64 * 1024, 'v')}, {"b", ""}})).ok());
  EXPECT_TRUE(IsInvalid(ValidateMetadata(WithXattrs({{std::string(256, 'a'), ""}}))));
  EXPECT_TRUE(IsInvalid(ValidateMetadata(WithXattrs({{"", ""}}))));
  EXPECT_TRUE(IsInvalid(ValidateMetadata(WithXattrs({{std::string("a\0b", 3), ""}}))));
  EXPECT_TRUE(IsInvalid(ValidateMetadata(WithXattrs({{"a", std::string(64 * 1024 + 1, 'v')}}))));
  EXPECT_TRUE(IsInvalid(ValidateMetadata(WithXattrs({{"b", ""}, {"a", ""}}))));
  EXPECT_TRUE(IsInvalid(ValidateMetadata(WithXattrs({{"a", ""}, {"a", ""}}))));
  std::vector<model::Xattr> many;
  for (size_t i = 0; i <= kMaxXattrs; ++i)
    many.push_back({"user." + std::string(i / 100, 'x') + std::to_string(1000 + i), ""});
  EXPECT_TRUE(IsInvalid(ValidateMetadata(WithXattrs(many))));
}

TEST(ValidateReplicaRoot, IsAbsoluteAndPlain) {
  EXPECT_TRUE(ValidateReplicaRoot("/srv/b").ok());
  EXPECT_TRUE(ValidateReplicaRoot("/srv/..b/.c").ok());
  for (const std::string bad : {"", "/", "srv/b", "/srv/../b", "/srv/./b", "/srv//b", "/srv/b/"}) {
    EXPECT_TRUE(IsInvalid(ValidateReplicaRoot(bad))) << bad;
  }
  EXPECT_TRUE(IsInvalid(ValidateReplicaRoot(std::string("/a\0b", 4))));
  std::string longest;
  while (longest.size() + 200 < kMaxReplicaRootBytes) longest += "/" + std::string(199, 'x');
  EXPECT_TRUE(ValidateReplicaRoot(longest).ok());
  EXPECT_TRUE(IsInvalid(ValidateReplicaRoot(longest + longest)));
}

TEST(ValidateRange, EndsWithinTheLargestFileWithoutOverflow) {
  EXPECT_TRUE(ValidateRange(0, kMaxFileBytes).ok());
  EXPECT_TRUE(ValidateRange(kMaxFileBytes - 1, 1).ok());
  EXPECT_TRUE(IsInvalid(ValidateRange(0, 0)));
  EXPECT_TRUE(IsInvalid(ValidateRange(kMaxFileBytes, 1)));
  EXPECT_TRUE(IsInvalid(ValidateRange(1, kMaxFileBytes)));
  EXPECT_TRUE(IsInvalid(ValidateRange(~uint64_t{0}, 2)));
  EXPECT_TRUE(IsInvalid(ValidateRange(2, ~uint64_t{0})));
}

TEST(ValidateStaging, SlotsSizesAndPiecesAreBounded) {
  EXPECT_TRUE(ValidateStageBegin(kMaxSlots - 1, "p", kMaxFileBytes, "a/b").ok());
  EXPECT_TRUE(IsInvalid(ValidateStageBegin(kMaxSlots, "p", 1, "")));
  EXPECT_TRUE(IsInvalid(ValidateStageBegin(0, "p", kMaxFileBytes + 1, "")));
  EXPECT_TRUE(IsInvalid(ValidateStageBegin(0, "p", 1, "../a")));
  EXPECT_TRUE(ValidateStageData(0, 0, std::string(kMaxStageBytes, 'x')).ok());
  EXPECT_TRUE(IsInvalid(ValidateStageData(0, 0, std::string(kMaxStageBytes + 1, 'x'))));
  EXPECT_TRUE(IsInvalid(ValidateStageData(0, 0, "")));
  EXPECT_TRUE(ValidateStageHole(0, 0, kMaxFileBytes).ok());
  EXPECT_TRUE(IsInvalid(ValidateStageHole(kMaxSlots, 0, 1)));
}

TEST(ValidateStaging, SmallFilesAreBounded) {
  const auto batch = [](size_t files, size_t bytes, size_t folders = 0) {
    model::StagedBatch made;
    for (size_t i = 0; i < files; ++i) made.files.push_back({static_cast<model::Slot>(i), "f", {}, {}, ""});
    if (files > 0) made.files.front().content.resize(bytes);
    made.folders.assign(folders, "d");
    return made;
  };
  EXPECT_TRUE(ValidateStagedBatch(batch(kMaxStagedEntries, kMaxStagedFilesBytes, kMaxStagedEntries)).ok());
  EXPECT_TRUE(IsInvalid(ValidateStagedBatch(batch(kMaxStagedEntries + 1, 0))));
  EXPECT_TRUE(IsInvalid(ValidateStagedBatch(batch(1, kMaxStagedFilesBytes + 1))));
  EXPECT_TRUE(IsInvalid(ValidateStagedBatch(batch(0, 0, kMaxStagedEntries + 1))));
  model::StagedBatch bad = batch(1, 1);
  bad.files[0].slot = kMaxSlots;
  EXPECT_TRUE(IsInvalid(ValidateStagedBatch(bad)));
  bad = batch(1, 1);
  bad.files[0].metadata.mode = kMaxModeBits + 1;
  EXPECT_TRUE(IsInvalid(ValidateStagedBatch(bad)));
  bad = batch(1, 1, 1);
  bad.folders[0] = "/d";
  EXPECT_TRUE(IsInvalid(ValidateStagedBatch(bad)));
}

TEST(ValidateStaging, DeltasCoverOneSegment) {
  const auto check = [](uint64_t offset, uint64_t length, size_t bytes, uint64_t base_offset = 0,
                        uint64_t base_length = 1) {
    return ValidateStageDelta(1, {offset, length, std::string(bytes, 'd'), {}, base_offset, base_length});
  };
  EXPECT_TRUE(check(kMaxDeltaRangeBytes, kMaxDeltaRangeBytes, kMaxDeltaBytes).ok());
  EXPECT_TRUE(IsInvalid(check(1, 10, 10)));
  EXPECT_TRUE(IsInvalid(check(0, kMaxDeltaRangeBytes + 1, 10)));
  EXPECT_TRUE(IsInvalid(check(0, 10, kMaxDeltaBytes + 1)));
  EXPECT_TRUE(IsInvalid(check(0, 10, 0)));
  EXPECT_TRUE(IsInvalid(check(0, 0, 10)));
  EXPECT_TRUE(check(0, 10, 10, 1, kMaxDeltaBaseBytes).ok());
  EXPECT_TRUE(IsInvalid(check(0, 10, 10, 0, kMaxDeltaBaseBytes + 1)));
  EXPECT_TRUE(IsInvalid(check(0, 10, 10, kMaxFileBytes, 1)));
  EXPECT_TRUE(IsInvalid(check(0, 10, 10, 0, 0)));
}

model::Commit CommitOf(std::vector<model::Operation> operations) {
  model::Commit commit;
  commit.volume = "vol";
  commit.sequence = 1;
  commit.operations = std::move(operations);
  return commit;
}

model::Put PutOf(const std::string& path, std::variant<std::string, model::Slot> content, uint64_t size) {
  model::Put put;
  put.path = path;
  put.content = std::move(content);
  put.size = size;
  return put;
}

TEST(ValidateCommit, TakesAnEmptyAndAFullOne) {
  EXPECT_TRUE(ValidateCommit(CommitOf({})).ok());
  std::vector<model::Operation> operations;
  for (size_t i = 0; i < kMaxCommitOperations; ++i)
    operations.push_back(model::MakeDirectory{std::to_string(10000 + i), {}});
  EXPECT_TRUE(ValidateCommit(CommitOf(operations)).ok());
  operations.push_back(model::MakeDirectory{"x", {}});
  EXPECT_TRUE(IsInvalid(ValidateCommit(CommitOf(operations))));
}

TEST(ValidateCommit, SequencesRiseByOne) {
  model::Commit commit = CommitOf({});
  commit.base_sequence = 7;
  commit.sequence = 8;
  EXPECT_TRUE(ValidateCommit(commit).ok());
  for (const uint64_t wrong : {uint64_t{7}, uint64_t{9}, uint64_t{0}}) {
    commit.sequence = wrong;
    EXPECT_TRUE(IsInvalid(ValidateCommit(commit)));
  }
  commit.base_sequence = ~uint64_t{0};
  commit.sequence = 0;
  EXPECT_TRUE(IsInvalid(ValidateCommit(commit)));
}

TEST(ValidateCommit, SlotsAreDetachedAndAttachedOnceOrHoldOneContent) {
  const auto valid = [](std::vector<model::Operation> operations) {
    return ValidateCommit(CommitOf(std::move(operations))).ok();
  };
  EXPECT_TRUE(valid({model::Detach{"a", 1}, model::Attach{1, "b"}, PutOf("c", model::Slot{2}, 5)}));
  EXPECT_FALSE(valid({model::Detach{"a", 1}}));
  EXPECT_FALSE(valid({model::Attach{1, "b"}}));
  EXPECT_FALSE(valid({model::Detach{"b", 1}, model::Detach{"a", 1}, model::Attach{1, "c"}}));
  EXPECT_FALSE(valid({model::Detach{"a", 1}, model::Attach{1, "b"}, model::Attach{1, "c"}}));
  EXPECT_FALSE(valid({model::Detach{"a", 1}, model::Attach{1, "b"}, PutOf("c", model::Slot{1}, 5)}));
  EXPECT_FALSE(valid({PutOf("b", model::Slot{2}, 5), PutOf("c", model::Slot{2}, 5)}));
  EXPECT_FALSE(valid({model::Detach{"a", kMaxSlots}, model::Attach{kMaxSlots, "b"}}));
}

TEST(ValidateCommit, TheRootIsOnlyATargetOfMetadata) {
  const auto valid = [](model::Operation operation) { return ValidateCommit(CommitOf({std::move(operation)})).ok(); };
  EXPECT_TRUE(valid(model::SetMetadata{"", FileKind::kDirectory, {}}));
  EXPECT_FALSE(valid(model::SetMetadata{"", FileKind::kRegular, {}}));
  EXPECT_FALSE(valid(model::Remove{"", FileKind::kDirectory}));
  EXPECT_FALSE(valid(model::MakeDirectory{"", {}}));
  EXPECT_FALSE(valid(PutOf("", std::string(), 0)));
  EXPECT_FALSE(valid(model::MakeSymlink{"", "x", {}}));
  EXPECT_FALSE(valid(model::MakeNode{"", FileKind::kFifo, 0, {}}));
}

TEST(ValidateCommit, ContentsTargetsAndNodesAreWhatTheySay) {
  const auto valid = [](model::Operation operation) { return ValidateCommit(CommitOf({std::move(operation)})).ok(); };
  EXPECT_TRUE(valid(PutOf("a", std::string(kMaxInlineBytes, 'x'), kMaxInlineBytes)));
  EXPECT_FALSE(valid(PutOf("a", std::string(kMaxInlineBytes + 1, 'x'), kMaxInlineBytes + 1)));
  EXPECT_FALSE(valid(PutOf("a", std::string("x"), 2)));
  EXPECT_FALSE(valid(PutOf("a", model::Slot{1}, kMaxFileBytes + 1)));
  EXPECT_TRUE(valid(model::MakeSymlink{"a", std::string(4095, 'x'), {}}));
  EXPECT_FALSE(valid(model::MakeSymlink{"a", std::string(4096, 'x'), {}}));
  EXPECT_FALSE(valid(model::MakeSymlink{"a", std::string("x\0y", 3), {}}));
  EXPECT_TRUE(valid(model::MakeNode{"a", FileKind::kBlockDevice, 0x801, {}}));
  EXPECT_FALSE(valid(model::MakeNode{"a", FileKind::kFifo, 0x801, {}}));
  EXPECT_FALSE(valid(model::MakeNode{"a", FileKind::kDirectory, 0, {}}));
}

TEST(ValidateObjectKey, ANamespaceExactlyForKindsThatHaveOne) {
  using model::ObjectKind;
  EXPECT_TRUE(ValidateObjectKey({ObjectKind::kPersistentVolume, "", "pv"}).ok());
  EXPECT_TRUE(ValidateObjectKey({ObjectKind::kPersistentVolumeClaim, "shop", "db"}).ok());
  EXPECT_TRUE(IsInvalid(ValidateObjectKey({ObjectKind::kPersistentVolume, "shop", "pv"})));
  EXPECT_TRUE(IsInvalid(ValidateObjectKey({ObjectKind::kVolumeSnapshot, "", "s"})));
  EXPECT_TRUE(IsInvalid(ValidateObjectKey({ObjectKind::kVolumeSnapshotContent, "", ""})));
  EXPECT_TRUE(IsInvalid(ValidateObjectKey({ObjectKind::kPersistentVolume, "", std::string(254, 'p')})));
  EXPECT_TRUE(IsInvalid(ValidateObjectKey({ObjectKind::kPersistentVolume, "", "p\nv"})));
}

TEST(ValidateCatalogEntry, EveryFieldIsBounded) {
  model::CatalogEntry entry;
  entry.key = {model::ObjectKind::kPersistentVolume, "", "pv"};
  entry.uid = "u";
  entry.resource = "{}";
  entry.volume = "pv";
  entry.replica_path = "/srv/b/pv";
  entry.server = "nfs.example";
  EXPECT_TRUE(ValidateCatalogEntry(entry).ok());
  const std::function<void(model::CatalogEntry&)> breaks[] = {
      [](auto& e) { e.resource.clear(); },
      [](auto& e) { e.resource = std::string(kMaxResourceBytes + 1, ' '); },
      [](auto& e) { e.uid = std::string(kMaxObjectUidBytes + 1, 'u'); },
      [](auto& e) { e.volume = "../x"; },
      [](auto& e) { e.replica_path = "relative"; },
      [](auto& e) { e.server = std::string(kMaxServerBytes + 1, 's'); },
  };
  for (const auto& damage : breaks) {
    model::CatalogEntry broken = entry;
    damage(broken);
    EXPECT_TRUE(IsInvalid(ValidateCatalogEntry(broken)));
  }
}

}  // namespace
}  // namespace understudy::wire
