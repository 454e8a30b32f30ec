// Hard links at the primary: whatever happens to the names of a file, DR's names are grouped into files as the
// volume's are, and content travels once.
#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/fsuid.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <random>

#include "agent-primary/ship/commit_builder.h"
#include "agent-primary/ship/volume_replicator.h"
#include "core/base/clock.h"
#include "core/delta/content_digest.h"
#include "core/model/path.h"
#include "core/os/file_io.h"
#include "core/os/tree_walk.h"
#include "tests/support/churn.h"
#include "tests/support/memory_sink.h"
#include "tests/support/temp_dir.h"

namespace understudy::primary {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using Tree = tests::MemoryReplicas::Tree;

// What is replicated, in words that both sides have: for each path its kind, its content or target, and the first of
// its names.
std::map<std::string, std::string> Describe(const Tree& tree) {
  std::map<std::string, std::string> described;
  std::map<uint64_t, std::string> first_names;
  for (const auto& [key, entry] : tree) {
    const std::string path = model::PathOfKey(key);
    const std::string first = entry.link_id == 0 ? path : first_names.try_emplace(entry.link_id, path).first->second;
    const std::string content =
        entry.kind == model::FileKind::kDirectory ? "" : std::to_string(std::hash<std::string>()(entry.content));
    described[path] =
        fmt::format("kind {} size {} content {} target {} mode {:o} mtime {}.{} file {}", static_cast<int>(entry.kind),
                    entry.content.size(), content, entry.target, entry.metadata.mode, entry.metadata.mtime_seconds,
                    entry.metadata.mtime_nanoseconds, first);
  }
  return described;
}

// The same of a folder on disk, whose inode numbers stand for link ids.
Tree TreeOnDisk(const std::string& folder) {
  const os::Root root = os::Root::Open(folder).value();
  Tree tree;
  tree[""] = {.kind = model::FileKind::kDirectory, .metadata = os::MetadataOf(root.Stat("").value())};
  os::TreeWalk walk = os::TreeWalk::Begin(root, "").value();
  for (auto entry = walk.Next().value(); entry.has_value(); entry = walk.Next().value()) {
    tests::MemoryReplicas::Entry& described = tree[model::Key(entry->path)];
    described.kind = entry->stat.kind;
    described.metadata = os::MetadataOf(entry->stat);
    if (entry->stat.kind != model::FileKind::kDirectory) described.link_id = entry->stat.inode;
    if (entry->stat.kind == model::FileKind::kSymlink) {
      described.target = os::ReadLinkAt(entry->folder_fd, entry->name).value();
    }
    if (entry->stat.kind != model::FileKind::kRegular) continue;
    const os::Fd file = root.OpenPath(entry->path, O_RDONLY).value();
    described.content = os::ReadAt(file.get(), 0, entry->stat.size).value();
  }
  return tree;
}

class LinksTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::create_directories(Volume());
    StartReplicator();
  }

  std::string Volume() const { return dir_.File("web"); }
  std::string At(const std::string& path) const { return Volume() + "/" + path; }
  void Write(const std::string& path, const std::string& content) { std::ofstream(At(path)) << content; }
  void Link(const std::string& target, const std::string& path) {
    std::filesystem::create_hard_link(At(target), At(path));
  }

  void StartReplicator() {
    replicator_.reset();
    auto replicator = VolumeReplicator::Open("web", Volume(), "/dr/web", dir_.File("web.db"),
                                             {.times = {absl::ZeroDuration(), absl::ZeroDuration()}}, Clock::System());
    ASSERT_TRUE(replicator.ok()) << replicator.status();
    replicator_ = *std::move(replicator);
  }

  void RunBarrier() {
    const uint64_t barrier = replicator_->RequestBarrier();
    while (!replicator_->AwaitBarrier(barrier, /*published=*/true, absl::ZeroDuration())) {
      const absl::Status status = replicator_->Run(sink_, {});
      ASSERT_TRUE(status.ok()) << status;
    }
  }

  void ExpectEqual(const std::string& when) {
    const auto wanted = Describe(TreeOnDisk(Volume()));
    const auto found = Describe(replicas_.TreeOf("web"));
    for (const auto& [path, what] : wanted) {
      ASSERT_TRUE(found.contains(path)) << when << ": no '" << path << "'";
      ASSERT_EQ(found.at(path), what) << when << ": '" << path << "'";
    }
    ASSERT_EQ(found.size(), wanted.size()) << when;
  }

  void ScanAndExpectEqual(const std::string& when) {
    replicator_->OnOverflow();
    ASSERT_NO_FATAL_FAILURE(RunBarrier());
    ExpectEqual(when);
  }

  uint64_t Sent() const { return replicator_->Status().content_bytes_sent; }

  tests::TempDir dir_;
  tests::MemoryReplicas replicas_{"/dr"};
  tests::MemorySink sink_{replicas_};
  std::unique_ptr<VolumeReplicator> replicator_;
};

