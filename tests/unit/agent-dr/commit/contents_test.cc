// What DR keeps of the contents that it should hold: told by commits, kept by the file's identity through renames,
// other names, rewinds and restarts, and learned where nobody told.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <map>

#include "agent-dr/commit/content_table.h"
#include "core/delta/content_digest.h"
#include "core/os/file_io.h"
#include "core/os/tree_walk.h"
#include "core/store/database.h"
#include "tests/unit/agent-dr/commit/rewind_fixture.h"

namespace understudy::tests {
namespace {

using model::FileKind;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::Pair;
using testing::UnorderedElementsAre;

constexpr uint64_t kLarge = 5 * 1024 * 1024;

class ContentsTest : public RewindTest {
 protected:
  std::shared_ptr<dr::Replica> replica() { return *engine_->FindReplica("vol"); }

  std::optional<dr::KeptContent> Kept(const std::string& path) {
    std::optional<dr::KeptContent> kept;
    const absl::Status done = replica()->WithPublished([&](const dr::Replica::Published& published) -> absl::Status {
      ASSIGN_OR_RETURN(const os::EntryStat stat, published.root.Stat(path));
      dr::ContentTable contents = published.contents;
      ASSIGN_OR_RETURN(kept, contents.Find(dr::IdentityOf(stat)));
      return absl::OkStatus();
    });
    EXPECT_TRUE(done.ok()) << done;
    return kept;
  }

  // Every regular file's kept digest is that of what it holds, and the commit told it.
  void ExpectAllKnown(bool learned = false) {
    const absl::Status done = replica()->WithPublished([&](const dr::Replica::Published& published) -> absl::Status {
      ASSIGN_OR_RETURN(os::TreeWalk walk, os::TreeWalk::Begin(published.root, ""));
      dr::ContentTable contents = published.contents;
      while (true) {
        ASSIGN_OR_RETURN(const std::optional<os::WalkEntry> entry, walk.Next());
        if (!entry.has_value()) return absl::OkStatus();
        if (entry->stat.kind != FileKind::kRegular) continue;
        ASSIGN_OR_RETURN(const os::Fd file, published.root.OpenPath(entry->path, O_RDONLY));
        ASSIGN_OR_RETURN(const model::Digest digest, os::DigestOfFile(file.get(), entry->stat.size));
        ASSIGN_OR_RETURN(const std::optional<dr::KeptContent> kept, contents.Find(dr::IdentityOf(entry->stat)));
        EXPECT_TRUE(kept.has_value() && kept->digest == digest && kept->size == entry->stat.size) << entry->path;
        EXPECT_TRUE(!kept.has_value() || kept->learned == learned) << entry->path;
      }
    });
    EXPECT_TRUE(done.ok()) << done;
  }

  uint64_t Rows() {
    uint64_t rows = 0;
    const absl::Status done = replica()->WithPublished([&](const dr::Replica::Published& published) -> absl::Status {
      dr::ContentTable contents = published.contents;
      ASSIGN_OR_RETURN(rows, contents.Count());
      return absl::OkStatus();
    });
    EXPECT_TRUE(done.ok()) << done;
    return rows;
  }

  std::optional<bool> HoldsEntries() {
    std::optional<bool> holds;
    const absl::Status done = replica()->WithPublished([&](const dr::Replica::Published& published) -> absl::Status {
      dr::ContentTable contents = published.contents;
      ASSIGN_OR_RETURN(holds, contents.HoldsEntries());
      return absl::OkStatus();
    });
    EXPECT_TRUE(done.ok()) << done;
    return holds;
  }

