// Going back on filesystems with shared blocks and without, when they are full, and when the power is lost.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/loop_mount.h"
#include "tests/unit/agent-dr/commit/rewind_fixture.h"

namespace understudy::tests {
namespace {

using model::FileKind;
using testing::IsEmpty;

class RewindOnFilesystem : public RewindTest, public testing::WithParamInterface<const char*> {
 protected:
  void SetUp() override { SetUpOn(GetParam(), 300); }
};
INSTANTIATE_TEST_SUITE_P(Filesystems, RewindOnFilesystem, testing::Values("ext4", "xfs", "btrfs"),
                         [](const auto& given) { return std::string(given.param); });

// With and without shared blocks.
TEST_P(RewindOnFilesystem, APatchedFileUnderAllItsNames) {
  const std::string base(300'000, 'b');
  Commit({InlinePut("f", base.substr(0, 200'001)), model::Link{"g", "f"}, InlinePut("s", "")});
  // Grows, with a hole in old data, at odd places.
  Stage(1, "f", 400'000, {{10, "over"}, {4096, "", 8192}, {50'001, std::string(10'000, 'n')}, {399'000, "end"}});
  Commit({model::Patch{"g", Meta(0640, 9), 400'000, {}, 1}});
  // What was a hole gets data, and data that a patch brought is patched.
  Stage(1, "f", 400'000, {{8192, std::string(4096, 'h')}, {55'000, "again"}, {250'000, std::string(9'000, 'x')}});
  Commit({model::Patch{"f", Meta(0640, 9), 400'000, {}, 1}});
  // A name is taken away, and the file patched by the other one: the name comes back to the old content.
  Commit({model::Remove{"g", FileKind::kRegular}});
  Stage(1, "f", 30'001, {{0, "cut"}, {20'000, "", 5'000}});
  Commit({model::Patch{"f", Meta(0600), 30'001, {}, 1}});
  Stage(2, "f", 0, {});
  Commit({model::Detach{"f", 1}, model::Attach{1, "moved"}, model::Patch{"moved", Meta(0600), 0, {}, 2}});
  Stage(2, "moved", 100'000, {{99'000, "tail"}});
  Commit({model::Patch{"moved", Meta(0600), 100'000, {}, 2}, model::Link{"s", "moved"}});
  RewindToAll();
}

TEST_P(RewindOnFilesystem, WithoutSpaceTheOldestPointsGoAndCommitsAreTaken) {
  constexpr size_t kPiece = 1024 * 1024;
  constexpr size_t kPieces = 16;
  for (char content = 'a'; content < 'z'; ++content) {
    const std::string piece(kPiece, content);
    const absl::Status begun = session_.StageBegin(1, "f", kPieces * kPiece, "");
    ASSERT_TRUE(begun.ok()) << content << begun;
    for (size_t i = 0; i < kPieces; ++i) ASSERT_TRUE(session_.StageData(1, i * kPiece, piece).ok()) << content << i;
    ASSERT_TRUE(session_.StageEnd(1).ok());
    std::string whole;
    for (size_t i = 0; i < kPieces; ++i) whole += piece;
    const absl::Status done = TryCommit({StagedPut("f", whole, 1)});
    ASSERT_TRUE(done.ok()) << content << ": " << done;
  }
  EXPECT_GT(engine_->probe().points_given_up, 0u);
  const auto points = engine_->Points("vol");
  ASSERT_GT(points->size(), 2u);
  EXPECT_GT(points->front().held_bytes, kPieces * kPiece);
  EXPECT_EQ(host_->KeptForUndo().size(), points->size());
  const absl::Status back = engine_->Rewind("vol", points->back().sequence);
  EXPECT_TRUE(back.ok()) << back;
}

// Takes the power away at the `at`-th step that is reached.
class CutAt : public dr::FaultPoints {
 public:
  CutAt(LoopMount& mount, size_t at) : mount_(mount), at_(at) {}
  absl::Status Reach(dr::Step, size_t) override {
    if (!armed_) return absl::OkStatus();
    if (reached_++ == at_) {
      EXPECT_TRUE(mount_.CutPower().ok());
    }
    return cut() ? absl::UnavailableError("no power") : absl::OkStatus();
  }
  void Arm() { armed_ = true; }
  [[nodiscard]] bool cut() const { return reached_ > at_; }

 private:
  LoopMount& mount_;
  const size_t at_;
  bool armed_ = false;
  size_t reached_ = 0;
};

// What is kept survives as what was acknowledged does: whatever wasn't synced is gone, and every kept state is whole.
TEST_P(RewindOnFilesystem, PowerIsLostAtAStepOfACommitOrARewind) {
  if (GetParam() == std::string("btrfs")) GTEST_SKIP() << "no power cut on btrfs";
  constexpr size_t kStride = 7;  // of steps, so that it doesn't take minutes
  bool cut = true;
  for (size_t at = 0; cut; at += kStride) {
    SCOPED_TRACE(fmt::format("at step {}", at));
    const std::string name = fmt::format("v{}", at);
    const std::string root = host_->RootOf(name);
    std::map<model::Sequence, std::string> shown;
    session_ = dr::Session();
    engine_.reset();
    engine_ = host_->Start();
    const auto commit = [&](std::vector<model::Operation> operations, bool patch) -> absl::Status {
      ASSIGN_OR_RETURN(session_, engine_->Open({name, root, 0}));
      if (patch) RETURN_IF_ERROR(StagePieces(1, "f", 50'000, {{5'000, "new"}, {30'000, std::string(9'000, 'n')}}));
      RETURN_IF_ERROR(session_.SubmitDurable(NextCommit(session_.State(), InOrder(std::move(operations)))));
      return session_.Publish();
    };
    const auto remember = [&] { shown[engine_->NewestPoint(name)->sequence] = Show(*engine_, name); };
    ASSERT_TRUE(commit({InlinePut("f", std::string(60'000, 'f')), InlinePut("r", "old"),
                        model::MakeDirectory{"d", Meta(0755)}, InlinePut("d/in", "in"), model::Link{"g", "f"}},
                       false)
                    .ok());
    remember();
    const std::vector<model::Operation> change = {InlinePut("r", "new"), model::Remove{"d", FileKind::kDirectory},
                                                  model::Remove{"g", FileKind::kRegular},
                                                  model::Patch{"f", Meta(0600, 7), 50'000, {}, 1}};
    // What it leads to, found out beside.
    ASSERT_TRUE(commit(change, true).ok());
    remember();
    ASSERT_TRUE(engine_->Rewind(name, 1).ok());
    session_ = dr::Session();
    engine_.reset();
    CutAt fault(*mount_, at);
    engine_ = host_->Start(fault);
    fault.Arm();
    model::Sequence acknowledged = 0;
    if (commit({model::Remove{"r", FileKind::kRegular}, InlinePut("h", "h")}, false).ok()) {
      acknowledged = engine_->State(name)->sequence;
      (void)engine_->Rewind(name, 2);
      (void)engine_->Rewind(name, 1);
    }
    cut = fault.cut();
    session_ = dr::Session();
    engine_.reset();
    if (cut) {
      ASSERT_TRUE(mount_->Unmount().ok());
      ASSERT_TRUE(mount_->Mount().ok());
    }
    engine_ = host_->Start();
    EXPECT_THAT(engine_->Problems(), IsEmpty());
    EXPECT_GE(engine_->State(name)->sequence, acknowledged);
    const model::Sequence newest = engine_->NewestPoint(name)->sequence;
    if (shown.contains(newest)) {
      EXPECT_EQ(Show(*engine_, name), shown[newest]) << newest;
    }
    for (const model::Sequence to : {2, 1, 2}) {
      const absl::Status back = engine_->Rewind(name, static_cast<model::Sequence>(to));
      ASSERT_TRUE(back.ok()) << back;
      EXPECT_EQ(Show(*engine_, name), shown[to]) << "back at " << to;
    }
    if (HasFailure()) return;
  }
}

}  // namespace
}  // namespace understudy::tests
