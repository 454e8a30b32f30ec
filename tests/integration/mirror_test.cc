// The primary's half and the commit engine in one process: whatever happens to the volume, a capture makes the replica
// equal to it.
#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <random>
#include <thread>

#include "agent-dr/commit/commit_engine.h"
#include "agent-primary/ship/volume_replicator.h"
#include "agent-primary/watch/inotify_source.h"
#include "core/base/clock.h"
#include "tests/support/churn.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tree_compare.h"
#include "tests/support/wait.h"

namespace understudy {
namespace {

using ::testing::IsEmpty;

class MirrorTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::create_directories(Volume());
    std::filesystem::create_directories(dir_.File("dr"));
    std::filesystem::create_directories(dir_.File("state-dr"));
    StartEngine();
    StartReplicator();
  }

  std::string Volume() const { return dir_.File("primary/web"); }
  std::string Replica() const { return dir_.File("dr/web"); }

  void StartEngine() {
    sink_.reset();
    engine_.reset();
    auto engine = dr::CommitEngine::Start({.state_dir = dir_.File("state-dr"), .exports = {dir_.File("dr")}});
    ASSERT_TRUE(engine.ok()) << engine.status();
    engine_ = *std::move(engine);
    sink_ = std::make_unique<dr::LocalSink>(*engine_);
  }

  void StartReplicator() {
    replicator_.reset();
    auto replicator = primary::VolumeReplicator::Open("web", Volume(), Replica(), dir_.File("web.db"),
                                                      {.times = {absl::ZeroDuration(), absl::ZeroDuration()},
                                                       .rewatch = [this](const model::VolumeName&) { ++rewatched_; }},
                                                      Clock::System());
    ASSERT_TRUE(replicator.ok()) << replicator.status();
    replicator_ = *std::move(replicator);
  }

  absl::Status RunBarrier() {
    const uint64_t barrier = replicator_->RequestBarrier();
    while (!replicator_->AwaitBarrier(barrier, /*published=*/true, absl::ZeroDuration())) {
      RETURN_IF_ERROR(replicator_->Run(*sink_, {}));
    }
    return absl::OkStatus();
  }

  void ExpectEqual(const std::string& when) {
    const auto differences = tests::CompareTrees(Volume(), Replica());
    ASSERT_TRUE(differences.ok()) << differences.status();
    ASSERT_THAT(*differences, IsEmpty()) << when;
  }

  void ScanAndExpectEqual(const std::string& when) {
    replicator_->OnOverflow();
    const absl::Status status = RunBarrier();
    ASSERT_TRUE(status.ok()) << status << " " << when;
    ExpectEqual(when);
  }

  tests::TempDir dir_;
  std::unique_ptr<dr::CommitEngine> engine_;
  std::unique_ptr<dr::LocalSink> sink_;
  std::unique_ptr<primary::VolumeReplicator> replicator_;
  int rewatched_ = 0;  // how often the replicator asked for the volume to be watched anew
};

// A link that is cut once it has carried `bytes` of staged data.
class CutLink : public dr::LocalSink {
 public:
  CutLink(dr::CommitEngine& engine, uint64_t bytes) : LocalSink(engine), left_(bytes) {}
  absl::Status StageData(const model::VolumeName& volume, model::Slot slot, uint64_t offset,
                         std::string_view data) override {
    if (data.size() > left_) return absl::UnavailableError("injected: the link is cut");
    left_ -= data.size();
    return LocalSink::StageData(volume, slot, offset, data);
  }

 private:
  uint64_t left_;
};

// A link that is cut before any commit.
class NoCommits : public dr::LocalSink {
 public:
  using LocalSink::LocalSink;
  absl::Status Submit(const model::Commit&) override { return absl::UnavailableError("injected: the link is cut"); }
};

void WriteSegments(const std::string& path, int first, int count, uint64_t seed = 0) {
  std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
  file.seekp(static_cast<std::streamoff>(first) * 4 * 1024 * 1024);
  std::mt19937_64 random(static_cast<uint64_t>(first) + seed);
  for (int word = 0; word < count * 4 * 1024 * 1024 / 8; ++word) {
    const uint64_t value = random();
    file.write(reinterpret_cast<const char*>(&value), sizeof(value));
  }
}

