// What becomes of a volume that was deleted.
#include "agent-primary/ship/data_plane.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <string>
#include <vector>

#include "tests/support/temp_dir.h"

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
    options.discard = [this](const model::VolumeName& name, const std::string& root) {
      asked_.push_back(name + " " + root);
      return answer_;
    };
    const auto nobody_there = [](const auto&, const auto&) -> absl::StatusOr<std::unique_ptr<model::ReplicaSink>> {
      return absl::UnavailableError("DR is away");
    };
    auto plane = DataPlane::Start(options, nobody_there, Clock::System());
    ASSERT_TRUE(plane.ok()) << plane.status();
    plane_ = *std::move(plane);
  }
  [[nodiscard]] bool HasIndex() const { return fs::exists(folder_.File("state/index/pv1.db")); }
  [[nodiscard]] VolumePlace Place() const { return {folder_.File("export/pv1"), "/replica/pv1"}; }

  tests::TempDir folder_;
  std::vector<std::string> asked_;
  absl::Status answer_;
  std::unique_ptr<DataPlane> plane_;
};

TEST_F(DataPlaneTest, TheIndexGoesWhenDrHasTheDataInItsTrash) {
  ASSERT_TRUE(plane_->Register("pv1", Place()).ok());
  ASSERT_TRUE(plane_->Unregister("pv1").ok());
  ASSERT_TRUE(HasIndex());
  answer_ = absl::UnavailableError("DR is away");
  EXPECT_TRUE(absl::IsUnavailable(plane_->Discard("pv1", Place())));
  EXPECT_TRUE(HasIndex());
  answer_ = absl::OkStatus();
  EXPECT_TRUE(plane_->Discard("pv1", Place()).ok());
  EXPECT_TRUE(fs::is_empty(folder_.File("state/index")));
  EXPECT_TRUE(plane_->Discard("pv1", Place()).ok()) << "asked again";
  EXPECT_EQ(asked_, std::vector<std::string>(3, "pv1 /replica/pv1"));
}

TEST_F(DataPlaneTest, AVolumeOfTheConfigurationIsNeverDiscarded) {
  ASSERT_TRUE(plane_->AddListed("pv1", folder_.File("export/pv1")).ok());
  ASSERT_TRUE(plane_->Unregister("pv1").ok());
  EXPECT_TRUE(plane_->Discard("pv1", Place()).ok());
  EXPECT_TRUE(asked_.empty());
  EXPECT_TRUE(HasIndex());
}

}  // namespace
}  // namespace understudy::primary
