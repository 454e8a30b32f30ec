// What each operation of a commit makes of the replica, as its inventory shows it, and which commits change nothing.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "core/base/log.h"
#include "core/delta/content_digest.h"
#include "core/wire/status_path.h"
#include "tests/contract/replica_sink_contract.h"

namespace understudy::tests {

using model::FileKind;
using model::Metadata;

TEST_P(ReplicaSinkContract, ShowsEveryKindOfEntryAsItWasSent) {
  model::Commit commit = Begin();
  Metadata with_xattrs = Meta(0640);
  with_xattrs.xattrs = {{"user.a", std::string("\0\xff", 2)}, {"user.b", ""}};
  model::Put put = InlinePut("d/file", "content", 0640);
  put.metadata = with_xattrs;
  const std::string odd("\xff\xfe odd\nname");
  commit.operations = {
      model::MakeDirectory{"d", Meta(02755)},
      put,
      model::MakeDirectory{"d/sub", Meta(0555)},
      InlinePut("d/sub/" + odd, ""),
      model::MakeNode{"fifo", FileKind::kFifo, 0, Meta(0600)},
      model::MakeSymlink{"link", "../\xff elsewhere", Meta(0777)},
      InlinePut("setuid", "x", 04755),
      model::MakeNode{"socket", FileKind::kSocket, 0, Meta(0700)},
  };
  MustSubmit(commit);
  EXPECT_EQ(Listing(),
            FolderLine("d", 02755) +
                fmt::format("d/file file 640 1000:1001 1700000000.123456789 7 {} user.a=\\x00\\xff user.b=\n",
                            DigestText(delta::DigestOfContent("content"))) +
                FolderLine("d/sub", 0555) + FileLine("d/sub/" + Printable(odd), "") +
                "fifo node4 600 1000:1001 1700000000.123456789 0\n" +
                "link symlink 777 1000:1001 1700000000.123456789 -> ../\\xff elsewhere\n" +
                FileLine("setuid", "x", 04755) + "socket node5 700 1000:1001 1700000000.123456789 0\n");
}

TEST_P(ReplicaSinkContract, PutsReplaceAndRemovesTakeAway) {
  model::Commit commit = Begin();
  commit.operations = {InlinePut("a", "one"), model::MakeDirectory{"d", Meta(0755)}, InlinePut("d/x", "x"),
                       InlinePut("d/y", "y")};
  MustSubmit(commit);
  commit = Begin();
  EXPECT_EQ(commit.base_sequence, 1u);
  commit.operations = {model::Remove{"d/x", FileKind::kRegular}, InlinePut("a", "two"),
                       model::SetMetadata{"d", FileKind::kDirectory, Meta(0755)}};
  MustSubmit(commit);
  EXPECT_EQ(Listing(), FileLine("a", "two") + FolderLine("d") + FileLine("d/y", "y"));
}

TEST_P(ReplicaSinkContract, ARemovedFolderGoesWithAllThatIsLeftInIt) {
  model::Commit commit = Begin();
  commit.operations = {model::MakeDirectory{"d", Meta(0555)}, InlinePut("d/kept", "k"),
                       model::MakeDirectory{"d/sub", Meta(0555)}, InlinePut("d/sub/x", "x"),
                       model::MakeSymlink{"d/sub/y", "x", Meta(0777)}};
  MustSubmit(commit);
  commit = Begin();
  commit.operations = {model::Detach{"d/kept", 1}, model::Remove{"d", FileKind::kDirectory}, model::Attach{1, "kept"}};
  MustSubmit(commit);
  EXPECT_EQ(Listing(), FileLine("kept", "k"));
}

TEST_P(ReplicaSinkContract, SwapsAndCyclesOfNames) {
  model::Commit commit = Begin();
  commit.operations = {InlinePut("a", "A"),   InlinePut("b", "B"),
                       InlinePut("c", "C"),   model::MakeDirectory{"p", Meta(0755)},
                       InlinePut("p/x", "x"), model::MakeDirectory{"q", Meta(0755)},
                       InlinePut("q/y", "y")};
  MustSubmit(commit);
  commit = Begin();
  commit.operations = {model::Detach{"q", 5}, model::Detach{"p", 4}, model::Detach{"c", 3}, model::Detach{"b", 2},
                       model::Detach{"a", 1}, model::Attach{3, "a"}, model::Attach{1, "b"}, model::Attach{2, "c"},
                       model::Attach{5, "p"}, model::Attach{4, "q"}};
  MustSubmit(commit);
  EXPECT_EQ(Listing(), FileLine("a", "C") + FileLine("b", "A") + FileLine("c", "B") + FolderLine("p") +
                           FileLine("p/y", "y") + FolderLine("q") + FileLine("q/x", "x"));
}

TEST_P(ReplicaSinkContract, MovesIntoNewFoldersAndOutOfRemovedOnes) {
  model::Commit commit = Begin();
  commit.operations = {model::MakeDirectory{"old", Meta(0755)}, InlinePut("old/a", "A"),
                       model::MakeDirectory{"old/deep", Meta(0700)}, InlinePut("old/deep/b", "B")};
  MustSubmit(commit);
  commit = Begin();
  // old/deep goes to new/inner, and what was above it goes below it.
  commit.operations = {model::Detach{"old/deep", 1},
                       model::Detach{"old", 2},
                       model::MakeDirectory{"new", Meta(0750)},
                       model::Attach{1, "new/inner"},
                       model::Attach{2, "new/inner/old"},
                       InlinePut("new/inner/old/c", "C"),
                       model::SetMetadata{"new/inner/old", FileKind::kDirectory, Meta(0755)},
                       model::SetMetadata{"new/inner", FileKind::kDirectory, Meta(0700)}};
  MustSubmit(commit);
  EXPECT_EQ(Listing(), FolderLine("new", 0750) + FolderLine("new/inner", 0700) + FileLine("new/inner/b", "B") +
                           FolderLine("new/inner/old") + FileLine("new/inner/old/a", "A") +
                           FileLine("new/inner/old/c", "C"));
}

TEST_P(ReplicaSinkContract, KindsChange) {
  model::Commit commit = Begin();
  commit.operations = {InlinePut("a", "file"), model::MakeDirectory{"b", Meta(0755)}, InlinePut("b/x", "x"),
                       model::MakeSymlink{"c", "a", Meta(0777)}};
  MustSubmit(commit);
  commit = Begin();
  commit.operations = {model::Remove{"b", FileKind::kDirectory},
                       model::Remove{"a", FileKind::kRegular},
                       model::MakeDirectory{"a", Meta(0755)},
                       InlinePut("a/in", "in"),
                       InlinePut("b", "now a file"),
                       InlinePut("c", "was a link")};
  MustSubmit(commit);
  EXPECT_EQ(Listing(),
            FolderLine("a") + FileLine("a/in", "in") + FileLine("b", "now a file") + FileLine("c", "was a link"));
}

TEST_P(ReplicaSinkContract, SetMetadataChangesOnlyMetadata) {
  model::Commit commit = Begin();
  model::Put put = InlinePut("a", "A");
  put.metadata.xattrs = {{"user.gone", "1"}, {"user.kept", "1"}};
  commit.operations = {put, model::MakeSymlink{"l", "a", Meta(0777)}};
  MustSubmit(commit);
  commit = Begin();
  Metadata changed = Meta(0400, -5, 7);
  changed.uid = 7;
  changed.xattrs = {{"user.kept", "2"}};
  commit.operations = {model::SetMetadata{"l", FileKind::kSymlink, Meta(0777, 9, 0)},
                       model::SetMetadata{"a", FileKind::kRegular, changed},
                       model::SetMetadata{"", FileKind::kDirectory, Meta(0711)}};
  MustSubmit(commit);
  EXPECT_EQ(Listing(), fmt::format("a file 400 7:1001 -5.000000007 1 {} user.kept=2\n"
                                   "l symlink 777 1000:1001 9.000000000 -> a\n",
                                   DigestText(delta::DigestOfContent("A"))));
}

TEST_P(ReplicaSinkContract, ALinkIsAnotherNameOfTheSameFile) {
  model::Commit commit = Begin();
  commit.operations = {InlinePut("a", "A"),     model::MakeDirectory{"d", Meta(0755)},
                       InlinePut("old", "old"), model::MakeSymlink{"s", "nowhere", Meta(0777)},
                       model::Link{"d/a", "a"}, model::Link{"old", "a"},
                       model::Link{"s2", "s"},  model::SetMetadata{"d", FileKind::kDirectory, Meta(0755)}};
  MustSubmit(commit);
  const auto named = [](std::string line, std::string_view names) { return line.insert(line.size() - 1, names); };
  const std::string symlink = "symlink 777 1000:1001 1700000000.123456789 -> nowhere";
  EXPECT_EQ(Listing(), named(FileLine("a", "A"), " with other names") + FolderLine("d") +
                           named(FileLine("d/a", "A"), " = a") + named(FileLine("old", "A"), " = a") + "s " + symlink +
                           " with other names\ns2 " + symlink + " = s\n");
  // Metadata by one name shows at all; a name that is the file's already stays; a Put gives only that name new content.
  commit = Begin();
  commit.operations = {InlinePut("old", "own"), model::Link{"d/a", "a"},
                       model::SetMetadata{"d/a", FileKind::kRegular, Meta(0400)},
                       model::SetMetadata{"d", FileKind::kDirectory, Meta(0755)}};
  MustSubmit(commit);
  EXPECT_EQ(Listing(), named(FileLine("a", "A", 0400), " with other names") + FolderLine("d") +
                           named(FileLine("d/a", "A", 0400), " = a") + FileLine("old", "own") + "s " + symlink +
                           " with other names\ns2 " + symlink + " = s\n");
}

TEST_P(ReplicaSinkContract, NamesOfOneFileMoveAndGoByThemselves) {
  model::Commit commit = Begin();
  commit.operations = {InlinePut("a", "A"), model::Link{"b", "a"}, model::Link{"c", "a"}};
  MustSubmit(commit);
  commit = Begin();
  // One name goes, another comes to where it was, and over the third.
  commit.operations = {model::Remove{"b", FileKind::kRegular}, model::Detach{"a", 1}, model::Attach{1, "b"}};
  MustSubmit(commit);
  EXPECT_EQ(Listing(), FileLine("b", "A").insert(FileLine("b", "A").size() - 1, " with other names") +
                           FileLine("c", "A").insert(FileLine("c", "A").size() - 1, " = b"));
  commit = Begin();
  commit.operations = {model::Detach{"b", 1}, model::Attach{1, "c"}};
  MustSubmit(commit);
  EXPECT_EQ(Listing(), FileLine("c", "A"));
}

TEST_P(ReplicaSinkContract, ContentThatDoesNotMatchItsDigestIsRefusedAndChangesNothing) {
  model::Commit commit = Begin();
  commit.operations = {InlinePut("a", "A")};
  MustSubmit(commit);
  commit = Begin();
  model::Put put = InlinePut("b", "B");
  put.digest[3] ^= 1;
  commit.operations = {InlinePut("a", "changed"), put};
  const absl::Status refused = sink_->Submit(commit);
  EXPECT_EQ(refused.code(), absl::StatusCode::kDataLoss) << refused;
  EXPECT_EQ(wire::PathOf(refused), "b");
  EXPECT_EQ(Begin().base_sequence, 1u);
  EXPECT_EQ(Listing(), FileLine("a", "A"));
}

TEST_P(ReplicaSinkContract, ACommitThatDoesNotFitTheReplicaIsRefusedAsAWhole) {
  model::Commit base = Begin();
  base.operations = {InlinePut("a", "A"), model::MakeDirectory{"d", Meta(0755)}, InlinePut("d/x", "x")};
  MustSubmit(base);
  const std::string before = Listing();
  const std::pair<std::string, std::vector<model::Operation>> misfits[] = {
      {"missing", {model::Remove{"missing", FileKind::kRegular}}},
      {"a", {model::Remove{"a", FileKind::kDirectory}}},
      {"missing", {model::Detach{"missing", 1}, model::Attach{1, "b"}}},
      {"a/in", {InlinePut("a/in", "under a file")}},
      {"no/where", {InlinePut("no/where", "no folder")}},
      {"d", {InlinePut("d", "over a folder")}},
      {"a", {model::MakeDirectory{"a", Meta(0755)}}},
      {"d", {model::SetMetadata{"d", FileKind::kRegular, Meta(0644)}}},
      {"missing", {model::Link{"b", "missing"}}},
      {"d", {model::Link{"b", "d"}}},
      {"d", {model::Link{"d", "a"}}},
      {"no/where", {model::Link{"no/where", "a"}}},
      {"d/x", {model::Remove{"d", FileKind::kDirectory}, model::SetMetadata{"d/x", FileKind::kRegular, Meta(0600)}}},
  };
  for (const auto& [path, operations] : misfits) {
    model::Commit commit = Begin();
    commit.operations = operations;
    // Something that would show if the commit were applied in part.
    commit.operations.push_back(model::SetMetadata{"", FileKind::kDirectory, Meta(0700)});
    const absl::Status refused = sink_->Submit(commit);
    EXPECT_EQ(refused.code(), absl::StatusCode::kDataLoss) << refused;
    EXPECT_EQ(wire::PathOf(refused), path) << refused;
    EXPECT_EQ(Begin().base_sequence, 1u);
    EXPECT_EQ(Listing(), before);
  }
}

TEST_P(ReplicaSinkContract, MalformedCommitsAreRefused) {
  const std::vector<std::vector<model::Operation>> malformed = {
      {InlinePut("../a", "x")},
      {InlinePut("/a", "x")},
      {InlinePut("a//b", "x")},
      {InlinePut("", "x")},
      {model::Attach{1, "a"}},
      {InlinePut("b", "b"), InlinePut("a", "a")},
      {model::MakeNode{"a", FileKind::kRegular, 0, Meta(0644)}},
      {model::MakeSymlink{"a", "", Meta(0777)}},
      {InlinePut("a", "x"), model::Link{"b", "a"}, model::Link{"c", "b"}},
      {InlinePut("a", "x"), model::Link{"a", "a"}},
  };
  for (const std::vector<model::Operation>& operations : malformed) {
    model::Commit commit = Begin();
    commit.operations = operations;
    const absl::Status refused = sink_->Submit(commit);
    EXPECT_EQ(refused.code(), absl::StatusCode::kInvalidArgument) << refused;
  }
  EXPECT_EQ(Begin().base_sequence, 0u);
  EXPECT_EQ(Listing(), "");
}

TEST_P(ReplicaSinkContract, AFolderMayBeThereAlreadyAndGetsItsMetadata) {
  model::Commit commit = Begin();
  commit.operations = {model::MakeDirectory{"d", Meta(0700)}, InlinePut("d/x", "x")};
  MustSubmit(commit);
  commit = Begin();
  commit.operations = {model::MakeDirectory{"d", Meta(0755)}};
  MustSubmit(commit);
  EXPECT_EQ(Listing(), FolderLine("d") + FileLine("d/x", "x"));
}

TEST_P(ReplicaSinkContract, AnErrorOfTheVisitorEndsAnInventory) {
  model::Commit commit = Begin();
  commit.operations = {InlinePut("a", "A"), InlinePut("b", "B")};
  MustSubmit(commit);
  int visited = 0;
  const absl::Status ended = sink_->Inventory(kVolume, false, [&](model::InventoryEntry entry) {
    ++visited;
    EXPECT_FALSE(entry.digest.has_value());
    return absl::CancelledError("enough");
  });
  EXPECT_EQ(ended.code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(visited, 1);
}

}  // namespace understudy::tests
