// A volume whose live copy changes sides: nothing of it is sent from here any more, whatever registers it, until it is
// taken up; and what was taken up comes with its epoch.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <string>

#include "agent-primary/index/volume_index.h"
#include "agent-primary/ship/data_plane.h"
#include "tests/support/temp_dir.h"
#include "tests/support/wait.h"
#include "tests/unit/agent-primary/ship/agreeing_sink.h"

namespace understudy::primary {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

// Notes the epochs that volumes are opened with.
class NotingSink : public AgreeingSink {
 public:
  struct Noted {
    absl::Mutex mutex;
    std::map<std::string, std::vector<model::Epoch>> epochs ABSL_GUARDED_BY(mutex);
    [[nodiscard]] std::vector<model::Epoch> Of(const std::string& volume) {
      absl::MutexLock lock(&mutex);
      return epochs[volume];
    }
  };
  explicit NotingSink(Noted& noted) : noted_(noted) {}
  absl::StatusOr<model::ReplicaState> Open(const model::VolumeSpec& spec) override {
    {
      absl::MutexLock lock(&noted_.mutex);
      noted_.epochs[spec.name].push_back(spec.epoch);
    }
    ASSIGN_OR_RETURN(model::ReplicaState state, AgreeingSink::Open(spec));
    state.epoch = std::max<model::Epoch>(1, spec.epoch);
    return state;
  }

 private:
  Noted& noted_;
};

class HandoverTest : public testing::Test {
 protected:
  void SetUp() override {
    mkdir(folder_.File("state").c_str(), 0700);
    mkdir(folder_.File("export").c_str(), 0755);
    mkdir(folder_.File("export/pv1").c_str(), 0755);
    Start();
  }
  void Start() {
    plane_.reset();
    DataPlaneOptions options;
    options.state_dir = folder_.File("state");
    options.exports = {{folder_.File("export"), "/replica", {"nfs1"}}};
    options.discard = [this](const model::DiscardedVolume&) {
      ++discarded_;
      return absl::OkStatus();
    };
    const auto connect = [this](const auto&, const auto&) -> absl::StatusOr<std::unique_ptr<model::ReplicaSink>> {
      return std::make_unique<NotingSink>(noted_);
    };
    auto plane = DataPlane::Start(options, connect, Clock::System());
    ASSERT_TRUE(plane.ok()) << plane.status();
    plane_ = *std::move(plane);
  }
  [[nodiscard]] std::string Path() const { return folder_.File("export/pv1"); }
  [[nodiscard]] VolumePlace Place() const { return {Path(), "/replica/pv1"}; }
  [[nodiscard]] bool HasIndex() const { return fs::exists(folder_.File("state/index/pv1.db")); }
  absl::Status Sync() {
    return plane_->Sync("pv1", {}, [](const VolumeReport&) { return true; });
  }
  VolumeReport Report() {
    const std::vector<VolumeReport> report = plane_->Report();
    return report.size() == 1 ? report[0] : VolumeReport();
  }
  void ExpectHandedOver() {
    EXPECT_EQ(Report().status.state, ReplicationState::kHandedOver);
    EXPECT_EQ(Report().path, Path());
    EXPECT_EQ(Report().replica_root, "/replica/pv1");
    EXPECT_THAT(Report().status.handed_over_reason, HasSubstr("epoch 2"));
    EXPECT_EQ(Report().status.lag_seconds, 0);
    EXPECT_TRUE(Report().status.error.empty()) << "it is as it should be";
    EXPECT_TRUE(absl::IsFailedPrecondition(Sync())) << Sync();
  }