const std::string kLarge(2'000'000, 'x');

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
  for (int i = 0; i < 9000; ++i) Link("first", fmt::format("n{}", i));
  ScanAndExpectEqual("written");
  EXPECT_EQ(Sent(), 7u);
  EXPECT_GE(replicator_->Status().commits, 3u);
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

// Something happens to the volume once, while content is staged.
struct DisturbedSink : tests::MemorySink {
  using MemorySink::MemorySink;
  std::function<void()> disturb;
  absl::Status StageEnd(const model::VolumeName& volume, model::Slot slot) override {
    if (disturb) std::exchange(disturb, nullptr)();
    return MemorySink::StageEnd(volume, slot);
  }
};

// Segment records are kept by inode, and DR has two contents of this one.
TEST_F(LinksTest, NameOfAFileThatWasCapturedBeforeItChangedGetsTheChange) {
  Write("a", kLarge);
  Write("b", "b");
  DisturbedSink disturbed(replicas_);
  disturbed.disturb = [&] {
    std::filesystem::remove(At("b"));
    Link("a", "b");
    std::fstream(At("a"), std::ios::in | std::ios::out).seekp(1000) << "changed";
  };
  replicator_->OnOverflow();
  const absl::Status status = replicator_->Run(disturbed, {});
  ASSERT_TRUE(status.ok()) << status;
  ASSERT_FALSE(disturbed.disturb) << "nothing was staged";
  replicator_->ForgetSession();
  ScanAndExpectEqual("settled");
}

// A name that becomes another file between the plan and its reading tells nothing of its other names.
TEST_F(LinksTest, NameThatIsReplacedWhileOthersTravelLeavesItsOtherNamesAlone) {
  Write("b", "content");
  Link("b", "c");
  Link("b", "x");
  std::filesystem::create_directory(At("folder"));
  ScanAndExpectEqual("before");
  DisturbedSink disturbed(replicas_);
  replicator_->ForgetSession();
  disturbed.disturb = [&] {
    std::filesystem::rename(At("b"), At("folder/d"));
    std::filesystem::copy_file(At("folder/d"), At("new"));
    std::filesystem::rename(At("new"), At("c"));
  };
  Write("a", kLarge);
  std::filesystem::remove(At("x"));
  replicator_->OnOverflow();
  const absl::Status status = replicator_->Run(disturbed, {});
  ASSERT_TRUE(status.ok()) << status;
  ASSERT_FALSE(disturbed.disturb) << "nothing was staged";
  replicator_->ForgetSession();
  for (const char* path : {"b", "c", "folder/d"}) replicator_->OnHint(path, HintKind::kPath, /*at_once=*/true);
  ASSERT_NO_FATAL_FAILURE(RunBarrier());
  ExpectEqual("settled");
}

