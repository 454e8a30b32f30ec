// Small files that are too many for one message travel ahead of their commit, and folder by folder.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include "agent-primary/ship/volume_replicator.h"
#include "core/base/clock.h"
#include "core/model/path.h"
#include "tests/support/memory_sink.h"
#include "tests/support/temp_dir.h"
#include "tests/unit/agent-primary/ship/run_to_barrier.h"

namespace understudy::primary {
namespace {

struct RecordingSink : tests::MemorySink {
  using MemorySink::MemorySink;
  absl::Status StageFiles(const model::VolumeName& volume, const model::StagedBatch& batch) override {
    for (const std::string& folder : batch.folders) EXPECT_TRUE(folders.insert(folder).second) << folder;
    for (const model::StagedFile& file : batch.files) {
      EXPECT_EQ(folders.contains(std::string(model::Parent(file.path))), file.path.starts_with("new")) << file.path;
      staged[file.path] = file.content.size();
    }
    return MemorySink::StageFiles(volume, batch);
  }
  absl::Status Submit(const model::Commit& commit) override {
    commits.push_back(commit);
    return MemorySink::Submit(commit);
  }
  std::set<std::string> folders;
  std::map<std::string, size_t> staged;
  std::vector<model::Commit> commits;
};

class SmallFilesTest : public testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::create_directory(At(""));
    replicator_ =
        VolumeReplicator::Open("web", At(""), "/dr/web", folder_.File("web.db"),
                               {.times = {absl::ZeroDuration(), absl::ZeroDuration()}, .most_inline_bytes = 1000},
                               Clock::System())
            .value();
  }
  std::string At(const std::string& path) const { return folder_.File("volume/" + path); }
  void Write(const std::string& path, size_t bytes) const { std::ofstream(At(path)) << std::string(bytes, 'x'); }

  tests::TempDir folder_;
  tests::MemoryReplicas replicas_{"/dr"};
  RecordingSink sink_{replicas_};
  std::unique_ptr<VolumeReplicator> replicator_;
};

TEST_F(SmallFilesTest, TravelAheadOfTheirCommitWithTheirNewFolders) {
  Write("old", 10);
  ASSERT_TRUE(ScanToBarrier(*replicator_, sink_, /*published=*/false).ok());
  EXPECT_TRUE(sink_.staged.empty()) << "what is little is in the commit";
  sink_.commits.clear();
  for (const char* folder : {"new", "new/a", "new/b"}) std::filesystem::create_directory(At(folder));
  for (int i = 0; i < 8; ++i) {
    Write(fmt::format("new/a/{}", i), 300);
    Write(fmt::format("new/b/{}", i), 300);
  }
  Write("zero", 0);
  ASSERT_TRUE(ScanToBarrier(*replicator_, sink_, /*published=*/false).ok());
  EXPECT_EQ(sink_.folders, (std::set<std::string>{"new", "new/a", "new/b"}));
  EXPECT_GE(sink_.staged.size(), 13u);
  EXPECT_EQ(replicas_.TreeOf("web").size(), 1u + 1u + 3u + 16u + 1u);
  // Within a commit all slots are others, and what is staged isn't in it once more.
  for (const model::Commit& commit : sink_.commits) {
    std::set<model::Slot> slots;
    for (const model::Operation& operation : commit.operations) {
      const auto* put = std::get_if<model::Put>(&operation);
      if (put == nullptr) continue;
      EXPECT_EQ(std::holds_alternative<model::Slot>(put->content), sink_.staged.contains(put->path)) << put->path;
      const auto* slot = std::get_if<model::Slot>(&put->content);
      EXPECT_TRUE(slot == nullptr || slots.insert(*slot).second);
    }
  }
}

}  // namespace
}  // namespace understudy::primary
