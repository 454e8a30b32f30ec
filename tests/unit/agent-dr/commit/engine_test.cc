// What the commit engine does beyond the contract of ReplicaSink: durable state, failures of the disk, places.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>

#include "core/delta/content_digest.h"
#include "core/delta/delta_commands.h"
#include "core/delta/rsync_segment.h"
#include "core/store/database.h"
#include "tests/unit/agent-dr/commit/engine_fixture.h"

namespace understudy::tests {
namespace {

namespace fs = std::filesystem;
using model::FileKind;

// Fails the given step `times` times.
class FailAt : public dr::FaultPoints {
 public:
  FailAt(dr::Step step, size_t index, int times) : step_(step), index_(index), times_(times) {}
  absl::Status Reach(dr::Step step, size_t index) override {
    if (step != step_ || index != index_ || times_ == 0) return absl::OkStatus();
    --times_;
    return absl::DataLossError("injected: the disk fails");
  }

 private:
  const dr::Step step_;
  const size_t index_;
  int times_;
};

class EngineTest : public testing::Test {
 protected:
  dr::Session Open(dr::CommitEngine& engine) {
    auto session = engine.Open({"vol", host_.RootOf("vol"), 0});
    EXPECT_TRUE(session.ok()) << session.status();
    return *session;
  }
  static absl::Status SubmitAndPublish(dr::Session& session, std::vector<model::Operation> operations) {
    RETURN_IF_ERROR(session.SubmitDurable(NextCommit(session.State(), std::move(operations))));
    return session.Publish();
  }
  static std::string Read(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  }

