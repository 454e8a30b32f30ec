// A power cut while a replica is taken back, its recovery points are merged, it is promoted, or a point becomes a tree
// of its own: every state that is kept after it is, exactly, the state that it was, and the tree is whole or not there.
//
// State folder and export lie on the filesystem that loses what wasn't synced (power_cut_test.cc says how). A process
// of its own runs the operation and cuts the power at one of its steps, or after it said that it was done.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "agent-dr/commit/commit_engine.h"
#include "agent-dr/points/point_trees.h"
#include "core/model/path.h"
#include "tests/fault/fault_pair.h"
#include "tests/support/loop_mount.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tree_compare.h"
#include "tests/support/wait.h"
#include "tests/unit/agent-dr/commit/engine_fixture.h"

namespace understudy::tests {
namespace {

using model::FileKind;
using model::VolumeState;

constexpr int kKinds = 2 * 4;  // of filesystems, of operations
constexpr int kCutsInCi = 4;
constexpr char kPinned[] = "pinned";

struct TestClock : Clock {
  absl::Time now = absl::FromUnixSeconds(1'750'000'000);
  [[nodiscard]] absl::Time Now() const override { return now; }
  [[nodiscard]] absl::Duration Monotonic() const override { return now - absl::UnixEpoch(); }
};

// Cuts the power at the `at`-th step that is reached once it is armed, and ends the process.
class CutAt : public dr::FaultPoints {
 public:
  CutAt(LoopMount& disk, size_t at) : disk_(disk), at_(at) {}
  absl::Status Reach(dr::Step, size_t) override {
    if (!armed_ || reached_++ != at_) return absl::OkStatus();
    _exit(disk_.CutPower().ok() ? kCrashed : kFailed);
  }
  void Arm() { armed_ = true; }
  [[nodiscard]] size_t reached() const { return reached_; }

