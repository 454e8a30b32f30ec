// What the filesystem at DR can't hold is refused before it is promised: what is acknowledged can be published.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "core/wire/status_path.h"
#include "tests/unit/agent-dr/commit/rewind_fixture.h"

namespace understudy::tests {
namespace {

using model::FileKind;
using testing::HasSubstr;

constexpr uint64_t kMostNamesOnExt4 = 65'000;

class UnfitTest : public RewindTest {
 protected:
  void SetUp() override { SetUpOn("ext4", 300); }
  // The commit is refused for `path`, nothing is changed by it, and the next one is taken.
  void ExpectRefused(std::vector<model::Operation> operations, const std::string& path) {
    const std::string before = Show(*engine_, "vol");
    const model::Sequence newest = Now();
    const absl::Status refused = session_.SubmitDurable(NextCommit(session_.State(), InOrder(std::move(operations))));
    EXPECT_TRUE(absl::IsFailedPrecondition(refused)) << refused;
    EXPECT_THAT(std::string(refused.message()), HasSubstr(fmt::format("'{}'", path)));
    EXPECT_EQ(wire::PathOf(refused), path);
    EXPECT_EQ(Now(), newest);
    Open();
    EXPECT_EQ(Show(*engine_, "vol"), before);
    const absl::Status next = TryCommit({InlinePut("next", "next")});
    EXPECT_TRUE(next.ok()) << next;
    Restart();
    EXPECT_TRUE(engine_->Problems().empty());
    const auto promoted = engine_->BeginPromotion("vol", false);
    EXPECT_TRUE(promoted.ok()) << promoted.status();
  }
  static model::Metadata TooMuch() { return WithXattr(Meta(0755), std::string(8192, 'x')); }
};

TEST_F(UnfitTest, AnXattrOfAFileThatIsThere) {
  Commit({InlinePut("a", "a")});
  ExpectRefused({model::SetMetadata{"a", FileKind::kRegular, TooMuch()}}, "a");
}

TEST_F(UnfitTest, AnXattrOfAFileThatIsMoved) {
  Commit({InlinePut("a", "a")});
  ExpectRefused({model::Detach{"a", 1}, model::Attach{1, "b"}, model::SetMetadata{"b", FileKind::kRegular, TooMuch()}},
                "b");
}

TEST_F(UnfitTest, AnXattrOfAFolderThatIsThere) {
  Commit({model::MakeDirectory{"d", Meta(0755)}});
  ExpectRefused({model::MakeDirectory{"d", TooMuch()}}, "d");
}

TEST_F(UnfitTest, AnXattrOfANewFolder) {
  ExpectRefused({model::MakeDirectory{"d", TooMuch()}}, "d");
}

TEST_F(UnfitTest, AnXattrOfANewFile) {
  model::Put put = InlinePut("a", "a");
  put.metadata = TooMuch();
  ExpectRefused({put}, "a");
}

TEST_F(UnfitTest, AnXattrOfAPatchedFile) {
  Commit({InlinePut("f", std::string(10'000, 'f'))});
  Stage(1, "f", 10'000, {{10, "over"}});
  ExpectRefused({model::Patch{"f", TooMuch(), 10'000, {}, 1}}, "f");
}

TEST_F(UnfitTest, OfManyEntriesTheOneIsNamed) {
  std::vector<model::Operation> made;
  std::vector<model::Operation> set;
  for (int i = 0; i < 20; ++i) {
    made.push_back(InlinePut(fmt::format("f{:02}", i), "f"));
    set.push_back(model::SetMetadata{fmt::format("f{:02}", i), FileKind::kRegular,
                                     i == 7 ? TooMuch() : WithXattr(Meta(0600), fmt::format("small {}", i))});
  }
  Commit(made);
  ExpectRefused(set, "f07");
}

// What fits is taken, whatever was there before: each of the two states fits, and both together don't.
TEST_F(UnfitTest, XattrsThatChangePlacesAreTaken) {
  const auto with = [](size_t first, size_t second) {
    model::Metadata metadata = Meta(0644);
    metadata.xattrs = {{"user.a", std::string(first, 'a')}, {"user.b", std::string(second, 'b')}};
    return metadata;
  };
  // All xattrs of a file share a block.
  struct statvfs filesystem {};
  ASSERT_EQ(statvfs(Root().c_str(), &filesystem), 0);
  const size_t small = filesystem.f_bsize / 10;
  const size_t large = filesystem.f_bsize * 6 / 10;
  model::Put put = InlinePut("f", "f");
  put.metadata = with(small, large);
  Commit({put});
  Commit({model::SetMetadata{"f", FileKind::kRegular, with(large, small)}});
  RewindToAll();
}

TEST_F(UnfitTest, MoreNamesThanTheFilesystemAllows) {
  Commit({InlinePut("file", "x"), model::MakeDirectory{"d", Meta(0755)}});
  // As if earlier commits had brought them.
  for (uint64_t i = 1; i + 2 < kMostNamesOnExt4; ++i) {
    ASSERT_EQ(link((Root() + "/file").c_str(), fmt::format("{}/d/{}", Root(), i).c_str()), 0);
  }
  const absl::Status fits = TryCommit({model::Link{"last", "file"}, model::Link{"one", "file"}});
  ASSERT_TRUE(fits.ok()) << fits;
  ExpectRefused({model::Link{"more", "file"}}, "more");
}

TEST_F(UnfitTest, MoreNewNamesThanTheFilesystemAllows) {
  Commit({InlinePut("file", "x"), model::MakeDirectory{"d", Meta(0755)}});
  for (uint64_t i = 1; i + 2 < kMostNamesOnExt4; ++i) {
    ASSERT_EQ(link((Root() + "/file").c_str(), fmt::format("{}/d/{}", Root(), i).c_str()), 0);
  }
  ExpectRefused({model::Link{"l1", "file"}, model::Link{"l2", "file"}, model::Link{"l3", "file"}}, "l3");
}

}  // namespace
}  // namespace understudy::tests
