// Kept states as trees of their own: they are what the volume was, they are nobody's replica, and what a crash leaves
// of them is finished or gone.
#include "agent-dr/points/point_trees.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/loop_mount.h"
#include "tests/support/tree_compare.h"
#include "tests/support/wait.h"
#include "tests/unit/agent-dr/commit/rewind_fixture.h"

namespace understudy::tests {
namespace {

using model::FileKind;
using testing::HasSubstr;
using testing::IsEmpty;

class PointTreesTest : public RewindTest, public testing::WithParamInterface<const char*> {
 protected:
  void SetUp() override {
    SetUpOn(GetParam(), 300);
    if (IsSkipped() || HasFatalFailure()) return;
    OpenTrees();
    CommitSome();
  }
  void TearDown() override {
    trees_.reset();
    RewindTest::TearDown();
  }
  void OpenTrees() {
    dr::TreeServing serving;
    serving.begin = [this](const model::PointTree& tree) {
      served_.insert(tree.path);
      return absl::OkStatus();
    };
    serving.end = [this](const model::PointTree& tree) {
      served_.erase(tree.path);
      return absl::OkStatus();
    };
    auto trees = dr::PointTrees::Open(host_->State(), *engine_, Clock::System(), std::move(serving));
    ASSERT_TRUE(trees.ok()) << trees.status();
    trees_ = *std::move(trees);
    engine_->SetTaken([this] { return trees_->Paths(); });
  }
  void StartAnew() {
    trees_.reset();
    Restart();
    OpenTrees();
  }
  // Several names of one file come, go and are patched; folders move; something is replaced.
  void CommitSome() {
    Commit({InlinePut("f", std::string(200'000, 'f')), model::Link{"g", "f"}, model::MakeDirectory{"d", Meta(0750, 5)},
            InlinePut("d/x", "x"), model::MakeSymlink{"s", "d/x", Meta(0777, 6)},
            model::MakeNode{"pipe", FileKind::kFifo, 0, Meta(0600, 7)},
            model::SetMetadata{"", FileKind::kDirectory, WithXattr(Meta(0755, 1), "root")}});
    Commit({model::Remove{"g", FileKind::kRegular}, model::SetMetadata{"", FileKind::kDirectory, Meta(0755, 2)}});
    Stage(1, "f", 300'000, {{10, "patched"}, {250'000, std::string(5'000, 'n')}});
    Commit({model::Patch{"f", Meta(0640, 8), 300'000, {}, 1}});
    Commit({model::Remove{"f", FileKind::kRegular}, model::Detach{"d", 0}, model::Attach{0, "e"},
            model::SetMetadata{"", FileKind::kDirectory, Meta(0755, 3)}});
    Commit({InlinePut("e/x", "replaced"), InlinePut("f", "new"),
            model::SetMetadata{"e", FileKind::kDirectory, Meta(0700, 9)},
            model::SetMetadata{"", FileKind::kDirectory, Meta(0755, 4)}});
  }
  [[nodiscard]] std::string Path(const std::string& name) const { return host_->Export() + "/" + name; }
  absl::StatusOr<model::PointTree> Make(model::Sequence sequence, const std::string& path = "") {
    return trees_->Make({"vol", sequence, path, false});
  }
  [[nodiscard]] std::vector<model::PointTree> List() const { return trees_->List().value(); }

  std::set<std::string> served_;  // to NFS clients
  std::unique_ptr<dr::PointTrees> trees_;
};
INSTANTIATE_TEST_SUITE_P(Filesystems, PointTreesTest, testing::Values("ext4", "xfs", "btrfs"),
                         [](const auto& given) { return std::string(given.param); });

TEST_P(PointTreesTest, ATreeIsWhatTheVolumeWasAndStaysSo) {
  const std::string shown = Show(*engine_, "vol");
  const std::vector<Remembered> states = states_;
  for (const Remembered& state : states) {
    const auto tree = Make(state.sequence);
    ASSERT_TRUE(tree.ok()) << tree.status();
    EXPECT_EQ(tree->path, Root() + ".point-" + std::to_string(state.sequence));
  }
  EXPECT_EQ(Show(*engine_, "vol"), shown);
  Commit({model::Remove{"e", FileKind::kDirectory}, model::SetMetadata{"", FileKind::kDirectory, Meta(0755, 5)}});
  ASSERT_TRUE(engine_->Rewind("vol", 2).ok());
  StartAnew();
  for (const Remembered& state : states) {
    const auto differences = CompareTrees(state.copy, Root() + ".point-" + std::to_string(state.sequence));
    ASSERT_TRUE(differences.ok()) << differences.status();
    EXPECT_THAT(*differences, IsEmpty()) << "the state after commit " << state.sequence;
  }
  ASSERT_EQ(List().size(), states.size());
  for (const model::PointTree& tree : List()) {
    EXPECT_EQ(tree.state, model::PointTreeState::kReady);
    EXPECT_TRUE(served_.contains(tree.path));
    const auto removed = trees_->Remove(tree.id);
    ASSERT_TRUE(removed.ok()) << removed.status();
    EXPECT_FALSE(std::filesystem::exists(tree.path));
  }
  EXPECT_THAT(List(), IsEmpty());
  EXPECT_THAT(served_, IsEmpty());
  // Going on as ever: nothing that undo records keep was taken.
  for (const Remembered& state : states) RewindTo(state);
}

TEST_P(PointTreesTest, NothingIsOverwrittenAndNoReplicaHoldsATree) {
  std::filesystem::create_directory(Path("taken"));
  EXPECT_EQ(Make(1, Path("taken")).status().code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(Make(1, Root() + "/inside").status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Make(1, host_->Export()).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Make(1, "/elsewhere").status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Make(1, Path("no/folder")).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(Make(99).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(trees_->Make({"other", 1, "", false}).status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(List(), IsEmpty());
  ASSERT_TRUE(Make(1, Path("one")).ok());
  EXPECT_EQ(Make(2, Path("one/two")).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(host_->LeftInWorkFolder(), testing::Each(testing::HasSubstr("staging/o")));
}

TEST_P(PointTreesTest, NoReplicaIsMadeInOrAroundATree) {
  ASSERT_TRUE(Make(1, Path("one")).ok());
  for (const std::string& root : {Path("one"), Path("one/inside")}) {
    const auto opened = engine_->Open({"other", root, 0});
    EXPECT_EQ(opened.status().code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_THAT(std::string(opened.status().message()), HasSubstr("drctl points remove"));
  }
  EXPECT_TRUE(engine_->Open({"other", Path("other"), 0}).ok());
}

TEST_P(PointTreesTest, WhoeverGoesAwayLeavesNothing) {
  const auto tree = trees_->Make({"vol", 1, "", false}, {.cancelled = [] { return true; }});
  EXPECT_EQ(tree.status().code(), absl::StatusCode::kCancelled);
  EXPECT_THAT(List(), IsEmpty());
  EXPECT_THAT(host_->LeftInWorkFolder(), testing::Each(testing::HasSubstr("staging/o")));
}

TEST_P(PointTreesTest, AnotherFolderInItsPlaceIsNotRemoved) {
  const auto tree = Make(1);
  ASSERT_TRUE(tree.ok()) << tree.status();
  std::filesystem::rename(tree->path, tree->path + "-mine");
  std::filesystem::create_directory(tree->path);
  EXPECT_EQ(trees_->Remove(tree->id).status().code(), absl::StatusCode::kFailedPrecondition);
  StartAnew();
  EXPECT_TRUE(std::filesystem::exists(tree->path));
  EXPECT_EQ(List().front().state, model::PointTreeState::kRemoving);
  std::filesystem::remove(tree->path);
  StartAnew();
  // In the background, as what is left may be large.
  EXPECT_TRUE(WaitFor("the end of the tree", absl::Seconds(60), [&] { return List().empty(); }).ok());
  EXPECT_TRUE(std::filesystem::exists(tree->path + "-mine"));
}

}  // namespace
}  // namespace understudy::tests
