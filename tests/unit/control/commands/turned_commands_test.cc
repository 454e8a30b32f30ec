// Commands on a volume that was turned round ask the pair's `reverse` agents, which have it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>

#include "control/commands/commands.h"
#include "tests/unit/control/commands/fake_pair.h"

namespace understudy::control {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class TurnedCommandsTest : public FakePairTest {
 protected:
  void SetUp() override {
    FakePairTest::SetUp();
    dr_.replicas.Set("web", "active", /*reprotected=*/true);
    reverse_dr_.replicas.Set("web", "standby");
    primary_.Set("web", "handed-over");
    reverse_primary_.Set("web", "guarded");
    v1::Guard& guard = *reverse_primary_.volumes.mutable_volumes(0)->mutable_guard();
    guard.set_kind("deletion");
    guard.set_entries_gone(1);
  }

  std::ostringstream out_;
  std::ostringstream err_;
  const Console console_{.out = out_, .err = err_};
};

TEST_F(TurnedCommandsTest, Verify) {
  const auto verify = [this](model::VerifyDepth depth) {
    (void)RunVolumesVerify(console_, OutputFormat::kTable, config_,
                           {.selection = {.name = "web", .pair = ""}, .all = false, .depth = depth});
  };
  verify(model::VerifyDepth::kMetadata);
  EXPECT_THAT(reverse_primary_.asked, ElementsAre("verify web"));
  EXPECT_THAT(primary_.asked, IsEmpty());
  verify(model::VerifyDepth::kKept);
  EXPECT_THAT(reverse_dr_.verify.asked, ElementsAre("verify web"));
  EXPECT_THAT(dr_.verify.asked, IsEmpty());
}

TEST_F(TurnedCommandsTest, GuardApprove) {
  (void)RunGuardApprove(console_, OutputFormat::kTable, config_,
                        {.selection = {.name = "web", .pair = ""}, .yes = true});
  EXPECT_THAT(reverse_primary_.asked, ElementsAre("approve web"));
  EXPECT_THAT(primary_.asked, IsEmpty());
}

TEST_F(TurnedCommandsTest, TreesOfBothSidesAreListedAndRemoved) {
  const std::string id(32, 'a');
  v1::PointTree& tree = *reverse_dr_.points.trees.add_trees();
  tree.set_id(id);
  tree.set_volume("web");
  tree.set_path("/srv/a/copy");
  tree.set_state("ready");
  EXPECT_EQ(RunPointsListTrees(console_, OutputFormat::kTable, config_, ""), ExitCode::kDone) << err_.str();
  EXPECT_THAT(out_.str(), HasSubstr("/srv/a/copy"));
  (void)RunPointsRemove(console_, OutputFormat::kTable, config_, {.id = id, .pair = "", .yes = true});
  EXPECT_THAT(reverse_dr_.points.asked, ElementsAre("remove " + id));
  EXPECT_THAT(dr_.points.asked, IsEmpty());
}

}  // namespace
}  // namespace understudy::control
