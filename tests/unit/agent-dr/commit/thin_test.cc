// States that are more than the policy keeps are merged away: what stays, what space comes back, and what a crash or an
// error in the midst of it leaves.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/loop_mount.h"
#include "tests/unit/agent-dr/commit/rewind_fixture.h"

namespace understudy::tests {
namespace {

using model::FileKind;
using testing::ElementsAre;

dr::PointBounds EverythingIsOneTooMany() {
  dr::PointBounds bounds;
  bounds.keep_all_for = absl::ZeroDuration();
  return bounds;
}

class ThinTest : public RewindTest {
 protected:
  void SetUp() override {
    RewindTest::SetUp();
    Restart(EverythingIsOneTooMany());
    Open();
  }
  size_t ThinAll() {
    size_t merged = 0;
    while (true) {
      const auto some = engine_->Thin("vol");
      EXPECT_TRUE(some.ok()) << some.status();
      if (!some.ok() || *some == 0) return merged;
      merged += *some;
    }
  }
  std::vector<model::Sequence> Kept() {
    const std::vector<dr::Point> points = *engine_->Points("vol");
    std::vector<model::Sequence> kept;
    for (const dr::Point& point : points) kept.push_back(point.sequence);
    return kept;
  }
  // Several files of all kinds come, change, move and go, a minute apart.
  void CommitSome() {
    Commit({InlinePut("base", "base"), InlinePut("p", "p"), InlinePut("q", "q"), InlinePut("r", "r"),
            model::MakeDirectory{"f", Meta(0755)}, InlinePut("f/x", "x"),
            model::SetMetadata{"", FileKind::kDirectory, Meta(0755, 10)}});
    Next();
    Commit({InlinePut("a", "one"), model::MakeDirectory{"d", Meta(0755)}, InlinePut("d/x", std::string(9'000, 'x')),
            InlinePut("keep", std::string(50'000, 'k'))});
    Next();
    Stage(1, "keep", 60'000, {{0, "start"}, {30'000, std::string(5'000, 'n')}, {59'000, "end"}});
    Commit({model::Patch{"keep", Meta(0640, 3), 60'000, {}, 1}});
    Next();
    Commit({model::Remove{"a", FileKind::kRegular}, model::Detach{"d", 0}, model::Attach{0, "e"},
            model::SetMetadata{"", FileKind::kDirectory, Meta(0755, 7)}});
    Next();
    Stage(1, "keep", 20'000, {{0, "again"}, {10'000, "", 4'000}});
    Commit({model::Patch{"keep", Meta(0600, 4), 20'000, {}, 1}, InlinePut("t", "temporary")});
    Next();
    Commit({model::Remove{"t", FileKind::kRegular}, model::Detach{"keep", 0}, model::Attach{0, "e/keep"},
            model::SetMetadata{"e", FileKind::kDirectory, Meta(0750, 8)},
            model::SetMetadata{"", FileKind::kDirectory, Meta(0755, 8)}});
    Next();
    Commit({model::Remove{"e", FileKind::kDirectory}, model::SetMetadata{"", FileKind::kDirectory, Meta(0755, 9)}});
    Next();
    // One after another goes, so that what is kept of several commits comes together.
    for (const char* const name : {"p", "q", "r"}) {
      Commit({model::Remove{name, FileKind::kRegular}, model::SetMetadata{"", FileKind::kDirectory, Meta(0755, 11)}});
      Next();
    }
    Commit({model::Remove{"f", FileKind::kDirectory}, model::SetMetadata{"", FileKind::kDirectory, Meta(0755, 12)}});
    Next();
    Commit({InlinePut("last", "last"), model::SetMetadata{"", FileKind::kDirectory, Meta(0755, 13)}});
    Next();
  }
  void Next() { host_->AdvanceClock(absl::Minutes(1)); }
  void GoTo(model::Sequence sequence) {
    for (const Remembered& state : states_) {
      if (state.sequence == sequence) RewindTo(state);
    }
  }
};

TEST_F(ThinTest, LabelledStatesStayAndAreWhatTheyWere) {
  CommitSome();
  ASSERT_TRUE(engine_->SetLabel("vol", {4, "before the upgrade", false}).ok());
  EXPECT_GT(ThinAll(), 2u);
  const std::vector<model::Sequence> kept = Kept();
  EXPECT_LT(kept.size(), 9u);
  EXPECT_THAT(kept, testing::Contains(4));
  for (const model::Sequence sequence : kept) GoTo(sequence);
  GoTo(4);
  Restart(EverythingIsOneTooMany());
  EXPECT_EQ(engine_->NewestPoint("vol")->label, "before the upgrade");
}

TEST_F(ThinTest, LabelsAreOfOneStateAndOfOneThatIsKept) {
  Commit({InlinePut("a", "1")});
  Commit({InlinePut("a", "2")});
  ASSERT_TRUE(engine_->SetLabel("vol", {1, "one", true}).ok());
  EXPECT_EQ(engine_->SetLabel("vol", {2, "one", false}).code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(engine_->SetLabel("vol", {9, "nine", false}).code(), absl::StatusCode::kNotFound);
  Restart();
  const auto points = *engine_->Points("vol");
  EXPECT_EQ(points.front().label, "one");
  EXPECT_TRUE(points.front().pinned);
  ASSERT_TRUE(engine_->DropLabel("vol", 1).ok());
  EXPECT_EQ(engine_->DropLabel("vol", 1).code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(engine_->Points("vol")->front().label, "");
}

TEST_F(ThinTest, ALabelOfTheNewestStateIsForgottenLikeAnyOther) {
  Commit({InlinePut("a", "1")});
  ASSERT_TRUE(engine_->SetLabel("vol", {1, "one", true}).ok());
  Commit({InlinePut("a", "2")});
  EXPECT_EQ(engine_->Points("vol")->front().label, "one");
  ASSERT_TRUE(engine_->DropLabel("vol", 1).ok());
  EXPECT_EQ(engine_->Points("vol")->front().label, "");
  EXPECT_FALSE(engine_->Points("vol")->front().pinned);
  EXPECT_TRUE(engine_->SetLabel("vol", {2, "one", false}).ok());
}

// A nightly label on a volume where nothing happened meanwhile.
TEST_F(ThinTest, ASecondLabelDoesntTakeTheFirstAndItsPinAway) {
  Commit({InlinePut("a", "1")});
  Commit({InlinePut("a", "2")});
  for (const model::Sequence state : {1, 2}) {
    const std::string first = fmt::format("before-{}", state);
    ASSERT_TRUE(engine_->SetLabel("vol", {state, first, true}).ok());
    const absl::Status second = engine_->SetLabel("vol", {state, "nightly", false});
    EXPECT_EQ(second.code(), absl::StatusCode::kAlreadyExists);
    EXPECT_THAT(std::string(second.message()),
                testing::HasSubstr(fmt::format("the state after commit {} is called '{}' already: drctl points forget "
                                               "vol {} first",
                                               state, first, first)));
    const dr::Point point = state == 2 ? *engine_->NewestPoint("vol") : engine_->Points("vol")->front();
    EXPECT_EQ(point.label, first);
    EXPECT_TRUE(point.pinned);
  }
  ASSERT_TRUE(engine_->DropLabel("vol", 2).ok());
  EXPECT_TRUE(engine_->SetLabel("vol", {2, "nightly", false}).ok());
}

TEST_F(ThinTest, TheSameLabelAgainPinsAndUnpins) {
  Commit({InlinePut("a", "1")});
  for (const bool pinned : {false, true, false}) {
    ASSERT_TRUE(engine_->SetLabel("vol", {1, "one", pinned}).ok());
    Restart();
    EXPECT_EQ(engine_->NewestPoint("vol")->label, "one");
    EXPECT_EQ(engine_->NewestPoint("vol")->pinned, pinned);
  }
}

TEST_F(ThinTest, APinnedStateOutlivesTheOthers) {
  for (int i = 0; i < 4; ++i) {
    Commit({InlinePut("a", fmt::format("{}", i))});
    Next();
  }
  ASSERT_TRUE(engine_->SetLabel("vol", {2, "kept", true}).ok());
  host_->AdvanceClock(absl::Hours(24 * 30));
  Commit({InlinePut("a", "later")});
  EXPECT_THAT(Kept(), testing::Contains(2));
  EXPECT_THAT(Kept(), testing::Not(testing::Contains(1)));
  ThinAll();
  GoTo(2);
}

TEST_F(ThinTest, AHeldReplicaTakesNoSession) {
  Commit({InlinePut("a", "1")});
  ASSERT_TRUE(engine_->SetHeld("vol", true).ok());
  EXPECT_FALSE(TryCommit({InlinePut("a", "2")}).ok());
  Restart();
  const auto refused = engine_->Open({"vol", Root(), 0});
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(refused.status().message()), testing::HasSubstr("drctl volumes resume vol"));
  // Nor can its primary take it away.
  const model::ReplicaState state = *engine_->State("vol");
  EXPECT_EQ(engine_->MoveToTrash({"vol", state.root, state.replica_id, state.epoch}, "deleted").code(),
            absl::StatusCode::kFailedPrecondition);
  ASSERT_TRUE(engine_->SetHeld("vol", false).ok());
  Open();
  Commit({InlinePut("a", "2")});
}

// Two at once: the one that fails doesn't take the other one's hold away.
TEST_F(ThinTest, ARewindThatFailsReleasesOnlyWhatItHeldItself) {
  Commit({InlinePut("a", "1")});
  Commit({InlinePut("a", "2")});
  const auto no_step = [](size_t, size_t) {};
  EXPECT_TRUE(absl::IsNotFound(engine_->Rewind("vol", 77, no_step, /*hold=*/true)));
  EXPECT_FALSE(engine_->State("vol")->held);
  std::thread other;
  absl::Status failed;
  const absl::Status rewound = engine_->Rewind(
      "vol", 1,
      [&](size_t, size_t) {
        EXPECT_TRUE(engine_->State("vol")->held) << "before the first record is run";
        other = std::thread([&] { failed = engine_->Rewind("vol", 77, no_step, /*hold=*/true); });
      },
      /*hold=*/true);
  other.join();
  EXPECT_TRUE(rewound.ok()) << rewound;
  EXPECT_TRUE(absl::IsNotFound(failed)) << failed;
  EXPECT_TRUE(engine_->State("vol")->held);
  EXPECT_FALSE(engine_->Open({"vol", Root(), 0}).ok());
}

// An undo record that can't be run leaves the replica where it was.
TEST_F(ThinTest, ARewindThatLeftTheReplicaWhereItWasDoesNotHoldIt) {
  Commit({InlinePut("a", "1")});
  Commit({InlinePut("a", "2")});
  const auto rewind = [&] {
    return engine_->Rewind(
        "vol", 1, [](size_t, size_t) {}, /*hold=*/true);
  };
  std::filesystem::remove(Root() + "/a");
  EXPECT_FALSE(rewind().ok());
  EXPECT_FALSE(engine_->State("vol")->held);
  ASSERT_TRUE(engine_->SetHeld("vol", true).ok());
  EXPECT_FALSE(rewind().ok());
  EXPECT_TRUE(engine_->State("vol")->held) << "somebody else holds it";
}

// Fails at one of the effects of a merge.
class FailMergeAt : public dr::FaultPoints {
 public:
  absl::Status Reach(dr::Step step, size_t) override {
    if (step != dr::Step::kMerge) return absl::OkStatus();
    return reached_++ == at ? absl::AbortedError("ended here") : absl::OkStatus();
  }
  [[nodiscard]] bool Passed() const { return reached_ > at; }
  size_t at = SIZE_MAX;

 private:
  size_t reached_ = 0;
};

// Whether it goes on by itself or starts anew, every state that is kept is what it was.
TEST_F(ThinTest, AMergeThatIsCutShortLosesNothing) {
  for (size_t at = 0;; ++at) {
    SCOPED_TRACE(fmt::format("effect {}", at));
    states_.clear();
    session_ = dr::Session();
    engine_.reset();
    host_.emplace();
    FailMergeAt faults;
    engine_ = host_->Start(faults, EverythingIsOneTooMany());
    Open();
    CommitSome();
    faults.at = at;
    absl::StatusOr<size_t> merged = 1;
    while (merged.ok() && *merged > 0) merged = engine_->Thin("vol");
    if (!faults.Passed()) break;
    EXPECT_FALSE(merged.ok());
    if (at % 2 == 0) {
      Restart(EverythingIsOneTooMany());
    } else {
      // Whatever becomes of what the session wants now.
      if (TryCommit({InlinePut("during", "during"), model::SetMetadata{"", FileKind::kDirectory, Meta(0755, 14)}})
              .ok()) {
        Remember();
      }
      Open();
      Commit({InlinePut("after", "after"), model::SetMetadata{"", FileKind::kDirectory, Meta(0755, 15)}});
    }
    const std::vector<model::Sequence> kept = Kept();
    ASSERT_GE(kept.size(), 3u);
    for (const model::Sequence sequence : kept) GoTo(sequence);
    ThinAll();
    for (const model::Sequence sequence : Kept()) GoTo(sequence);
    ASSERT_FALSE(HasFailure());
    ASSERT_LT(at, 100u);
  }
}

class PolicyOnFilesystem : public ThinTest, public testing::WithParamInterface<const char*> {
 protected:
  void SetUp() override {
    SetUpOn(GetParam(), 600);
    if (IsSkipped() || HasFatalFailure()) return;
    Restart({});
    Open();
  }
};
INSTANTIATE_TEST_SUITE_P(Filesystems, PolicyOnFilesystem, testing::Values("ext4", "xfs", "btrfs"),
                         [](const auto& given) { return std::string(given.param); });

// All states of a quarter of an hour, one of each hour of a day, one of each day.
TEST_P(PolicyOnFilesystem, TwoHundredCommitsAndBackToEachKeptStateInAnyOrder) {
  constexpr uint64_t kImageBytes = 1024 * 1024;
  constexpr int kCommits = 200;
  std::mt19937_64 random(7);
  const auto below = [&](uint64_t bound) { return random() % bound; };
  std::map<model::Sequence, std::string> shown;
  const std::string image(kImageBytes, 'i');
  shown[0] = Show(*engine_, "vol");
  ASSERT_TRUE(TryCommit({InlinePut("image", image.substr(0, 200'000))}).ok());
  shown[Now()] = Show(*engine_, "vol");
  std::vector<std::string> files;
  for (int i = 0; i < kCommits; ++i) {
    host_->AdvanceClock(i < kCommits - 20 ? absl::Minutes(18) : absl::Seconds(30));
    std::vector<Piece> pieces;
    for (uint64_t at = below(100'000); at + 5'000 < kImageBytes; at += 5'000 + below(200'000)) {
      pieces.push_back({at, std::string(1 + below(5'000), static_cast<char>('a' + below(26)))});
    }
    Stage(1, "image", kImageBytes, pieces);
    std::vector<model::Operation> operations = {model::Patch{"image", Meta(0600, i), kImageBytes, {}, 1},
                                                model::SetMetadata{"", FileKind::kDirectory, Meta(0755, i)}};
    const std::string name = fmt::format("file{}", i);
    operations.emplace_back(InlinePut(name, std::string(below(20'000), 'f')));
    if (files.size() > 3) {
      const size_t which = below(files.size());
      const std::string other = files[which];
      files.erase(files.begin() + static_cast<ptrdiff_t>(which));
      if (below(2) == 0) {
        operations.emplace_back(model::Remove{other, FileKind::kRegular});
      } else {
        operations.emplace_back(model::Detach{other, 2});
        operations.emplace_back(model::Attach{2, other + "-moved"});
        files.push_back(other + "-moved");
      }
    }
    files.push_back(name);
    const absl::Status done = TryCommit(std::move(operations));
    ASSERT_TRUE(done.ok()) << done;
    shown[Now()] = Show(*engine_, "vol");
    if (i % 20 == 19) ThinAll();
  }
  std::vector<model::Sequence> kept = Kept();
  // 60 hours in steps of 18 minutes, of which the last day by the hour, then 10 minutes in steps of half a minute.
  EXPECT_LT(kept.size(), 80u);
  EXPECT_GT(kept.size(), 40u);
  std::shuffle(kept.begin(), kept.end(), random);
  for (const model::Sequence sequence : kept) {
    const absl::Status rewound = engine_->Rewind("vol", sequence);
    ASSERT_TRUE(rewound.ok()) << rewound;
    ASSERT_EQ(Show(*engine_, "vol"), shown.at(sequence)) << "back at " << sequence;
  }
}

}  // namespace
}  // namespace understudy::tests
