// What becomes of a volume that was deleted, and what who waits for one is told.
#include "agent-primary/ship/data_plane.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

#include "agent-primary/index/volume_index.h"
#include "tests/support/temp_dir.h"
#include "tests/support/wait.h"
#include "tests/unit/agent-primary/ship/agreeing_sink.h"

namespace understudy::primary {
namespace {

namespace fs = std::filesystem;

class DataPlaneTest : public testing::Test {
 protected:
  void SetUp() override {
    mkdir(folder_.File("state").c_str(), 0700);
    mkdir(folder_.File("export").c_str(), 0755);
    mkdir(folder_.File("export/pv1").c_str(), 0755);
    DataPlaneOptions options;
    options.state_dir = folder_.File("state");
    options.exports = {{folder_.File("export"), "/replica", {"nfs1"}}};
    options.sweep_bases_after = absl::ZeroDuration();
    options.discard = [this](const model::DiscardedVolume& discarded) {
      asked_.push_back(discarded.volume + " " + discarded.replica_root + " " + discarded.replica_id + " " +
                       std::to_string(discarded.epoch));
      if (meanwhile_) meanwhile_();
      return answer_;
    };
    const auto connect = [this](const auto&, const auto&) -> absl::StatusOr<std::unique_ptr<model::ReplicaSink>> {
      if (!dr_is_there_) return absl::UnavailableError("DR is away");
      return std::make_unique<AgreeingSink>();
    };
    auto plane = DataPlane::Start(options, connect, Clock::System());
    ASSERT_TRUE(plane.ok()) << plane.status();
    plane_ = *std::move(plane);
  }
  [[nodiscard]] bool HasIndex() const { return fs::exists(folder_.File("state/index/pv1.db")); }
  // As after a session with DR.
  void WriteIndex(const std::string& replica_id, model::Epoch epoch) {
    const auto index = VolumeIndex::Open(folder_.File("state/index/pv1.db"));
    ASSERT_TRUE(index.ok()) << index.status();
    IndexState known;
    known.replica_id = replica_id;
    known.epoch = epoch;
    ASSERT_TRUE((*index)->Rebuild(known, [](VolumeIndex&) { return absl::OkStatus(); }).ok());
  }
  [[nodiscard]] VolumePlace Place() const { return {folder_.File("export/pv1"), "/replica/pv1"}; }

