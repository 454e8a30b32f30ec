// Every kept undo record leads back to the state that it names, whatever the commits between did, and forward again.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "core/model/path.h"
#include "core/store/database.h"
#include "tests/support/loop_mount.h"
#include "tests/support/process.h"
#include "tests/support/tree_compare.h"
#include "tests/unit/agent-dr/commit/engine_fixture.h"

namespace understudy::tests {
namespace {

namespace fs = std::filesystem;
using model::FileKind;
using testing::ElementsAre;
using testing::IsEmpty;

// What staged content of a Patch differs in.
struct Piece {
  uint64_t offset;
  std::string data;  // empty: a hole
  uint64_t hole_length = 0;
};

// As a commit's operations have to stand.
std::vector<model::Operation> InOrder(std::vector<model::Operation> operations) {
  const auto place = [](const model::Operation& operation) {
    constexpr int kPasses[] = {1, 1, 2, 2, 2, 2, 2, 3, 3, 4};  // by index of the alternative
    const std::string& path = std::visit([](const auto& op) -> const std::string& { return op.path; }, operation);
    return std::pair(kPasses[operation.index()], model::Key(path));
  };
  std::sort(operations.begin(), operations.end(), [&](const model::Operation& a, const model::Operation& b) {
    const auto [pass, key] = place(a);
    const auto [other_pass, other_key] = place(b);
    if (pass != other_pass) return pass < other_pass;
    return pass == 2 || pass == 3 ? key < other_key : other_key < key;
  });
  return operations;
}

class RewindTest : public testing::Test {
 protected:
  struct Remembered {
    model::Sequence sequence;
    std::string shown;  // with which names are one file's
    std::string copy;   // path of a copy of the whole tree
  };

  void SetUp() override {
    host_.emplace();
    engine_ = host_->Start();
    Open();
  }
  void Restart(const dr::PointBounds& points = {}) {
    session_ = dr::Session();
    engine_.reset();
    engine_ = host_->Start(dr::FaultPoints::None(), points);
  }
  void Open() {
    auto session = engine_->Open({"vol", Root(), 0});
    ASSERT_TRUE(session.ok()) << session.status();
    session_ = *std::move(session);
  }
  [[nodiscard]] std::string Root() const { return host_->RootOf("vol"); }
  [[nodiscard]] model::Sequence Now() const { return engine_->State("vol")->sequence; }

  absl::Status TryCommit(std::vector<model::Operation> operations) {
    RETURN_IF_ERROR(session_.SubmitDurable(NextCommit(session_.State(), InOrder(std::move(operations)))));
    return session_.Publish();
  }
  // The next commit, and what it leads to.
  void Commit(std::vector<model::Operation> operations) {
    const absl::Status done = TryCommit(std::move(operations));
    ASSERT_TRUE(done.ok()) << done;
    Remember();
  }
  void Remember() {
    Remembered state{Now(), Show(*engine_, "vol"), host_->File(fmt::format("copy{}", states_.size()))};
    const auto copied = RunProcess({.program = "cp", .arguments = {"-a", Root(), state.copy}});
    ASSERT_TRUE(copied.ok() && copied->exit_code == 0) << copied.status();
    states_.push_back(std::move(state));
  }

  absl::Status StagePieces(model::Slot slot, const std::string& base, uint64_t size, const std::vector<Piece>& pieces) {
    RETURN_IF_ERROR(session_.StageBegin(slot, base, size, base));
    for (const Piece& piece : pieces) {
      if (piece.data.empty()) {
        RETURN_IF_ERROR(session_.StageHole(slot, piece.offset, piece.hole_length));
      } else {
        RETURN_IF_ERROR(session_.StageData(slot, piece.offset, piece.data));
      }
    }
    return session_.StageEnd(slot);
  }
  void Stage(model::Slot slot, const std::string& base, uint64_t size, const std::vector<Piece>& pieces) {
    const absl::Status staged = StagePieces(slot, base, size, pieces);
    ASSERT_TRUE(staged.ok()) << staged;
  }