  tests::TempDir folder_;
  NotingSink::Noted noted_;
  int discarded_ = 0;
  std::unique_ptr<DataPlane> plane_;
};

TEST_F(HandoverTest, WhateverRegistersItAfterARestart) {
  ASSERT_TRUE(plane_->AddListed("pv1", Path()).ok());
  ASSERT_TRUE(Sync().ok());
  ASSERT_TRUE(HasIndex());
  const auto handed_over = plane_->HandOver("pv1", 2);
  ASSERT_TRUE(handed_over.ok()) << handed_over.status();
  EXPECT_EQ(handed_over->path, Path());
  EXPECT_FALSE(HasIndex());
  ExpectHandedOver();
  ASSERT_TRUE(plane_->HandOver("pv1", 2).ok()) << "once more";
  const size_t opened = noted_.Of("pv1").size();
  std::ofstream(Path() + "/file") << "late";

  for (const bool listed : {true, false}) {
    Start();
    ExpectHandedOver();  // before anything registers it
    ASSERT_TRUE((listed ? plane_->AddListed("pv1", Path()) : plane_->Register("pv1", Place())).ok());
    plane_->RegisterTakenUp();
    ExpectHandedOver();
    ASSERT_TRUE(plane_->Pause("pv1", Place()).ok());
    ASSERT_TRUE(plane_->Unregister("pv1").ok());
    EXPECT_TRUE(absl::IsFailedPrecondition(plane_->Discard("pv1", Place()))) << "DR's is the live copy";
    EXPECT_EQ(discarded_, 0);
    ExpectHandedOver();
    EXPECT_FALSE(HasIndex());
  }
  EXPECT_EQ(noted_.Of("pv1").size(), opened) << "never opened again";
}

TEST_F(HandoverTest, OneThatNobodyPromotedIsNotGivenUp) {
  ASSERT_TRUE(plane_->AddListed("pv1", Path()).ok());
  ASSERT_TRUE(Sync().ok());  // at epoch 1
  EXPECT_TRUE(absl::IsFailedPrecondition(plane_->HandOver("pv1", 1).status()));
  EXPECT_TRUE(Sync().ok());
  Start();
  // Without the volume, the index tells.
  EXPECT_TRUE(absl::IsFailedPrecondition(plane_->HandOver("pv1", 1).status()));
  EXPECT_TRUE(plane_->HandOver("pv1", 2).ok());
}

TEST_F(HandoverTest, AnUnknownVolumeStaysGivenUpWhenItComes) {
  ASSERT_TRUE(plane_->HandOver("pv1", 2).ok());
  ASSERT_TRUE(plane_->Register("pv1", Place()).ok());
  ExpectHandedOver();
}

TEST_F(HandoverTest, WhatIsTakenUpComesWithItsEpochAndStaysOverARestart) {
  const auto taken = plane_->TakeUp("pv1", Path(), "/replica/pv1", 2);
  ASSERT_TRUE(taken.ok()) << taken.status();
  EXPECT_EQ(taken->origin, VolumeOrigin::kReprotect);
  ASSERT_TRUE(Sync().ok());
  EXPECT_THAT(noted_.Of("pv1"), testing::Each(2u));
  const size_t opened = noted_.Of("pv1").size();
  ASSERT_TRUE(plane_->TakeUp("pv1", Path(), "", 2).ok()) << "once more";
  ASSERT_TRUE(Sync().ok());
  EXPECT_EQ(noted_.Of("pv1").size(), opened + 1) << "only the barrier asks DR; it isn't begun anew";

  Start();
  fs::remove(folder_.File("state/index/pv1.db"));  // what the index knew of the epoch may be lost
  plane_->RegisterTakenUp();
  ASSERT_TRUE(Sync().ok());
  EXPECT_THAT(noted_.Of("pv1"), testing::Each(2u));
  // A PersistentVolume takes it over, and ends it.
  ASSERT_TRUE(plane_->Register("pv1", Place()).ok());
  EXPECT_EQ(Report().origin, VolumeOrigin::kKubernetes);
  ASSERT_TRUE(plane_->Unregister("pv1").ok());
  Start();
  plane_->RegisterTakenUp();
  EXPECT_TRUE(plane_->Report().empty());
}

TEST_F(HandoverTest, ThereAndBackEpochsOnlyRise) {
  ASSERT_TRUE(plane_->AddListed("pv1", Path()).ok());
  ASSERT_TRUE(plane_->PauseByOperator("pv1").ok());
  ASSERT_TRUE(plane_->HandOver("pv1", 2).ok());
  EXPECT_TRUE(absl::IsFailedPrecondition(plane_->TakeUp("pv1", "", "", 1).status()));
  EXPECT_TRUE(absl::IsFailedPrecondition(plane_->TakeUp("pv1", "", "/replica/other", 3).status()))
      << "the other side has it elsewhere";
  ExpectHandedOver();
  ASSERT_TRUE(plane_->TakeUp("pv1", "", "/replica/pv1", 3).ok()) << "where it was";
  EXPECT_EQ(Report().origin, VolumeOrigin::kConfig);
  ASSERT_TRUE(Sync().ok()) << "the pause from before went with the hand-over";
  EXPECT_THAT(noted_.Of("pv1"), testing::Contains(3u));
  // Late messages of the turn before.
  EXPECT_TRUE(absl::IsFailedPrecondition(plane_->HandOver("pv1", 2).status()));
  EXPECT_TRUE(absl::IsFailedPrecondition(plane_->TakeUp("pv1", "", "", 2).status()));
  EXPECT_TRUE(Sync().ok());
  ASSERT_TRUE(plane_->HandOver("pv1", 4).ok());
  EXPECT_EQ(Report().status.epoch, 4u);
}

TEST_F(HandoverTest, WhatWasMadeAtTheOtherSideIsForgottenOnceItsObjectIsGone) {
  ASSERT_TRUE(plane_->HandOver("pv1", 1).ok());
  EXPECT_THAT(Report().status.handed_over_reason, HasSubstr("was made at DR"));
  ASSERT_TRUE(plane_->Register("pv1", Place()).ok());
  EXPECT_TRUE(absl::IsUnavailable(plane_->ForgetHandOver("pv1")));
  EXPECT_EQ(Report().status.state, ReplicationState::kHandedOver);
  ASSERT_TRUE(plane_->Unregister("pv1").ok());
  EXPECT_EQ(plane_->ForgetHandOver("pv1"), absl::OkStatus());
  EXPECT_EQ(plane_->ForgetHandOver("pv1"), absl::OkStatus()) << "once more";
  EXPECT_TRUE(plane_->Report().empty());
  Start();
  EXPECT_TRUE(plane_->Report().empty());
  ASSERT_TRUE(plane_->Register("pv1", Place()).ok());
  EXPECT_TRUE(Sync().ok()) << "another one of that name";
}

TEST_F(HandoverTest, WhatWasHandedOverForAPromotionOrIsListedIsNotForgotten) {
  ASSERT_TRUE(plane_->HandOver("pv1", 2).ok());
  EXPECT_EQ(plane_->ForgetHandOver("pv1"), absl::OkStatus());
  ASSERT_TRUE(plane_->Register("pv1", Place()).ok());
  ExpectHandedOver();
  ASSERT_TRUE(plane_->HandOver("listed", 1).ok());
  ASSERT_TRUE(plane_->AddListed("listed", Path()).ok());
  EXPECT_TRUE(absl::IsFailedPrecondition(plane_->ForgetHandOver("listed")));
}

TEST_F(HandoverTest, OnlyAFolderOfAnExportIsTakenUp) {
  EXPECT_TRUE(absl::IsInvalidArgument(plane_->TakeUp("pv1", "/elsewhere", "", 2).status()));
  EXPECT_TRUE(absl::IsNotFound(plane_->TakeUp("pv1", folder_.File("export/none"), "", 2).status()));
  EXPECT_TRUE(absl::IsNotFound(plane_->TakeUp("pv1", "", "", 2).status())) << "nobody knows where";
  ASSERT_TRUE(plane_->AddListed("whole", folder_.File("export")).ok());
  EXPECT_TRUE(absl::IsAlreadyExists(plane_->TakeUp("pv1", Path(), "", 2).status()));
  Start();
  plane_->RegisterTakenUp();
  EXPECT_TRUE(plane_->Report().empty()) << "nothing of it stays";
}

}  // namespace
}  // namespace understudy::primary
