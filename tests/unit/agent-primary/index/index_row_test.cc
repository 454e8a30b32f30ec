#include "agent-primary/index/index_row.h"

#include <gtest/gtest.h>

namespace understudy::primary {
namespace {

os::EntryStat AFile() {
  os::EntryStat stat;
  stat.kind = model::FileKind::kRegular;
  stat.mode = 0640;
  stat.uid = 7;
  stat.gid = 8;
  stat.size = 100;
  stat.inode = 9;
  stat.mtime_nanoseconds = 5'000'000'001;
  stat.ctime_nanoseconds = 6'000'000'002;
  return stat;
}

TEST(IndexRowTest, AnyFieldOfStatThatDiffersIsAChange) {
  const IndexRow row = MakeRow(AFile(), {}, {});
  EXPECT_TRUE(IsUnchanged(row, AFile()));
  const auto changed = [&](auto change) {
    os::EntryStat stat = AFile();
    change(stat);
    return !IsUnchanged(row, stat);
  };
  EXPECT_TRUE(changed([](os::EntryStat& stat) { stat.kind = model::FileKind::kFifo; }));
  EXPECT_TRUE(changed([](os::EntryStat& stat) { stat.mode = 0600; }));
  EXPECT_TRUE(changed([](os::EntryStat& stat) { ++stat.uid; }));
  EXPECT_TRUE(changed([](os::EntryStat& stat) { ++stat.gid; }));
  EXPECT_TRUE(changed([](os::EntryStat& stat) { ++stat.size; }));
  EXPECT_TRUE(changed([](os::EntryStat& stat) { ++stat.inode; }));
  EXPECT_TRUE(changed([](os::EntryStat& stat) { ++stat.device; }));
  EXPECT_TRUE(changed([](os::EntryStat& stat) { ++stat.mtime_nanoseconds; }));
  EXPECT_TRUE(changed([](os::EntryStat& stat) { ++stat.ctime_nanoseconds; }));
}

TEST(IndexRowTest, TheSizeOfAFolderMeansNothing) {
  os::EntryStat stat = AFile();
  stat.kind = model::FileKind::kDirectory;
  const IndexRow row = MakeRow(stat, {}, {});
  stat.size = 4096;
  EXPECT_TRUE(IsUnchanged(row, stat));
}

TEST(IndexRowTest, AnUnsettledRowIsLookedAtAgain) {
  IndexRow row = MakeRow(AFile(), {}, {});
  row.ctime_nanoseconds = kUnsettledCtime;
  EXPECT_FALSE(IsUnchanged(row, AFile()));
}

TEST(IndexRowTest, MetadataIsComparedWhole) {
  const std::vector<model::Xattr> xattrs = {{"user.note", "hello"}};
  const IndexRow row = MakeRow(AFile(), xattrs, {});
  model::Metadata metadata = os::MetadataOf(AFile());
  metadata.xattrs = xattrs;
  EXPECT_TRUE(HasMetadata(row, metadata));
  const auto differs = [&](auto change) {
    model::Metadata other = metadata;
    change(other);
    return !HasMetadata(row, other);
  };
  EXPECT_TRUE(differs([](model::Metadata& other) { other.mode = 0600; }));
  EXPECT_TRUE(differs([](model::Metadata& other) { ++other.uid; }));
  EXPECT_TRUE(differs([](model::Metadata& other) { ++other.gid; }));
  EXPECT_TRUE(differs([](model::Metadata& other) { ++other.mtime_seconds; }));
  EXPECT_TRUE(differs([](model::Metadata& other) { ++other.mtime_nanoseconds; }));
  EXPECT_TRUE(differs([](model::Metadata& other) { other.xattrs[0].value = "hallo"; }));
}

// A name's end and a value's length are part of the digest, else these would join to the same bytes.
TEST(IndexRowTest, WhereAnXattrEndsCounts) {
  EXPECT_NE(DigestOfXattrs({{"user.a", "bc"}}), DigestOfXattrs({{"user.ab", "c"}}));
  EXPECT_NE(DigestOfXattrs({{"user.a", ""}}), DigestOfXattrs({}));
}

}  // namespace
}  // namespace understudy::primary