  void RewindTo(const Remembered& state) {
    const absl::Status done = engine_->Rewind("vol", state.sequence);
    ASSERT_TRUE(done.ok()) << done;
    EXPECT_EQ(Show(*engine_, "vol"), state.shown) << "back at " << state.sequence;
    const auto differences = CompareTrees(state.copy, Root());
    ASSERT_TRUE(differences.ok()) << differences.status();
    EXPECT_THAT(*differences, IsEmpty()) << "back at " << state.sequence;
    EXPECT_THAT(host_->LeftInWorkFolder(), testing::Each(testing::HasSubstr("staging/o")));
  }
  // To every state, in an order that goes back and forth.
  void RewindToAll() {
    if (HasFatalFailure()) return;
    std::vector<size_t> order;
    for (size_t i = 0; i < states_.size(); ++i) order.push_back(i);
    RewindTo(states_.front());
    RewindTo(states_.back());
    std::shuffle(order.begin(), order.end(), std::mt19937_64(7));
    for (const size_t i : order) {
      RewindTo(states_[i]);
      if (HasFatalFailure() || HasNonfatalFailure()) return;
    }
    Restart();
    RewindTo(states_.front());
    for (const Remembered& state : states_) RewindTo(state);
  }

  std::optional<DrHost> host_;
  std::unique_ptr<dr::CommitEngine> engine_;
  dr::Session session_;
  std::vector<Remembered> states_;
};

model::Metadata WithXattr(model::Metadata metadata, const std::string& value) {
  metadata.xattrs = {{"user.test", value}};
  return metadata;
}

TEST_F(RewindTest, PutsThatAreNewAndPutsThatReplace) {
  Commit({model::MakeDirectory{"d", Meta(0755)}, InlinePut("d/f", "one"), InlinePut("f", "one"),
          model::MakeSymlink{"l", "f", Meta(0777)}, model::MakeNode{"p", FileKind::kFifo, 0, Meta(0600)},
          model::SetMetadata{"", FileKind::kDirectory, Meta(0755, 1)}});
  Commit({model::MakeDirectory{"new", Meta(0700)}, InlinePut("new/g", "g"), model::MakeDirectory{"new/in", Meta(0711)},
          InlinePut("new/in/h", "h")});
  Commit({InlinePut("f", "two"), InlinePut("l", "file now"), model::MakeSymlink{"p", "d", Meta(0777)}});
  Commit({model::MakeNode{"f", FileKind::kFifo, 0, Meta(0600)}, InlinePut("new/in/h", "H"), InlinePut("d/f", "two")});
  RewindToAll();
}

TEST_F(RewindTest, RemovedFilesAndFolders) {
  Commit({model::MakeDirectory{"d", Meta(0555, 3)}, model::MakeDirectory{"d/e", WithXattr(Meta(0700, 4), "x")},
          InlinePut("d/e/f", "f"), InlinePut("d/g", "g"), InlinePut("h", "h")});
  Commit({model::Remove{"h", FileKind::kRegular}});
  Commit({model::Remove{"d/g", FileKind::kRegular}, model::SetMetadata{"d", FileKind::kDirectory, Meta(0755, 9)}});
  Commit({model::Remove{"d/e/f", FileKind::kRegular}, model::Remove{"d/e", FileKind::kDirectory},
          model::Remove{"d", FileKind::kDirectory}});
  RewindToAll();
}

TEST_F(RewindTest, NamesSwappedAndMovedInCycles) {
  Commit({model::MakeDirectory{"x", Meta(0700)}, InlinePut("x/in", "in"), InlinePut("a", "A"), InlinePut("b", "B"),
          InlinePut("c", "C")});
  Commit({model::Detach{"b", 2}, model::Detach{"a", 1}, model::Attach{2, "a"}, model::Attach{1, "b"}});
  Commit({model::Detach{"x", 4}, model::Detach{"c", 3}, model::Detach{"b", 2}, model::Detach{"a", 1},
          model::Attach{4, "a"}, model::Attach{1, "b"}, model::Attach{2, "c"}, model::Attach{3, "x"}});
  Commit({model::Detach{"c", 1}, model::Attach{1, "b"}});
  RewindToAll();
}

TEST_F(RewindTest, FoldersMovedIntoNewOnesAndOutOfRemovedOnes) {
  Commit({model::MakeDirectory{"a", Meta(0755, 1)}, model::MakeDirectory{"a/b", Meta(0755, 2)},
          model::MakeDirectory{"a/b/c", Meta(0755, 3)}, InlinePut("a/b/c/f", "f"), InlinePut("a/b/g", "g"),
          InlinePut("a/h", "h")});
  // The innermost goes into a new folder, its parent beside it, the rest away; something is put into what moved.
  Commit({model::Detach{"a/b/c", 1}, model::Detach{"a/b", 2}, model::Remove{"a", FileKind::kDirectory},
          model::MakeDirectory{"n", Meta(0700)}, model::Attach{1, "n/c"}, InlinePut("n/c/f", "F"),
          InlinePut("n/c/new", "new"), model::MakeDirectory{"n/c/sub", Meta(0711)}, model::Attach{2, "n/z"},
          model::SetMetadata{"n/z", FileKind::kDirectory, Meta(0701, 8)}});
  Commit({model::Detach{"n/c", 1}, model::Detach{"n/z/g", 2}, model::Remove{"n", FileKind::kDirectory},
          InlinePut("n", "a file now"), model::Attach{1, "o"}, model::Attach{2, "p"}});
  Commit({model::Detach{"o/sub", 1}, model::Detach{"o", 2}, model::Attach{1, "o"}, model::Attach{2, "o/o"}});
  RewindToAll();
}

TEST_F(RewindTest, KindsThatChange) {
  Commit({model::MakeDirectory{"d", Meta(0755)}, InlinePut("d/f", "f"), InlinePut("f", "F")});
  Commit({model::Remove{"f", FileKind::kRegular}, model::Remove{"d", FileKind::kDirectory}, InlinePut("d", "file"),
          model::MakeDirectory{"f", Meta(0711)}, InlinePut("f/g", "g")});
  Commit({model::Remove{"f", FileKind::kDirectory}, model::Remove{"d", FileKind::kRegular},
          model::MakeNode{"d", FileKind::kSocket, 0, Meta(0600)}, model::MakeSymlink{"f", "g", Meta(0777)}});
  RewindToAll();
}

TEST_F(RewindTest, MetadataOfFilesAndFolders) {
  Commit({model::MakeDirectory{"d", WithXattr(Meta(0755, 5), "one")}, InlinePut("d/f", "f"),
          model::MakeSymlink{"d/l", "x", Meta(0777)}, model::Link{"g", "d/f"},
          model::SetMetadata{"", FileKind::kDirectory, Meta(0755, 6)}});
  Commit({model::SetMetadata{"g", FileKind::kRegular, WithXattr(Meta(0400, 7), "two")},
          model::SetMetadata{"d/l", FileKind::kSymlink, Meta(0777, 7)},
          model::SetMetadata{"", FileKind::kDirectory, WithXattr(Meta(0700, 8), "root")}});
  Commit({model::MakeDirectory{"d", Meta(0711, 9)}, model::SetMetadata{"d/f", FileKind::kRegular, Meta(04755, 10)}});
  RewindToAll();
}

TEST_F(RewindTest, NamesOfOneFileStayTogether) {
  Commit({model::MakeDirectory{"d", Meta(0755)}, InlinePut("a", "A"), InlinePut("other", "O"), model::Link{"b", "a"},
          model::Link{"d/c", "a"}});
  Commit({model::Remove{"b", FileKind::kRegular}});
  Commit({model::Link{"other", "a"}, model::Link{"b", "a"}, model::Link{"d/c", "a"}});
  // One name moves to where another one went away, and one over another.
  Commit({model::Remove{"b", FileKind::kRegular}, model::Detach{"a", 1}, model::Attach{1, "b"}});
  Commit({model::Detach{"d/c", 1}, model::Attach{1, "other"}});
  // What moved or is new is replaced by a link at once.
  Commit({InlinePut("x", "X"), InlinePut("y", "Y")});
  Commit({model::Detach{"y", 1}, model::Attach{1, "b"}, InlinePut("z", "Z"), model::Link{"b", "x"},
          model::Link{"z", "x"}, model::SetMetadata{"b", FileKind::kRegular, Meta(0404, 3)}});
  Commit({model::Remove{"d", FileKind::kDirectory}, InlinePut("x", "own")});
  Commit({model::MakeDirectory{"new", Meta(0700)}, model::Detach{"x", 1}, model::Attach{1, "new/x"},
          model::Link{"new/x", "b"}});
  RewindToAll();
}

class RewindOnFilesystem : public RewindTest, public testing::WithParamInterface<const char*> {
 protected:
  void SetUp() override {
    auto mount = LoopMount::Make(GetParam(), 300);
    if (absl::IsUnimplemented(mount.status())) GTEST_SKIP() << mount.status();
    ASSERT_TRUE(mount.ok()) << mount.status();
    mount_ = *std::move(mount);
    const char* before = std::getenv("TEST_TMPDIR");
    const std::string kept = before == nullptr ? "" : before;
    setenv("TEST_TMPDIR", mount_->Path().c_str(), 1);
    RewindTest::SetUp();
    before == nullptr ? unsetenv("TEST_TMPDIR") : setenv("TEST_TMPDIR", kept.c_str(), 1);
  }
  void TearDown() override {
    session_ = dr::Session();
    engine_.reset();
    host_.reset();
    mount_.reset();
  }
  std::unique_ptr<LoopMount> mount_;
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

TEST_F(RewindTest, PointsAreNamedByTheirCommits) {
  model::Commit commit = NextCommit(session_.State(), {InlinePut("a", "A")});
  commit.captured_at_nanoseconds = 77;
  commit.completes_capture = false;
  ASSERT_TRUE(session_.SubmitDurable(commit).ok());
  host_->AdvanceClock(absl::Minutes(1));
  Commit({InlinePut("a", std::string(100'000, 'B'))});
  host_->AdvanceClock(absl::Minutes(1));
  Commit({model::Remove{"a", FileKind::kRegular}});
  const auto points = engine_->Points("vol");
  ASSERT_EQ(points->size(), 3u);
  EXPECT_EQ((*points)[0].sequence, 2u);
  EXPECT_GE((*points)[0].held_bytes, 100'000u);
  EXPECT_TRUE((*points)[0].complete);
  EXPECT_EQ((*points)[1].sequence, 1u);
  EXPECT_EQ((*points)[1].captured_at_nanoseconds, 77);
  EXPECT_FALSE((*points)[1].completes_capture);
  EXPECT_FALSE((*points)[1].complete);
  EXPECT_EQ((*points)[0].committed_at_nanoseconds - (*points)[1].committed_at_nanoseconds, 60'000'000'000);
  EXPECT_EQ((*points)[2].sequence, 0u);
  Restart();
  EXPECT_EQ(*engine_->Points("vol"), *points);
  EXPECT_EQ(engine_->NewestPoint("vol")->sequence, 3u);
}

TEST_F(RewindTest, TheSessionIsOverAndNoSequenceComesTwice) {
  Commit({InlinePut("a", "A")});
  Commit({InlinePut("a", "B")});
  // What a primary may have staged in its index, and waits to hear of.
  const model::Commit waiting = NextCommit(session_.State(), {InlinePut("a", "C")});
  ASSERT_TRUE(session_.StageBegin(1, "b", 1, "").ok());
  EXPECT_EQ(engine_->Rewind("vol", 77).code(), absl::StatusCode::kNotFound);
  ASSERT_TRUE(session_.StageEnd(1).ok()) << "nothing happened, so the session goes on";
  ASSERT_TRUE(engine_->Rewind("vol", 1).ok());
  EXPECT_EQ(session_.SubmitDurable(waiting).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_GT(Now(), waiting.sequence);
  Open();
  EXPECT_EQ(session_.SubmitDurable(waiting).code(), absl::StatusCode::kFailedPrecondition);
  Open();
  EXPECT_TRUE(TryCommit({InlinePut("c", "C")}).ok());
  EXPECT_EQ(engine_->Rewind("nobody", 1).code(), absl::StatusCode::kNotFound);
}

TEST_F(RewindTest, WhatIsTooOldGoesWithTheNextCommit) {
  Commit({InlinePut("a", "A")});
  Commit({InlinePut("a", "B")});
  host_->AdvanceClock(absl::Hours(23));
  Commit({InlinePut("a", "C")});
  EXPECT_EQ(engine_->Points("vol")->size(), 3u);
  host_->AdvanceClock(absl::Hours(2));
  Commit({InlinePut("a", "D")});
  // 2 was superseded two hours ago, 1 and the one before it a day ago.
  ASSERT_EQ(engine_->Points("vol")->size(), 2u);
  EXPECT_THAT(host_->KeptForUndo(), ElementsAre("3", "4"));
  EXPECT_THAT(host_->LeftInWorkFolder(), IsEmpty());
  RewindTo(states_[1]);
  EXPECT_EQ(engine_->Rewind("vol", 1).code(), absl::StatusCode::kNotFound);
}

TEST_F(RewindTest, WhatIsTooMuchGoesOldestFirst) {
  Restart({.max_bytes = 1'000'000});
  Open();
  for (int i = 0; i < 6; ++i) Commit({InlinePut("a", std::string(200'000, static_cast<char>('a' + i)))});
  Commit({InlinePut("b", "b")});
  uint64_t held = 0;
  const auto points = engine_->Points("vol");
  for (const dr::Point& point : *points) held += point.held_bytes;
  EXPECT_LE(held, 1'000'000u);
  EXPECT_EQ(points->size(), 5u);
  RewindTo(states_[2]);
}

TEST_F(RewindTest, KeepingNothingIsPossible) {
  Commit({InlinePut("a", "A"), model::MakeDirectory{"d", Meta(0755)}});
  Commit({InlinePut("a", "B")});
  Restart({.keep_for = absl::ZeroDuration()});
  Open();
  Commit({InlinePut("a", "C"), model::Remove{"d", FileKind::kDirectory}});
  EXPECT_THAT(*engine_->Points("vol"), IsEmpty());
  EXPECT_THAT(host_->KeptForUndo(), IsEmpty());
  EXPECT_THAT(host_->LeftInWorkFolder(), IsEmpty());
  Restart();
  Open();
  Commit({InlinePut("a", "D")});
  RewindTo(states_[2]);
}

TEST_F(RewindTest, WhatIsNotAsItWasLeftIsNotTouched) {
  Commit({InlinePut("a", "A")});
  Commit({InlinePut("a", "B")});
  const std::string shown = Show(*engine_, "vol");
  fs::rename(Root() + "/a", Root() + "/elsewhere");
  EXPECT_EQ(engine_->Rewind("vol", 1).code(), absl::StatusCode::kDataLoss);
  fs::rename(Root() + "/elsewhere", Root() + "/a");
  EXPECT_EQ(Show(*engine_, "vol"), shown);
  const fs::path work = fs::directory_iterator(host_->File(".understudy"))->path();
  fs::rename(work / "undo" / "2", work / "undo" / "hidden");
  EXPECT_EQ(engine_->Rewind("vol", 1).code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(Show(*engine_, "vol"), shown);
  fs::rename(work / "undo" / "hidden", work / "undo" / "2");
  const std::string database = host_->State() + "/volumes/vol/replica.db";
  const auto run = [&](const std::string& sql) {
    auto opened = store::Database::Open(database, {});
    ASSERT_TRUE(opened.ok() && opened->Execute(sql).ok()) << sql;
  };
  run("UPDATE undo SET point = 55 WHERE sequence = 2");
  Restart();
  EXPECT_EQ(engine_->Rewind("vol", 55).code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(Show(*engine_, "vol"), shown);
}

// A file as it was before undo records were kept.
TEST_F(RewindTest, AnOlderReplicaBeginsToKeepPoints) {
  Commit({InlinePut("a", "A")});
  session_ = dr::Session();
  engine_.reset();
  {
    auto database = store::Database::Open(host_->State() + "/volumes/vol/replica.db", {});
    ASSERT_TRUE(database.ok());
    for (const char* sql :
         {"DROP TABLE undo", "DROP TABLE undo_operations", "DROP TABLE undo_content",
          "ALTER TABLE record DROP COLUMN keeps", "ALTER TABLE record DROP COLUMN runs",
          "ALTER TABLE replica DROP COLUMN point", "ALTER TABLE replica DROP COLUMN point_committed_nanoseconds",
          "ALTER TABLE replica DROP COLUMN point_captured_nanoseconds",
          "ALTER TABLE replica DROP COLUMN point_completes_capture", "ALTER TABLE replica DROP COLUMN commit_id",
          "PRAGMA user_version = 2"}) {
      ASSERT_TRUE(database->Execute(sql).ok()) << sql;
    }
  }
  engine_ = host_->Start();
  ASSERT_THAT(engine_->Problems(), IsEmpty());
  Open();
  EXPECT_THAT(*engine_->Points("vol"), IsEmpty());
  Commit({InlinePut("a", "B")});
  RewindToAll();
}

// Random commits of all kinds of operations over a small tree with many names of few files.
class RandomCommits {
 public:
  explicit RandomCommits(uint64_t seed) : random_(seed) {}
  uint64_t Below(uint64_t bound) { return random_() % bound; }

  // Of the replica as it is now.
  void Look(dr::CommitEngine& engine) {
    entries_.clear();
    const absl::Status listed = engine.Inventory("vol", false, [&](model::InventoryEntry entry) {
      entries_.push_back(std::move(entry));
      return absl::OkStatus();
    });
    ASSERT_TRUE(listed.ok()) << listed;
  }

  // `stage` stages content for a patch. Many a commit doesn't fit.
  template <class StageContent>
  std::vector<model::Operation> Next(const StageContent& stage) {
    std::map<std::pair<int, std::string>, model::Operation> operations;  // each path once in a pass
    const auto add = [&](int pass, model::Operation operation) {
      const std::string path = std::visit([](const auto& op) { return op.path; }, operation);
      operations.emplace(std::pair(pass, path), std::move(operation));
    };
    model::Slot slot = 0;
    for (uint64_t count = 1 + Below(5); count > 0; --count) {
      const model::Metadata meta = Meta(0700 + Below(8), static_cast<int64_t>(Below(1000)));
      const model::InventoryEntry* const some = Any();
      const bool takes_xattrs =
          some != nullptr && (some->kind == FileKind::kRegular || some->kind == FileKind::kDirectory);
      switch (Below(some == nullptr ? 3 : 10)) {
        case 0:
          add(2, model::MakeDirectory{AnyPath(), meta});
          break;
        case 1:
        case 2:
          add(2, PutOf(AnyPath()));
          break;
        case 3:
          add(2, model::MakeSymlink{AnyPath(), "x", meta});
          break;
        case 4:
          add(1, model::Remove{some->path, some->kind});
          break;
        case 5:
        case 6: {
          const std::string to = AnyPath();
          if (operations.contains({1, some->path}) || operations.contains({2, to})) break;
          add(1, model::Detach{some->path, slot});
          add(2, model::Attach{slot++, to});
          break;
        }
        case 7:
          add(3, model::Link{AnyPath(), some->path});
          break;
        case 8: {
          const uint64_t size = Below(60'000);
          if (some->kind != FileKind::kRegular || !stage(slot, *some, size)) break;
          add(3, model::Patch{some->path, meta, size, {}, slot++});
          break;
        }
        default:
          add(4, model::SetMetadata{some->path, some->kind, takes_xattrs ? WithXattr(meta, "x") : meta});
          break;
      }
    }
    std::vector<model::Operation> all;
    for (auto& [place, operation] : operations) all.push_back(std::move(operation));
    return all;
  }

  std::vector<Piece> PiecesBelow(uint64_t size) {
    std::vector<Piece> pieces;
    for (uint64_t at = Below(9'000); at + 5'000 < size; at += 5'000 + Below(20'000)) {
      const bool hole = Below(4) == 0;
      pieces.push_back({at, hole ? "" : std::string(1 + Below(5'000), static_cast<char>('a' + Below(26))), 4'000});
    }
    return pieces;
  }

 private:
  const model::InventoryEntry* Any() { return entries_.empty() ? nullptr : &entries_[Below(entries_.size())]; }
  std::string AnyPath() {
    const model::InventoryEntry* const some = Any();
    if (some != nullptr && Below(2) == 0) return some->path;
    const std::string name = fmt::format("n{}", Below(12));
    return some != nullptr && some->kind == FileKind::kDirectory ? model::Join(some->path, name) : name;
  }
  model::Put PutOf(const std::string& path) {
    return InlinePut(path, std::string(Below(40'000), static_cast<char>('A' + Below(26))));
  }

  std::mt19937_64 random_;
  std::vector<model::InventoryEntry> entries_;
};

TEST_F(RewindTest, AnyCommitIsUndoneAndDoneAgain) {
  const char* const given = std::getenv("UNDERSTUDY_SEED");
  const uint64_t seed = given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device()();
  SCOPED_TRACE(fmt::format("UNDERSTUDY_SEED={}", seed));
  RandomCommits random(seed);
  std::map<model::Sequence, std::string> shown;
  const auto show = [&] {
    struct stat root {};
    EXPECT_EQ(::stat(Root().c_str(), &root), 0);
    return fmt::format("{:o} {}.{}\n{}", root.st_mode, root.st_mtim.tv_sec, root.st_mtim.tv_nsec,
                       Show(*engine_, "vol"));
  };
  shown[0] = show();
  size_t taken = 0;
  for (int round = 0; round < 600; ++round) {
    Open();
    random.Look(*engine_);
    const auto stage = [&](model::Slot slot, const model::InventoryEntry& entry, uint64_t size) {
      const absl::Status staged = StagePieces(slot, entry.path, size, random.PiecesBelow(size));
      EXPECT_TRUE(staged.ok()) << staged;
      return staged.ok();
    };
    const absl::Status done = TryCommit(random.Next(stage));
    if (done.ok()) {
      shown[Now()] = show();
      ++taken;
    } else {
      ASSERT_TRUE(absl::IsDataLoss(done) || absl::IsInvalidArgument(done)) << done;
      ASSERT_TRUE(shown.contains(engine_->NewestPoint("vol")->sequence)) << "taken, and not published: " << done;
    }
    if (random.Below(4) != 0) continue;
    const auto points = engine_->Points("vol");
    if (points->empty()) continue;
    const model::Sequence to = (*points)[random.Below(std::min<size_t>(points->size(), 12))].sequence;
    const absl::Status rewound = engine_->Rewind("vol", to);
    ASSERT_TRUE(rewound.ok()) << rewound << ", round " << round;
    ASSERT_EQ(show(), shown.at(to)) << "back at " << to << ", round " << round;
    // A reverse names every folder that it changes, so replaying it doesn't even change a time.
    if (random.Below(10) == 0) Restart();
    ASSERT_EQ(show(), shown.at(to)) << "back at " << to << " and started anew, round " << round;
  }
  EXPECT_GT(taken, 100u);
  const auto points = engine_->Points("vol");
  for (const dr::Point& point : *points) {
    const absl::Status rewound = engine_->Rewind("vol", point.sequence);
    ASSERT_TRUE(rewound.ok()) << rewound;
    ASSERT_EQ(show(), shown.at(point.sequence)) << "back at " << point.sequence;
  }
}

}  // namespace
}  // namespace understudy::tests