  // A large file's content after `pieces`.
  model::Patch PatchOf(const std::string& path, std::string content, const std::vector<Piece>& pieces,
                       model::Slot slot) {
    for (const Piece& piece : pieces) content.replace(piece.offset, piece.data.size(), piece.data);
    Stage(slot, path, content.size(), pieces);
    return {path, Meta(0600), content.size(), delta::DigestOfContent(content), slot};
  }
};

TEST_F(ContentsTest, ACommitTellsWhatItsFilesHold) {
  const std::string large(kLarge, 'x');
  ASSERT_TRUE(session_.StageBegin(1, "large", kLarge, "").ok());
  for (uint64_t at = 0; at < kLarge; at += 1024 * 1024) {
    ASSERT_TRUE(session_.StageData(1, at, std::string_view(large).substr(at, 1024 * 1024)).ok());
  }
  ASSERT_TRUE(session_.StageEnd(1).ok());
  Commit({model::MakeDirectory{"d", Meta(0755)}, InlinePut("d/empty", ""), InlinePut("d/small", "small"),
          StagedPut("large", large, 1)});
  ExpectAllKnown();
  Commit({PatchOf("large", large, {{70'000, "new"}}, 1)});
  ExpectAllKnown();
  EXPECT_EQ(Kept("large")->sequence, 2u);
  EXPECT_EQ(Rows(), 3u);
  Restart();
  ExpectAllKnown();
}

TEST_F(ContentsTest, RenamesAndOtherNamesKeepIt) {
  Commit({model::MakeDirectory{"d", Meta(0755)}, InlinePut("d/a", "a"), InlinePut("b", "b")});
  const auto before = Kept("d/a");
  Commit({model::Detach{"d", 1}, model::Detach{"b", 2}, model::Attach{2, "a"}, model::Attach{1, "e"},
          model::Link{"z", "e/a"}});
  EXPECT_EQ(Kept("e/a"), before);
  EXPECT_EQ(Kept("z"), before);
  ExpectAllKnown();
  EXPECT_EQ(Rows(), 2u);
}

TEST_F(ContentsTest, ARewindKeepsItRightInBothDirections) {
  const std::string large(kLarge, 'x');
  ASSERT_TRUE(session_.StageBegin(1, "large", kLarge, "").ok());
  for (uint64_t at = 0; at < kLarge; at += 1024 * 1024) {
    ASSERT_TRUE(session_.StageData(1, at, std::string_view(large).substr(at, 1024 * 1024)).ok());
  }
  ASSERT_TRUE(session_.StageEnd(1).ok());
  Commit({InlinePut("f", "one"), InlinePut("gone", "gone"), StagedPut("large", large, 1)});
  Commit({InlinePut("f", "two"), PatchOf("large", large, {{5'000, "12"}, {4'200'000, "3"}}, 1)});
  std::string next = large;
  next.replace(5'000, 2, "12");
  next.replace(4'200'000, 1, "3");
  Commit({model::Remove{"gone", FileKind::kRegular}, PatchOf("large", next, {{5'001, "zz"}}, 1)});
  for (const size_t state : {0, 2, 1, 0, 2}) {
    ASSERT_TRUE(engine_->Rewind("vol", states_.at(state).sequence).ok());
    ExpectAllKnown();
    Restart();
    ExpectAllKnown();
  }
}

// As an agent wrote them before it kept digests.
TEST_F(ContentsTest, AnUndoRecordThatDoesNotSayLeavesItUnknown) {
  const std::string large(kLarge, 'x');
  ASSERT_TRUE(session_.StageBegin(1, "large", kLarge, "").ok());
  for (uint64_t at = 0; at < kLarge; at += 1024 * 1024) {
    ASSERT_TRUE(session_.StageData(1, at, std::string_view(large).substr(at, 1024 * 1024)).ok());
  }
  ASSERT_TRUE(session_.StageEnd(1).ok());
  Commit({StagedPut("large", large, 1)});
  session_ = dr::Session();
  engine_.reset();
  {
    auto database = store::Database::Open(host_->State() + "/volumes/vol/replica.db", {.exclusive = true});
    ASSERT_TRUE(database.ok());
    ASSERT_TRUE(database->Execute("DELETE FROM content").ok());
  }
  engine_ = host_->Start();
  Open();
  Commit({PatchOf("large", large, {{70'000, "new"}}, 1)});
  ExpectAllKnown();
  ASSERT_TRUE(engine_->Rewind("vol", 1).ok());
  ASSERT_TRUE(Kept("large").has_value());
  EXPECT_FALSE(Kept("large")->digest.has_value());
  // A comparison learns it.
  const auto pass_over = [](const model::InventoryEntry&) { return absl::OkStatus(); };
  ASSERT_TRUE(engine_->Inventory("vol", /*with_digests=*/true, pass_over).ok());
  ExpectAllKnown(/*learned=*/true);
}

TEST_F(ContentsTest, WhatWasThereBeforeIsLearnedByAComparisonAndNeverOverwrites) {
  std::ofstream(Root() + "/seeded") << "seeded";
  ASSERT_TRUE(TryCommit({InlinePut("told", "told")}).ok());
  // Damaged before the comparison: what the commit told stays.
  std::ofstream(Root() + "/told") << "tolD";
  EXPECT_FALSE(Kept("seeded").has_value());
  const auto pass_over = [](const model::InventoryEntry&) { return absl::OkStatus(); };
  ASSERT_TRUE(engine_->Inventory("vol", /*with_digests=*/false, pass_over).ok());
  EXPECT_FALSE(Kept("seeded").has_value());
  ASSERT_TRUE(engine_->Inventory("vol", /*with_digests=*/true, pass_over).ok());
  ASSERT_TRUE(Kept("seeded").has_value());
  EXPECT_TRUE(Kept("seeded")->learned);
  EXPECT_EQ(Kept("seeded")->digest, delta::DigestOfContent("seeded"));
  EXPECT_FALSE(Kept("told")->learned);
  EXPECT_EQ(Kept("told")->digest, delta::DigestOfContent("told"));
}

TEST_F(ContentsTest, WhetherTheFolderHoldsAnythingIsKnown) {
  EXPECT_EQ(HoldsEntries(), std::nullopt);
  Commit({model::MakeDirectory{"d", Meta(0755)}, InlinePut("d/f", "f")});
  EXPECT_EQ(HoldsEntries(), true);
  Commit({InlinePut("g", "g")});
  Commit({model::Remove{"d", FileKind::kDirectory}});
  EXPECT_EQ(HoldsEntries(), true);
  Commit({model::Remove{"g", FileKind::kRegular}});
  EXPECT_EQ(HoldsEntries(), false);
  ASSERT_TRUE(engine_->Rewind("vol", 2).ok());
  EXPECT_EQ(HoldsEntries(), true);
}

TEST(ContentTableTest, AnInodeThatIsUsedAgainHasTheNewContent) {
  const TempDir folder;
  auto database = store::Database::Open(folder.File("t.db"), {});
  ASSERT_TRUE(database.ok());
  ASSERT_TRUE(database->Execute(dr::kContentSchema).ok());
  dr::ContentTable table(*database);
  const model::Digest one = delta::DigestOfContent("one");
  const model::Digest two = delta::DigestOfContent("two");
  // Where the filesystem keeps no birth time.
  ASSERT_TRUE(table.Apply({.brought = {{{7, 0}, 3, one}}}, 1).ok());
  ASSERT_TRUE(table.Apply({.brought = {{{7, 0}, 3, two}}}, 2).ok());
  EXPECT_EQ((*table.Find({7, 0}))->digest, two);
  // Where it does, another file of the same number isn't taken for this one.
  ASSERT_TRUE(table.Apply({.brought = {{{8, 100}, 3, one}}}, 3).ok());
  EXPECT_FALSE(table.Find({8, 101})->has_value());
  EXPECT_EQ(*table.Count(), 2u);
}

TEST(ContentTableTest, WhatTwoPassesDidNotMeetIsCollected) {
  const TempDir folder;
  auto database = store::Database::Open(folder.File("t.db"), {});
  ASSERT_TRUE(database.ok());
  ASSERT_TRUE(database->Execute(dr::kContentSchema).ok());
  dr::ContentTable table(*database);
  const model::Digest digest = delta::DigestOfContent("x");
  ASSERT_TRUE(table.Apply({.brought = {{{1, 1}, 1, digest}, {{2, 2}, 1, digest}}}, 1).ok());
  for (uint64_t pass = 1; pass <= 3; ++pass) {
    const std::vector<dr::Identity> met = {{1, 1}};
    ASSERT_TRUE(table.SavePlace({.pass = pass, .under_way = true}, met).ok());
    ASSERT_TRUE(pass != 2 || table.Apply({.brought = {{{3, 3}, 1, digest}}}, 2).ok());
    const uint64_t before = *table.Count();
    EXPECT_TRUE(table.Collect(pass, {})->at_end);
    EXPECT_EQ(before - *table.Count(), pass == 3 ? 1u : 0u);
  }
  EXPECT_FALSE(table.Find({2, 2})->has_value());
  EXPECT_TRUE(table.Find({1, 1})->has_value());
  EXPECT_TRUE(table.Find({3, 3})->has_value());  // came when the pass before was under way
}

// Commits wait for each part.
TEST(ContentTableTest, IsCollectedInParts) {
  const TempDir folder;
  auto database = store::Database::Open(folder.File("t.db"), {});
  ASSERT_TRUE(database.ok() && database->Execute(dr::kContentSchema).ok());
  // 25,000 rows, each second one met lately; inode numbers past 2^63 are negative there.
  ASSERT_TRUE(
      database
          ->Execute("WITH RECURSIVE n(i) AS (SELECT -10 UNION ALL SELECT i + 1 FROM n WHERE i < 24989)"
                    " INSERT INTO content SELECT i, 7, 1, NULL, 1, 0, CASE i % 2 WHEN 0 THEN 9 ELSE 1 END FROM n")
          .ok());
  dr::ContentTable table(*database);
  size_t parts = 0;
  for (dr::ContentTable::CollectPlace place; !place.at_end; ++parts) {
    const auto next = table.Collect(9, place);
    ASSERT_TRUE(next.ok()) << next.status();
    place = *next;
  }
  EXPECT_EQ(parts, 3u);
  EXPECT_EQ(*table.Count(), 12'500u);
}

TEST(ContentTableTest, DamageIsRememberedWithinABound) {
  const TempDir folder;
  auto database = store::Database::Open(folder.File("t.db"), {});
  ASSERT_TRUE(database.ok());
  ASSERT_TRUE(database->Execute(dr::kContentSchema).ok());
  dr::ContentTable table(*database);
  dr::Damage damage;
  damage.identity = {5, 6};
  damage.found_nanoseconds = 77;
  damage.why = "other content";
  damage.file = {"a", 9'000'000,
                 std::vector<model::SegmentDigest>{{0, delta::DigestOf("x")}, {2, delta::DigestOf("y")}}};
  ASSERT_TRUE(*table.PutDamage(damage));
  ASSERT_TRUE(*table.PutDamage(damage));
  const auto listed = *table.ListDamage();
  ASSERT_EQ(listed.size(), 1u);
  EXPECT_EQ(listed[0].file.segments, damage.file.segments);
  EXPECT_EQ(listed[0].identity, damage.identity);
  damage.file.segments.reset();
  for (size_t i = 1; i < dr::kMaxDamage; ++i) {
    damage.file.path = "b" + std::to_string(i);
    ASSERT_TRUE(*table.PutDamage(damage));
  }
  damage.file.path = "one more";
  EXPECT_FALSE(*table.PutDamage(damage));
  damage.file.path = "b1";
  EXPECT_TRUE(*table.PutDamage(damage));
  ASSERT_TRUE(table.RemoveDamage("a").ok());
  EXPECT_EQ(table.ListDamage()->size(), dr::kMaxDamage - 1);
}

}  // namespace
}  // namespace understudy::tests