  DrHost host_;
};

TEST_F(EngineTest, WhatWasCommittedIsThereAfterARestart) {
  std::string replica_id;
  {
    const auto engine = host_.Start();
    dr::Session session = Open(*engine);
    ASSERT_TRUE(SubmitAndPublish(session, {InlinePut("a", "A")}).ok());
    replica_id = session.State().replica_id;
  }
  const auto engine = host_.Start();
  const auto state = engine->State("vol");
  ASSERT_TRUE(state.ok()) << state.status();
  EXPECT_EQ(state->replica_id, replica_id);
  EXPECT_EQ(state->sequence, 1u);
  EXPECT_EQ(state->published_sequence, 1u);
  EXPECT_TRUE(state->complete);
  EXPECT_EQ(Read(host_.RootOf("vol") + "/a"), "A");
}

TEST_F(EngineTest, ADurableCommitThatIsNotPublishedIsPublishedByTheNextStart) {
  {
    const auto engine = host_.Start();
    dr::Session session = Open(*engine);
    ASSERT_TRUE(session.SubmitDurable(NextCommit(session.State(), {InlinePut("a", "A")})).ok());
    EXPECT_EQ(session.State().published_sequence, 0u);
    EXPECT_FALSE(fs::exists(host_.RootOf("vol") + "/a"));
  }
  const auto engine = host_.Start();
  EXPECT_EQ(engine->State("vol")->published_sequence, 1u);
  EXPECT_EQ(Read(host_.RootOf("vol") + "/a"), "A");
}

TEST_F(EngineTest, AnErrorBeforeTheRecordChangesNothingAndDropsWhatWasStaged) {
  for (const dr::Step step : {dr::Step::kStage, dr::Step::kSync}) {
    FailAt fault(step, 0, 1);
    const auto engine = host_.Start(fault);
    dr::Session session = Open(*engine);
    const model::ReplicaState before = session.State();
    ASSERT_TRUE(session.StageBegin(1, "staged", 4, "").ok());
    ASSERT_TRUE(session.StageData(1, 0, "1234").ok());
    ASSERT_TRUE(session.StageEnd(1).ok());
    EXPECT_FALSE(session.SubmitDurable(NextCommit(before, {StagedPut("a", "1234", 1)})).ok());
    EXPECT_EQ(host_.LeftInWorkFolder(), std::vector<std::string>());
    EXPECT_EQ(session.SubmitDurable(NextCommit(before, {})).code(), absl::StatusCode::kFailedPrecondition);
    session = Open(*engine);
    EXPECT_EQ(session.State().sequence, before.sequence);
    EXPECT_TRUE(SubmitAndPublish(session, {InlinePut("a", "A")}).ok());
  }
}

TEST_F(EngineTest, AnErrorInPublishingStopsTheVolumeUntilItIsOpenedAgain) {
  FailAt fault(dr::Step::kPublish, 0, 2);
  const auto engine = host_.Start(fault);
  dr::Session session = Open(*engine);
  const absl::Status failed = SubmitAndPublish(session, {InlinePut("a", "A"), InlinePut("b", "B")});
  EXPECT_EQ(failed.code(), absl::StatusCode::kDataLoss) << failed;
  EXPECT_EQ(session.State().sequence, 1u) << "durable all the same";
  EXPECT_EQ(session.State().published_sequence, 0u);
  EXPECT_FALSE(session.SubmitDurable(NextCommit(session.State(), {})).ok());
  EXPECT_EQ(engine->Usable().code(), absl::StatusCode::kDataLoss);
  // The next opening tries again, and fails once more; the one after it publishes.
  EXPECT_EQ(engine->Open({"vol", host_.RootOf("vol"), 0}).status().code(), absl::StatusCode::kDataLoss);
  session = Open(*engine);
  EXPECT_EQ(session.State().published_sequence, 1u);
  EXPECT_TRUE(engine->Usable().ok());
  EXPECT_EQ(Read(host_.RootOf("vol") + "/b"), "B");
  EXPECT_TRUE(SubmitAndPublish(session, {InlinePut("c", "C")}).ok());
}

TEST_F(EngineTest, StagingAheadPublishesTheCommitBefore) {
  const auto engine = host_.Start();
  dr::Session session = Open(*engine);
  ASSERT_TRUE(session.StageBegin(1, "staged", 1, "").ok());
  ASSERT_TRUE(session.StageEnd(1).ok());
  ASSERT_TRUE(session.SubmitDurable(NextCommit(session.State(), {StagedPut("a", std::string(1, '\0'), 1)})).ok());
  ASSERT_TRUE(session.StageBegin(1, "staged", 2, "a").ok()) << "the base is the commit's";
  EXPECT_EQ(session.State().published_sequence, 1u);
}

TEST_F(EngineTest, SymlinksInTheReplicaLeadNowhere) {
  const auto engine = host_.Start();
  dr::Session session = Open(*engine);
  fs::create_directory(host_.File("outside"));
  ASSERT_TRUE(SubmitAndPublish(session, {model::MakeSymlink{"link", host_.File("outside"), Meta(0777)}}).ok());
  const absl::Status refused = session.SubmitDurable(NextCommit(session.State(), {InlinePut("link/escaped", "x")}));
  EXPECT_EQ(refused.code(), absl::StatusCode::kDataLoss) << refused;
  EXPECT_TRUE(fs::is_empty(host_.File("outside")));

  // Also when somebody swaps the link in after the commit was looked at.
  session = Open(*engine);
  ASSERT_TRUE(SubmitAndPublish(session, {model::MakeDirectory{"folder", Meta(0755)}}).ok());
  ASSERT_TRUE(session.SubmitDurable(NextCommit(session.State(), {InlinePut("folder/escaped", "x")})).ok());
  fs::remove(host_.RootOf("vol") + "/folder");
  fs::create_directory_symlink(host_.File("outside"), host_.RootOf("vol") + "/folder");
  EXPECT_FALSE(session.Publish().ok());
  EXPECT_TRUE(fs::is_empty(host_.File("outside")));
}

TEST_F(EngineTest, AReplicaFolderThatIsNotTheOneIsNotWrittenTo) {
  {
    const auto engine = host_.Start();
    dr::Session session = Open(*engine);
    ASSERT_TRUE(SubmitAndPublish(session, {InlinePut("a", "A")}).ok());
  }
  // As if its filesystem weren't mounted.
  fs::rename(host_.RootOf("vol"), host_.File("elsewhere"));
  {
    const auto engine = host_.Start();
    EXPECT_EQ(engine->Problems().size(), 1u);
    EXPECT_FALSE(engine->Open({"vol", host_.RootOf("vol"), 0}).ok());
    fs::create_directory(host_.RootOf("vol"));
    const auto refused = engine->Open({"vol", host_.RootOf("vol"), 0});
    EXPECT_EQ(refused.status().code(), absl::StatusCode::kFailedPrecondition) << refused.status();
    EXPECT_TRUE(fs::is_empty(host_.RootOf("vol")));
    // Back again, the next opening goes on.
    fs::remove(host_.RootOf("vol"));
    fs::rename(host_.File("elsewhere"), host_.RootOf("vol"));
    dr::Session session = Open(*engine);
    EXPECT_EQ(session.State().sequence, 1u);
  }
}

TEST_F(EngineTest, ACommitIsNotReplayedFromAnotherWorkFolder) {
  {
    const auto engine = host_.Start();
    dr::Session session = Open(*engine);
    ASSERT_TRUE(session.SubmitDurable(NextCommit(session.State(), {InlinePut("a", "A")})).ok());
  }
  // As if the export were mounted another way now: staged content that isn't there must not pass for published.
  fs::rename(host_.File(".understudy"), host_.File("hidden"));
  {
    const auto engine = host_.Start();
    EXPECT_EQ(engine->Problems().size(), 1u);
    const auto refused = engine->Open({"vol", host_.RootOf("vol"), 0});
    EXPECT_EQ(refused.status().code(), absl::StatusCode::kFailedPrecondition) << refused.status();
  }
  fs::remove_all(host_.File(".understudy"));
  fs::rename(host_.File("hidden"), host_.File(".understudy"));
  EXPECT_TRUE(host_.Start()->Problems().empty());
  EXPECT_EQ(Read(host_.RootOf("vol") + "/a"), "A");
}

TEST_F(EngineTest, ASeededFolderIsKeptForThePrimaryToCompare) {
  fs::create_directory(host_.RootOf("vol"));
  std::ofstream(host_.RootOf("vol") + "/seed") << "seeded";
  const auto engine = host_.Start();
  dr::Session session = Open(*engine);
  EXPECT_EQ(session.State().sequence, 0u);
  EXPECT_NE(Show(*engine, "vol").find("seed"), std::string::npos);
}

TEST_F(EngineTest, TheWorkFolderIsPrivateAndBesideTheExport) {
  const auto engine = host_.Start();
  dr::Session session = Open(*engine);
  struct stat work {};
  ASSERT_EQ(stat(host_.File(".understudy").c_str(), &work), 0);
  EXPECT_EQ(work.st_mode & 07777, 0700u);
  EXPECT_FALSE(fs::exists(host_.Export() + "/.understudy"));
}

TEST_F(EngineTest, StrayStagingOfACrashIsDiscardedByTheNextStart) {
  {
    const auto engine = host_.Start();
    dr::Session session = Open(*engine);
    ASSERT_TRUE(session.StageBegin(1, "staged", 4096, "").ok());
    ASSERT_EQ(host_.LeftInWorkFolder().size(), 1u);
  }
  host_.Start();
  EXPECT_EQ(host_.LeftInWorkFolder(), std::vector<std::string>());
}

TEST_F(EngineTest, OneNameOfAFileMovedOverAnotherLeavesNothingBehind) {
  const auto engine = host_.Start(dr::FaultPoints::None(), {.max_bytes = 0});
  dr::Session session = Open(*engine);
  ASSERT_TRUE(SubmitAndPublish(session, {InlinePut("a", "A"), model::Link{"b", "a"}}).ok());
  ASSERT_TRUE(SubmitAndPublish(session, {model::Detach{"a", 1}, model::Attach{1, "b"}}).ok());
  EXPECT_EQ(host_.LeftInWorkFolder(), std::vector<std::string>());
  EXPECT_EQ(fs::hard_link_count(host_.RootOf("vol") + "/b"), 1u);
}

TEST_F(EngineTest, ADeltaStagesTheBlocksThatDiffer) {
  const auto engine = host_.Start();
  dr::Session session = Open(*engine);
  const std::string before(200'000, 'b');
  ASSERT_TRUE(SubmitAndPublish(session, {InlinePut("image", before)}).ok());
  std::string after = before;
  after.replace(100'000, 4, "over");
  const auto signature = delta::MakeSignature(before);
  const auto delta = delta::MakeDelta(*signature, after);
  ASSERT_TRUE(session.StageBegin(1, "image", after.size(), "image").ok());
  ASSERT_TRUE(
      session.StageDelta(1, {0, after.size(), *delta, delta::DigestOfSegment(0, after), 0, before.size()}).ok());
  const std::vector<std::string> staged = host_.LeftInWorkFolder();
  ASSERT_EQ(staged.size(), 1u);
  struct stat stat {};
  ASSERT_EQ(::stat(staged.front().c_str(), &stat), 0);
  EXPECT_LE(stat.st_blocks * 512, 16 * 1024);
}

// Where nothing stays in place, what is there isn't compared block by block.
TEST_F(EngineTest, ADeltaThatMovesAllIsStagedAsAWhole) {
  const auto engine = host_.Start();
  dr::Session session = Open(*engine);
  const std::string before = "first" + std::string(200'000, 'b');
  ASSERT_TRUE(SubmitAndPublish(session, {InlinePut("image", before)}).ok());
  const std::string after = before.substr(5) + "last.";
  const std::string delta = delta::EncodeDelta(after, {{0, 0, 200'000}});
  ASSERT_TRUE(session.StageBegin(1, "image", after.size(), "image").ok());
  ASSERT_TRUE(session.StageDelta(1, {0, after.size(), delta, delta::DigestOfSegment(0, after), 5, 200'000}).ok());
  struct stat stat {};
  ASSERT_EQ(::stat(host_.LeftInWorkFolder().front().c_str(), &stat), 0);
  EXPECT_GE(stat.st_blocks * 512, 200'000);
  ASSERT_TRUE(session.StageEnd(1).ok());
  ASSERT_TRUE(SubmitAndPublish(session, {model::Patch{"image", Meta(0600), after.size(), {}, 1}}).ok());
  EXPECT_EQ(Read(host_.RootOf("vol") + "/image"), after);
}

// What a patch writes isn't durable before the next sync, so its staged content has to outlive the publishing.
TEST_F(EngineTest, APatchThatAPowerCutTookIsBroughtInAgain) {
  const std::string path = host_.RootOf("vol") + "/image";
  const std::string before(20'000, 'b');
  std::string after = before;
  after.replace(8192, 4, "over");
  {
    const auto engine = host_.Start();
    dr::Session session = Open(*engine);
    ASSERT_TRUE(SubmitAndPublish(session, {InlinePut("image", before)}).ok());
    ASSERT_TRUE(session.StageBegin(1, "image", after.size(), "image").ok());
    ASSERT_TRUE(session.StageData(1, 8192, "over").ok());
    ASSERT_TRUE(session.StageEnd(1).ok());
    ASSERT_TRUE(SubmitAndPublish(session, {model::Patch{"image", Meta(0600), after.size(), {}, 1}}).ok());
    // Neither an opening nor a failed call may take it away.
    session = Open(*engine);
    EXPECT_FALSE(session.StageEnd(9).ok());
  }
  ASSERT_EQ(Read(path), after);
  std::ofstream(path, std::ios::binary) << before;
  host_.Start();
  EXPECT_EQ(Read(path), after);
  EXPECT_EQ(host_.LeftInWorkFolder(), std::vector<std::string>());
}

TEST_F(EngineTest, AfterTheNextCommitAPatchLeavesNothingBehind) {
  const auto engine = host_.Start();
  dr::Session session = Open(*engine);
  ASSERT_TRUE(SubmitAndPublish(session, {InlinePut("image", "before")}).ok());
  ASSERT_TRUE(session.StageBegin(1, "image", 5, "image").ok());
  ASSERT_TRUE(session.StageData(1, 0, "after").ok());
  ASSERT_TRUE(session.StageEnd(1).ok());
  ASSERT_TRUE(SubmitAndPublish(session, {model::Patch{"image", Meta(0600), 5, {}, 1}}).ok());
  EXPECT_EQ(Read(host_.RootOf("vol") + "/image"), "after");
  ASSERT_TRUE(SubmitAndPublish(session, {InlinePut("next", "n")}).ok());
  EXPECT_EQ(host_.LeftInWorkFolder(), std::vector<std::string>());
}

TEST_F(EngineTest, APatchForAnotherFileThanItsContentIsRefused) {
  const auto engine = host_.Start();
  dr::Session session = Open(*engine);
  ASSERT_TRUE(SubmitAndPublish(session, {InlinePut("a", "same"), InlinePut("b", "same")}).ok());
  ASSERT_TRUE(session.StageBegin(1, "a", 4, "a").ok());
  ASSERT_TRUE(session.StageData(1, 0, "next").ok());
  ASSERT_TRUE(session.StageEnd(1).ok());
  const absl::Status refused =
      session.SubmitDurable(NextCommit(session.State(), {model::Patch{"b", Meta(0600), 4, {}, 1}}));
  EXPECT_EQ(refused.code(), absl::StatusCode::kDataLoss) << refused;
  EXPECT_EQ(Read(host_.RootOf("vol") + "/b"), "same");
}

TEST_F(EngineTest, ADamagedRecordIsNotReplayed) {
  {
    const auto engine = host_.Start();
    dr::Session session = Open(*engine);
    ASSERT_TRUE(SubmitAndPublish(session, {InlinePut("a", "A"), InlinePut("b", "B")}).ok());
    ASSERT_TRUE(session.SubmitDurable(NextCommit(session.State(), {model::Remove{"a", FileKind::kRegular}})).ok());
  }
  {
    auto database = store::Database::Open(host_.State() + "/volumes/vol/replica.db", {});
    ASSERT_TRUE(database.ok()) << database.status();
    ASSERT_TRUE(database->Execute("UPDATE record_source SET inode = inode + 1").ok());
  }
  const auto engine = host_.Start();
  ASSERT_EQ(engine->Problems().size(), 1u);
  EXPECT_NE(engine->Problems().front().find("damaged"), std::string::npos) << engine->Problems().front();
  EXPECT_EQ(engine->Open({"vol", host_.RootOf("vol"), 0}).status().code(), absl::StatusCode::kDataLoss);
  EXPECT_TRUE(fs::exists(host_.RootOf("vol") + "/a"));
}

TEST_F(EngineTest, AVolumeWithTheLongestNameWorks) {
  const auto engine = host_.Start();
  const std::string name(253, 'v');
  auto session = engine->Open({name, host_.RootOf("vol"), 0});
  ASSERT_TRUE(session.ok()) << session.status();
  EXPECT_TRUE(SubmitAndPublish(*session, {InlinePut("a", "A")}).ok());
}

TEST_F(EngineTest, PathsPastPathMaxWork) {
  const auto engine = host_.Start();
  dr::Session session = Open(*engine);
  std::vector<model::Operation> operations;
  std::string path;
  while (path.size() < 6000) {
    path += (path.empty() ? "" : "/") + std::string(200, 'd');
    operations.push_back(model::MakeDirectory{path, Meta(0755)});
  }
  operations.push_back(InlinePut(path + "/file", "deep"));
  ASSERT_TRUE(SubmitAndPublish(session, std::move(operations)).ok());
  EXPECT_NE(Show(*engine, "vol").find("/file"), std::string::npos);
  ASSERT_TRUE(SubmitAndPublish(session, {model::Remove{std::string(200, 'd'), FileKind::kDirectory}}).ok());
  EXPECT_EQ(Show(*engine, "vol"), "");
  EXPECT_EQ(host_.LeftInWorkFolder(), std::vector<std::string>());
}

// The next commits, and a promotion, wait for a publish.
TEST_F(EngineTest, TakingAMillionRemovedEntriesApartIsNoCommitsWork) {
  constexpr size_t kFiles = 1500;
  const auto engine = host_.Start(dr::FaultPoints::None(), {.max_bytes = 0});
  dr::Session session = Open(*engine);
  std::vector<model::Operation> operations = {model::MakeDirectory{"d", Meta(0755)}};
  for (size_t i = 0; i < kFiles; ++i) operations.push_back(InlinePut(fmt::format("d/{:05}", i), "x"));
  ASSERT_TRUE(SubmitAndPublish(session, std::move(operations)).ok());
  ASSERT_TRUE(SubmitAndPublish(session, {model::Remove{"d", FileKind::kDirectory}}).ok());
  const size_t left = host_.LeftInWorkFolder().size();
  EXPECT_GT(left, 0u);
  EXPECT_LT(left, kFiles);
  EXPECT_TRUE(engine->DiscardRemoved({}).ok());
  EXPECT_EQ(host_.LeftInWorkFolder(), std::vector<std::string>());
}

TEST_F(EngineTest, AMissingExportIsSaidAtTheStart) {
  const auto engine = dr::CommitEngine::Start({.state_dir = host_.State(), .exports = {host_.File("missing")}});
  EXPECT_EQ(engine.status().code(), absl::StatusCode::kNotFound) << engine.status();
}

TEST_F(EngineTest, HolesStayHoles) {
  const auto engine = host_.Start();
  dr::Session session = Open(*engine);
  const uint64_t size = uint64_t{1} << 30;
  ASSERT_TRUE(session.StageBegin(1, "staged", size, "").ok());
  ASSERT_TRUE(session.StageData(1, size / 2, "middle").ok());
  ASSERT_TRUE(session.StageHole(1, size / 2 + 4096, 4096).ok());
  ASSERT_TRUE(session.StageEnd(1).ok());
  model::Put put = StagedPut("image", "", 1);
  put.size = size;
  put.digest = {};
  // The digest is wrong on purpose: it costs no reading of the holes to find out.
  EXPECT_EQ(session.SubmitDurable(NextCommit(session.State(), {put})).code(), absl::StatusCode::kDataLoss);

  session = Open(*engine);
  ASSERT_TRUE(SubmitAndPublish(session, {InlinePut("base", "x")}).ok());
  ASSERT_TRUE(session.StageBegin(1, "staged", size, "base").ok());
  ASSERT_TRUE(session.StageHole(1, 0, 4096).ok());
  ASSERT_TRUE(session.StageEnd(1).ok());
  ASSERT_TRUE(SubmitAndPublish(session, {put}).ok());
  struct stat image {};
  ASSERT_EQ(stat((host_.RootOf("vol") + "/image").c_str(), &image), 0);
  EXPECT_EQ(static_cast<uint64_t>(image.st_size), size);
  EXPECT_LT(image.st_blocks * 512, 64 * 1024);
}

// An export on a filesystem of its own, of a few MiB.
class SmallFilesystemTest : public EngineTest {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "mounting a small filesystem needs root";
    if (mount("tmpfs", host_.Export().c_str(), "tmpfs", 0, "size=8m,mode=755") != 0) {
      GTEST_SKIP() << "no tmpfs can be mounted here";
    }
    mounted_ = true;
  }
  void TearDown() override {
    if (!mounted_) return;
    EXPECT_EQ(umount2(host_.Export().c_str(), MNT_DETACH), 0);
  }

  bool mounted_ = false;
};

TEST_F(SmallFilesystemTest, NoSpaceRefusesTheCommitAndKeepsTheLastState) {
  const auto engine = host_.Start();
  dr::Session session = Open(*engine);
  ASSERT_TRUE(SubmitAndPublish(session, {InlinePut("a", "A")}).ok());
  const std::string before = Show(*engine, "vol");
  const std::string megabyte(1024 * 1024, 'x');
  ASSERT_TRUE(session.StageBegin(1, "staged", 100 * megabyte.size(), "").ok());
  absl::Status staged;
  for (size_t i = 0; i < 100 && staged.ok(); ++i) staged = session.StageData(1, i * megabyte.size(), megabyte);
  EXPECT_EQ(staged.code(), absl::StatusCode::kResourceExhausted) << staged;
  // What was staged is gone, so that the space is there again.
  EXPECT_GT(fs::space(host_.Export()).available, 6u * 1024 * 1024);
  session = Open(*engine);
  EXPECT_EQ(session.State().sequence, 1u);
  EXPECT_EQ(Show(*engine, "vol"), before);
  EXPECT_TRUE(SubmitAndPublish(session, {InlinePut("b", "B")}).ok());
}

TEST_F(SmallFilesystemTest, ACommitThatWouldTakeTheReserveIsRefusedAndGoesOnWhenThereIsRoom) {
  const auto engine = host_.Start();
  dr::Session session = Open(*engine);
  ASSERT_TRUE(SubmitAndPublish(session, {InlinePut("a", "A")}).ok());
  const std::string filler = host_.Export() + "/filler";
  const auto space = fs::space(host_.Export());
  std::ofstream(filler) << std::string(space.available - space.capacity / 20 - 64 * 1024, 'f');
  const std::string content(128 * 1024, 'c');
  const absl::Status refused = session.SubmitDurable(NextCommit(session.State(), {InlinePut("b", content)}));
  EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted) << refused;
  EXPECT_NE(refused.message().find("are needed"), absl::string_view::npos) << refused;
  session = Open(*engine);
  EXPECT_EQ(session.State().sequence, 1u);
  fs::remove(filler);
  EXPECT_TRUE(SubmitAndPublish(session, {InlinePut("b", content)}).ok());
}

TEST_F(SmallFilesystemTest, TheWorkFolderOfAFilesystemsOwnRootIsInsideItAndNoPartOfAVolume) {
  const auto engine = host_.Start();
  auto session = engine->Open({"all", host_.Export(), 0});
  ASSERT_TRUE(session.ok()) << session.status();
  EXPECT_TRUE(fs::exists(host_.Export() + "/.understudy"));
  EXPECT_EQ(Show(*engine, "all"), "");
  const absl::Status refused =
      session->SubmitDurable(NextCommit(session->State(), {model::Remove{".understudy", FileKind::kDirectory}}));
  EXPECT_EQ(refused.code(), absl::StatusCode::kInvalidArgument) << refused;
}

TEST_F(SmallFilesystemTest, ABindMountOfTheSameFilesystemHasItsWorkFolderInside) {
  // As a hardened unit's ReadWritePaths makes it: the same device, and yet nothing can be renamed into it.
  const std::string bound = host_.Export() + "/bound";
  fs::create_directory(bound);
  ASSERT_EQ(mount(bound.c_str(), bound.c_str(), nullptr, MS_BIND, nullptr), 0);
  {
    auto engine = dr::CommitEngine::Start({.state_dir = host_.State(), .exports = {bound}});
    ASSERT_TRUE(engine.ok()) << engine.status();
    auto session = (*engine)->Open({"vol", bound + "/vol", 0});
    ASSERT_TRUE(session.ok()) << session.status();
    const absl::Status done = SubmitAndPublish(*session, {InlinePut("a", "A")});
    EXPECT_TRUE(done.ok()) << done;
    EXPECT_TRUE(fs::exists(bound + "/.understudy"));
  }
  EXPECT_EQ(umount2(bound.c_str(), MNT_DETACH), 0);
}

TEST_F(SmallFilesystemTest, AnotherFilesystemBelowTheExportIsRefused) {
  const std::string below = host_.RootOf("vol");
  fs::create_directory(below);
  ASSERT_EQ(mount("tmpfs", below.c_str(), "tmpfs", 0, "size=1m"), 0);
  const auto engine = host_.Start();
  const auto refused = engine->Open({"vol", below, 0});
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kFailedPrecondition) << refused.status();
  EXPECT_EQ(umount2(below.c_str(), MNT_DETACH), 0);
}

}  // namespace
}  // namespace understudy::tests
