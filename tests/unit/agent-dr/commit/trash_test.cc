// Deleted volumes: moved to the trash, brought back, purged when their time is over; and never half of it, whatever
// step a crash ends.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "tests/unit/agent-dr/commit/engine_fixture.h"

namespace understudy::tests {
namespace {

namespace fs = std::filesystem;

constexpr int kCrashed = 42;
constexpr int kFailed = 43;

// Ends the process at the `at`-th step of the trash that is reached.
class CrashAt : public dr::FaultPoints {
 public:
  explicit CrashAt(size_t at) : at_(at) {}
  absl::Status Reach(dr::Step step, size_t) override {
    if (step == dr::Step::kTrash && reached_++ == at_) _exit(kCrashed);
    return absl::OkStatus();
  }

 private:
  const size_t at_;
  size_t reached_ = 0;
};

int InProcess(const std::function<bool()>& body) {
  const pid_t child = fork();
  if (child == 0) _exit(body() ? 0 : kFailed);
  int status = 0;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

class SetClock : public Clock {
 public:
  [[nodiscard]] absl::Time Now() const override { return now_; }
  [[nodiscard]] absl::Duration Monotonic() const override { return now_ - absl::UnixEpoch(); }
  void Advance(absl::Duration duration) { now_ += duration; }

 private:
  absl::Time now_ = absl::FromUnixSeconds(1'700'000'000);
};

class TrashTest : public testing::Test {
 protected:
  std::unique_ptr<dr::CommitEngine> Start(dr::FaultPoints& faults = dr::FaultPoints::None()) {
    auto engine = dr::CommitEngine::Start({.state_dir = host_.State(),
                                           .exports = {host_.Export()},
                                           .faults = &faults,
                                           .trash_retain = absl::Hours(24),
                                           .clock = &clock_});
    EXPECT_TRUE(engine.ok()) << engine.status();
    return *std::move(engine);
  }
  std::string Root() const { return host_.RootOf("vol"); }
  // A replica of a file and a folder, one commit; its state.
  model::ReplicaState MakeVolume(dr::CommitEngine& engine, const std::string& content = "A") {
    auto session = engine.Open({"vol", Root(), 0});
    EXPECT_TRUE(session.ok()) << session.status();
    const absl::Status submitted = session->SubmitDurable(
        NextCommit(session->State(), {model::MakeDirectory{"d", Meta(0555)}, InlinePut("d/f", content)}));
    EXPECT_TRUE(submitted.ok()) << submitted;
    return session->State();
  }
  static std::vector<model::TrashEntry> List(const dr::CommitEngine& engine) {
    const auto entries = engine.trash().List("", 100);
    EXPECT_TRUE(entries.ok()) << entries.status();
    return *entries;
  }
  std::string DataOf(const std::string& id) const { return host_.File(".understudy/trash/" + id + "/data"); }
  static std::string Read(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  }

  DrHost host_;
  SetClock clock_;
};

TEST_F(TrashTest, ADeletedVolumeLeavesItsPlaceAndComesBackAsTheSameReplica) {
  const auto engine = Start();
  const model::ReplicaState before = MakeVolume(*engine);
  ASSERT_TRUE(engine->MoveToTrash("vol", Root(), "deleted").ok());
  EXPECT_TRUE(engine->List().empty());
  EXPECT_FALSE(fs::exists(Root()));
  EXPECT_EQ(Read(DataOf(before.replica_id) + "/d/f"), "A") << "what was durable is published first";
  struct stat above {};
  ASSERT_EQ(stat(host_.File(".understudy/trash").c_str(), &above), 0);
  EXPECT_EQ(above.st_mode & 07777, 0700u);
  const auto entries = List(*engine);
  ASSERT_EQ(entries.size(), 1u);
  EXPECT_EQ(entries[0].id, before.replica_id);
  EXPECT_EQ(entries[0].volume, "vol");
  EXPECT_EQ(entries[0].root, Root());
  EXPECT_EQ(entries[0].state, model::TrashState::kTrashed);
  EXPECT_EQ(entries[0].expires_at, clock_.Now() + absl::Hours(24));
  EXPECT_TRUE(engine->MoveToTrash("vol", Root(), "deleted").ok()) << "asked again";

  const auto restored = engine->Restore(before.replica_id);
  ASSERT_TRUE(restored.ok()) << restored.status();
  EXPECT_EQ(restored->replica_id, before.replica_id);
  EXPECT_EQ(restored->sequence, before.sequence);
  EXPECT_EQ(restored->epoch, before.epoch);
  EXPECT_EQ(Read(Root() + "/d/f"), "A");
  EXPECT_TRUE(List(*engine).empty());
  EXPECT_FALSE(fs::exists(DataOf(before.replica_id)));
  // It goes on from there.
  auto session = engine->Open({"vol", Root(), 0});
  ASSERT_TRUE(session.ok()) << session.status();
  EXPECT_TRUE(session->SubmitDurable(NextCommit(session->State(), {InlinePut("more", "m")})).ok());
}

TEST_F(TrashTest, AMoveEndsTheSessionThatWrites) {
  const auto engine = Start();
  auto session = engine->Open({"vol", Root(), 0});
  ASSERT_TRUE(session.ok());
  const model::ReplicaState state = session->State();
  ASSERT_TRUE(engine->MoveToTrash("vol", Root(), "deleted").ok());
  EXPECT_EQ(session->SubmitDurable(NextCommit(state, {InlinePut("late", "l")})).code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_FALSE(fs::exists(DataOf(state.replica_id) + "/late"));
}

TEST_F(TrashTest, ALaterVolumeOfTheNameIsANewOneAndStandsInTheWayOfTheOldOne) {
  const auto engine = Start();
  const model::ReplicaState old = MakeVolume(*engine, "old");
  ASSERT_TRUE(engine->MoveToTrash("vol", Root(), "deleted").ok());
  const model::ReplicaState next = MakeVolume(*engine, "new");
  EXPECT_NE(next.replica_id, old.replica_id);
  EXPECT_EQ(next.sequence, 1u);
  EXPECT_EQ(engine->Restore(old.replica_id).status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(List(*engine).at(0).state, model::TrashState::kTrashed);
  // Both may be in the trash, and the old one then comes back.
  ASSERT_TRUE(engine->MoveToTrash("vol", Root(), "deleted").ok());
  EXPECT_EQ(List(*engine).size(), 2u);
  ASSERT_TRUE(engine->Restore(old.replica_id).ok());
  EXPECT_EQ(Read(Root() + "/d/f"), "old");
}

TEST_F(TrashTest, NothingIsPutBackOverWhatStandsInItsPlace) {
  const auto engine = Start();
  const model::ReplicaState old = MakeVolume(*engine);
  ASSERT_TRUE(engine->MoveToTrash("vol", Root(), "deleted").ok());
  ASSERT_EQ(mkdir(Root().c_str(), 0755), 0);  // somebody's, and empty
  EXPECT_EQ(engine->Restore(old.replica_id).status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(fs::is_empty(Root()));
  EXPECT_EQ(List(*engine).at(0).state, model::TrashState::kTrashed);
  // A replica around it is in the way, too.
  ASSERT_EQ(rmdir(Root().c_str()), 0);
  ASSERT_TRUE(engine->Open({"inner", Root() + "/inner", 0}).ok());
  EXPECT_EQ(engine->Restore(old.replica_id).status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(TrashTest, OnlyAStandbyWithThatRootGoes) {
  const auto engine = Start();
  MakeVolume(*engine);
  EXPECT_EQ(engine->MoveToTrash("vol", host_.RootOf("other"), "deleted").code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(engine->MoveToTrash("unknown", host_.RootOf("unknown"), "deleted").ok());
  EXPECT_EQ(engine->State("vol")->sequence, 1u);
  EXPECT_TRUE(List(*engine).empty());
}

TEST_F(TrashTest, AReplicaThatIsAWholeExportStays) {
  const auto engine = Start();
  ASSERT_TRUE(engine->Open({"whole", host_.Export(), 0}).ok());
  EXPECT_EQ(engine->MoveToTrash("whole", host_.Export(), "deleted").code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(engine->Open({"whole", host_.Export(), 0}).ok());
}

TEST_F(TrashTest, AnActiveReplicaStays) {
  {
    const auto engine = Start();
    MakeVolume(*engine);
  }
  auto database = store::Database::Open(host_.State() + "/volumes/vol/replica.db", {});
  ASSERT_TRUE(database.ok());
  ASSERT_TRUE(database->Execute("UPDATE replica SET state = 'active'").ok());
  const auto engine = Start();
  EXPECT_EQ(engine->MoveToTrash("vol", Root(), "deleted").code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(Read(Root() + "/d/f"), "A");
  EXPECT_TRUE(List(*engine).empty());
}

TEST_F(TrashTest, WhatHasExpiredIsPurgedAndNothingElse) {
  const auto engine = Start();
  const std::string id = MakeVolume(*engine).replica_id;
  ASSERT_TRUE(engine->MoveToTrash("vol", Root(), "deleted").ok());
  clock_.Advance(absl::Hours(24) - absl::Seconds(1));
  engine->trash().Work({});
  auto entries = List(*engine);
  ASSERT_EQ(entries.size(), 1u);
  EXPECT_TRUE(entries[0].measured);
  EXPECT_EQ(entries[0].size_bytes, 1u);
  EXPECT_EQ(entries[0].entry_count, 2u);
  MakeVolume(*engine, "kept");
  clock_.Advance(absl::Seconds(1));
  engine->trash().Work({});
  EXPECT_TRUE(List(*engine).empty());
  EXPECT_FALSE(fs::exists(host_.File(".understudy/trash/" + id)));
  EXPECT_FALSE(fs::exists(host_.File(".understudy/replica-" + id)));
  EXPECT_FALSE(fs::exists(host_.State() + "/trash/" + id));
  EXPECT_EQ(engine->probe().trash_purged, 1u);
  EXPECT_EQ(engine->trash().Count().value(), 0u);
  EXPECT_EQ(Show(*engine, "vol").empty(), false);
  EXPECT_EQ(Read(Root() + "/d/f"), "kept");
}

TEST_F(TrashTest, WhatIsBeingPurgedCannotBeRestored) {
  const auto engine = Start();
  const std::string id = MakeVolume(*engine).replica_id;
  ASSERT_TRUE(engine->MoveToTrash("vol", Root(), "deleted").ok());
  ASSERT_TRUE(engine->trash().Purge(id).ok());
  EXPECT_TRUE(engine->trash().Purge(id).ok()) << "asked again";
  EXPECT_EQ(engine->Restore(id).status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_FALSE(fs::exists(Root()));
}

TEST_F(TrashTest, HostileIdsReachNoFile) {
  const auto engine = Start();
  ASSERT_EQ(mkdir((host_.State() + "/keep").c_str(), 0700), 0);
  for (const std::string& id :
       {std::string(), std::string(".."), std::string("../keep"), std::string("/etc"), std::string(31, 'a'),
        std::string(33, 'a'), std::string(32, 'A'), std::string(31, 'a') + "/", std::string(31, 'a') + '\0'}) {
    EXPECT_EQ(engine->Restore(id).status().code(), absl::StatusCode::kInvalidArgument) << id;
    EXPECT_EQ(engine->trash().Purge(id).code(), absl::StatusCode::kInvalidArgument) << id;
  }
  EXPECT_EQ(engine->Restore(std::string(32, 'a')).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(engine->trash().Purge(std::string(32, 'a')).code(), absl::StatusCode::kNotFound);
  EXPECT_TRUE(fs::exists(host_.State() + "/keep"));
}

// A crash before the intent leaves a replica; after it, the next start finishes the move.
TEST_F(TrashTest, AMoveThatACrashEndsIsFinishedByTheNextStart) {
  size_t crashed = 0;
  for (size_t at = 0;; ++at) {
    DrHost host;
    const std::string root = host.RootOf("vol");
    {
      const auto engine = host.Start();
      auto session = engine->Open({"vol", root, 0});
      ASSERT_TRUE(session->SubmitDurable(NextCommit(session->State(), {InlinePut("f", "A")})).ok());
    }
    const int result = InProcess([&] {
      CrashAt crash(at);
      return host.Start(crash)->MoveToTrash("vol", root, "deleted").ok();
    });
    if (result == 0) break;
    ASSERT_EQ(result, kCrashed);
    ++crashed;
    const auto engine = host.Start();
    EXPECT_TRUE(engine->Problems().empty()) << engine->Problems().front();
    if (at == 0) {
      EXPECT_EQ(engine->List().size(), 1u);
      EXPECT_EQ(Read(root + "/f"), "A");
      continue;
    }
    EXPECT_TRUE(engine->List().empty()) << "crash at " << at;
    EXPECT_FALSE(fs::exists(root));
    const auto entries = List(*engine);
    ASSERT_EQ(entries.size(), 1u);
    EXPECT_EQ(entries[0].state, model::TrashState::kTrashed);
    ASSERT_TRUE(engine->Restore(entries[0].id).ok());
    EXPECT_EQ(Read(root + "/f"), "A") << "crash at " << at;
  }
  EXPECT_EQ(crashed, 4u);
}

TEST_F(TrashTest, ARestoreThatACrashEndsIsFinishedByTheNextStart) {
  size_t crashed = 0;
  for (size_t at = 0;; ++at) {
    DrHost host;
    const std::string root = host.RootOf("vol");
    std::string id;
    {
      const auto engine = host.Start();
      auto session = engine->Open({"vol", root, 0});
      ASSERT_TRUE(session->SubmitDurable(NextCommit(session->State(), {InlinePut("f", "A")})).ok());
      id = session->State().replica_id;
      ASSERT_TRUE(engine->MoveToTrash("vol", root, "deleted").ok());
    }
    const int result = InProcess([&] {
      CrashAt crash(at);
      return host.Start(crash)->Restore(id).ok();
    });
    if (result == 0) break;
    ASSERT_EQ(result, kCrashed);
    ++crashed;
    const auto engine = host.Start();
    EXPECT_TRUE(engine->Problems().empty()) << engine->Problems().front();
    EXPECT_EQ(engine->List().size(), at == 0 ? 0u : 1u) << "crash at " << at;
    EXPECT_EQ(List(*engine).size(), at == 0 ? 1u : 0u) << "crash at " << at;
    if (at == 0) continue;
    EXPECT_EQ(engine->List().at(0).replica_id, id);
    EXPECT_EQ(Read(root + "/f"), "A") << "crash at " << at;
    EXPECT_FALSE(fs::exists(host.File(".understudy/trash/" + id)));
  }
  EXPECT_EQ(crashed, 4u);
}

TEST_F(TrashTest, APurgeThatACrashEndsGoesOn) {
  size_t crashed = 0;
  for (size_t at = 0;; ++at) {
    DrHost host;
    std::string id;
    {
      const auto engine = host.Start();
      auto session = engine->Open({"vol", host.RootOf("vol"), 0});
      ASSERT_TRUE(session->SubmitDurable(NextCommit(session->State(), {InlinePut("f", "A")})).ok());
      id = session->State().replica_id;
      ASSERT_TRUE(engine->MoveToTrash("vol", host.RootOf("vol"), "deleted").ok());
      ASSERT_TRUE(engine->trash().Purge(id).ok());
    }
    const int result = InProcess([&] {
      CrashAt crash(at);
      const auto engine = host.Start(crash);
      engine->trash().Work({});
      return true;
    });
    if (result == 0) break;
    ASSERT_EQ(result, kCrashed);
    ++crashed;
    const auto engine = host.Start();
    EXPECT_EQ(engine->Restore(id).status().code(), absl::StatusCode::kFailedPrecondition);
    engine->trash().Work({});
    EXPECT_TRUE(List(*engine).empty()) << "crash at " << at;
    EXPECT_FALSE(fs::exists(host.File(".understudy/trash/" + id)));
    EXPECT_FALSE(fs::exists(host.State() + "/trash/" + id));
  }
  EXPECT_EQ(crashed, 4u);
}

TEST_F(TrashTest, NothingCountsAsPurgedWhileItsFilesystemIsAway) {
  const auto engine = Start();
  const std::string id = MakeVolume(*engine).replica_id;
  ASSERT_TRUE(engine->MoveToTrash("vol", Root(), "deleted").ok());
  ASSERT_TRUE(engine->trash().Purge(id).ok());
  const std::string work = host_.File(".understudy");
  fs::rename(work, host_.File("aside"));
  engine->trash().Work({});
  EXPECT_EQ(List(*engine).size(), 1u);
  fs::remove_all(work);
  fs::rename(host_.File("aside"), work);
  engine->trash().Work({});
  EXPECT_TRUE(List(*engine).empty());
  EXPECT_FALSE(fs::exists(host_.File(".understudy/trash/" + id)));
}

// The folder that was the replica's is away, another one is there in its place: nothing of somebody else's is moved.
TEST_F(TrashTest, AnUnfinishedMoveHoldsItsPlaceUntilItsFolderIsBack) {
  const std::string aside = host_.File("aside");
  const int result = InProcess([&] {
    CrashAt crash(1);
    const auto engine = Start(crash);
    MakeVolume(*engine);
    return engine->MoveToTrash("vol", Root(), "deleted").ok();
  });
  ASSERT_EQ(result, kCrashed);
  fs::rename(Root(), aside);
  fs::create_directory(Root());
  {
    const auto engine = Start();
    EXPECT_EQ(engine->Problems().size(), 1u);
    EXPECT_FALSE(engine->Open({"vol", Root(), 0}).ok());
    EXPECT_FALSE(engine->Open({"other", Root() + "/in", 0}).ok());
    EXPECT_TRUE(fs::is_empty(Root()));
    EXPECT_EQ(List(*engine).at(0).state, model::TrashState::kMoving);
    fs::remove(Root());
    fs::rename(aside, Root());
    ASSERT_TRUE(engine->Open({"vol", Root(), 0}).ok()) << "the opening finishes the move first";
    EXPECT_EQ(List(*engine).at(0).state, model::TrashState::kTrashed);
    EXPECT_EQ(engine->State("vol")->sequence, 0u);
  }
}

}  // namespace
}  // namespace understudy::tests
