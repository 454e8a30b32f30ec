// Hard links, symlinks and folders that change while they are captured: the next look settles what was caught half.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <utility>

#include "agent-primary/ship/commit_builder.h"
#include "core/model/path.h"
#include "tests/unit/agent-primary/ship/links_fixture.h"

namespace understudy::primary {
namespace {

// Something happens to the volume once, while content is staged.
struct DisturbedSink : tests::MemorySink {
  using MemorySink::MemorySink;
  std::function<void()> disturb;
  absl::Status StageEnd(const model::VolumeName& volume, model::Slot slot) override {
    if (disturb) std::exchange(disturb, nullptr)();
    return MemorySink::StageEnd(volume, slot);
  }
};

class LinksRaceTest : public LinksTest {
 protected:
  // Looks at every entry, once, and is disturbed.
  void ScanDisturbed(DisturbedSink& disturbed) {
    replicator_->OnOverflow();
    const absl::Status status = replicator_->Run(disturbed, {});
    ASSERT_TRUE(status.ok()) << status;
    ASSERT_FALSE(disturbed.disturb) << "nothing was staged";
    replicator_->ForgetSession();
  }
};

// Segment records are kept by inode, and DR has two contents of this one.
TEST_F(LinksRaceTest, NameOfAFileThatWasCapturedBeforeItChangedGetsTheChange) {
  Write("a", kLarge);
  Write("b", "b");
  DisturbedSink disturbed(replicas_);
  disturbed.disturb = [&] {
    std::filesystem::remove(At("b"));
    Link("a", "b");
    std::fstream(At("a"), std::ios::in | std::ios::out).seekp(1000) << "changed";
  };
  ASSERT_NO_FATAL_FAILURE(ScanDisturbed(disturbed));
  ScanAndExpectEqual("settled");
}

// A name that becomes another file between the plan and its reading tells nothing of its other names.
TEST_F(LinksRaceTest, NameThatIsReplacedWhileOthersTravelLeavesItsOtherNamesAlone) {
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
  ASSERT_NO_FATAL_FAILURE(ScanDisturbed(disturbed));
  for (const char* path : {"b", "c", "folder/d"}) replicator_->OnHint(path, HintKind::kPath, /*at_once=*/true);
  ASSERT_NO_FATAL_FAILURE(RunBarrier());
  ExpectEqual("settled");
}

TEST_F(LinksRaceTest, SymlinkThatIsReplacedWhileOthersTravelLeavesItsOtherNamesAlone) {
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
  ASSERT_NO_FATAL_FAILURE(ScanDisturbed(disturbed));
  EXPECT_EQ(replicas_.TreeOf("web").at(model::Key("u")).target, "target");
  for (const char* path : {"s", "t"}) replicator_->OnHint(path, HintKind::kPath, /*at_once=*/true);
  ASSERT_NO_FATAL_FAILURE(RunBarrier());
  ExpectEqual("settled");
}

// What an entry's coming makes of its folder's times at DR mustn't be forgotten when the folder is elsewhere by then.
TEST_F(LinksRaceTest, FolderThatMovesWhileItsFilesTravelGetsItsTimes) {
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
  ASSERT_NO_FATAL_FAILURE(ScanDisturbed(disturbed));
  ScanAndExpectEqual("moved");
}

// A capture that is cut off after its first commit leaves folders at DR whose times are nobody's.
TEST_F(LinksRaceTest, FoldersOfACutCaptureGetTheirTimesWithoutAScan) {
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

}  // namespace
}  // namespace understudy::primary
