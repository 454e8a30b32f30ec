// Whatever step of the commit protocol a crash ends, the next start shows the state before the commit or the one after
// it, and an acknowledged commit is never lost. The crash is a real one: a process that ends at once.
#include <gtest/gtest.h>
#include <unistd.h>

#include <functional>
#include <set>
#include <string>
#include <vector>

#include "core/delta/content_digest.h"
#include "core/delta/rsync_segment.h"
#include "tests/unit/agent-dr/commit/engine_fixture.h"

namespace understudy::tests {
namespace {

using model::FileKind;

constexpr int kAcknowledgedThenCrashed = 44;

// Ends the process at the `at`-th step that is reached.
class CrashAt : public dr::FaultPoints {
 public:
  explicit CrashAt(size_t at, bool armed = true) : at_(at), armed_(armed) {}
  absl::Status Reach(dr::Step, size_t) override {
    if (armed_ && reached_++ == at_) _exit(acknowledged_ ? kAcknowledgedThenCrashed : kCrashed);
    return absl::OkStatus();
  }
  void Arm() { armed_ = true; }
  void Acknowledge() { acknowledged_ = true; }

 private:
  const size_t at_;
  bool armed_;
  size_t reached_ = 0;
  bool acknowledged_ = false;
};

// Of a changing process that starts anew: it settles the commit before (publish once more, 3 folders' metadata,
// settle).
constexpr size_t kStartSteps = 5;
// A folder for what goes is made, 32 operations are staged, the old content of one patch kept; all is synced and
// recorded.
constexpr size_t kStepsBeforeTheRecord = 1 + 32 + 1 + 2;
// Publishing begins; 8 entries go and the mark of that pass, 14 come once what they replace is kept (new folders with
// what is new in them), 2 names come in three steps each, a patch in three ranges, its size and its metadata, 7 get
// metadata.
constexpr size_t kStepsAfterTheRecord = 1 + 8 + 1 + 14 * 2 + 2 * 3 + 5 + 7;
// Every undo record and its kept entries lead there and back again.
constexpr model::Sequence kEmpty = 0;
constexpr model::Sequence kBase = 1;
constexpr model::Sequence kChanged = 2;

const std::string kPatched(20'000, 'p');
const std::string kImage = std::string(3 * 1024 * 1024, 'i') + "end";

// The state before: something for every kind of operation to work on.
bool MakeBase(dr::CommitEngine& engine, const std::string& root) {
  auto session = engine.Open({"vol", root, 0});
  if (!session.ok() || !session->StageBegin(0, "staged", kImage.size(), "").ok()) return false;
  for (size_t at = 0; at < kImage.size(); at += 1024 * 1024) {
    if (!session->StageData(0, at, std::string_view(kImage).substr(at, 1024 * 1024)).ok()) return false;
  }
  if (!session->StageEnd(0).ok()) return false;
  const model::Commit commit = NextCommit(
      session->State(), {InlinePut("a", "A"), InlinePut("b", "B"), model::MakeDirectory{"dir", Meta(0555)},
                         model::MakeDirectory{"dir/in", Meta(0755)}, InlinePut("dir/in/x", "x"),
                         model::MakeDirectory{"gone", Meta(0755)}, InlinePut("gone/left", "left"),
                         InlinePut("h1", "several names"), StagedPut("image", kImage, 0), InlinePut("over", "over"),
                         InlinePut("patched", kPatched), InlinePut("replaced", "old"), InlinePut("turns", "file"),
                         // So many that an entry that the next commit stages could be taken for one of these.
                         InlinePut("u", "u"), InlinePut("v", "v"), InlinePut("w", "w"), model::Link{"h2", "h1"},
                         model::Link{"h3", "h1"}});
  return session->SubmitDurable(commit).ok() && session->Publish().ok();
}

// The commit under test: swaps a and b, moves a folder into a new one, removes a folder with what it holds, turns a
// file into a folder, replaces, patches, makes every other kind, gives files more names, and moves one name of a file
// to where another one went away; some of it is staged ahead.
bool Change(dr::CommitEngine& engine, const std::string& root, const std::function<void()>& on_acknowledged) {
  auto session = engine.Open({"vol", root, 0});
  if (!session.ok()) return false;
  std::string image = kImage;
  image.replace(10, 4, "over");
  const auto signature = delta::MakeSignature(kImage);
  const auto delta = delta::MakeDelta(*signature, image);
  if (!session->StageBegin(7, "staged", image.size(), "image").ok()) return false;
  if (!session->StageDelta(7, {0, image.size(), *delta, delta::DigestOfSegment(0, image), 0, kImage.size()}).ok())
    return false;
  if (!session->StageEnd(7).ok()) return false;
  if (!session->StageBegin(8, "patched", 30'000, "patched").ok() || !session->StageData(8, 0, "over").ok() ||
      !session->StageHole(8, 4096, 8192).ok() || !session->StageData(8, 25'000, "grown").ok() ||
      !session->StageEnd(8).ok()) {
    return false;
  }
  if (!session
           ->StageFiles(
               {{"ahead", "ahead/sub"},
                {SmallFile("ahead/f", "f", 10), SmallFile("ahead/sub/g", "g", 11), SmallFile("small", "s", 12)}})
           .ok()) {
    return false;
  }
  const model::Commit commit =
      NextCommit(session->State(), {model::Remove{"turns", FileKind::kRegular},
                                    model::Detach{"h3", 6},
                                    model::Remove{"h2", FileKind::kRegular},
                                    model::Detach{"h1", 5},
                                    model::Remove{"gone", FileKind::kDirectory},
                                    model::Detach{"dir/in", 3},
                                    model::Detach{"b", 2},
                                    model::Detach{"a", 1},
                                    model::Attach{2, "a"},
                                    model::MakeDirectory{"ahead", Meta(0750)},
                                    StagedPut("ahead/f", "f", 10),
                                    model::MakeDirectory{"ahead/sub", Meta(0700)},
                                    StagedPut("ahead/sub/g", "g", 11),
                                    model::Attach{1, "b"},
                                    model::Attach{5, "h2"},
                                    model::Attach{6, "h4"},
                                    StagedPut("image", image, 7),
                                    model::MakeSymlink{"link", "a", Meta(0777)},
                                    model::MakeDirectory{"new", Meta(0500)},
                                    model::Attach{3, "new/in"},
                                    InlinePut("new/in/y", "y"),
                                    model::MakeNode{"pipe", FileKind::kFifo, 0, Meta(0600)},
                                    InlinePut("replaced", "new"),
                                    StagedPut("small", "s", 12),
                                    model::MakeDirectory{"turns", Meta(0755)},
                                    InlinePut("turns/into", "folder"),
                                    model::Link{"over", "a"},
                                    model::Patch{"patched", Meta(0640, 3), 30'000, {}, 8},
                                    model::Link{"pipe2", "pipe"},
                                    model::SetMetadata{"new/in", FileKind::kDirectory, Meta(0711)},
                                    model::SetMetadata{"dir", FileKind::kDirectory, Meta(0555, 1'700'000'001)},
                                    model::SetMetadata{"a", FileKind::kRegular, Meta(0400, 7)}});
  if (!session->SubmitDurable(commit).ok()) return false;
  on_acknowledged();
  return session->Publish().ok();
}

// Starts until a start isn't ended any more, each getting one step further than the one before; how many were ended.
size_t CrashAtEachStepOfTheRecovery(DrHost& host) {
  size_t at = 0;
  while (InProcess([&] {
           CrashAt crash(at);
           return host.Start(crash)->Problems().empty();
         }) == kCrashed) {
    ++at;
  }
  return at;
}

class CrashTest : public testing::Test {
 protected:
  // What an undisturbed run shows.
  void SetUp() override {
    DrHost host;
    {
      const auto engine = host.Start();
      ASSERT_TRUE(MakeBase(*engine, host.RootOf("vol")));
      before_ = Show(*engine, "vol");
      ASSERT_TRUE(Change(*engine, host.RootOf("vol"), [] {}));
      after_ = Show(*engine, "vol");
      ASSERT_NE(before_, after_);
    }
    ASSERT_EQ(Show(*host.Start(), "vol"), after_) << "a replay of what is published changes it";
    ASSERT_EQ(host.LeftInWorkFolder(), std::vector<std::string>());
  }

  // Makes the base and the change in one process, which crashes at step `at` of the change.
  static int CrashWithoutRestart(DrHost& host, size_t at) {
    return InProcess([&] {
      CrashAt crash(at, false);
      const auto engine = host.Start(crash);
      if (!MakeBase(*engine, host.RootOf("vol"))) return false;
      crash.Arm();
      return Change(*engine, host.RootOf("vol"), [&] { crash.Acknowledge(); });
    });
  }

  // Makes the base, then the change in a process of its own that crashes at step `at`.
  static int CrashDuringChange(DrHost& host, size_t at) {
    EXPECT_TRUE(MakeBase(*host.Start(), host.RootOf("vol")));
    return InProcess([&] {
      CrashAt crash(at);
      return Change(*host.Start(crash), host.RootOf("vol"), [&] { crash.Acknowledge(); });
    });
  }

  void ExpectBeforeOrAfter(DrHost& host, bool acknowledged, size_t at) {
    const auto engine = host.Start();
    EXPECT_TRUE(engine->Problems().empty()) << engine->Problems().front();
    const auto state = engine->State("vol");
    ASSERT_TRUE(state.ok());
    EXPECT_EQ(state->published_sequence, state->sequence);
    const std::string shown = Show(*engine, "vol");
    if (state->sequence == kBase) {
      EXPECT_FALSE(acknowledged) << "an acknowledged commit is lost, crash at step " << at;
      EXPECT_EQ(shown, before_) << "crash at step " << at;
    } else {
      EXPECT_EQ(state->sequence, kChanged);
      EXPECT_EQ(shown, after_) << "crash at step " << at;
    }
    EXPECT_TRUE(engine->DiscardRemoved({}).ok());
    EXPECT_EQ(host.LeftInWorkFolder(), std::vector<std::string>()) << "crash at step " << at;
    EXPECT_EQ(host.KeptForUndo(), state->sequence == kBase ? std::vector<std::string>() : std::vector<std::string>{"2"})
        << "crash at step " << at;
    if (goes_back_ && state->sequence == kChanged) ExpectPoint(*engine, kBase, before_, at);
    if (goes_back_) ExpectPoint(*engine, kEmpty, "", at);
    if (goes_back_ && state->sequence == kChanged) ExpectPoint(*engine, kChanged, after_, at);
    // Whatever it was, the volume goes on from there.
    auto session = engine->Open({"vol", host.RootOf("vol"), 0});
    ASSERT_TRUE(session.ok()) << session.status();
    const absl::Status submitted = session->SubmitDurable(NextCommit(session->State(), {InlinePut("more", "m")}));
    EXPECT_TRUE(submitted.ok()) << submitted;
    EXPECT_TRUE(session->Publish().ok());
  }

  static void ExpectPoint(dr::CommitEngine& engine, model::Sequence to, const std::string& expected, size_t at) {
    const absl::Status rewound = engine.Rewind("vol", to);
    EXPECT_TRUE(rewound.ok()) << rewound;
    EXPECT_EQ(Show(engine, "vol"), expected) << "taken back to " << to << ", crash at step " << at;
  }

  // Of the base and the change, which are undone in a process of its own that crashes at step `at`.
  static int CrashDuringRewind(DrHost& host, size_t at) {
    {
      const auto engine = host.Start();
      EXPECT_TRUE(MakeBase(*engine, host.RootOf("vol")));
      EXPECT_TRUE(Change(*engine, host.RootOf("vol"), [] {}));
    }
    return InProcess([&] {
      CrashAt crash(at, false);
      const auto engine = host.Start(crash);
      crash.Arm();
      return engine->Rewind("vol", kEmpty).ok();
    });
  }

  // Whichever state it has come to, that one is whole, and all others can be reached.
  void ExpectAStateOnTheWay(DrHost& host, size_t at, std::set<model::Sequence>& seen) {
    const auto engine = host.Start();
    EXPECT_TRUE(engine->Problems().empty()) << engine->Problems().front();
    const auto state = engine->State("vol");
    ASSERT_TRUE(state.ok());
    seen.insert(state->sequence);
    const std::string expected = state->sequence == 2 ? after_ : state->sequence == 4 ? before_ : "";
    EXPECT_EQ(Show(*engine, "vol"), expected) << "at " << state->sequence << ", crash at step " << at;
    EXPECT_EQ(state->complete, state->sequence != 6);
    EXPECT_EQ(engine->Points("vol")->size(), 2u);
    EXPECT_TRUE(engine->DiscardRemoved({}).ok());
    EXPECT_EQ(host.LeftInWorkFolder(), std::vector<std::string>()) << "crash at step " << at;
    ExpectPoint(*engine, kEmpty, "", at);
    ExpectPoint(*engine, kChanged, after_, at);
    ExpectPoint(*engine, kBase, before_, at);
    EXPECT_TRUE(Change(*engine, host.RootOf("vol"), [] {})) << "crash at step " << at;
    EXPECT_EQ(Show(*engine, "vol"), after_) << "crash at step " << at;
  }

  void CrashAtEachStep(int (*crash)(DrHost&, size_t), size_t steps_before_the_record) {
    size_t crashed_before = 0;
    size_t crashed_after = 0;
    for (size_t at = 0;; ++at) {
      DrHost host;
      const int result = crash(host, at);
      if (result == 0) break;
      ASSERT_TRUE(result == kCrashed || result == kAcknowledgedThenCrashed) << "step " << at << " gave " << result;
      ++(result == kCrashed ? crashed_before : crashed_after);
      ExpectBeforeOrAfter(host, result == kAcknowledgedThenCrashed, at);
      if (HasFailure()) return;
    }
    EXPECT_EQ(crashed_before, steps_before_the_record);
    EXPECT_EQ(crashed_after, kStepsAfterTheRecord);
  }

  std::string before_;
  std::string after_;
  bool goes_back_ = true;  // whether the undo records are run after each crash
};

TEST_F(CrashTest, AtEachStepOfACommit) {
  CrashAtEachStep(CrashDuringChange, kStartSteps + kStepsBeforeTheRecord);
}

// The record of the commit before is unsettled until this one's is written, and is replayed after the crash.
TEST_F(CrashTest, AtEachStepOfACommitAfterAnotherOneOfTheSameRun) {
  goes_back_ = false;
  CrashAtEachStep(CrashWithoutRestart, kStepsBeforeTheRecord);
}

TEST_F(CrashTest, AtEachStepOfTheRecoveryAsWell) {
  for (size_t at = kStartSteps + kStepsBeforeTheRecord;; ++at) {
    DrHost host;
    const int result = CrashDuringChange(host, at);
    if (result == 0) break;
    ASSERT_EQ(result, kAcknowledgedThenCrashed);
    EXPECT_GT(CrashAtEachStepOfTheRecovery(host), 0u);
    ExpectBeforeOrAfter(host, true, at);
    if (HasFailure()) return;
  }
}

TEST_F(CrashTest, AtEachStepOfARewind) {
  std::set<model::Sequence> seen;
  for (size_t at = 0;; ++at) {
    DrHost host;
    const int result = CrashDuringRewind(host, at);
    if (result == 0) break;
    ASSERT_EQ(result, kCrashed) << "step " << at;
    ExpectAStateOnTheWay(host, at, seen);
    if (HasFailure()) return;
  }
  EXPECT_EQ(seen, (std::set<model::Sequence>{2, 4, 6}));
}

TEST_F(CrashTest, AtEachStepOfTheRecoveryOfARewind) {
  for (size_t at = 0;; at += 3) {
    DrHost host;
    const int result = CrashDuringRewind(host, at);
    if (result == 0) break;
    ASSERT_EQ(result, kCrashed);
    CrashAtEachStepOfTheRecovery(host);
    std::set<model::Sequence> seen;
    ExpectAStateOnTheWay(host, at, seen);
    if (HasFailure()) return;
  }
}

// A commit takes away what is too old; whatever ends it, each record that is left has what it keeps, and nothing else
// is kept.
TEST_F(CrashTest, AtEachStepOfACommitThatDropsUndoRecords) {
  std::set<size_t> points_left;
  for (size_t at = 0;; ++at) {
    DrHost host;
    EXPECT_TRUE(MakeBase(*host.Start(), host.RootOf("vol")));
    EXPECT_TRUE(Change(*host.Start(), host.RootOf("vol"), [] {}));
    host.AdvanceClock(absl::Hours(8 * 24));
    const int result = InProcess([&] {
      CrashAt crash(at, false);
      const auto engine = host.Start(crash);
      auto session = engine->Open({"vol", host.RootOf("vol"), 0});
      crash.Arm();
      return session.ok() &&
             session->SubmitDurable(NextCommit(session->State(), {model::Remove{"a", FileKind::kRegular}})).ok() &&
             session->Publish().ok();
    });
    ASSERT_TRUE(result == 0 || result == kCrashed) << "step " << at << " gave " << result;
    const auto engine = host.Start();
    const auto points = engine->Points("vol");
    points_left.insert(points->size());
    const bool committed = engine->State("vol")->sequence == 3;
    EXPECT_EQ(points->size(), committed ? 1u : 2u) << "crash at step " << at;
    EXPECT_EQ(host.KeptForUndo(), std::vector<std::string>{committed ? "3" : "2"}) << "crash at step " << at;
    EXPECT_TRUE(engine->DiscardRemoved({}).ok());
    EXPECT_EQ(host.LeftInWorkFolder(), std::vector<std::string>()) << "crash at step " << at;
    if (committed) ExpectPoint(*engine, kChanged, after_, at);
    if (!committed) ExpectPoint(*engine, kBase, before_, at);
    if (result == 0 || HasFailure()) break;
  }
  EXPECT_EQ(points_left, (std::set<size_t>{1, 2}));
}

}  // namespace
}  // namespace understudy::tests