uint64_t Seed(uint64_t otherwise) {
  const char* text = std::getenv("UNDERSTUDY_SEED");
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

TEST_F(MirrorTest, EmptyVolumeIsComplete) {
  ScanAndExpectEqual("empty");
  EXPECT_TRUE(replicator_->Status().complete);
  EXPECT_EQ(replicator_->Status().lag_seconds, 0);
}

TEST_F(MirrorTest, FilesOfEverySize) {
  for (const uint64_t size : {0ull, 1ull, 262'144ull, 262'145ull, 4'194'304ull, 4'194'305ull, 20'000'001ull}) {
    std::ofstream file(fmt::format("{}/{}", Volume(), size), std::ios::binary);
    for (uint64_t i = 0; i < size; ++i) file.put(static_cast<char>(i * 2654435761u >> 13));
  }
  ScanAndExpectEqual("written");
}

TEST_F(MirrorTest, ALargeFileThatChangesMeanwhileGoesOnWhereItStopped) {
  constexpr uint64_t kSegment = 4 * 1024 * 1024;
  ScanAndExpectEqual("empty");
  const std::string image = Volume() + "/image";
  std::ofstream(image).close();
  WriteSegments(image, 0, 6);
  for (const bool grows : {true, false}) {
    replicator_->ForgetSession();
    replicator_->OnOverflow();
    {
      CutLink cut(*engine_, 4 * kSegment + kSegment / 2);
      ASSERT_TRUE(absl::IsUnavailable(replicator_->Run(cut, {})));
    }
    StartEngine();
    replicator_->ForgetSession();
    // Of the four segments that are there, one becomes a hole and one other bytes, of which a part is zeros.
    const int fd = open(image.c_str(), O_RDWR | O_CLOEXEC);
    ASSERT_EQ(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, kSegment), 0);
    ASSERT_EQ(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, kSegment, kSegment / 2), 0);
    const uint64_t size = grows ? 7 * kSegment + 12345 : 3 * kSegment + 12345;
    ASSERT_EQ(ftruncate(fd, static_cast<off_t>(size)), 0);
    close(fd);
    const uint64_t before = replicator_->Status().content_bytes_sent;
    ScanAndExpectEqual(grows ? "it grew" : "it shrank");
    const uint64_t sent = replicator_->Status().content_bytes_sent - before;
    // Half a segment of other bytes, what the link didn't carry, and where it ends now.
    EXPECT_LE(sent, grows ? 5 * kSegment / 2 : kSegment / 2 + 12345);
    EXPECT_GE(sent, kSegment / 2);
    std::filesystem::remove(image);
    ScanAndExpectEqual("removed");
    std::ofstream(image).close();
    WriteSegments(image, 0, 6);
  }
}

// What is changed of a file that DR has already.
class PatchCutTest : public MirrorTest {
 protected:
  static constexpr uint64_t kSegment = 4 * 1024 * 1024;

  // DR has eight segments; six are written anew, and the link is cut when it has carried four and a half of them.
  void CutPatch() {
    std::ofstream(image_).close();
    WriteSegments(image_, 0, 8);
    ScanAndExpectEqual("written");
    WriteSegments(image_, 0, 6, 1000);
    replicator_->ForgetSession();
    replicator_->OnOverflow();
    CutLink cut(*engine_, 4 * kSegment + kSegment / 2);
    ASSERT_TRUE(absl::IsUnavailable(replicator_->Run(cut, {})));
  }
  // How much is sent until the replica is equal, after DR's agent was started anew.
  uint64_t GoOn(const std::string& when) {
    StartEngine();
    replicator_->ForgetSession();
    const uint64_t before = replicator_->Status().content_bytes_sent;
    ScanAndExpectEqual(when);
    return replicator_->Status().content_bytes_sent - before;
  }

  const std::string image_ = Volume() + "/image";
};

TEST_F(PatchCutTest, GoesOnWhereItStopped) {
  CutPatch();
  const uint64_t sent = GoOn("it went on");
  EXPECT_GE(sent, kSegment);
  EXPECT_LE(sent, 2 * kSegment);
}

TEST_F(PatchCutTest, WhatIsStagedAndIsNotWantedAnyMoreIsTakenOut) {
  for (const bool grows : {true, false}) {
    CutPatch();
    WriteSegments(image_, 0, 1);        // as DR has it
    WriteSegments(image_, 2, 1, 2000);  // and something else
    const int fd = open(image_.c_str(), O_RDWR | O_CLOEXEC);
    ASSERT_EQ(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, kSegment, kSegment), 0);
    const uint64_t size = grows ? 9 * kSegment + 12345 : 4 * kSegment + 12345;
    ASSERT_EQ(ftruncate(fd, static_cast<off_t>(size)), 0);
    close(fd);
    const uint64_t sent = GoOn(grows ? "it grew" : "it shrank");
    EXPECT_GE(sent, kSegment);
    EXPECT_LE(sent, grows ? 3 * kSegment + 20'000 : kSegment + 40'000);
    std::filesystem::remove(image_);
    ScanAndExpectEqual("removed");
  }
}

