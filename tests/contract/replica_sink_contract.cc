#include "tests/contract/replica_sink_contract.h"

#include <fmt/format.h>

#include <map>
#include <utility>

#include "absl/strings/escaping.h"
#include "core/base/log.h"
#include "core/delta/content_digest.h"
#include "core/delta/rsync_segment.h"
#include "core/wire/limits.h"
#include "core/wire/status_path.h"
#include "tests/support/wait.h"

namespace understudy::tests {
namespace {

using model::FileKind;
using model::Metadata;

constexpr char kVolume[] = "vol";

Metadata Meta(uint32_t mode, int64_t mtime = 1'700'000'000, uint32_t nanoseconds = 123'456'789) {
  Metadata metadata;
  metadata.mode = mode;
  metadata.uid = 1000;
  metadata.gid = 1001;
  metadata.mtime_seconds = mtime;
  metadata.mtime_nanoseconds = nanoseconds;
  return metadata;
}

model::Put InlinePut(const std::string& path, const std::string& content, uint32_t mode = 0644) {
  return {path, Meta(mode), content.size(), delta::DigestOfContent(content), content};
}

model::Put StagedPut(const std::string& path, const std::string& content, model::Slot slot) {
  return {path, Meta(0600), content.size(), delta::DigestOfContent(content), slot};
}

std::string DigestText(const model::Digest& digest) {
  return absl::BytesToHexString(absl::string_view(reinterpret_cast<const char*>(digest.data()), digest.size()));
}

std::string FileLine(const std::string& path, const std::string& content, uint32_t mode = 0644) {
  return fmt::format("{} file {:o} 1000:1001 1700000000.123456789 {} {}\n", path, mode, content.size(),
                     DigestText(delta::DigestOfContent(content)));
}

std::string FolderLine(const std::string& path, uint32_t mode = 0755) {
  return fmt::format("{} folder {:o} 1000:1001 1700000000.123456789\n", path, mode);
}

std::string LineOf(const model::InventoryEntry& entry) {
  std::string line = Printable(entry.path);
  const Metadata& meta = entry.metadata;
  const auto add = [&](std::string_view kind, uint32_t mode) {
    line += fmt::format(" {} {:o} {}:{} {}.{:09}", kind, mode, meta.uid, meta.gid, meta.mtime_seconds,
                        meta.mtime_nanoseconds);
  };
  switch (entry.kind) {
    case FileKind::kRegular:
      add("file", meta.mode);
      line += fmt::format(" {} {}", entry.size, entry.digest.has_value() ? DigestText(*entry.digest) : "-");
      break;
    case FileKind::kDirectory:
      add("folder", meta.mode);
      break;
    case FileKind::kSymlink:
      add("symlink", 0777);  // a symlink's mode means nothing
      line += " -> " + Printable(entry.symlink_target);
      break;
    default:
      add(fmt::format("node{}", static_cast<int>(entry.kind)), meta.mode);
      line += fmt::format(" {}", entry.device);
  }
  for (const model::Xattr& xattr : meta.xattrs) line += fmt::format(" {}={}", xattr.name, Printable(xattr.value));
  return line + "\n";
}

// Bytes that don't compress into one another by chance: each block says where it is.
std::string Pattern(size_t size, uint32_t seed) {
  std::string bytes(size, '\0');
  uint64_t state = seed * 0x9e3779b97f4a7c15ull + 1;
  for (char& byte : bytes) {
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    byte = static_cast<char>(state >> 56);
  }
  return bytes;
}

}  // namespace

GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(ReplicaSinkContract);

model::Commit ReplicaSinkContract::Begin() {
  const auto state = sink_->Open({kVolume, bed_->RootFor("vol"), 0});
  EXPECT_TRUE(state.ok()) << state.status();
  model::Commit commit;
  if (!state.ok()) return commit;
  commit.volume = kVolume;
  commit.epoch = state->epoch;
  commit.base_sequence = state->sequence;
  commit.sequence = state->sequence + 1;
  return commit;
}

void ReplicaSinkContract::MustSubmit(const model::Commit& commit) {
  const absl::Status submitted = sink_->Submit(commit);
  ASSERT_TRUE(submitted.ok()) << submitted;
  const absl::Status published = WaitFor("the commit to be published", absl::Seconds(30),
                                         [&] { return sink_->Published(kVolume) >= commit.sequence; });
  ASSERT_TRUE(published.ok()) << published;
}

std::string ReplicaSinkContract::Listing() {
  std::string listing;
  std::map<uint64_t, std::string> first_names;
  const absl::Status listed = sink_->Inventory(kVolume, true, [&](model::InventoryEntry entry) {
    std::string line = LineOf(entry);
    if (entry.link_id != 0) {
      const auto [first, is_first] = first_names.emplace(entry.link_id, Printable(entry.path));
      if (!is_first)
        line.insert(line.size() - 1, " = " + first->second);
      else
        line.insert(line.size() - 1, " with other names");
    }
    listing += line;
    return absl::OkStatus();
  });
  EXPECT_TRUE(listed.ok()) << listed;
  return listing;
}

TEST_P(ReplicaSinkContract, ANewReplicaIsEmptyAndStandsByAtSequenceZero) {
  const auto state = sink_->Open({kVolume, bed_->RootFor("vol"), 0});
  ASSERT_TRUE(state.ok()) << state.status();
  EXPECT_EQ(state->volume, kVolume);
  EXPECT_FALSE(state->replica_id.empty());
  EXPECT_EQ(state->sequence, 0u);
  EXPECT_EQ(state->published_sequence, 0u);
  EXPECT_GE(state->epoch, 1u);
  EXPECT_EQ(state->state, model::VolumeState::kStandby);
  EXPECT_EQ(state->root, bed_->RootFor("vol"));
  EXPECT_FALSE(state->complete);
  EXPECT_EQ(Listing(), "");
}

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

TEST_P(ReplicaSinkContract, LargeContentComesInPiecesWithHoles) {
  constexpr size_t kPiece = wire::kMaxStageBytes;
  std::string content = Pattern(kPiece, 1) + std::string(3 * kPiece, '\0') + Pattern(kPiece / 2, 2);
  content.resize(content.size() + 5, '\0');
  model::Commit commit = Begin();
  ASSERT_TRUE(sink_->StageBegin(kVolume, 3, "staged", content.size(), "").ok());
  ASSERT_TRUE(sink_->StageData(kVolume, 3, 0, std::string_view(content).substr(0, kPiece)).ok());
  ASSERT_TRUE(sink_->StageHole(kVolume, 3, kPiece, 3 * kPiece).ok());
  ASSERT_TRUE(sink_->StageData(kVolume, 3, 4 * kPiece, std::string_view(content).substr(4 * kPiece, kPiece / 2)).ok());
  ASSERT_TRUE(sink_->StageEnd(kVolume, 3).ok());
  commit.operations = {StagedPut("image", content, 3)};
  MustSubmit(commit);
  EXPECT_EQ(Listing(), FileLine("image", content, 0600));
}

TEST_P(ReplicaSinkContract, ContentWithABaseKeepsWhatIsNotSent) {
  const std::string before = Pattern(3 * 1024 * 1024, 1);
  model::Commit commit = Begin();
  ASSERT_TRUE(sink_->StageBegin(kVolume, 0, "staged", before.size(), "").ok());
  for (size_t at = 0; at < before.size(); at += wire::kMaxStageBytes) {
    ASSERT_TRUE(sink_->StageData(kVolume, 0, at, std::string_view(before).substr(at, wire::kMaxStageBytes)).ok());
  }
  ASSERT_TRUE(sink_->StageEnd(kVolume, 0).ok());
  commit.operations = {StagedPut("image", before, 0)};
  MustSubmit(commit);

  std::string after = before;
  after.replace(100'000, 4096, Pattern(4096, 7));
  after.replace(1'000'000, 65'536, std::string(65'536, '\0'));
  after.resize(5 * 1024 * 1024, '\0');  // it grows
  commit = Begin();
  ASSERT_TRUE(sink_->StageBegin(kVolume, 0, "staged", after.size(), "image").ok());
  ASSERT_TRUE(sink_->StageData(kVolume, 0, 100'000, std::string_view(after).substr(100'000, 4096)).ok());
  ASSERT_TRUE(sink_->StageHole(kVolume, 0, 1'000'000, 65'536).ok());
  ASSERT_TRUE(sink_->StageEnd(kVolume, 0).ok());
  commit.operations = {StagedPut("image", after, 0)};
  MustSubmit(commit);
  EXPECT_EQ(Listing(), FileLine("image", after, 0600));

  const std::string cut = after.substr(0, 1'500'000);
  commit = Begin();
  ASSERT_TRUE(sink_->StageBegin(kVolume, 0, "staged", cut.size(), "image").ok());
  ASSERT_TRUE(sink_->StageEnd(kVolume, 0).ok());
  commit.operations = {StagedPut("image", cut, 0)};
  MustSubmit(commit);
  EXPECT_EQ(Listing(), FileLine("image", cut, 0600));
}

void DeltaContract::PutBase(const std::string& path) {
  base_ = Pattern(5 * 1024 * 1024, 3);
  model::Commit commit = Begin();
  ASSERT_TRUE(sink_->StageBegin(kVolume, 0, "staged", base_.size(), "").ok());
  for (size_t at = 0; at < base_.size(); at += wire::kMaxStageBytes) {
    ASSERT_TRUE(sink_->StageData(kVolume, 0, at, std::string_view(base_).substr(at, wire::kMaxStageBytes)).ok());
  }
  ASSERT_TRUE(sink_->StageEnd(kVolume, 0).ok());
  commit.operations = {StagedPut(path, base_, 0)};
  MustSubmit(commit);
}

model::SegmentDelta DeltaContract::DeltaOf(std::string_view base, std::string_view next, uint64_t offset) {
  const auto signature = delta::MakeSignature(base.substr(offset, delta::kSegmentBytes));
  EXPECT_TRUE(signature.ok()) << signature.status();
  const std::string_view segment = next.substr(offset, delta::kSegmentBytes);
  const auto made = delta::MakeDelta(*signature, segment);
  EXPECT_TRUE(made.ok()) << made.status();
  return {offset, segment.size(), *made, delta::DigestOf(segment)};
}

GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(DeltaContract);

TEST_P(DeltaContract, DeltasPatchSegmentsOfTheBase) {
  PutBase("image");
  std::string next = "inserted" + base_.substr(0, 4'500'000);  // moved inside, and shorter in the end
  model::Commit commit = Begin();
  ASSERT_TRUE(sink_->StageBegin(kVolume, 9, "staged", next.size(), "image").ok());
  for (uint64_t offset : {uint64_t{0}, delta::kSegmentBytes}) {
    ASSERT_TRUE(sink_->StageDelta(kVolume, 9, DeltaOf(base_, next, offset)).ok());
  }
  ASSERT_TRUE(sink_->StageEnd(kVolume, 9).ok());
  commit.operations = {StagedPut("image", next, 9)};
  MustSubmit(commit);
  EXPECT_EQ(Listing(), FileLine("image", next, 0600));
}

TEST_P(DeltaContract, APatchChangesTheFileUnderAllItsNames) {
  PutBase("image");
  std::string next = base_;
  next.replace(10, 3, "abc");
  next.replace(4'000'000, 500'000, Pattern(500'000, 9));  // in both segments
  model::Commit commit = Begin();
  commit.operations = {model::Link{"name", "image"}};
  MustSubmit(commit);
  commit = Begin();
  ASSERT_TRUE(sink_->StageBegin(kVolume, 2, "image", next.size(), "image").ok());
  for (uint64_t offset : {uint64_t{0}, delta::kSegmentBytes}) {
    ASSERT_TRUE(sink_->StageDelta(kVolume, 2, DeltaOf(base_, next, offset)).ok());
  }
  ASSERT_TRUE(sink_->StageEnd(kVolume, 2).ok());
  // The file moves in the same commit.
  commit.operations = {model::Detach{"image", 1}, model::Attach{1, "moved"},
                       model::Patch{"moved", Meta(0600), next.size(), delta::DigestOfContent(next), 2}};
  MustSubmit(commit);
  const auto named = [](std::string line, std::string_view names) { return line.insert(line.size() - 1, names); };
  EXPECT_EQ(Listing(), named(FileLine("moved", next, 0600), " with other names") +
                           named(FileLine("name", next, 0600), " = moved"));
}

TEST_P(DeltaContract, PatchesGrowCutAndPunch) {
  PutBase("image");
  std::string next = base_;
  next.replace(100'000, 70'000, std::string(70'000, '\0'));
  next.resize(6'000'000, '\0');
  next += "end";
  model::Commit commit = Begin();
  ASSERT_TRUE(sink_->StageBegin(kVolume, 2, "image", next.size(), "image").ok());
  ASSERT_TRUE(sink_->StageHole(kVolume, 2, 100'000, 70'000).ok());
  ASSERT_TRUE(sink_->StageData(kVolume, 2, 6'000'000, "end").ok());
  ASSERT_TRUE(sink_->StageEnd(kVolume, 2).ok());
  commit.operations = {model::Patch{"image", Meta(0640), next.size(), delta::DigestOfContent(next), 2}};
  MustSubmit(commit);
  EXPECT_EQ(Listing(), FileLine("image", next, 0640));
  commit = Begin();
  const std::string cut = next.substr(0, 1'000'001);
  ASSERT_TRUE(sink_->StageBegin(kVolume, 2, "image", cut.size(), "image").ok());
  ASSERT_TRUE(sink_->StageEnd(kVolume, 2).ok());
  commit.operations = {model::Patch{"image", Meta(0640), cut.size(), delta::DigestOfContent(cut), 2}};
  MustSubmit(commit);
  EXPECT_EQ(Listing(), FileLine("image", cut, 0640));
}

TEST_P(DeltaContract, ADeltaAgainstAnotherBaseIsDataLossAndChangesNothing) {
  PutBase("image");
  std::string other = base_;
  other.replace(1'000'000, 100'000, Pattern(100'000, 99));
  std::string next = other;
  next.replace(10, 3, "abc");
  model::Commit commit = Begin();
  ASSERT_TRUE(sink_->StageBegin(kVolume, 1, "staged", next.size(), "image").ok());
  absl::Status status = sink_->StageDelta(kVolume, 1, DeltaOf(other, next, 0));
  if (status.ok()) status = sink_->StageEnd(kVolume, 1);
  commit.operations = {StagedPut("image", next, 1)};
  if (status.ok()) status = sink_->Submit(commit);
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << status;
  EXPECT_EQ(wire::PathOf(status), "image") << status;
  EXPECT_EQ(Begin().base_sequence, 1u);
  EXPECT_EQ(Listing(), FileLine("image", base_, 0600));
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

TEST_P(ReplicaSinkContract, StagedContentThatDoesNotMatchItsDigestIsRefused) {
  model::Commit commit = Begin();
  ASSERT_TRUE(sink_->StageBegin(kVolume, 1, "staged", 8, "").ok());
  ASSERT_TRUE(sink_->StageData(kVolume, 1, 0, "12345678").ok());
  ASSERT_TRUE(sink_->StageEnd(kVolume, 1).ok());
  commit.operations = {StagedPut("a", "1234567x", 1)};
  EXPECT_EQ(sink_->Submit(commit).code(), absl::StatusCode::kDataLoss);
}

TEST_P(ReplicaSinkContract, ACommitOnTheWrongBaseIsRefused) {
  model::Commit commit = Begin();
  commit.operations = {InlinePut("a", "A")};
  MustSubmit(commit);
  ASSERT_EQ(Begin().base_sequence, 1u);
  EXPECT_EQ(sink_->Submit(commit).code(), absl::StatusCode::kFailedPrecondition) << "the same commit again";
  commit = Begin();
  commit.base_sequence = 5;
  commit.sequence = 6;
  EXPECT_EQ(sink_->Submit(commit).code(), absl::StatusCode::kFailedPrecondition);
  commit = Begin();
  ++commit.epoch;
  EXPECT_EQ(sink_->Submit(commit).code(), absl::StatusCode::kFailedPrecondition);
}

TEST_P(ReplicaSinkContract, AfterAnErrorTheVolumeHasToBeOpenedAgain) {
  model::Commit commit = Begin();
  model::Commit wrong = commit;
  wrong.base_sequence = 7;
  wrong.sequence = 8;
  ASSERT_FALSE(sink_->Submit(wrong).ok());
  EXPECT_FALSE(sink_->Submit(commit).ok());
  MustSubmit(Begin());
}

TEST_P(ReplicaSinkContract, ALaterOpeningSupersedesAnEarlierOne) {
  const std::unique_ptr<model::ReplicaSink> later = bed_->Connect();
  model::Commit commit = Begin();
  const auto opened = later->Open({kVolume, bed_->RootFor("vol"), 0});
  ASSERT_TRUE(opened.ok()) << opened.status();
  EXPECT_EQ(sink_->Submit(commit).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(later->Submit(commit).ok());
}

TEST_P(ReplicaSinkContract, WhatAnEarlierOpeningStagedIsGone) {
  Begin();
  ASSERT_TRUE(sink_->StageBegin(kVolume, 1, "staged", 1, "").ok());
  ASSERT_TRUE(sink_->StageData(kVolume, 1, 0, "x").ok());
  ASSERT_TRUE(sink_->StageEnd(kVolume, 1).ok());
  model::Commit commit = Begin();
  commit.operations = {StagedPut("a", "x", 1)};
  EXPECT_EQ(sink_->Submit(commit).code(), absl::StatusCode::kInvalidArgument);
}

TEST_P(ReplicaSinkContract, ALaterSessionGoesOnWithUnfinishedContent) {
  constexpr uint64_t kSegment = delta::kSegmentBytes;
  const std::string content = Pattern(2 * kSegment + wire::kMaxStageBytes, 5);
  const auto stage = [&](const std::unique_ptr<model::ReplicaSink>& sink, uint64_t begin, uint64_t end) {
    for (uint64_t at = begin; at < end; at += wire::kMaxStageBytes) {
      ASSERT_TRUE(sink->StageData(kVolume, 1, at, std::string_view(content).substr(at, wire::kMaxStageBytes)).ok());
    }
  };
  EXPECT_TRUE(sink_->Open({kVolume, bed_->RootFor("vol"), 0})->leftovers.empty());
  ASSERT_TRUE(sink_->StageBegin(kVolume, 1, "image", content.size(), "").ok());
  stage(sink_, 0, kSegment + wire::kMaxStageBytes);
  // Answered after what was staged before.
  EXPECT_TRUE(absl::IsNotFound(sink_->StageResume(kVolume, 2, "other", content.size(), "").status()));

  const std::unique_ptr<model::ReplicaSink> later = bed_->Connect();
  const auto opened = later->Open({kVolume, bed_->RootFor("vol"), 0});
  ASSERT_TRUE(opened.ok()) << opened.status();
  EXPECT_EQ(opened->leftovers, bed_->KeepsLeftovers() ? std::vector<std::string>{"image"} : std::vector<std::string>());
  const auto held = later->StageResume(kVolume, 1, "image", content.size(), "");
  uint64_t staged = 0;
  if (bed_->KeepsLeftovers()) {
    ASSERT_TRUE(held.ok()) << held.status();
    ASSERT_EQ(held->size(), 2u);
    EXPECT_EQ((*held)[0], (model::SegmentDigest{0, delta::DigestOf(std::string_view(content).substr(0, kSegment))}));
    EXPECT_EQ((*held)[1].number, 1u);
    staged = kSegment;
  } else {
    EXPECT_TRUE(absl::IsNotFound(held.status())) << held.status();
    ASSERT_TRUE(later->StageBegin(kVolume, 1, "image", content.size(), "").ok());
  }
  stage(later, staged, content.size());
  ASSERT_TRUE(later->StageEnd(kVolume, 1).ok());
  model::Commit commit;
  commit.volume = kVolume;
  commit.epoch = opened->epoch;
  commit.sequence = 1;
  commit.operations = {StagedPut("image", content, 1)};
  const absl::Status submitted = later->Submit(commit);
  ASSERT_TRUE(submitted.ok()) << submitted;
  EXPECT_EQ(Listing(), FileLine("image", content, 0600));
  EXPECT_TRUE(sink_->Open({kVolume, bed_->RootFor("vol"), 0})->leftovers.empty());
}

TEST_P(ReplicaSinkContract, AnEpochOnlyRises) {
  const auto first = sink_->Open({kVolume, bed_->RootFor("vol"), 0});
  ASSERT_TRUE(first.ok());
  const auto raised = sink_->Open({kVolume, bed_->RootFor("vol"), first->epoch + 3});
  ASSERT_TRUE(raised.ok());
  EXPECT_EQ(raised->epoch, first->epoch + 3);
  EXPECT_EQ(sink_->Open({kVolume, bed_->RootFor("vol"), first->epoch}).status().code(),
            absl::StatusCode::kFailedPrecondition);
  model::Commit commit = Begin();
  EXPECT_EQ(commit.epoch, first->epoch + 3);
  commit.epoch = first->epoch;
  EXPECT_EQ(sink_->Submit(commit).code(), absl::StatusCode::kFailedPrecondition);
}

TEST_P(ReplicaSinkContract, AVolumeKeepsItsRootAndSharesItWithNoOther) {
  ASSERT_TRUE(sink_->Open({kVolume, bed_->RootFor("vol"), 0}).ok());
  const auto code = [&](const std::string& name, const std::string& root) {
    return sink_->Open({name, root, 0}).status().code();
  };
  EXPECT_EQ(code(kVolume, bed_->RootFor("elsewhere")), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(code("other", bed_->RootFor("vol")), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(code("other", bed_->RootFor("vol") + "/below"), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(code("other", "/nowhere/exported"), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code("other", bed_->RootFor("x") + "/../vol"), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code("other", bed_->RootFor("vol2")), absl::StatusCode::kOk);
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

TEST_P(ReplicaSinkContract, StagingKeepsToItsBounds) {
  const auto code_of = [&](const std::function<absl::Status()>& stage) {
    model::Commit commit = Begin();
    EXPECT_TRUE(sink_->StageBegin(kVolume, 1, "staged", 100, "").ok());
    EXPECT_TRUE(sink_->StageData(kVolume, 1, 10, "0123456789").ok());
    absl::Status status = stage();
    if (status.ok()) status = sink_->Submit(commit);  // an implementation may tell late
    return status.code();
  };
  EXPECT_EQ(code_of([&] { return sink_->StageData(kVolume, 1, 99, "ab"); }), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code_of([&] { return sink_->StageData(kVolume, 1, 15, "a"); }), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code_of([&] { return sink_->StageData(kVolume, 2, 0, "a"); }), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code_of([&] { return sink_->StageHole(kVolume, 1, 50, ~uint64_t{0}); }),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code_of([&] { return sink_->StageBegin(kVolume, 1, "staged", 1, ""); }),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code_of([&] { return sink_->StageBegin(kVolume, wire::kMaxSlots, "staged", 1, ""); }),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code_of([&] { return sink_->StageBegin(kVolume, 3, "staged", 1, "missing"); }),
            absl::StatusCode::kDataLoss);
  EXPECT_EQ(code_of([&] { return sink_->StageEnd(kVolume, 2); }), absl::StatusCode::kInvalidArgument);
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

TEST_P(ReplicaSinkContract, CompleteOnceACaptureIsWhole) {
  model::Commit commit = Begin();
  commit.completes_capture = false;
  MustSubmit(commit);
  auto state = sink_->Open({kVolume, bed_->RootFor("vol"), 0});
  ASSERT_TRUE(state.ok());
  EXPECT_FALSE(state->complete);
  MustSubmit(Begin());
  state = sink_->Open({kVolume, bed_->RootFor("vol"), 0});
  ASSERT_TRUE(state.ok());
  EXPECT_TRUE(state->complete);
}

// So that a primary tells its own commit from another's with the same number, whoever has restarted meanwhile.
TEST_P(ReplicaSinkContract, AnOpeningTellsWhichCommitIsTheNewest) {
  model::Commit commit = Begin();
  commit.id = "the first";
  MustSubmit(commit);
  auto state = sink_->Open({kVolume, bed_->RootFor("vol"), 0});
  ASSERT_TRUE(state.ok()) << state.status();
  EXPECT_EQ(state->commit_id, "the first");
  commit = Begin();
  commit.id = "the second";
  MustSubmit(commit);
  state = sink_->Open({kVolume, bed_->RootFor("vol"), 0});
  ASSERT_TRUE(state.ok()) << state.status();
  EXPECT_EQ(state->commit_id, "the second");
  commit = Begin();
  commit.id = std::string(65, 'x');
  EXPECT_EQ(sink_->Submit(commit).code(), absl::StatusCode::kInvalidArgument);
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