TEST_F(LinksTest, SymlinkThatIsReplacedWhileOthersTravelLeavesItsOtherNamesAlone) {
  std::filesystem::create_symlink("target", At("s"));
  for (const char* name : {"t", "u", "x"}) std::filesystem::create_hard_link(At("s"), At(name));
  ScanAndExpectEqual("before");
  DisturbedSink disturbed(replicas_);
  replicator_->ForgetSession();
  disturbed.disturb = [&] {
    std::filesystem::remove(At("s"));
    std::filesystem::remove(At("t"));
    std::filesystem::create_symlink("another", At("t"));
  };
  Write("a", kLarge);
  std::filesystem::remove(At("x"));
  replicator_->OnOverflow();
  const absl::Status status = replicator_->Run(disturbed, {});
  ASSERT_TRUE(status.ok()) << status;
  ASSERT_FALSE(disturbed.disturb) << "nothing was staged";
  EXPECT_EQ(replicas_.TreeOf("web").at(model::Key("u")).target, "target");
  replicator_->ForgetSession();
  for (const char* path : {"s", "t"}) replicator_->OnHint(path, HintKind::kPath, /*at_once=*/true);
  ASSERT_NO_FATAL_FAILURE(RunBarrier());
  ExpectEqual("settled");
}

// What an entry's coming makes of its folder's times at DR mustn't be forgotten when the folder is elsewhere by then.
TEST_F(LinksTest, FolderThatMovesWhileItsFilesTravelGetsItsTimes) {
  std::filesystem::create_directory(At("folder"));
  Write("folder/a", "a");
  Write("folder/b", std::string(300'000, 'b'));
  ScanAndExpectEqual("before");
  for (const char* name : {"folder/a", "folder/b"}) std::filesystem::rename(At(name), At(name) + std::string(".old"));
  for (const char* name : {"folder/a", "folder/b"})
    std::filesystem::copy_file(At(name) + std::string(".old"), At(name));
  for (const char* name : {"folder/a", "folder/b"}) std::filesystem::remove(At(name) + std::string(".old"));
  ScanAndExpectEqual("replaced");
  DisturbedSink disturbed(replicas_);
  disturbed.disturb = [&] { std::filesystem::rename(At("folder"), At("elsewhere")); };
  replicator_->ForgetSession();
  std::ofstream(At("folder/b"), std::ios::in) << "B";
  std::ofstream(At("folder/a"), std::ios::in)
      << "A";  // a small file is put anew: its folder's times change at DR alone
  replicator_->OnOverflow();
  const absl::Status status = replicator_->Run(disturbed, {});
  ASSERT_TRUE(status.ok()) << status;
  ASSERT_FALSE(disturbed.disturb) << "nothing was staged";
  replicator_->ForgetSession();
  ScanAndExpectEqual("moved");
}

// A capture that is cut off after its first commit leaves folders at DR whose times are nobody's.
TEST_F(LinksTest, FoldersOfACutCaptureGetTheirTimesWithoutAScan) {
  std::filesystem::create_directory(At("from"));
  std::filesystem::create_directory(At("to"));
  Write("from/a", "a");
  ScanAndExpectEqual("before");
  struct Cutter : tests::MemorySink {
    using MemorySink::MemorySink;
    int commits_left = 1'000;
    absl::Status Submit(const model::Commit& commit) override {
      if (commits_left-- == 0) return absl::UnavailableError("cut");
      return MemorySink::Submit(commit);
    }
  };
  Cutter cutter(replicas_);
  replicator_->ForgetSession();
  do {  // until nothing is racily clean any more
    const absl::Status calm = replicator_->Run(cutter, {});
    ASSERT_TRUE(calm.ok()) << calm;
  } while (replicator_->Status().dirty_paths > 0);
  std::filesystem::rename(At("from/a"), At("to/a"));
  std::filesystem::create_directory(At("many"));
  for (size_t i = 0; i <= kMaxBuilderOperations; ++i) Write(fmt::format("many/{:05}", i), "m");
  // Nobody told of the name that is gone.
  for (const char* path : {"to/a", "many"}) replicator_->OnHint(path, HintKind::kSubtree, /*at_once=*/true);
  cutter.commits_left = 1;
  const absl::Status status = replicator_->Run(cutter, {});
  ASSERT_TRUE(absl::IsUnavailable(status)) << status;
  ASSERT_LT(cutter.commits_left, 0) << "one commit was enough";
  ASSERT_NO_FATAL_FAILURE(RunBarrier());
  ExpectEqual("after the cut");
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
