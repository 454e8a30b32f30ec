// DR had no room for a capture: what went away at the primary is taken away there before anything else comes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <set>
#include <utility>

#include "agent-primary/ship/volume_replicator.h"
#include "core/base/clock.h"
#include "core/model/path.h"
#include "core/os/metadata.h"
#include "core/os/root.h"
#include "tests/support/memory_sink.h"
#include "tests/support/temp_dir.h"
#include "tests/unit/agent-primary/ship/run_to_barrier.h"

namespace understudy::primary {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class RecordingSink : public tests::MemorySink {
 public:
  using MemorySink::MemorySink;
  absl::Status Submit(const model::Commit& commit) override {
    if (!submitted_.empty() && submitted_.size() == fail_after_) return absl::ResourceExhaustedError("no inodes");
    submitted_.push_back(commit);
    return MemorySink::Submit(commit);
  }
  // Refuses what comes after so many commits, until they are taken.
  void FailAfter(size_t commits) { fail_after_ = commits; }
  std::vector<model::Commit> Take() {
    fail_after_ = 0;
    return std::exchange(submitted_, {});
  }

 private:
  std::vector<model::Commit> submitted_;
  size_t fail_after_ = 0;
};

template <typename Kind>
std::set<std::string> PathsOf(const model::Commit& commit) {
  std::set<std::string> paths;
  for (const model::Operation& operation : commit.operations) {
    if (const auto* found = std::get_if<Kind>(&operation)) paths.insert(found->path);
  }
  return paths;
}

class RoomTest : public ::testing::Test {
 protected:
  void SetUp() override {
    for (const char* const folder : {"kept", "gone"}) std::filesystem::create_directories(At(folder));
    for (const char* const file : {"kept/a", "kept/b", "kept/c", "gone/d"}) Write(file);
    replicator_ = VolumeReplicator::Open("web", dir_.File("web"), "/dr/web", dir_.File("web.db"),
                                         {.times = {absl::ZeroDuration(), absl::ZeroDuration()}}, Clock::System())
                      .value();
    ASSERT_TRUE(Scan().ok());
    sink_.Take();
  }
  std::string At(const std::string& path) const { return dir_.File("web/" + path); }
  void Write(const std::string& path) { std::ofstream(At(path)) << path; }

  absl::Status Scan() { return ScanToBarrier(*replicator_, sink_, /*published=*/false); }
  void ScanWithoutRoom() {
    replicas_.FailNextSubmit("web", absl::ResourceExhaustedError("no inodes"));
    EXPECT_TRUE(absl::IsResourceExhausted(Scan()));
    sink_.Take();
  }
  void ExpectEqual() {
    std::set<std::string> here;
    std::set<std::string> there;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(dir_.File("web"))) {
      here.insert(std::filesystem::relative(entry.path(), dir_.File("web")).string());
    }
    for (const auto& [key, entry] : replicas_.TreeOf("web")) {
      const std::string path = model::PathOfKey(key);
      if (!path.empty()) there.insert(path);
      const auto stat = os::Root::Open(dir_.File("web"))->Stat(path);
      ASSERT_TRUE(stat.ok()) << path;
      EXPECT_EQ(entry.metadata, os::MetadataOf(*stat)) << path;
    }
    EXPECT_EQ(here, there);
  }

  tests::TempDir dir_;
  tests::MemoryReplicas replicas_{"/dr"};
  RecordingSink sink_{replicas_};
  std::unique_ptr<VolumeReplicator> replicator_;
};

TEST_F(RoomTest, RemovalsComeFirstUntilACaptureSucceeds) {
  std::filesystem::remove(At("kept/a"));
  std::filesystem::remove_all(At("gone"));
  Write("kept/new");
  Write("another");
  ScanWithoutRoom();
  ASSERT_TRUE(Scan().ok());
  const std::vector<model::Commit> commits = sink_.Take();
  ASSERT_GE(commits.size(), 2u);
  EXPECT_THAT(PathsOf<model::Remove>(commits[0]), ElementsAre("gone", "kept/a"));
  EXPECT_THAT(PathsOf<model::SetMetadata>(commits[0]), ElementsAre("", "kept"));
  EXPECT_THAT(commits[0].operations, SizeIs(4));
  EXPECT_FALSE(commits[0].completes_capture);
  EXPECT_THAT(PathsOf<model::Remove>(commits[1]), IsEmpty());
  EXPECT_THAT(PathsOf<model::Put>(commits[1]), ElementsAre("another", "kept/new"));
  EXPECT_TRUE(commits[1].completes_capture);
  ExpectEqual();

  std::filesystem::remove(At("kept/b"));
  Write("last");
  ASSERT_TRUE(Scan().ok());
  const std::vector<model::Commit> after = sink_.Take();
  ASSERT_FALSE(after.empty());
  EXPECT_THAT(PathsOf<model::Remove>(after[0]), ElementsAre("kept/b"));
  EXPECT_THAT(PathsOf<model::Put>(after[0]), ElementsAre("last"));
  ExpectEqual();
}

// What was taken away ahead of a capture that failed again is neither forgotten nor done twice.
TEST_F(RoomTest, AFailureAfterTheRemovalsIsGoneOnFrom) {
  std::filesystem::remove(At("kept/a"));
  Write("new");
  ScanWithoutRoom();
  sink_.FailAfter(1);
  EXPECT_TRUE(absl::IsResourceExhausted(Scan()));
  std::filesystem::remove(At("kept/b"));
  sink_.Take();
  ASSERT_TRUE(Scan().ok());
  EXPECT_THAT(PathsOf<model::Remove>(sink_.Take().front()), ElementsAre("kept/b"));
  ExpectEqual();
}

// Another entry of the same name, of another kind: it comes after what it replaces.
TEST_F(RoomTest, WhatTakesTheNameOfSomethingRemoved) {
  std::filesystem::remove_all(At("gone"));
  Write("gone");
  std::filesystem::remove(At("kept/a"));
  std::filesystem::create_directory(At("kept/a"));
  Write("kept/a/below");
  ScanWithoutRoom();
  ASSERT_TRUE(Scan().ok());
  EXPECT_THAT(PathsOf<model::Put>(sink_.Take().front()), IsEmpty());
  ExpectEqual();
}

TEST_F(RoomTest, WithMovesRemovalsStayInTheirCommit) {
  std::filesystem::rename(At("gone/d"), At("moved"));
  std::filesystem::remove(At("gone"));
  Write("new");
  ScanWithoutRoom();
  ASSERT_TRUE(Scan().ok());
  EXPECT_THAT(PathsOf<model::Detach>(sink_.Take().front()), ElementsAre("gone/d"));
  ExpectEqual();
}

}  // namespace
}  // namespace understudy::primary
