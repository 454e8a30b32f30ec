// Two primaries that take one replica for theirs, one after the other: neither believes the other's commits to be its
// own.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "agent-primary/ship/volume_replicator.h"
#include "core/base/clock.h"
#include "core/model/path.h"
#include "tests/support/memory_sink.h"
#include "tests/support/temp_dir.h"

namespace understudy::primary {
namespace {

class TwoPrimariesTest : public ::testing::Test {
 protected:
  struct Primary {
    std::string folder;
    std::unique_ptr<VolumeReplicator> replicator;
    std::unique_ptr<tests::MemorySink> sink;
  };

  Primary Make(const std::string& name) {
    Primary primary{.folder = dir_.File(name), .replicator = nullptr, .sink = nullptr};
    std::filesystem::create_directories(primary.folder);
    auto replicator = VolumeReplicator::Open("web", primary.folder, "/dr/web", dir_.File(name + ".db"),
                                             {.times = {absl::ZeroDuration(), absl::ZeroDuration()}}, Clock::System());
    EXPECT_TRUE(replicator.ok()) << replicator.status();
    primary.replicator = *std::move(replicator);
    primary.sink = std::make_unique<tests::MemorySink>(replicas_);
    return primary;
  }
  static void Write(const Primary& primary, const std::string& name) {
    std::ofstream(primary.folder + "/" + name) << name;
  }

  void RunBarrier(Primary& primary) {
    primary.replicator->OnOverflow();
    const uint64_t barrier = primary.replicator->RequestBarrier();
    for (int run = 0; !primary.replicator->AwaitBarrier(barrier, /*published=*/true, absl::ZeroDuration()); ++run) {
      ASSERT_LT(run, 10) << primary.replicator->Status().error;
      (void)primary.replicator->Run(*primary.sink, {});  // the first one finds that the other opened the volume
    }
  }
  bool DrHas(const std::string& path) { return replicas_.TreeOf("web").contains(model::Key(path)); }

  tests::TempDir dir_;
  tests::MemoryReplicas replicas_{"/dr"};
};

// The first one's refused commit and the second one's have the same sequence.
TEST_F(TwoPrimariesTest, AnothersCommitIsNotTakenForAnAcknowledgement) {
  Primary first = Make("first");
  Write(first, "p1");
  RunBarrier(first);
  ASSERT_TRUE(DrHas("p1"));
  Primary second = Make("second");
  Write(second, "p2");
  RunBarrier(second);
  ASSERT_TRUE(DrHas("p2"));
  ASSERT_FALSE(DrHas("p1"));
  Write(first, "new");
  RunBarrier(first);
  EXPECT_TRUE(DrHas("new"));
  EXPECT_TRUE(DrHas("p1"));
  EXPECT_FALSE(DrHas("p2"));
}

// Whose commit is the newest counts, not how many there were: a DR host may have been set back, and taken others since.
TEST_F(TwoPrimariesTest, AsManyCommitsAreNotTheSameCommits) {
  struct ForeignSink : tests::MemorySink {
    using MemorySink::MemorySink;
    std::string commit_id;
    int inventories = 0;
    absl::StatusOr<model::ReplicaState> Open(const model::VolumeSpec& spec) override {
      absl::StatusOr<model::ReplicaState> state = MemorySink::Open(spec);
      if (state.ok() && !commit_id.empty()) state->commit_id = commit_id;
      return state;
    }
    absl::Status Inventory(const model::VolumeName& volume, bool with_digests,
                           const std::function<absl::Status(model::InventoryEntry)>& visit) override {
      ++inventories;
      return MemorySink::Inventory(volume, with_digests, visit);
    }
  };
  Primary primary = Make("first");
  auto sink = std::make_unique<ForeignSink>(replicas_);
  ForeignSink& told = *sink;
  primary.sink = std::move(sink);
  Write(primary, "p1");
  RunBarrier(primary);
  primary.replicator->ForgetSession();
  RunBarrier(primary);
  EXPECT_EQ(told.inventories, 1) << "the first opening asks, no other";
  told.commit_id = "another's";
  primary.replicator->ForgetSession();
  RunBarrier(primary);
  EXPECT_EQ(told.inventories, 2);
}

}  // namespace
}  // namespace understudy::primary
