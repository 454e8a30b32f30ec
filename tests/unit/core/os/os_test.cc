#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>

#include "core/delta/content_digest.h"
#include "core/model/path.h"
#include "core/os/extents.h"
#include "core/os/file_io.h"
#include "core/os/metadata.h"
#include "core/os/root.h"
#include "core/os/tree_walk.h"
#include "tests/support/temp_dir.h"

namespace understudy::os {
namespace {

using ::testing::ElementsAre;

class OsTest : public ::testing::Test {
 protected:
  Root Open() { return Root::Open(dir_.Path()).value(); }
  tests::TempDir dir_;
};

TEST_F(OsTest, NothingLeadsOutOfARoot) {
  std::filesystem::create_directory(dir_.File("in"));
  std::ofstream(dir_.File("secret")) << "s";
  std::filesystem::create_symlink("../secret", dir_.File("in/relative"));
  std::filesystem::create_symlink(dir_.File("secret"), dir_.File("in/absolute"));
  std::filesystem::create_symlink("..", dir_.File("in/up"));
  const Root root = Root::Open(dir_.File("in")).value();
  EXPECT_TRUE(absl::IsNotFound(root.OpenPath("relative", O_RDONLY).status()));
  EXPECT_TRUE(absl::IsNotFound(root.OpenPath("absolute", O_RDONLY).status()));
  EXPECT_TRUE(absl::IsNotFound(root.OpenPath("up/secret", O_RDONLY).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(root.OpenPath("../secret", O_RDONLY).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(root.OpenPath("/etc/passwd", O_RDONLY).status()));
  EXPECT_EQ(root.Stat("up")->kind, model::FileKind::kSymlink);
  EXPECT_EQ(root.ReadLink("up").value(), "..");
}

TEST_F(OsTest, PathsLongerThanPathMax) {
  const Root root = Open();
  std::string path;
  Fd at(dup(root.fd()));
  for (int i = 0; i < 30; ++i) {
    const std::string name(250, static_cast<char>('a' + i % 26));
    ASSERT_EQ(mkdirat(at.get(), name.c_str(), 0755), 0);
    at = Fd(openat(at.get(), name.c_str(), O_RDONLY | O_DIRECTORY));
    path = model::Join(path, name);
  }
  ASSERT_GT(path.size(), 4096u);
  EXPECT_TRUE(root.OpenPath(path, O_RDONLY | O_DIRECTORY).ok());
  EXPECT_EQ(root.Stat(path)->kind, model::FileKind::kDirectory);
  TreeWalk walk = TreeWalk::Begin(root, "").value();
  std::string deepest;
  for (auto entry = walk.Next().value(); entry.has_value(); entry = walk.Next().value()) deepest = entry->path;
  EXPECT_EQ(deepest, path);
}

TEST_F(OsTest, WalkComesInKeyOrderAndLeavesOut) {
  for (const char* folder : {"a", "a/b", ".understudy", ".understudy/x", "c", "c/.understudy"}) {
    std::filesystem::create_directory(dir_.File(folder));
  }
  for (const char* file : {"a-b", "a/c", "a/b/x"}) std::ofstream(dir_.File(file)) << file;
  const Root root = Open();
  TreeWalk walk = TreeWalk::Begin(root, "", ".understudy").value();
  std::vector<std::string> paths;
  for (auto entry = walk.Next().value(); entry.has_value(); entry = walk.Next().value()) {
    paths.push_back(entry->path);
    if (entry->path == "a/b") walk.SkipChildren();
  }
  EXPECT_THAT(paths, ElementsAre("a", "a/b", "a/c", "a-b", "c", "c/.understudy"));
}

TEST_F(OsTest, WalkOfFoldersMeetsFoldersOnly) {
  for (const char* folder : {"a", "a/b", "c"}) std::filesystem::create_directory(dir_.File(folder));
  for (const char* file : {"a/file", "b", "c/file"}) std::ofstream(dir_.File(file)) << file;
  std::filesystem::create_directory_symlink("a", dir_.File("link"));
  const Root root = Open();
  TreeWalk walk = TreeWalk::Begin(root, "", "", Walk::kFolders).value();
  std::vector<std::string> paths;
  for (auto entry = walk.Next().value(); entry.has_value(); entry = walk.Next().value()) paths.push_back(entry->path);
  EXPECT_THAT(paths, ElementsAre("a", "a/b", "c"));
}

// Large enough that another thread looks at the entries, with a large folder within.
TEST_F(OsTest, WalkThatLooksAheadMeetsWhatAPlainOneMeets) {
  std::filesystem::create_directories(dir_.File("file0700/in"));
  for (int i = 0; i < 1500; ++i) {
    if (i != 700) std::ofstream(dir_.File(fmt::format("file{:04}", i))) << std::string(static_cast<size_t>(i), 'x');
    std::ofstream(dir_.File(fmt::format("file0700/in/{:04}", i)));
  }
  const Root root = Open();
  TreeWalk plain = TreeWalk::Begin(root, "").value();
  TreeWalk ahead = TreeWalk::Begin(root, "", "", Walk::kAllAhead).value();
  size_t entries = 0;
  for (auto entry = plain.Next().value(); entry.has_value(); entry = plain.Next().value(), ++entries) {
    const auto other = ahead.Next().value();
    ASSERT_TRUE(other.has_value());
    ASSERT_EQ(other->path, entry->path);
    ASSERT_EQ(other->stat, entry->stat) << entry->path;
  }
  EXPECT_FALSE(ahead.Next().value().has_value());
  EXPECT_EQ(entries, 3001u);
  // One that isn't walked to its end.
  TreeWalk left = TreeWalk::Begin(root, "", "", Walk::kAllAhead).value();
  EXPECT_TRUE(left.Next().value().has_value());
}

TEST_F(OsTest, WalkTellsOfAFolderThatWasExchangedBeforeItWasEntered) {
  for (const char* folder : {"a", "b"}) std::filesystem::create_directory(dir_.File(folder));
  const Root root = Open();
  TreeWalk walk = TreeWalk::Begin(root, "").value();
  EXPECT_EQ(walk.start().inode, root.Stat("")->inode);
  ASSERT_EQ(walk.Next().value()->path, "a");
  ASSERT_EQ(renameat2(AT_FDCWD, dir_.File("a").c_str(), AT_FDCWD, dir_.File("b").c_str(), RENAME_EXCHANGE), 0);
  EXPECT_FALSE(walk.torn());
  ASSERT_EQ(walk.Next().value()->path, "b");
  EXPECT_TRUE(walk.torn());
}

TEST_F(OsTest, MetadataComesBackToTheNanosecond) {
  std::ofstream(dir_.File("from")) << "x";
  std::ofstream(dir_.File("to")) << "x";
  const std::string from = dir_.File("from");
  ASSERT_EQ(setxattr(from.c_str(), "user.note", "hello", 5, 0), 0);
  if (geteuid() == 0) {
    ASSERT_EQ(chown(from.c_str(), 1234, 5678), 0);
  }
  ASSERT_EQ(chmod(from.c_str(), 04751), 0);
  const timespec times[2] = {{0, UTIME_OMIT}, {-5, 123'456'789}};
  ASSERT_EQ(utimensat(AT_FDCWD, from.c_str(), times, 0), 0);
  ASSERT_EQ(setxattr(dir_.File("to").c_str(), "user.stale", "x", 1, 0), 0);
  const Root root = Open();
  model::Metadata metadata = MetadataOf(root.Stat("from").value());
  metadata.xattrs = ReadXattrs(root.fd(), "from").value();
  EXPECT_EQ(metadata.mtime_seconds, -5);
  EXPECT_EQ(metadata.mtime_nanoseconds, 123'456'789u);
  const Fd to = root.OpenPath("to", O_PATH).value();
  ASSERT_TRUE(ApplyMetadata(to.get(), model::FileKind::kRegular, metadata).ok());
  model::Metadata applied = MetadataOf(root.Stat("to").value());
  applied.xattrs = ReadXattrs(root.fd(), "to").value();
  EXPECT_EQ(applied, metadata);
}

TEST_F(OsTest, SymlinksOwnMetadata) {
  std::filesystem::create_symlink("nowhere", dir_.File("link"));
  const Root root = Open();
  model::Metadata metadata = MetadataOf(root.Stat("link").value());
  metadata.mtime_seconds = 1'000'000'000;
  metadata.mtime_nanoseconds = 7;
  const Fd link = root.OpenPath("link", O_PATH).value();
  ASSERT_TRUE(ApplyMetadata(link.get(), model::FileKind::kSymlink, metadata).ok());
  EXPECT_EQ(MetadataOf(root.Stat("link").value()), metadata);
}

TEST_F(OsTest, DataIsFoundBetweenHoles) {
  constexpr uint64_t kMebibyte = 1 << 20;
  const Fd file(::open(dir_.File("sparse").c_str(), O_CREAT | O_RDWR, 0644));
  ASSERT_EQ(ftruncate(file.get(), 9 * kMebibyte), 0);
  ASSERT_TRUE(WriteAt(file.get(), 3 * kMebibyte, std::string(kMebibyte, 'x')).ok());
  const std::optional<DataRange> data = NextData(file.get(), 0).value();
  ASSERT_TRUE(data.has_value());
  EXPECT_EQ(data->begin, 3 * kMebibyte);
  EXPECT_EQ(data->end, 4 * kMebibyte);
  EXPECT_EQ(NextData(file.get(), 3 * kMebibyte + 5)->value().begin, 3 * kMebibyte + 5);
  EXPECT_FALSE(NextData(file.get(), 4 * kMebibyte)->has_value());
  EXPECT_FALSE(NextData(file.get(), 10 * kMebibyte)->has_value()) << "past the end";
}

TEST_F(OsTest, DigestOfAFileIgnoresWhereItsHolesAre) {
  std::string content(10'000'000, '\0');
  content.replace(5'000'000, 4, "data");
  std::ofstream(dir_.File("dense"), std::ios::binary) << content;
  const Fd sparse(::open(dir_.File("sparse").c_str(), O_CREAT | O_RDWR, 0644));
  ASSERT_EQ(ftruncate(sparse.get(), static_cast<off_t>(content.size())), 0);
  ASSERT_TRUE(WriteAt(sparse.get(), 5'000'000, "data").ok());
  const Fd dense(::open(dir_.File("dense").c_str(), O_RDONLY));
  EXPECT_EQ(DigestOfFile(sparse.get(), content.size()).value(), delta::DigestOfContent(content));
  EXPECT_EQ(DigestOfFile(dense.get(), content.size()).value(), delta::DigestOfContent(content));
  EXPECT_TRUE(absl::IsAborted(DigestOfFile(dense.get(), content.size() + 1).status())) << "a file that was cut";
  size_t asked = 0;
  const auto ended = DigestOfFile(dense.get(), content.size(),
                                  {.go_on = [&] { return ++asked == 2 ? absl::UnknownError("") : absl::OkStatus(); }});
  EXPECT_TRUE(absl::IsUnknown(ended.status())) << "asked again before the second segment";
}

TEST(ExtentTest, OnlyFlagsThatAreKnownToBeHarmlessTellAPlace) {
  EXPECT_EQ(KindOf(0), Extent::Kind::kData);
  EXPECT_EQ(KindOf(FIEMAP_EXTENT_LAST | FIEMAP_EXTENT_MERGED | FIEMAP_EXTENT_SHARED), Extent::Kind::kData);
  EXPECT_EQ(KindOf(FIEMAP_EXTENT_UNWRITTEN | FIEMAP_EXTENT_LAST), Extent::Kind::kZeros);
  for (const uint32_t flag :
       {FIEMAP_EXTENT_UNKNOWN, FIEMAP_EXTENT_DELALLOC, FIEMAP_EXTENT_ENCODED, FIEMAP_EXTENT_DATA_ENCRYPTED,
        FIEMAP_EXTENT_NOT_ALIGNED, FIEMAP_EXTENT_DATA_INLINE, FIEMAP_EXTENT_DATA_TAIL, 0x4000}) {
    EXPECT_EQ(KindOf(static_cast<uint32_t>(flag)), Extent::Kind::kOpaque) << flag;
    EXPECT_EQ(KindOf(static_cast<uint32_t>(flag) | FIEMAP_EXTENT_UNWRITTEN), Extent::Kind::kOpaque) << flag;
  }
}

}  // namespace
}  // namespace understudy::os