 private:
  LoopMount& disk_;
  const size_t at_;
  bool armed_ = false;
  size_t reached_ = 0;
};

// A replica with its agent's state, in folders of their own on the disk.
class Bed {
 public:
  explicit Bed(std::string folder) : folder_(std::move(folder)) {
    for (const std::string& made : {folder_, folder_ + "/state", folder_ + "/export"}) {
      mkdir(made.c_str(), 0755);
    }
  }
  std::unique_ptr<dr::CommitEngine> Start(dr::FaultPoints& faults = dr::FaultPoints::None()) {
    dr::PointBounds bounds;
    bounds.keep_all_for = absl::ZeroDuration();
    return dr::CommitEngine::Start({.state_dir = folder_ + "/state",
                                    .exports = {folder_ + "/export"},
                                    .faults = &faults,
                                    .points = bounds,
                                    .clock = &clock_})
        .value();
  }
  // Commits of all kinds, a minute apart, and what each leads to.
  void MakeStates() {
    const auto engine = Start();
    dr::Session session = engine->Open({"vol", folder_ + "/export/vol", 0}).value();
    const auto commit = [&](std::vector<model::Operation> operations) {
      ASSERT_TRUE(session.SubmitDurable(NextCommit(session.State(), std::move(operations))).ok());
      ASSERT_TRUE(session.Publish().ok());
      states[engine->State("vol")->sequence] = Show(*engine, "vol");
      clock_.now += absl::Minutes(1);
    };
    const auto stage = [&](const std::string& base, uint64_t offset, const std::string& data) {
      EXPECT_TRUE(session.StageBegin(1, "image", kImageBytes, base).ok());
      EXPECT_TRUE(session.StageData(1, offset, data).ok());
      EXPECT_TRUE(session.StageEnd(1).ok());
    };
    const auto patch = [&](uint64_t offset, char fill) {
      stage("image", offset, std::string(100'000, fill));
      return model::Patch{"image", Meta(0600), kImageBytes, {}, 1};
    };
    const std::string image(kImageBytes, 'i');
    stage("", 0, image);
    commit({model::MakeDirectory{"d", Meta(0755)}, InlinePut("d/x", "x"), InlinePut("e", "e"),
            StagedPut("image", image, 1)});
    commit({InlinePut("e", "another"), patch(0, 'p')});
    commit({model::Remove{"e", FileKind::kRegular}, model::Detach{"d", 0}, model::Attach{0, "moved"}});
    ASSERT_TRUE(engine->SetLabel("vol", {3, kPinned, true}).ok());
    commit({InlinePut("e", std::string(50'000, 'e')), patch(50'000, 'q')});
    commit({model::Remove{"moved", FileKind::kDirectory}, patch(200'000, 'r'),
            model::SetMetadata{"", FileKind::kDirectory, Meta(0755, 7)}});
    commit({InlinePut("e", "last"), model::Link{"f", "image"}});
  }
  [[nodiscard]] std::unique_ptr<dr::PointTrees> Trees(dr::CommitEngine& engine) const {
    return dr::PointTrees::Open(folder_ + "/state", engine, clock_).value();
  }
  [[nodiscard]] std::string Replica() const { return folder_ + "/export/vol"; }
  [[nodiscard]] std::string Tree() const { return folder_ + "/export/tree"; }

  std::map<model::Sequence, std::string> states;

 private:
  static constexpr uint64_t kImageBytes = 1'000'000;
  const std::string folder_;
  TestClock clock_;
};

struct Operation {
  const char* name;
  std::function<bool(dr::CommitEngine&, const Bed&, CutAt&)> run;
  // After the power is back; whether it had come to its end.
  std::function<void(dr::CommitEngine&, const Bed&, bool done)> expect;
};

// Whole and listed, or as if it had never been asked for. Leaves the replica at that state.
void ExpectTreeOrNone(dr::CommitEngine& engine, const Bed& bed, bool done) {
  const auto trees = bed.Trees(engine);
  // What was cut short is thrown away in the background.
  const auto settled = [&]() -> absl::Status {
    ASSIGN_OR_RETURN(const std::vector<model::PointTree> listed, trees->List());
    const bool making = !listed.empty() && listed[0].state != model::PointTreeState::kReady;
    return making ? absl::UnavailableError("a tree is being made or removed") : absl::OkStatus();
  };
  ASSERT_EQ(WaitForOk("what was cut short to be finished", absl::Minutes(1), settled), absl::OkStatus());
  const std::vector<model::PointTree> listed = *trees->List();
  ASSERT_TRUE(!done || listed.size() == 1u);
  EXPECT_EQ(access(bed.Tree().c_str(), F_OK) == 0, !listed.empty());
  if (listed.empty()) return;
  ASSERT_EQ(engine.Rewind("vol", 2), absl::OkStatus());
  EXPECT_EQ(*CompareTrees(bed.Replica(), bed.Tree()), std::vector<std::string>());
}

const Operation kRewind = {"Rewind",
                           [](dr::CommitEngine& engine, const Bed&, CutAt&) {
                             return engine.Rewind("vol", 1).ok() && engine.Rewind("vol", 4).ok();
                           },
                           [](dr::CommitEngine& engine, const Bed&, bool done) {
                             if (done) {
                               EXPECT_EQ(engine.NewestPoint("vol")->sequence, 4u);
                             }
                           }};
const Operation kMerge = {"Merge",
                          [](dr::CommitEngine& engine, const Bed&, CutAt&) {
                            absl::StatusOr<size_t> merged = 1;
                            while (merged.ok() && *merged > 0) merged = engine.Thin("vol");
                            return merged.ok();
                          },
                          [](dr::CommitEngine& engine, const Bed&, bool done) {
                            if (done) {
                              EXPECT_LT(engine.Points("vol")->size(), 6u);
                            }
                          }};
const Operation kPromote = {"Promote",
                            [](dr::CommitEngine& engine, const Bed&, CutAt&) {
                              return engine.BeginPromotion("vol", false).ok() && engine.FinishPromotion("vol").ok();
                            },
                            [](dr::CommitEngine& engine, const Bed&, bool done) {
                              if (done) {
                                EXPECT_EQ(engine.State("vol")->state, VolumeState::kActive);
                              }
                            }};
// Asked before each entry whether it is cancelled: those are its steps.
const Operation kMaterialise = {
    "Materialise",
    [](dr::CommitEngine& engine, const Bed& bed, CutAt& cut) {
      const auto step = [&] { return !cut.Reach(dr::Step::kStage, 0).ok(); };
      return bed.Trees(engine)->Make({"vol", 2, bed.Tree(), /*writable=*/false}, {.cancelled = step}).ok();
    },
    ExpectTreeOrNone};

class PointsPowerCutTest : public ::testing::TestWithParam<std::tuple<const char*, const Operation*>> {
 protected:
  // The exit code of the process that ran the operation; how many steps it took, when it came to its end.
  int RunAndCut(LoopMount& disk, Bed& bed, size_t at, size_t& steps) {
    const Operation& operation = *std::get<1>(GetParam());
    const TempDir told;
    const int result = InProcess([&] {
      CutAt cut(disk, at);
      const auto engine = bed.Start(cut);
      cut.Arm();
      if (!operation.run(*engine, bed, cut)) return false;
      std::ofstream(told.File("steps")) << cut.reached();
      // What is done is done, whatever comes.
      _exit(disk.CutPower().ok() ? 0 : kFailed);
    });
    std::ifstream(told.File("steps")) >> steps;
    return result;
  }

  static void ExpectExact(dr::CommitEngine& engine, const Bed& bed) {
    ASSERT_THAT(engine.Problems(), testing::IsEmpty());
    const model::Sequence newest = engine.NewestPoint("vol")->sequence;
    ASSERT_TRUE(bed.states.contains(newest)) << newest;
    ASSERT_EQ(Show(engine, "vol"), bed.states.at(newest)) << "the newest state, " << newest;
    if (engine.State("vol")->state != VolumeState::kStandby) {
      EXPECT_EQ(newest, bed.states.rbegin()->first);
      return;
    }
    bool has_pinned = newest == 3;
    const std::vector<dr::Point> points = *engine.Points("vol");
    for (const dr::Point& point : points) has_pinned |= point.label == kPinned;
    EXPECT_TRUE(has_pinned);
    for (const dr::Point& point : points) {
      if (point.sequence == 0) continue;  // before any commit
      const absl::Status rewound = engine.Rewind("vol", point.sequence);
      ASSERT_TRUE(rewound.ok()) << rewound;
      ASSERT_EQ(Show(engine, "vol"), bed.states.at(point.sequence)) << "kept state " << point.sequence;
    }
  }
};

TEST_P(PointsPowerCutTest, EveryKeptStateIsExactlyWhatItWas) {
  const auto& [filesystem, operation] = GetParam();
  const auto made = LoopMount::Make(filesystem, 400);
  if (absl::IsUnimplemented(made.status())) GTEST_SKIP() << made.status();
  ASSERT_TRUE(made.ok()) << made.status();
  LoopMount& disk = **made;
  size_t steps = 0;
  const int cuts = CyclesOfRun(kKinds, kCutsInCi);
  // First after all steps, which tells how many there are.
  for (int cut = 0; cut <= cuts; ++cut) {
    const size_t at = cut == 0 ? SIZE_MAX : steps * static_cast<size_t>(cut - 1) / static_cast<size_t>(cuts);
    SCOPED_TRACE(fmt::format("cut {} at step {} of {}", cut, at, steps));
    Bed bed(fmt::format("{}/bed{}", disk.Path(), cut));
    bed.MakeStates();
    if (HasFatalFailure() || HasNonfatalFailure()) return;
    size_t reached = 0;
    ASSERT_EQ(RunAndCut(disk, bed, at, reached), cut == 0 ? 0 : kCrashed);
    ASSERT_TRUE(disk.Unmount().ok());
    ASSERT_TRUE(disk.Mount().ok());
    const auto engine = bed.Start();
    if (cut == 0) steps = reached;
    operation->expect(*engine, bed, /*done=*/cut == 0);
    ExpectExact(*engine, bed);
    if (HasFatalFailure() || HasNonfatalFailure()) return;
  }
  fmt::print("{}: {} power cuts within {} steps\n", filesystem, cuts + 1, steps);
}

INSTANTIATE_TEST_SUITE_P(Filesystems, PointsPowerCutTest,
                         ::testing::Combine(::testing::Values("xfs", "ext4"),
                                            ::testing::Values(&kRewind, &kMerge, &kPromote, &kMaterialise)),
                         [](const auto& test) {
                           return std::string(std::get<0>(test.param)) + std::get<1>(test.param)->name;
                         });

}  // namespace
}  // namespace understudy::tests