TEST_F(PatchCutTest, NothingOfItIsLeftWhenTheFileIsAsItWas) {
  CutPatch();
  WriteSegments(image_, 0, 8);
  std::ofstream(Volume() + "/next") << std::string(300'000, 'n');  // is staged, too
  EXPECT_LE(GoOn("as it was"), 320'000u);
  WriteSegments(image_, 5, 1, 3000);
  ScanAndExpectEqual("changed once more");
}

TEST_F(MirrorTest, UnchangedVolumeMakesNoCommit) {
  std::ofstream(Volume() + "/a") << "a";
  std::filesystem::create_directories(Volume() + "/b/c");
  ScanAndExpectEqual("written");
  // What was written a moment ago is looked at again, and found as it was.
  const model::Sequence before = replicator_->Status().sequence;
  for (int i = 0; i < 3; ++i) ScanAndExpectEqual("again");
  EXPECT_EQ(replicator_->Status().sequence, before);
}

TEST_F(MirrorTest, RenamedFolderIsNotSentAgain) {
  std::filesystem::create_directories(Volume() + "/old/deep");
  std::ofstream(Volume() + "/old/deep/big") << std::string(3'000'000, 'x');
  std::ofstream(Volume() + "/old/small") << "y";
  ScanAndExpectEqual("written");
  const uint64_t sent = replicator_->Status().content_bytes_sent;
  std::filesystem::create_directories(Volume() + "/parent");
  std::filesystem::rename(Volume() + "/old", Volume() + "/parent/new");
  std::filesystem::remove(Volume() + "/parent/new/small");
  ScanAndExpectEqual("renamed");
  EXPECT_EQ(replicator_->Status().content_bytes_sent, sent);
}

// Refuses as many commits as it is told, as if they didn't fit what DR holds, and counts how often it is asked for all.
class RefusingSink : public dr::LocalSink {
 public:
  using LocalSink::LocalSink;
  void Refuse(int commits) { left_to_refuse_ = commits; }
  absl::Status Submit(const model::Commit& commit) override {
    if (left_to_refuse_ == 0) return LocalSink::Submit(commit);
    --left_to_refuse_;
    return absl::DataLossError("the folder that holds it isn't there");
  }
  absl::Status Inventory(const model::VolumeName& volume, bool with_digests,
                         const std::function<absl::Status(model::InventoryEntry)>& visit) override {
    ++inventories_;
    return LocalSink::Inventory(volume, with_digests, visit);
  }
  [[nodiscard]] int Inventories() const { return inventories_; }

 private:
  int left_to_refuse_ = 0;
  int inventories_ = 0;
};

TEST_F(MirrorTest, TheReplicaIsComparedWhenThreeLooksInARowDontFit) {
  RefusingSink sink(*engine_);
  ASSERT_EQ(replicator_->Run(sink, {}), absl::OkStatus());
  const int first = sink.Inventories();
  for (const int refused : {2, 2, 3}) {
    std::ofstream(Volume() + "/file", std::ios::app) << "more";
    replicator_->OnOverflow();
    sink.Refuse(refused);
    for (int look = 0; look < refused; ++look) ASSERT_TRUE(absl::IsDataLoss(replicator_->Run(sink, {})));
    ASSERT_EQ(replicator_->Run(sink, {}), absl::OkStatus());
    EXPECT_EQ(sink.Inventories(), first + (refused == 3 ? 1 : 0));
  }
  ScanAndExpectEqual("all of it");
}

TEST_F(MirrorTest, FoldersThatTradePlacesWhileTheyAreLookedAt) {
  for (const char* const folder : {"a", "m/b", "z"}) {
    std::filesystem::create_directories(Volume() + "/" + folder + "/deep");
    for (int i = 0; i < 20; ++i) std::ofstream(fmt::format("{}/{}/deep/{}", Volume(), folder, i)) << folder << i;
  }
  ScanAndExpectEqual("written");
  {
    const std::jthread trader([this](std::stop_token stop) {
      std::mt19937_64 random(1);
      const auto at = [&](const char* const path) { return Volume() + "/" + path; };
      while (!stop.stop_requested()) {
        renameat2(AT_FDCWD, at("a").c_str(), AT_FDCWD, at("m/b").c_str(), RENAME_EXCHANGE);
        std::ofstream(fmt::format("{}/deep/{}", at(random() % 2 == 0 ? "a" : "m/b"), random() % 20)) << random();
        renameat2(AT_FDCWD, at("m/b").c_str(), AT_FDCWD, at("z").c_str(), RENAME_EXCHANGE);
      }
    });
    for (int round = 0; round < 40; ++round) {
      replicator_->OnOverflow();
      const absl::Status status = replicator_->Run(*sink_, {});
      ASSERT_TRUE(status.ok() || absl::IsDataLoss(status)) << status;
    }
  }
  replicator_->ForgetSession();
  ScanAndExpectEqual("at rest");
}

// The folder above is exchanged, and what the new one brought along has to make way for what stays.
TEST_F(MirrorTest, FolderThatStaysWhereItIsWhileTheOneAboveItIsExchanged) {
  const auto move = [this](const char* from, const char* to) {
    std::filesystem::rename(Volume() + "/" + from, Volume() + "/" + to);
  };
  for (const char* const folder : {"z", "b"}) {
    std::filesystem::create_directories(Volume() + "/" + folder + "/deep");
    for (int i = 0; i < 3; ++i) std::ofstream(fmt::format("{}/{}/deep/{}", Volume(), folder, i)) << folder << i;
  }
  ScanAndExpectEqual("written");
  const uint64_t sent = replicator_->Status().content_bytes_sent;
  move("z/deep", "aside");
  move("z", "a");
  move("b", "z");
  move("z/deep", "a/deep");
  move("aside", "z/deep");
  ScanAndExpectEqual("with the other's moved on");
  EXPECT_EQ(replicator_->Status().content_bytes_sent, sent);
  move("z/deep", "aside");
  move("z", "b");
  move("a", "z");
  std::filesystem::remove_all(Volume() + "/z/deep");
  move("aside", "z/deep");
  ScanAndExpectEqual("with the other's removed");
  EXPECT_EQ(replicator_->Status().content_bytes_sent, sent);
}

// Whatever has the name in the folder that comes.
TEST_F(MirrorTest, FolderThatStaysWhileOneThatHasSomethingElseOfItsNameComes) {
  const auto path = [this](const std::string& name) { return Volume() + "/" + name; };
  for (const char* const kind : {"nothing", "file", "symlink", "empty folder", "folder"}) {
    for (const char* const fate : {"goes", "is exchanged"}) {
      std::filesystem::remove_all(path("z"));
      std::filesystem::remove_all(path("b"));
      std::filesystem::create_directories(path("z/deep/in"));
      std::filesystem::create_directories(path("z/deep/gone"));
      std::ofstream(path("z/deep/in/another")) << "is replaced";
      std::ofstream(path("z/deep/becomes a folder")) << "file";
      std::filesystem::create_directories(path("z/deep/becomes a file"));
      std::ofstream(path("elsewhere")) << "replaces it";
      std::filesystem::create_directories(path("b/other"));
      std::ofstream(path("z/deep/in/file")) << "stays";
      if (kind == std::string_view("file")) std::ofstream(path("b/deep")) << "comes";
      if (kind == std::string_view("symlink")) std::filesystem::create_symlink("other", path("b/deep"));
      if (std::string_view(kind).ends_with("folder")) std::filesystem::create_directory(path("b/deep"));
      if (kind == std::string_view("folder")) std::ofstream(path("b/deep/file")) << "comes";
      ScanAndExpectEqual("written");
      std::filesystem::rename(path("z/deep"), path("aside"));
      std::filesystem::rename(path("z"), path("a"));
      std::filesystem::rename(path("b"), path("z"));
      std::filesystem::rename(path("a"), path("b"));
      if (kind != std::string_view("nothing")) std::filesystem::rename(path("z/deep"), path("b/deep"));
      if (fate == std::string_view("goes")) std::filesystem::remove_all(path("b/deep"));
      std::filesystem::rename(path("aside"), path("z/deep"));
      std::filesystem::remove(path("z/deep/gone"));
      std::filesystem::rename(path("elsewhere"), path("z/deep/in/another"));
      std::filesystem::remove(path("z/deep/becomes a folder"));
      std::filesystem::create_directories(path("z/deep/becomes a folder"));
      std::filesystem::remove(path("z/deep/becomes a file"));
      std::ofstream(path("z/deep/becomes a file")) << "file";
      ASSERT_NO_FATAL_FAILURE(ScanAndExpectEqual(fmt::format("{} {}", kind, fate)));
    }
  }
}

// Each turn's copy is of hard links under the same names, while the one before moves on.
TEST_F(MirrorTest, HardLinkedCopiesThatAreRotated) {
  const auto copy = [this](int number) { return fmt::format("{}/copy.{}", Volume(), number); };
  const std::string content(400'000, 'x');  // more than travels inside a commit
  std::filesystem::create_directories(copy(0) + "/sub");
  for (const char* const name : {"/large", "/small", "/sub/large", "/sub/small"}) {
    std::ofstream(copy(0) + name) << (std::string_view(name).ends_with("large") ? content : name) << name;
  }
  ScanAndExpectEqual("written");
  const uint64_t sent = replicator_->Status().content_bytes_sent;
  for (int turn = 1; turn <= 4; ++turn) {
    for (int number = turn; number > 0; --number) std::filesystem::rename(copy(number - 1), copy(number));
    std::filesystem::copy(copy(1), copy(0),
                          std::filesystem::copy_options::recursive | std::filesystem::copy_options::create_hard_links);
    if (turn == 3) {  // one that moved along is gone from where it moved to
      std::filesystem::remove(copy(1) + "/sub/large");
      std::filesystem::remove(copy(2) + "/small");
    }
    ASSERT_NO_FATAL_FAILURE(ScanAndExpectEqual(fmt::format("turn {}", turn)));
  }
  EXPECT_EQ(replicator_->Status().content_bytes_sent, sent);
}

// A name that went with a folder out of one that was renamed isn't one to link others to.
TEST_F(MirrorTest, FolderMovedAndOneInItRemovedWhoseFileHasOtherNames) {
  std::filesystem::create_directories(Volume() + "/outer/inner");
  std::ofstream(Volume() + "/outer/inner/file") << "kept by its other names";
  ScanAndExpectEqual("written");
  for (const char* const other : {"/other", "/another"}) {
    std::filesystem::create_hard_link(Volume() + "/outer/inner/file", Volume() + other);
  }
  std::filesystem::rename(Volume() + "/outer", Volume() + "/moved");
  std::filesystem::remove_all(Volume() + "/moved/inner");
  ScanAndExpectEqual("moved");
}

TEST_F(MirrorTest, FolderMovedAwayAndMadeAnew) {
  std::filesystem::create_directories(Volume() + "/d1");
  for (const char* name : {"x", "y", "z"}) std::ofstream(Volume() + "/d1/" + name) << name;
  ScanAndExpectEqual("written");
  std::filesystem::rename(Volume() + "/d1", Volume() + "/d2");
  std::filesystem::remove(Volume() + "/d2/z");
  std::filesystem::create_directories(Volume() + "/d1");
  std::ofstream(Volume() + "/d1/x") << "another x";
  ScanAndExpectEqual("moved");
}

TEST_F(MirrorTest, FolderMovedOutOfAMovedFolderThatHasANewOneInItsPlace) {
  std::filesystem::create_directories(Volume() + "/outer/inner");
  std::ofstream(Volume() + "/outer/inner/file") << "kept";
  ScanAndExpectEqual("written");
  std::filesystem::rename(Volume() + "/outer/inner", Volume() + "/out");
  std::filesystem::create_directories(Volume() + "/outer/inner");
  std::ofstream(Volume() + "/outer/inner/new") << "new";
  std::filesystem::rename(Volume() + "/outer", Volume() + "/renamed");
  ScanAndExpectEqual("moved");
}

TEST_F(MirrorTest, SmallChangeInLargeFileSendsLittle) {
  {
    std::ofstream file(Volume() + "/disk", std::ios::binary);
    for (int i = 0; i < 40'000'000 / 8; ++i) {
      const uint64_t word = static_cast<uint64_t>(i) * 0x9e3779b97f4a7c15;
      file.write(reinterpret_cast<const char*>(&word), sizeof(word));
    }
  }
  ScanAndExpectEqual("written");
  const uint64_t sent = replicator_->Status().content_bytes_sent;
  {
    std::fstream file(Volume() + "/disk", std::ios::binary | std::ios::in | std::ios::out);
    file.seekp(17'000'000);
    file.write("changed", 7);
  }
  ScanAndExpectEqual("changed");
  EXPECT_LT(replicator_->Status().content_bytes_sent - sent, 20'000u);
  EXPECT_EQ(replicator_->Status().strategy, "blocks");
}

TEST_F(MirrorTest, DataWrittenIntoAHoleSendsThatDataAlone) {
  std::ofstream(Volume() + "/disk") << "first";
  std::filesystem::resize_file(Volume() + "/disk", 100'000'000);
  ScanAndExpectEqual("sparse");
  const uint64_t sent = replicator_->Status().content_bytes_sent;
  {
    std::fstream file(Volume() + "/disk", std::ios::binary | std::ios::in | std::ios::out);
    file.seekp(50'000'000);
    file.write("changed", 7);
  }
  ScanAndExpectEqual("written into the hole");
  EXPECT_LE(replicator_->Status().content_bytes_sent - sent, 256u * 1024);
}

TEST_F(MirrorTest, LostIndexIsRebuiltWithoutSendingAgain) {
  std::filesystem::create_directories(Volume() + "/d");
  std::ofstream(Volume() + "/d/big") << std::string(5'000'000, 'x');
  std::ofstream(Volume() + "/small") << "y";
  std::filesystem::create_symlink("d", Volume() + "/link");
  ScanAndExpectEqual("written");
  replicator_.reset();
  for (const char* suffix : {"", "-wal", "-shm"}) std::filesystem::remove(dir_.File("web.db") + suffix);
  std::filesystem::remove(Volume() + "/small");
  StartReplicator();
  ScanAndExpectEqual("rebuilt");
  EXPECT_EQ(replicator_->Status().content_bytes_sent, 0u);
}

TEST_F(MirrorTest, RestartedEngineGoesOn) {
  std::ofstream(Volume() + "/a") << "a";
  ScanAndExpectEqual("before");
  StartEngine();
  replicator_->ForgetSession();
  std::ofstream(Volume() + "/b") << "b";
  ScanAndExpectEqual("after");
}

TEST_F(MirrorTest, SpoiledReplicaIsHealed) {
  std::filesystem::create_directories(Volume() + "/d");
  std::ofstream(Volume() + "/d/a") << "a";
  ScanAndExpectEqual("before");
  std::filesystem::remove_all(Replica() + "/d");
  std::ofstream(Volume() + "/d/b") << "b";
  replicator_->OnOverflow();
  const absl::Status refused = RunBarrier();
  EXPECT_TRUE(absl::IsDataLoss(refused)) << refused;
  ASSERT_TRUE(
      tests::WaitFor("the replicator to heal the replica", absl::Seconds(20), [&] { return RunBarrier().ok(); }).ok());
  ExpectEqual("healed");
}

TEST_F(MirrorTest, AnotherFolderInItsPlaceStopsReplication) {
  std::ofstream(Volume() + "/a") << "a";
  ScanAndExpectEqual("before");
  std::filesystem::rename(Volume(), dir_.File("primary/elsewhere"));
  std::filesystem::create_directories(Volume());
  replicator_->OnOverflow();
  const absl::Status status = RunBarrier();
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_TRUE(std::filesystem::exists(Replica() + "/a"));
  std::filesystem::remove(Volume());
  EXPECT_FALSE(RunBarrier().ok());
  std::filesystem::rename(dir_.File("primary/elsewhere"), Volume());
  ScanAndExpectEqual("back");
}

// Deletions at the primary that look like a mistake.
class GuardedMirrorTest : public MirrorTest {
 protected:
  static std::string Name(int i) { return fmt::format("d{}/{}", i / 50, i); }
  void Write(int from, int to) {
    for (int i = from; i < to; ++i) {
      std::filesystem::create_directories(fmt::format("{}/d{}", Volume(), i / 50));
      std::ofstream(fmt::format("{}/{}", Volume(), Name(i))) << i;
    }
  }
  void Remove(int from, int to) {
    for (int i = from; i < to; ++i) std::filesystem::remove(fmt::format("{}/{}", Volume(), Name(i)));
  }
  void RemoveAll() {
    for (const auto& entry : std::filesystem::directory_iterator(Volume())) std::filesystem::remove_all(entry.path());
  }
  absl::Status Scan() {
    replicator_->OnOverflow();
    return RunBarrier();
  }
  void ExpectHeldBack(const std::string& kind) {
    const absl::Status status = Scan();
    EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
    const auto found = replicator_->Status();
    ASSERT_TRUE(found.guard.has_value());
    EXPECT_EQ(found.guard->kind, kind);
    EXPECT_EQ(found.state, primary::ReplicationState::kGuarded);
    EXPECT_EQ(found.error, found.guard->reason);
    const uint64_t barrier = replicator_->RequestBarrier();
    EXPECT_FALSE(replicator_->Run(*sink_, {}).ok());
    EXPECT_FALSE(replicator_->AwaitBarrier(barrier, /*published=*/false, absl::ZeroDuration()));
    EXPECT_TRUE(absl::IsFailedPrecondition(replicator_->BarrierRefusal(barrier)));
    EXPECT_GT(replicator_->NextRun(), Clock::System().Monotonic()) << "it isn't looked at without a pause";
  }
  absl::Status Approve() {
    const auto guard = replicator_->Status().guard;
    if (!guard.has_value()) return absl::NotFoundError("nothing is held back");
    const auto approval = replicator_->RequestApproval(guard->kind, guard->entries_gone);
    RETURN_IF_ERROR(approval.status());
    (void)replicator_->Run(*sink_, {});
    return replicator_->AwaitApproval(*approval, absl::ZeroDuration());
  }
  uint64_t FilesAtDr() const {
    uint64_t files = 0;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(Replica())) files += entry.is_regular_file();
    return files;
  }
};

TEST_F(GuardedMirrorTest, EverythingDeletedAtOnceStaysAtDrUntilItIsApproved) {
  Write(0, 200);
  ScanAndExpectEqual("written");
  const model::Sequence before = replicator_->Status().sequence;
  RemoveAll();
  std::ofstream(Volume() + "/new") << "held back, too";
  ExpectHeldBack(primary::kDeletionGuard);
  EXPECT_EQ(replicator_->Status().guard->entries_gone, 203u);  // 200 files in 4 folders, without the one that is new
  EXPECT_EQ(replicator_->Status().guard->entries_before, 204u);
  EXPECT_EQ(replicator_->Status().sequence, before);
  EXPECT_EQ(FilesAtDr(), 200u);
  EXPECT_GT(replicator_->Status().lag_seconds, 0);
  // A restart in between asks no less, and says so before anything was looked at.
  StartReplicator();
  EXPECT_EQ(replicator_->Status().state, primary::ReplicationState::kGuarded);
  EXPECT_EQ(replicator_->Status().guard->entries_gone, 203u);
  ExpectHeldBack(primary::kDeletionGuard);
  EXPECT_TRUE(Approve().ok());
  EXPECT_FALSE(replicator_->Status().guard.has_value());
  ScanAndExpectEqual("approved");
  EXPECT_EQ(FilesAtDr(), 1u);
}

TEST_F(GuardedMirrorTest, AnApprovalOutlivesARestart) {
  Write(0, 200);
  ScanAndExpectEqual("written");
  RemoveAll();
  ExpectHeldBack(primary::kDeletionGuard);
  // The approval is recorded, but the deletion doesn't reach DR.
  {
    NoCommits link(*engine_);
    replicator_->ForgetSession();
    const auto approval =
        replicator_->RequestApproval(primary::kDeletionGuard, replicator_->Status().guard->entries_gone);
    ASSERT_TRUE(approval.ok());
    EXPECT_TRUE(absl::IsUnavailable(replicator_->Run(link, {})));
    EXPECT_TRUE(replicator_->AwaitApproval(*approval, absl::ZeroDuration()).ok());
  }
  EXPECT_EQ(FilesAtDr(), 200u);
  StartEngine();
  StartReplicator();
  ScanAndExpectEqual("approved before the restart");
}

TEST_F(GuardedMirrorTest, ManySmallDeletionsAreSeenAsOneOverARestart) {
  Write(0, 400);
  ScanAndExpectEqual("written");
  int removed = 0;
  for (; removed < 400; removed += 20) {
    Remove(removed, removed + 20);
    if (!Scan().ok()) break;
    StartReplicator();
  }
  ASSERT_TRUE(replicator_->Status().guard.has_value());
  EXPECT_EQ(FilesAtDr(), 400u - static_cast<uint64_t>(removed));
  EXPECT_GE(FilesAtDr(), 190u);  // half of 400 files in 8 folders
  EXPECT_EQ(replicator_->Status().guard->entries_before, 408u);
}

TEST_F(GuardedMirrorTest, FilesThatAreBackEndIt) {
  Write(0, 200);
  ScanAndExpectEqual("written");
  RemoveAll();
  ExpectHeldBack(primary::kDeletionGuard);
  Write(0, 150);
  ScanAndExpectEqual("most are back");
  EXPECT_FALSE(replicator_->Status().guard.has_value());
}

TEST_F(GuardedMirrorTest, TemporaryFilesAndRenamesAreNoDeletion) {
  Write(0, 200);
  ScanAndExpectEqual("written");
  for (int round = 0; round < 4; ++round) {
    Write(1000, 1150);
    ScanAndExpectEqual("temporary files");
    Remove(1000, 1150);
    ScanAndExpectEqual("and without them");
  }
  std::filesystem::create_directories(Volume() + "/deep");
  for (int i = 0; i < 4; ++i) {
    std::filesystem::rename(fmt::format("{}/d{}", Volume(), i), fmt::format("{}/deep/{}", Volume(), i));
  }
  ScanAndExpectEqual("every folder moved into another one");
  for (int i = 0; i < 4; ++i) {
    std::filesystem::rename(fmt::format("{}/deep/{}", Volume(), i), fmt::format("{}/e{}", Volume(), i));
  }
  std::filesystem::remove_all(Volume() + "/deep");
  ScanAndExpectEqual("moved out of a folder that is gone");
}

TEST_F(GuardedMirrorTest, MoreThanWasApprovedIsHeldBackAgain) {
  Write(0, 300);
  ScanAndExpectEqual("written");
  Remove(0, 200);
  ExpectHeldBack(primary::kDeletionGuard);
  const auto shown = replicator_->Status().guard->entries_gone;
  Remove(200, 201);
  ExpectHeldBack(primary::kDeletionGuard);
  const auto stale = replicator_->RequestApproval(primary::kDeletionGuard, shown);
  ASSERT_TRUE(stale.ok());
  (void)replicator_->Run(*sink_, {});
  EXPECT_TRUE(absl::IsFailedPrecondition(replicator_->AwaitApproval(*stale, absl::ZeroDuration())));
  EXPECT_EQ(FilesAtDr(), 300u);
  EXPECT_TRUE(Approve().ok());
  ScanAndExpectEqual("approved");
  Write(0, 201);
  ScanAndExpectEqual("written again");
  Remove(0, 201);
  ExpectHeldBack(primary::kDeletionGuard);
}

TEST_F(GuardedMirrorTest, TheOnlyDiskOfAVolumeStays) {
  std::ofstream(Volume() + "/disk.img") << "a disk";
  std::filesystem::resize_file(Volume() + "/disk.img", primary::kGuardedBytes);
  ScanAndExpectEqual("written");
  std::filesystem::rename(Volume() + "/disk.img", dir_.File("primary/disk.img"));
  ExpectHeldBack(primary::kDeletionGuard);
  EXPECT_EQ(FilesAtDr(), 1u);
  std::filesystem::rename(dir_.File("primary/disk.img"), Volume() + "/disk.img");
  ScanAndExpectEqual("it is back");
  std::filesystem::remove(Volume() + "/disk.img");
  ExpectHeldBack(primary::kDeletionGuard);
  EXPECT_TRUE(Approve().ok());
  ScanAndExpectEqual("approved");
  EXPECT_EQ(FilesAtDr(), 0u);
}

TEST_F(GuardedMirrorTest, WhatIsRenamedOutOfTheVolumeIsGone) {
  Write(0, 200);
  ScanAndExpectEqual("written");
  for (int i = 0; i < 4; ++i) {
    std::filesystem::rename(fmt::format("{}/d{}", Volume(), i), fmt::format("{}.{}", Volume(), i));
  }
  ExpectHeldBack(primary::kDeletionGuard);
  EXPECT_EQ(replicator_->Status().guard->entries_gone, 204u);
}

TEST_F(GuardedMirrorTest, TheOldFolderIsBackButHasLostItsFiles) {
  Write(0, 200);
  ScanAndExpectEqual("written");
  std::filesystem::rename(Volume(), dir_.File("primary/elsewhere"));
  ExpectHeldBack(primary::kRootGuard);
  std::filesystem::rename(dir_.File("primary/elsewhere"), Volume());
  RemoveAll();
  EXPECT_EQ(rewatched_, 0);
  ExpectHeldBack(primary::kDeletionGuard);
  EXPECT_EQ(rewatched_, 1) << "its watches went with the folder";
  Write(0, 200);
  ScanAndExpectEqual("the files are back, too");
  EXPECT_EQ(rewatched_, 1);
}

TEST_F(GuardedMirrorTest, AnApprovalTakesTheFolderThatWasSeen) {
  Write(0, 1);
  ScanAndExpectEqual("written");
  std::filesystem::rename(Volume(), dir_.File("primary/old"));
  std::filesystem::create_directory(Volume());
  ExpectHeldBack(primary::kRootGuard);
  std::filesystem::rename(Volume(), dir_.File("primary/seen"));
  std::filesystem::create_directory(Volume());
  EXPECT_TRUE(absl::IsFailedPrecondition(Approve())) << "that is a third one";
  ExpectHeldBack(primary::kRootGuard);
  EXPECT_TRUE(Approve().ok());
  ScanAndExpectEqual("taken");
}

TEST_F(GuardedMirrorTest, AnotherFolderCanBeTakenAndItsContentIsGuarded) {
  Write(0, 200);
  ScanAndExpectEqual("written");
  std::filesystem::rename(Volume(), dir_.File("primary/elsewhere"));
  ExpectHeldBack(primary::kRootGuard);
  EXPECT_TRUE(absl::IsFailedPrecondition(Approve())) << "there is nothing to take";
  std::ofstream(Volume()) << "no folder";
  ExpectHeldBack(primary::kRootGuard);
  std::filesystem::remove(Volume());
  // One of its own folders in its place: the worst that inode numbers can tell.
  std::filesystem::rename(dir_.File("primary/elsewhere/d0"), Volume());
  ExpectHeldBack(primary::kRootGuard);
  EXPECT_EQ(FilesAtDr(), 200u);
  ASSERT_TRUE(Approve().ok());
  ExpectHeldBack(primary::kDeletionGuard);
  EXPECT_EQ(FilesAtDr(), 200u);
  ASSERT_TRUE(Approve().ok());
  ScanAndExpectEqual("taken");
}

class ScannedChurnTest : public MirrorTest, public ::testing::WithParamInterface<uint64_t> {};

TEST_P(ScannedChurnTest, EveryScanMakesTheReplicaEqual) {
  const uint64_t seed = Seed(GetParam());
  SCOPED_TRACE(fmt::format("run it again with UNDERSTUDY_SEED={}", seed));
  tests::Churn churn(Volume(), seed);
  std::mt19937_64 pace(seed);
  for (int round = 0; round < 25; ++round) {
    std::string story;
    for (uint64_t step = pace() % 12; step > 0; --step) story += churn.Step() + "\n";
    ScanAndExpectEqual(fmt::format("round {}:\n{}", round, story));
    if (HasFatalFailure()) return;
    if (pace() % 8 == 0) StartReplicator();
    if (pace() % 8 == 0) {
      StartEngine();
      replicator_->ForgetSession();
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, ScannedChurnTest, ::testing::Range<uint64_t>(1, 25));

// Hands the hints of a real inotify to the replicator.
class HintForwarder : public primary::HintSink {
 public:
  explicit HintForwarder(primary::VolumeReplicator& replicator) : replicator_(replicator) {}
  void OnHint(const model::VolumeName&, std::string_view path, primary::HintKind kind, bool at_once) override {
    replicator_.OnHint(path, kind, at_once);
  }
  void OnInode(const model::VolumeName&, uint64_t inode, bool at_once) override { replicator_.OnInode(inode, at_once); }
  void OnOverflow(const model::VolumeName&) override { replicator_.OnOverflow(); }
  void OnCoverage(const model::VolumeName&, const absl::Status& coverage) override { replicator_.OnCoverage(coverage); }

 private:
  primary::VolumeReplicator& replicator_;
};

class WatchedChurnTest : public MirrorTest, public ::testing::WithParamInterface<uint64_t> {};

TEST_P(WatchedChurnTest, EveryBarrierMakesTheReplicaEqualWithoutAScan) {
  const uint64_t seed = Seed(GetParam());
  SCOPED_TRACE(fmt::format("run it again with UNDERSTUDY_SEED={}", seed));
  std::filesystem::create_directories(dir_.File("cookies"));
  HintForwarder forwarder(*replicator_);
  auto source = primary::InotifySource::Start(dir_.File("cookies"), forwarder);
  ASSERT_TRUE(source.ok()) << source.status();
  ASSERT_TRUE((*source)->AddVolume("web", Volume()).ok());
  ASSERT_TRUE(RunBarrier().ok());
  tests::Churn churn(Volume(), seed);
  std::mt19937_64 pace(seed);
  for (int round = 0; round < 40; ++round) {
    std::string story;
    for (uint64_t step = 1 + pace() % 6; step > 0; --step) story += churn.Step() + "\n";
    ASSERT_TRUE((*source)->Flush(absl::Seconds(20)).ok());
    const absl::Status status = RunBarrier();
    ASSERT_TRUE(status.ok()) << status << "\n" << story;
    ExpectEqual(fmt::format("round {}:\n{}", round, story));
    if (HasFatalFailure()) return;
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, WatchedChurnTest, ::testing::Range<uint64_t>(100, 116));

}  // namespace
}  // namespace understudy
