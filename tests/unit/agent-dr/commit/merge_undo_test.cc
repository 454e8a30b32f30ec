// What two undo records make when they become one, and which two stay two.
#include "agent-dr/commit/merge_undo.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "agent-dr/commit/preflight.h"

namespace understudy::dr {
namespace {

using model::FileKind;
using testing::ElementsAre;
using testing::IsEmpty;

// The record left by commit `sequence`, which leads from its state to the one before.
UndoRecord Record(model::Sequence sequence, std::vector<model::Operation> operations) {
  UndoRecord record;
  record.about.sequence = sequence;
  record.about.from = sequence;
  record.about.point.sequence = sequence - 1;
  record.operations = std::move(operations);
  record.about.knows_several_names = true;
  return record;
}

model::Metadata Mode(uint32_t mode) {
  model::Metadata metadata;
  metadata.mode = mode;
  return metadata;
}
model::Patch PatchBack(const std::string& path, uint64_t size, size_t kept, uint32_t mode = 0600) {
  return {path, Mode(mode), size, {}, KeptSlot(kept)};
}

// As one reads them: "remove a", "attach kept 3 to b".
std::vector<std::string> Text(const UndoRecord& record) {
  std::vector<std::string> lines;
  std::map<model::Slot, std::string> detached;
  for (const model::Operation& operation : record.operations) {
    if (const auto* remove = std::get_if<model::Remove>(&operation)) lines.push_back("remove " + remove->path);
    if (const auto* detach = std::get_if<model::Detach>(&operation)) detached[detach->slot] = detach->path;
    if (const auto* attach = std::get_if<model::Attach>(&operation)) {
      lines.push_back(IsKeptSlot(attach->slot)
                          ? "kept " + std::to_string(attach->slot - kFirstKeptSlot) + " to " + attach->path
                          : "move " + detached.at(attach->slot) + " to " + attach->path);
    }
    if (const auto* patch = std::get_if<model::Patch>(&operation)) {
      lines.push_back("patch " + patch->path + " from " + std::to_string(patch->slot - kFirstKeptSlot));
    }
    if (const auto* set = std::get_if<model::SetMetadata>(&operation)) lines.push_back("set " + set->path);
  }
  return lines;
}

// Of records from the oldest to the newest; nullopt: they can't be one.
std::optional<MergedUndo> Merge(const std::vector<UndoRecord>& records) {
  std::optional<UndoMerger> merger = UndoMerger::Begin(records.front());
  for (size_t i = 1; merger.has_value() && i < records.size(); ++i) {
    if (!merger->Add(records[i])) return std::nullopt;
  }
  if (!merger.has_value()) return std::nullopt;
  return std::move(*merger).Take();
}

TEST(MergeUndoTest, TheOlderContentOfARangeCountsAndTheRestIsCopied) {
  UndoRecord older = Record(5, {PatchBack("disk", 100'000, 0, 0640)});
  older.kept_content[0] = {{0, 4096}, {20'480, 4096}};
  UndoRecord newer = Record(6, {PatchBack("disk", 90'000, 2)});
  newer.kept_content[2] = {{0, 8192}, {16'384, 12'288}, {40'960, 4096, true}, {98'304, 4096}};
  const auto merged = Merge({older, newer});
  ASSERT_TRUE(merged.has_value());
  EXPECT_THAT(merged->replaces, ElementsAre(5, 6));
  EXPECT_EQ(merged->record.about.sequence, 5u);
  EXPECT_EQ(merged->record.about.from, 6u);
  EXPECT_EQ(merged->record.about.point.sequence, 4u);
  EXPECT_THAT(Text(merged->record), ElementsAre("patch disk from 0"));
  const auto& patch = std::get<model::Patch>(merged->record.operations[0]);
  EXPECT_EQ(patch.size, 100'000u);
  EXPECT_EQ(patch.metadata.mode, 0640u);
  EXPECT_THAT(merged->record.kept_content.at(0),
              ElementsAre(ContentRange{0, 8192}, ContentRange{16'384, 12'288}, ContentRange{40'960, 4096, true},
                          ContentRange{98'304, 100'000 - 98'304}));
  ASSERT_EQ(merged->copies.size(), 1u);
  EXPECT_EQ(merged->copies[0].from, (KeptPlace{6, 2}));
  EXPECT_EQ(merged->copies[0].to, (KeptPlace{5, 0}));
  EXPECT_THAT(merged->copies[0].ranges, ElementsAre(ContentRange{4096, 4096}, ContentRange{16'384, 4096},
                                                    ContentRange{24'576, 4096}, ContentRange{98'304, 1696}));
  EXPECT_THAT(merged->moves, IsEmpty());
}

TEST(MergeUndoTest, WhatCameAndWentIsLeftOut) {
  // Commit 5 made `t`, commit 6 removed it.
  const UndoRecord older =
      Record(5, {model::Remove{"t", FileKind::kRegular}, model::SetMetadata{"", FileKind::kDirectory, Mode(0755)}});
  const UndoRecord newer =
      Record(6, {model::Attach{KeptSlot(0), "t"}, model::SetMetadata{"", FileKind::kDirectory, Mode(0700)}});
  const auto merged = Merge({older, newer});
  ASSERT_TRUE(merged.has_value());
  EXPECT_THAT(Text(merged->record), ElementsAre("set "));
  EXPECT_EQ(std::get<model::SetMetadata>(merged->record.operations[0]).metadata.mode, 0755u);
  EXPECT_THAT(merged->moves, IsEmpty());
}

TEST(MergeUndoTest, NamesAreFollowedThroughBoth) {
  // Commit 5 moved a to b, commit 6 b to c and patched it; what stood at c before is kept.
  const UndoRecord older = Record(5, {model::Detach{"b", 0}, model::Attach{0, "a"}});
  UndoRecord newer =
      Record(6, {model::Detach{"c", 0}, model::Attach{0, "b"}, model::Attach{KeptSlot(1), "c"}, PatchBack("b", 10, 2)});
  newer.kept_content[2] = {{0, 10}};
  const auto merged = Merge({older, newer});
  ASSERT_TRUE(merged.has_value());
  const size_t moved = size_t{1} << 24;
  EXPECT_THAT(Text(merged->record), ElementsAre("move c to a", "kept " + std::to_string(moved) + " to c",
                                                "patch a from " + std::to_string(moved + 1)));
  ASSERT_EQ(merged->moves.size(), 2u);
  EXPECT_EQ(merged->moves[0].from, (KeptPlace{6, 1}));
  EXPECT_EQ(merged->moves[1].from, (KeptPlace{6, 2}));
}

TEST(MergeUndoTest, AFolderMovesWithWhatIsInIt) {
  // Commit 5 moved the folder d to e; commit 6 removed e/x and moved e/y out.
  const UndoRecord older = Record(5, {model::Detach{"e", 0}, model::Attach{0, "d"}});
  const UndoRecord newer =
      Record(6, {model::Detach{"y", 0}, model::Attach{KeptSlot(3), "e/x"}, model::Attach{0, "e/y"}});
  const auto merged = Merge({older, newer});
  ASSERT_TRUE(merged.has_value());
  EXPECT_THAT(Text(merged->record),
              ElementsAre("move e to d", "kept " + std::to_string(size_t{1} << 24) + " to d/x", "move y to d/y"));
}

TEST(MergeUndoTest, WhatCantBeOneCommitStaysTwo) {
  // Something is to be taken out of a folder that only the newer one brings back.
  EXPECT_FALSE(
      Merge({Record(5, {model::Remove{"d/x", FileKind::kRegular}}), Record(6, {model::Attach{KeptSlot(0), "d"}})})
          .has_value());
  // A file that comes back can't be patched at once.
  UndoRecord patched = Record(5, {PatchBack("f", 10, 0)});
  patched.kept_content[0] = {{0, 10}};
  EXPECT_FALSE(Merge({patched, Record(6, {model::Attach{KeptSlot(0), "f"}})}).has_value());
  // A file that comes back has another name, whose metadata wouldn't be set back.
  const UndoRecord set = Record(5, {model::SetMetadata{"f", FileKind::kRegular, Mode(0600)}});
  UndoRecord comes_back = Record(6, {model::Attach{KeptSlot(0), "f"}});
  EXPECT_TRUE(Merge({set, comes_back}).has_value());
  comes_back.kept_several_names = {"f"};
  EXPECT_FALSE(Merge({set, comes_back}).has_value());
  // A folder goes into which something moved.
  EXPECT_FALSE(Merge({Record(5, {model::Remove{"d", FileKind::kDirectory}}),
                      Record(6, {model::Detach{"x", 0}, model::Attach{0, "d/x"}})})
                   .has_value());
  // A name goes, and the file may stay under another one, with content that has to be old.
  UndoRecord named = Record(6, {PatchBack("f", 10, 0)});
  named.kept_content[0] = {{0, 10}};
  const UndoRecord linked = Record(5, {model::Remove{"f", FileKind::kRegular}});
  EXPECT_TRUE(Merge({linked, named}).has_value());
  named.several_names = {"f"};
  EXPECT_FALSE(Merge({linked, named}).has_value());
  // Two names that may be one file's.
  UndoRecord one = Record(5, {PatchBack("f", 10, 0)});
  one.kept_content[0] = {{0, 4}};
  one.several_names = {"f"};
  UndoRecord other = Record(6, {PatchBack("g", 10, 0)});
  other.kept_content[0] = {{0, 8}};
  EXPECT_TRUE(Merge({one, other}).has_value());
  other.several_names = {"g"};
  EXPECT_FALSE(Merge({one, other}).has_value());
  // Left before it was known which files have several names.
  other.about.knows_several_names = false;
  EXPECT_FALSE(Merge({one, other}).has_value());
  EXPECT_FALSE(Merge({other, one}).has_value());
}

}  // namespace
}  // namespace understudy::dr
