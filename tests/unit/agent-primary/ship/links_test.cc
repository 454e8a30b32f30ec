// Hard links at the primary: whatever happens to the names of a file, DR's names are grouped into files as the
// volume's are, and content travels once.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/fsuid.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>

#include "tests/support/churn.h"
#include "tests/unit/agent-primary/ship/links_fixture.h"

namespace understudy::primary {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST_F(LinksTest, NamesOfOneFileTravelOnce) {
  Write("a", kLarge);
  Link("a", "b");
  std::filesystem::create_directory(At("folder"));
  Link("a", "folder/c");
  ScanAndExpectEqual("written");
  EXPECT_EQ(Sent(), kLarge.size());
}

TEST_F(LinksTest, NamesComeAndGoWithoutContent) {
  Write("m", kLarge);
  ScanAndExpectEqual("written");
  Link("m", "a");
  ScanAndExpectEqual("a name more, before it in order");
  Link("m", "z");
  ScanAndExpectEqual("a name more, behind it");
  std::filesystem::remove(At("m"));
  ScanAndExpectEqual("the first name removed");
  std::filesystem::rename(At("a"), At("q"));
  ScanAndExpectEqual("a name renamed");
  EXPECT_EQ(Sent(), kLarge.size());
}

TEST_F(LinksTest, EveryNameRenamedMovesTheFile) {
  Write("a", kLarge);
  Link("a", "b");
  ScanAndExpectEqual("written");
  std::filesystem::rename(At("a"), At("x"));
  std::filesystem::rename(At("b"), At("y"));
  ScanAndExpectEqual("both renamed");
  EXPECT_EQ(Sent(), kLarge.size());
}

TEST_F(LinksTest, FolderWithSomeOfTheNamesMoves) {
  std::filesystem::create_directory(At("old"));
  Write("old/a", kLarge);
  Link("old/a", "old/b");
  Link("old/a", "outside");
  ScanAndExpectEqual("written");
  std::filesystem::rename(At("old"), At("a-new"));
  ScanAndExpectEqual("moved forward");
  Link("outside", "a-new/c");
  std::filesystem::rename(At("a-new"), At("z-new"));
  ScanAndExpectEqual("moved back, with a name more");
  EXPECT_EQ(Sent(), kLarge.size());
}

TEST_F(LinksTest, ChangeThroughOneNameShowsAtAllWithoutAScan) {
  Write("a", "small");
  Link("a", "b");
  Write("c", kLarge);
  Link("c", "d");
  ScanAndExpectEqual("written");
  const uint64_t sent = Sent();
  Write("b", "another");
  std::fstream(At("d"), std::ios::in | std::ios::out) << "in place";
  replicator_->OnHint("b", HintKind::kPath, true);
  replicator_->OnHint("d", HintKind::kPath, true);
  ASSERT_NO_FATAL_FAILURE(RunBarrier());
  ExpectEqual("written through the second names");
  EXPECT_LT(Sent() - sent, 20'000u);
}

TEST_F(LinksTest, MetadataOfAllNamesIsSetOnce) {
  Write("a", kLarge);
  Link("a", "b");
  ScanAndExpectEqual("written");
  ASSERT_EQ(chmod(At("b").c_str(), 0611), 0);
  ScanAndExpectEqual("another mode");
  EXPECT_EQ(Sent(), kLarge.size());
}

TEST_F(LinksTest, BrokenLinkIsAFileOfItsOwn) {
  Write("a", kLarge);
  Link("a", "b");
  Link("a", "c");
  ScanAndExpectEqual("written");
  std::filesystem::copy_file(At("b"), At("copy"));
  std::filesystem::rename(At("copy"), At("b"));
  ScanAndExpectEqual("replaced by an equal copy");
  std::fstream(At("a"), std::ios::in | std::ios::out) << "in place";
  ScanAndExpectEqual("the others changed");
}

TEST_F(LinksTest, FilesOfTheirOwnBecomeOne) {
  Write("a", kLarge);
  Write("b", kLarge);
  ScanAndExpectEqual("two files");
  std::filesystem::remove(At("b"));
  Link("a", "b");
  ScanAndExpectEqual("one file");
  EXPECT_EQ(Sent(), 2 * kLarge.size());
}

TEST_F(LinksTest, SymlinksAndFifosHaveSeveralNamesToo) {
  std::filesystem::create_symlink("nowhere", At("s"));
  ASSERT_EQ(mkfifo(At("f").c_str(), 0600), 0);
  ASSERT_EQ(link(At("s").c_str(), At("s2").c_str()), 0);
  ASSERT_EQ(link(At("f").c_str(), At("f2").c_str()), 0);
  ScanAndExpectEqual("made");
  ASSERT_EQ(link(At("f").c_str(), At("f3").c_str()), 0);
  std::filesystem::remove(At("s"));
  ScanAndExpectEqual("one more, one less");
}

TEST_F(LinksTest, EveryNameOfASymlinkRenamedKeepsThemOneFile) {
  std::filesystem::create_symlink("target", At("a"));
  std::filesystem::create_hard_link(At("a"), At("b"));
  ASSERT_EQ(mkfifo(At("f").c_str(), 0600), 0);
  Link("f", "g");
  ScanAndExpectEqual("before");
  for (const char* name : {"a", "b", "f", "g"}) std::filesystem::rename(At(name), At(name) + std::string("2"));
  ScanAndExpectEqual("renamed");
  ASSERT_EQ(chmod(At("f2").c_str(), 0640), 0);
  for (const char* name : {"f2", "g2"}) std::filesystem::rename(At(name), At(name) + std::string("3"));
  ScanAndExpectEqual("renamed and changed");
}

TEST_F(LinksTest, NameOutsideTheVolumeMeansNothing) {
  std::ofstream(dir_.File("outside")) << kLarge;
  ASSERT_EQ(link(dir_.File("outside").c_str(), At("a").c_str()), 0);
  ScanAndExpectEqual("one of two names");
  EXPECT_EQ(replicas_.TreeOf("web").at("a").link_id, 0u);
  std::filesystem::rename(At("a"), At("b"));
  ScanAndExpectEqual("renamed");
  EXPECT_EQ(Sent(), kLarge.size());
}

TEST_F(LinksTest, RebuiltIndexKnowsWhatDrHoldsAsOneFile) {
  Write("a", kLarge);
  Link("a", "b");
  Link("a", "c");
  Write("single", "s");
  ScanAndExpectEqual("written");
  replicator_.reset();
  for (const char* suffix : {"", "-wal", "-shm"}) std::filesystem::remove(dir_.File("web.db") + suffix);
  std::filesystem::copy_file(At("c"), At("copy"));
  std::filesystem::rename(At("copy"), At("c"));
  Link("single", "s2");
  StartReplicator();
  ScanAndExpectEqual("rebuilt");
  EXPECT_EQ(Sent(), kLarge.size());  // of c, which is a file of its own now
}

TEST_F(LinksTest, ManyNamesTravelAsSeveralCommits) {
  Write("first", "content");
  for (size_t i = 0; i < kMaxBuilderOperations + 1000; ++i) Link("first", fmt::format("n{}", i));
  ScanAndExpectEqual("written");
  EXPECT_EQ(Sent(), 7u);
  EXPECT_GE(replicator_->Status().commits, 2u);
}

// Runs with another user's rights to files (and no capabilities) for as long as it lives.
class AsNobody {
 public:
  AsNobody() { setfsuid(65534); }
  ~AsNobody() { setfsuid(0); }
};

TEST_F(LinksTest, UnreadableFileHoldsUpNothingElse) {
  if (geteuid() != 0) GTEST_SKIP() << "only root can take rights away from itself";
  for (const char* name : {"a", "b", "c"}) Write(name, name);
  for (const char* name : {"a", "c", ""}) ASSERT_EQ(chown(At(name).c_str(), 65534, 65534), 0);
  ASSERT_EQ(chmod(At("b").c_str(), 0600), 0);
  ASSERT_EQ(chmod(dir_.File(".").c_str(), 0755), 0);
  const uint64_t barrier = replicator_->RequestBarrier();
  {
    const AsNobody nobody;
    const absl::Status status = replicator_->Run(sink_, {});
    ASSERT_TRUE(status.ok()) << status;
  }
  EXPECT_TRUE(replicas_.TreeOf("web").contains("a"));
  EXPECT_FALSE(replicas_.TreeOf("web").contains("b"));
  EXPECT_TRUE(replicas_.TreeOf("web").contains("c"));
  EXPECT_THAT(replicator_->Status().error, HasSubstr("'b'"));
  EXPECT_FALSE(replicator_->AwaitBarrier(barrier, /*published=*/true, absl::ZeroDuration()));
  ASSERT_NO_FATAL_FAILURE(RunBarrier());
  ExpectEqual("readable again");
  EXPECT_THAT(replicator_->Status().error, IsEmpty());
}

TEST_F(LinksTest, AllNamesOfAnUnreadableFileAreLookedAtAgain) {
  if (geteuid() != 0) GTEST_SKIP() << "only root can take rights away from itself";
  Write("a", "a");
  ScanAndExpectEqual("before");
  Write("b", "b");
  Link("b", "c");
  Link("b", "d");
  ASSERT_EQ(chmod(At("b").c_str(), 0600), 0);
  ASSERT_EQ(chmod(dir_.File(".").c_str(), 0755), 0);
  replicator_->OnOverflow();
  {
    const AsNobody nobody;
    const absl::Status status = replicator_->Run(sink_, {});
    ASSERT_TRUE(status.ok()) << status;
  }
  EXPECT_FALSE(replicas_.TreeOf("web").contains("b"));
  ASSERT_NO_FATAL_FAILURE(RunBarrier());  // nothing hints at them
  ExpectEqual("readable again");
}

uint64_t Seed(uint64_t otherwise) {
  const char* text = std::getenv("UNDERSTUDY_SEED");
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

class LinksChurnTest : public LinksTest, public ::testing::WithParamInterface<uint64_t> {};

TEST_P(LinksChurnTest, EveryScanMakesTheReplicaEqual) {
  const uint64_t seed = Seed(GetParam());
  SCOPED_TRACE(fmt::format("run it again with UNDERSTUDY_SEED={}", seed));
  tests::Churn churn(Volume(), seed);
  std::mt19937_64 pace(seed);
  for (int round = 0; round < 8; ++round) {
    std::string story;
    for (uint64_t step = 1 + pace() % 12; step > 0; --step) story += churn.Step() + "\n";
    ScanAndExpectEqual(fmt::format("round {}:\n{}", round, story));
    if (HasFatalFailure()) return;
    if (pace() % 6 != 0) continue;
    replicator_.reset();
    if (pace() % 2 == 0) std::filesystem::remove(dir_.File("web.db"));
    StartReplicator();
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, LinksChurnTest, ::testing::Range<uint64_t>(1, 5));

}  // namespace
}  // namespace understudy::primary
