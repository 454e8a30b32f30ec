// Every kept undo record leads back to the state that it names, whatever the commits between did, and forward again.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "core/store/database.h"
#include "tests/unit/agent-dr/commit/rewind_fixture.h"

namespace understudy::tests {
namespace {

namespace fs = std::filesystem;
using model::FileKind;
using testing::ElementsAre;
using testing::IsEmpty;

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
  Restart({.keep_for = absl::Hours(24)});
  Open();
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
  session_ = dr::Session();
  engine_.reset();
  {
    auto opened = store::Database::Open(database, {});
    ASSERT_TRUE(opened.ok() && opened->Execute("UPDATE undo SET point = 55 WHERE sequence = 2").ok());
  }
  Restart();
  EXPECT_EQ(engine_->Rewind("vol", 55).code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(Show(*engine_, "vol"), shown);
}

TEST_F(RewindTest, StatesKeepTheirConsistency) {
  const auto commit = [&](const char* content, model::Consistency consistency, bool completes) {
    model::Commit next = NextCommit(session_.State(), {InlinePut("a", content)});
    next.completes_capture = completes;
    next.consistency = consistency;
    ASSERT_TRUE(session_.SubmitDurable(next).ok());
    ASSERT_TRUE(session_.Publish().ok());
  };
  commit("1", model::Consistency::kQuiesced, true);
  commit("2", model::Consistency::kCrashConsistent, true);
  commit("3", model::Consistency::kFuzzy, false);
  const auto labels = [&] {
    std::map<model::Sequence, model::Consistency> told;
    const std::vector<dr::Point> kept = *engine_->Points("vol");
    for (const dr::Point& point : kept) told[point.sequence] = point.consistency;
    const dr::Point newest = *engine_->NewestPoint("vol");
    told[newest.sequence] = newest.consistency;
    return told;
  };
  const auto all = labels();
  EXPECT_EQ(all.at(1), model::Consistency::kQuiesced);
  EXPECT_EQ(all.at(2), model::Consistency::kCrashConsistent);
  EXPECT_EQ(all.at(3), model::Consistency::kUnknown) << "the midst of a capture";
  EXPECT_EQ(engine_->State("vol")->newest_whole->consistency, model::Consistency::kCrashConsistent);
  Restart();
  EXPECT_EQ(labels(), all);
  ASSERT_TRUE(engine_->Rewind("vol", 1).ok());
  EXPECT_EQ(engine_->State("vol")->consistency, model::Consistency::kQuiesced);
  EXPECT_EQ(labels(), all);
  Restart();
  EXPECT_EQ(labels(), all);
}

// A file as it was before undo records were kept.
TEST_F(RewindTest, AnOlderReplicaBeginsToKeepPoints) {
  Commit({InlinePut("a", "A")});
  session_ = dr::Session();
  engine_.reset();
  {
    auto database = store::Database::Open(host_->State() + "/volumes/vol/replica.db", {});
    ASSERT_TRUE(database.ok());
    for (const char* sql : {"DROP TABLE undo",
                            "DROP TABLE undo_several_names",
                            "DROP TABLE undo_move",
                            "DROP TABLE point_label",
                            "ALTER TABLE replica DROP COLUMN held",
                            "DROP TABLE undo_operations",
                            "DROP TABLE undo_content",
                            "ALTER TABLE record DROP COLUMN keeps",
                            "ALTER TABLE record DROP COLUMN runs",
                            "ALTER TABLE replica DROP COLUMN point",
                            "ALTER TABLE replica DROP COLUMN point_committed_nanoseconds",
                            "ALTER TABLE replica DROP COLUMN point_captured_nanoseconds",
                            "ALTER TABLE replica DROP COLUMN point_completes_capture",
                            "ALTER TABLE replica DROP COLUMN commit_id",
                            "ALTER TABLE replica DROP COLUMN state_since_nanoseconds",
                            "ALTER TABLE replica DROP COLUMN awaits_primary",
                            "ALTER TABLE replica DROP COLUMN hooks_due",
                            "ALTER TABLE replica DROP COLUMN reprotected",
                            "ALTER TABLE replica DROP COLUMN adopted_epoch",
                            "ALTER TABLE replica DROP COLUMN digests_after",
                            "ALTER TABLE replica DROP COLUMN point_consistency",
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

}  // namespace
}  // namespace understudy::tests