  tests::TempDir folder_;
  std::vector<std::string> asked_;
  absl::Status answer_;
  std::function<void()> meanwhile_;  // while DR is asked
  std::atomic<bool> dr_is_there_ = false;
  std::unique_ptr<DataPlane> plane_;
};

TEST_F(DataPlaneTest, BasesOfVolumesThatArentReplicatedAnyMoreGo) {
  ASSERT_TRUE(plane_->Register("pv1", Place()).ok());
  for (const char* const name : {"bases-pv1", "bases-gone", "replica-of-dr"}) {
    fs::create_directories(folder_.File(".understudy") + "/" + name);
    std::ofstream(folder_.File(".understudy") + "/" + name + "/clone") << "x";
  }
  EXPECT_TRUE(tests::WaitFor("the sweep", absl::Seconds(60), [&] {
                return !fs::exists(folder_.File(".understudy/bases-gone"));
              }).ok());
  EXPECT_TRUE(fs::exists(folder_.File(".understudy/bases-pv1/clone")));
  EXPECT_TRUE(fs::exists(folder_.File(".understudy/replica-of-dr/clone")));
}

TEST_F(DataPlaneTest, BasesThatCantBeTakenAwayHoldNothingUp) {
  ASSERT_TRUE(plane_->Register("pv1", Place()).ok());
  // A folder among the clones can't be removed as a file is.
  fs::create_directories(folder_.File(".understudy/bases-pv1/folder"));
  EXPECT_TRUE(plane_->Unregister("pv1").ok());
  WriteIndex("id1", 3);
  EXPECT_TRUE(plane_->Discard("pv1", Place()).ok());
  EXPECT_FALSE(HasIndex());
}

TEST_F(DataPlaneTest, TheIndexGoesWhenDrHasTheDataInItsTrash) {
  ASSERT_TRUE(plane_->Register("pv1", Place()).ok());
  ASSERT_TRUE(plane_->Unregister("pv1").ok());
  ASSERT_TRUE(HasIndex());
  WriteIndex("id1", 3);
  answer_ = absl::UnavailableError("DR is away");
  EXPECT_TRUE(absl::IsUnavailable(plane_->Discard("pv1", Place())));
  EXPECT_TRUE(HasIndex());
  answer_ = absl::OkStatus();
  EXPECT_TRUE(plane_->Discard("pv1", Place()).ok());
  EXPECT_TRUE(fs::is_empty(folder_.File("state/index")));
  EXPECT_TRUE(plane_->Discard("pv1", Place()).ok()) << "asked again";
  EXPECT_EQ(asked_, std::vector<std::string>(2, "pv1 /replica/pv1 id1 3"));
}

TEST_F(DataPlaneTest, DrIsOnlyToldOfAReplicaThatThisHostKnows) {
  EXPECT_TRUE(plane_->Discard("pv1", Place()).ok()) << "never replicated, or the state folder was wiped";
  EXPECT_FALSE(HasIndex());
  ASSERT_TRUE(plane_->Register("pv1", Place()).ok());
  ASSERT_TRUE(plane_->Unregister("pv1").ok());
  EXPECT_TRUE(plane_->Discard("pv1", Place()).ok()) << "no session with DR yet";
  EXPECT_TRUE(asked_.empty());
  EXPECT_FALSE(HasIndex());
}

TEST_F(DataPlaneTest, TheIndexOfAVolumeThatCameBackMeanwhileStays) {
  ASSERT_TRUE(plane_->Register("pv1", Place()).ok());
  ASSERT_TRUE(plane_->Unregister("pv1").ok());
  WriteIndex("id1", 3);
  meanwhile_ = [this] { EXPECT_TRUE(plane_->Register("pv1", Place()).ok()); };
  EXPECT_TRUE(plane_->Discard("pv1", Place()).ok());
  EXPECT_TRUE(HasIndex());
}

TEST_F(DataPlaneTest, WhoWaitsForABarrierIsToldAtOnceHowTheVolumeIs) {
  ASSERT_TRUE(plane_->Register("pv1", Place()).ok());
  const absl::Duration began = Clock::System().Monotonic();
  std::string told;
  const absl::Status synced = plane_->Sync("pv1", {}, [&](const VolumeReport& report) {
    told = report.name;
    return false;
  });
  EXPECT_TRUE(absl::IsCancelled(synced)) << synced;
  EXPECT_EQ(told, "pv1");
  EXPECT_LT(Clock::System().Monotonic() - began, absl::Seconds(1)) << "a second is the time between two reports";
}

TEST_F(DataPlaneTest, AVolumeThatCannotReplicateGivesWhoWaitsBackAndTheWaitGoesOnLater) {
  ASSERT_TRUE(plane_->Register("pv1", Place()).ok());
  BarrierWait wait;
  EXPECT_TRUE(absl::IsUnavailable(plane_->SyncToBarrier("pv1", wait, {})));
  const uint64_t barrier = wait.barrier;
  dr_is_there_ = true;
  EXPECT_TRUE(
      tests::WaitForOk("the barrier", absl::Seconds(30), [&] { return plane_->SyncToBarrier("pv1", wait, {}); }).ok());
  EXPECT_EQ(wait.barrier, barrier);
  ASSERT_TRUE(plane_->Unregister("pv1").ok());
  ASSERT_TRUE(plane_->Register("pv1", Place()).ok());
  EXPECT_TRUE(tests::WaitForOk("one of the volume as it is now", absl::Seconds(30), [&] {
                return plane_->SyncToBarrier("pv1", wait, {});
              }).ok());
}

TEST_F(DataPlaneTest, APausedVolumeIsShownAndRefusesBarriersUntilItGoesOn) {
  dr_is_there_ = true;
  EXPECT_TRUE(plane_->Pause("pv1", Place()).ok());
  EXPECT_TRUE(plane_->Report().empty()) << "it was never replicated";
  ASSERT_TRUE(plane_->Register("pv1", Place()).ok());
  ASSERT_TRUE(plane_->Pause("pv1", Place()).ok());
  BarrierWait wait;
  EXPECT_TRUE(absl::IsFailedPrecondition(plane_->SyncToBarrier("pv1", wait, {})));
  ASSERT_EQ(plane_->Report().size(), 1U);
  EXPECT_EQ(plane_->Report()[0].status.state, ReplicationState::kPaused);
  ASSERT_TRUE(plane_->Register("pv1", Place()).ok());
  EXPECT_EQ(plane_->Report()[0].status.state, ReplicationState::kPaused) << "the control plane asks for it";
  ASSERT_TRUE(plane_->Resume("pv1").ok());
  EXPECT_TRUE(
      tests::WaitForOk("the barrier", absl::Seconds(30), [&] { return plane_->SyncToBarrier("pv1", wait, {}); }).ok());
}

TEST_F(DataPlaneTest, APauseByAnOperatorIsApartFromThatOfAClaimAndOutlivesRegistrations) {
  dr_is_there_ = true;
  EXPECT_TRUE(absl::IsNotFound(plane_->PauseByOperator("pv1").status()));
  ASSERT_TRUE(plane_->Register("pv1", Place()).ok());
  const auto paused = plane_->PauseByOperator("pv1");
  ASSERT_TRUE(paused.ok()) << paused.status();
  EXPECT_EQ(paused->status.state, ReplicationState::kPaused);
  ASSERT_TRUE(plane_->Resume("pv1").ok()) << "as an object event does";
  EXPECT_EQ(plane_->Report()[0].status.state, ReplicationState::kPaused);
  BarrierWait wait;
  EXPECT_TRUE(absl::IsFailedPrecondition(plane_->SyncToBarrier("pv1", wait, {})));
  ASSERT_TRUE(plane_->Unregister("pv1").ok());
  ASSERT_TRUE(plane_->Register("pv1", Place()).ok());
  EXPECT_EQ(plane_->Report()[0].status.state, ReplicationState::kPaused);
  ASSERT_TRUE(plane_->ResumeByOperator("pv1").ok());
  EXPECT_TRUE(
      tests::WaitForOk("the barrier", absl::Seconds(30), [&] { return plane_->SyncToBarrier("pv1", wait, {}); }).ok());
}

TEST_F(DataPlaneTest, AVolumeThatComesAfterADeletedOneOfItsNameIsNotPaused) {
  ASSERT_TRUE(plane_->Register("pv1", Place()).ok());
  ASSERT_TRUE(plane_->PauseByOperator("pv1").ok());
  ASSERT_TRUE(plane_->Unregister("pv1").ok());
  ASSERT_TRUE(plane_->Discard("pv1", Place()).ok());
  ASSERT_TRUE(plane_->Register("pv1", Place()).ok());
  EXPECT_NE(plane_->Report()[0].status.state, ReplicationState::kPaused);
}

TEST_F(DataPlaneTest, AnAgentThatStartsAnewShowsWhatWasReplicatedAsPaused) {
  WriteIndex("id1", 3);
  ASSERT_TRUE(plane_->Pause("pv1", Place()).ok());
  ASSERT_EQ(plane_->Report().size(), 1U);
  EXPECT_EQ(plane_->Report()[0].status.state, ReplicationState::kPaused);
  ASSERT_TRUE(plane_->Unregister("pv1").ok());
  EXPECT_TRUE(plane_->Discard("pv1", Place()).ok());
  EXPECT_EQ(asked_, std::vector<std::string>{"pv1 /replica/pv1 id1 3"});
}

TEST_F(DataPlaneTest, ADamagedIndexNamesNoReplica) {
  std::ofstream(folder_.File("state/index/pv1.db")) << std::string(8192, 'x');
  EXPECT_TRUE(absl::IsFailedPrecondition(plane_->Discard("pv1", Place())));
  EXPECT_TRUE(asked_.empty());
}

TEST_F(DataPlaneTest, TheIndexStaysWhenDrKeepsTheDataInPlace) {
  ASSERT_TRUE(plane_->Register("pv1", Place()).ok());
  ASSERT_TRUE(plane_->Unregister("pv1").ok());
  WriteIndex("id1", 3);
  answer_ = absl::FailedPreconditionError("it was promoted");
  EXPECT_TRUE(absl::IsFailedPrecondition(plane_->Discard("pv1", Place())));
  EXPECT_TRUE(HasIndex());
}

TEST_F(DataPlaneTest, AVolumeOfTheConfigurationIsNeverDiscarded) {
  fs::create_directory(folder_.File("state/index"));
  WriteIndex("id1", 1);
  ASSERT_TRUE(plane_->AddListed("pv1", folder_.File("export/pv1")).ok());
  ASSERT_TRUE(plane_->Unregister("pv1").ok());
  EXPECT_TRUE(plane_->Discard("pv1", Place()).ok());
  EXPECT_TRUE(asked_.empty());
  EXPECT_TRUE(HasIndex());
}

}  // namespace
}  // namespace understudy::primary
