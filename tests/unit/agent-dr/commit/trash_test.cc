// Deleted volumes: moved to the trash, brought back, purged when their time is over; and never half of it, whatever
// step a crash ends.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <optional>
#include <stop_token>
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

// What a primary that knows the replica says.
absl::Status Discard(dr::CommitEngine& engine, const std::string& volume, const std::string& root) {
  const auto state = engine.State(volume);
  const std::string id = state.ok() ? state->replica_id : std::string(32, '0');
  return engine.MoveToTrash({volume, root, id, state.ok() ? state->epoch : 1}, "deleted");
}

class SetClock : public Clock {
 public:
  [[nodiscard]] absl::Time Now() const override { return now_; }
  [[nodiscard]] absl::Duration Monotonic() const override { return monotonic_; }
  void Advance(absl::Duration duration) {
    now_ += duration;
    monotonic_ += duration;
  }
  // Somebody sets the wall clock.
  void Set(absl::Duration by) { now_ += by; }

 private:
  absl::Duration monotonic_ = absl::Hours(5);
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
  ASSERT_TRUE(Discard(*engine, "vol", Root()).ok());
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
  EXPECT_TRUE(Discard(*engine, "vol", Root()).ok()) << "asked again";

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

TEST_F(TrashTest, NothingIsUnsettledInTheTrash) {
  const auto engine = Start();
  auto session = engine->Open({"vol", Root(), 0});
  ASSERT_TRUE(session.ok() && session->SubmitDurable(NextCommit(session->State(), {InlinePut("f", "A")})).ok());
  ASSERT_TRUE(session->Publish().ok());
  const std::string id = session->State().replica_id;
  ASSERT_TRUE(Discard(*engine, "vol", Root()).ok());
  auto store = dr::VolumeStore::Open(host_.State() + "/trash/" + id);
  ASSERT_TRUE(store.ok()) << store.status();
  EXPECT_FALSE(store->LoadRecord()->has_value());
  EXPECT_EQ((*store->Load())->state.published_sequence, 1u);
}

// Whoever found the replica just before it went.
TEST_F(TrashTest, NoSessionBeginsOnARetiredReplica) {
  const std::string state = host_.File("replica-state");
  ASSERT_EQ(mkdir(state.c_str(), 0700), 0);
  dr::Probe probe;
  const model::VolumeSpec spec{"vol", Root(), 0};
  const auto replica = dr::Replica::Create(spec, {state, host_.Export()}, {}, dr::FaultPoints::None(), probe);
  ASSERT_TRUE(replica.ok()) << replica.status();
  const auto token = (*replica)->Open(spec);
  ASSERT_TRUE(token.ok());
  ASSERT_TRUE((*replica)->Retire().ok());
  EXPECT_EQ((*replica)->Open(spec).status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ((*replica)->StageBegin(*token, 1, "f", 1, "").code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ((*replica)->Rewind(0).code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ((*replica)->Inventory(false, nullptr).code(), absl::StatusCode::kUnavailable);
  EXPECT_TRUE((*replica)->Publish().ok());
}

TEST_F(TrashTest, AMoveEndsTheSessionThatWrites) {
  const auto engine = Start();
  auto session = engine->Open({"vol", Root(), 0});
  ASSERT_TRUE(session.ok());
  const model::ReplicaState state = session->State();
  ASSERT_TRUE(Discard(*engine, "vol", Root()).ok());
  EXPECT_EQ(session->SubmitDurable(NextCommit(state, {InlinePut("late", "l")})).code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_FALSE(fs::exists(DataOf(state.replica_id) + "/late"));
}

TEST_F(TrashTest, ALaterVolumeOfTheNameIsANewOneAndStandsInTheWayOfTheOldOne) {
  const auto engine = Start();
  const model::ReplicaState old = MakeVolume(*engine, "old");
  ASSERT_TRUE(Discard(*engine, "vol", Root()).ok());
  const model::ReplicaState next = MakeVolume(*engine, "new");
  EXPECT_NE(next.replica_id, old.replica_id);
  EXPECT_EQ(next.sequence, 1u);
  EXPECT_EQ(engine->Restore(old.replica_id).status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(List(*engine).at(0).state, model::TrashState::kTrashed);
  // Both may be in the trash, and the old one then comes back.
  ASSERT_TRUE(Discard(*engine, "vol", Root()).ok());
  EXPECT_EQ(List(*engine).size(), 2u);
  ASSERT_TRUE(engine->Restore(old.replica_id).ok());
  EXPECT_EQ(Read(Root() + "/d/f"), "old");
}

TEST_F(TrashTest, NothingIsPutBackOverWhatStandsInItsPlace) {
  const auto engine = Start();
  const model::ReplicaState old = MakeVolume(*engine);
  ASSERT_TRUE(Discard(*engine, "vol", Root()).ok());
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
  EXPECT_EQ(Discard(*engine, "vol", host_.RootOf("other")).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(Discard(*engine, "unknown", host_.RootOf("unknown")).ok());
  EXPECT_EQ(engine->State("vol")->sequence, 1u);
  EXPECT_TRUE(List(*engine).empty());
}

// A primary that lost its state, or one that was the primary before a failover, names another replica or an epoch that
// is over.
TEST_F(TrashTest, OnlyTheReplicaThatThePrimaryKnowsGoes) {
  const auto engine = Start();
  model::ReplicaState state = MakeVolume(*engine);
  const auto refused = [&](const std::string& id, model::Epoch epoch) {
    return engine->MoveToTrash({"vol", Root(), id, epoch}, "deleted").code() == absl::StatusCode::kFailedPrecondition;
  };
  EXPECT_TRUE(refused(std::string(32, '0'), state.epoch));
  ASSERT_TRUE(engine->Open({"vol", Root(), state.epoch + 1}).ok());
  EXPECT_TRUE(refused(state.replica_id, state.epoch));
  EXPECT_EQ(Read(Root() + "/d/f"), "A");
  EXPECT_TRUE(List(*engine).empty());
  EXPECT_TRUE(engine->MoveToTrash({"vol", Root(), state.replica_id, state.epoch + 1}, "deleted").ok());
}

TEST_F(TrashTest, WhatWasStagedDoesNotTakeSpaceInTheTrash) {
  const auto engine = Start();
  auto session = engine->Open({"vol", Root(), 0});
  ASSERT_TRUE(session.ok());
  const std::string content(9 * 1024 * 1024, 'x');  // worth keeping for a later session
  const auto stage = [&] {
    EXPECT_TRUE(session->StageBegin(1, "large", 2 * content.size(), "").ok());
    for (size_t at = 0; at < content.size(); at += 1024 * 1024) {
      EXPECT_TRUE(session->StageData(1, at, std::string_view(content).substr(at, 1024 * 1024)).ok());
    }
  };
  stage();
  session = engine->Open({"vol", Root(), 0});
  ASSERT_EQ(session->State().leftovers.size(), 1u);
  ASSERT_TRUE(session->StageBegin(1, "other", content.size(), "").ok());
  const std::string work = host_.File(".understudy/replica-" + session->State().replica_id);
  ASSERT_TRUE(Discard(*engine, "vol", Root()).ok());
  EXPECT_TRUE(fs::is_empty(work + "/staging"));
  EXPECT_TRUE(fs::is_empty(work + "/leftover"));
}

TEST_F(TrashTest, AReplicaWhoseFolderIsNotThereStaysAReplica) {
  const auto engine = Start();
  auto session = engine->Open({"vol", Root(), 0});
  ASSERT_TRUE(session.ok() && session->SubmitDurable(NextCommit(session->State(), {InlinePut("f", "A")})).ok());
  ASSERT_TRUE(session->Publish().ok());
  fs::rename(Root(), host_.File("aside"));
  EXPECT_EQ(Discard(*engine, "vol", Root()).code(), absl::StatusCode::kUnavailable);
  fs::create_directory(Root());  // somebody's
  EXPECT_EQ(Discard(*engine, "vol", Root()).code(), absl::StatusCode::kUnavailable);
  EXPECT_TRUE(List(*engine).empty());
  EXPECT_EQ(engine->List().size(), 1u);
  fs::remove(Root());
  fs::rename(host_.File("aside"), Root());
  ASSERT_TRUE(engine->Open({"vol", Root(), 0}).ok());
  EXPECT_TRUE(Discard(*engine, "vol", Root()).ok());
  EXPECT_EQ(List(*engine).size(), 1u);
}

TEST_F(TrashTest, AReplicaThatHoldsAnExportStays) {
  const std::string inner = Root() + "/inner";
  fs::create_directories(inner);
  auto engine = dr::CommitEngine::Start({.state_dir = host_.State(), .exports = {host_.Export(), inner}});
  ASSERT_TRUE(engine.ok()) << engine.status();
  ASSERT_TRUE((*engine)->Open({"vol", Root(), 0}).ok());
  EXPECT_EQ(Discard(**engine, "vol", Root()).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(fs::exists(inner));
}

TEST_F(TrashTest, AReplicaThatIsAWholeExportStays) {
  const auto engine = Start();
  ASSERT_TRUE(engine->Open({"whole", host_.Export(), 0}).ok());
  EXPECT_EQ(Discard(*engine, "whole", host_.Export()).code(), absl::StatusCode::kFailedPrecondition);
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
  EXPECT_EQ(Discard(*engine, "vol", Root()).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(Read(Root() + "/d/f"), "A");
  EXPECT_TRUE(List(*engine).empty());
}

TEST_F(TrashTest, WhatHasExpiredIsPurgedAndNothingElse) {
  const auto engine = Start();
  const std::string id = MakeVolume(*engine).replica_id;
  ASSERT_TRUE(Discard(*engine, "vol", Root()).ok());
  clock_.Advance(absl::Hours(24) - absl::Seconds(1));
  engine->trash().Work({});
  auto entries = List(*engine);
  ASSERT_EQ(entries.size(), 1u);
  EXPECT_TRUE(entries[0].measured);
  EXPECT_EQ(entries[0].size_bytes, 1u);
  EXPECT_EQ(entries[0].entry_count, 2u);
  EXPECT_EQ(engine->trash().Sum()->size_bytes, 1u);
  MakeVolume(*engine, "kept");
  clock_.Advance(absl::Seconds(1));
  engine->trash().Work({});
  EXPECT_TRUE(List(*engine).empty());
  EXPECT_FALSE(fs::exists(host_.File(".understudy/trash/" + id)));
  EXPECT_FALSE(fs::exists(host_.File(".understudy/replica-" + id)));
  EXPECT_FALSE(fs::exists(host_.State() + "/trash/" + id));
  EXPECT_EQ(engine->probe().trash_purged, 1u);
  EXPECT_EQ(engine->trash().Sum()->volumes, 0u);
  EXPECT_EQ(Show(*engine, "vol").empty(), false);
  EXPECT_EQ(Read(Root() + "/d/f"), "kept");
}

// Days count by the clock that nobody sets, and only while an agent counts them.
TEST_F(TrashTest, NoClockThatJumpsEndsTheRetentionEarly) {
  auto engine = Start();
  const std::string id = MakeVolume(*engine).replica_id;
  clock_.Set(-absl::Hours(24 * 365));  // deleted while the clock was a year behind
  ASSERT_TRUE(Discard(*engine, "vol", Root()).ok());
  clock_.Set(absl::Hours(24 * 365));
  const auto still_there = [&] {
    engine->trash().Work({});
    return List(*engine).size() == 1 && List(*engine)[0].state == model::TrashState::kTrashed;
  };
  EXPECT_TRUE(still_there());
  clock_.Advance(absl::Hours(12));
  EXPECT_TRUE(still_there());
  EXPECT_EQ(List(*engine)[0].expires_at, clock_.Now() + absl::Hours(12));
  clock_.Set(absl::Hours(24 * 365 * 20));
  engine.reset();
  engine = Start();
  EXPECT_TRUE(still_there());
  clock_.Advance(absl::Hours(11));
  EXPECT_TRUE(still_there());
  clock_.Set(-absl::Hours(24 * 365 * 40));
  EXPECT_TRUE(still_there());
  EXPECT_EQ(List(*engine)[0].expires_at, clock_.Now() + absl::Hours(1));
  clock_.Advance(absl::Hours(1));
  engine->trash().Work({});
  EXPECT_TRUE(List(*engine).empty());
  EXPECT_FALSE(fs::exists(DataOf(id)));
}

TEST_F(TrashTest, WhatComesBetweenTwoRoundsIsKeptAsLong) {
  const auto engine = Start();
  MakeVolume(*engine);
  clock_.Advance(absl::Hours(23));
  ASSERT_TRUE(Discard(*engine, "vol", Root()).ok());
  EXPECT_EQ(List(*engine)[0].expires_at, clock_.Now() + absl::Hours(24));
  clock_.Advance(absl::Hours(23));
  EXPECT_EQ(List(*engine)[0].expires_at, clock_.Now() + absl::Hours(1));
  engine->trash().Work({});
  EXPECT_EQ(List(*engine).size(), 1u);
}

TEST_F(TrashTest, OneRoundPurgesAllThatExpiredWhateverCannotBe) {
  const auto engine = Start();
  constexpr size_t kVolumes = 70;
  std::string stuck;
  for (size_t i = 0; i < kVolumes; ++i) {
    const std::string name = "v" + std::to_string(i);
    ASSERT_TRUE(engine->Open({name, host_.RootOf(name), 0}).ok());
    ASSERT_TRUE(Discard(*engine, name, host_.RootOf(name)).ok());
  }
  stuck = List(*engine).front().id;
  EXPECT_EQ(engine->trash().Sum()->volumes, kVolumes);
  fs::rename(host_.File(".understudy/trash/" + stuck), host_.File("aside"));
  clock_.Advance(absl::Hours(24));
  engine->trash().Work({});
  ASSERT_EQ(List(*engine).size(), 1u);
  EXPECT_EQ(List(*engine)[0].id, stuck);
  EXPECT_EQ(engine->probe().trash_purged, kVolumes - 1);
}

TEST_F(TrashTest, APurgeThatIsStoppedGoesOnLater) {
  const auto engine = Start();
  const std::string id = MakeVolume(*engine).replica_id;
  ASSERT_TRUE(Discard(*engine, "vol", Root()).ok());
  engine->trash().WaitForWork({}, absl::InfiniteDuration());  // there is something to count
  std::stop_source stopped;
  stopped.request_stop();
  engine->trash().WaitForWork(stopped.get_token(), absl::InfiniteDuration());
  ASSERT_TRUE(engine->trash().Purge(id).ok());
  engine->trash().Work(stopped.get_token());
  EXPECT_EQ(Read(DataOf(id) + "/d/f"), "A");
  engine->trash().WaitForWork({}, absl::InfiniteDuration());  // there is something to purge
  engine->trash().Work({});
  EXPECT_TRUE(List(*engine).empty());
}

TEST_F(TrashTest, WhatIsMountedInsideIsNeverRemoved) {
  if (geteuid() != 0) GTEST_SKIP() << "mounting needs root";
  const auto engine = Start();
  const std::string id = MakeVolume(*engine).replica_id;
  ASSERT_TRUE(Discard(*engine, "vol", Root()).ok());
  const std::string other = host_.File("other");
  const std::string inside = DataOf(id) + "/d";
  fs::create_directory(other);
  std::ofstream(other + "/theirs") << "T";
  if (mount(other.c_str(), inside.c_str(), nullptr, MS_BIND, nullptr) != 0)
    GTEST_SKIP() << "nothing can be mounted here";
  ASSERT_TRUE(engine->trash().Purge(id).ok());
  engine->trash().Work({});
  EXPECT_EQ(Read(other + "/theirs"), "T");
  EXPECT_EQ(List(*engine).size(), 1u);
  ASSERT_EQ(umount2(inside.c_str(), MNT_DETACH), 0);
  engine->trash().Work({});
  EXPECT_TRUE(List(*engine).empty());
}

TEST_F(TrashTest, WhatIsBeingPurgedCannotBeRestored) {
  const auto engine = Start();
  const std::string id = MakeVolume(*engine).replica_id;
  ASSERT_TRUE(Discard(*engine, "vol", Root()).ok());
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
      return Discard(*host.Start(crash), "vol", root).ok();
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

TEST_F(TrashTest, AskingAgainFinishesAMove) {
  std::string id;
  const int result = InProcess([&] {
    CrashAt crash(1);
    const auto engine = Start(crash);
    MakeVolume(*engine);
    return Discard(*engine, "vol", Root()).ok();
  });
  ASSERT_EQ(result, kCrashed);
  fs::rename(Root(), host_.File("aside"));
  const auto engine = Start();
  id = List(*engine).at(0).id;
  const auto again = [&] { return engine->MoveToTrash({"vol", Root(), id, 1}, "deleted"); };
  EXPECT_EQ(again().code(), absl::StatusCode::kUnavailable);
  fs::rename(host_.File("aside"), Root());
  EXPECT_TRUE(again().ok());
  EXPECT_EQ(List(*engine).at(0).state, model::TrashState::kTrashed);
  EXPECT_FALSE(fs::exists(Root()));
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
      ASSERT_TRUE(Discard(*engine, "vol", root).ok());
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
      ASSERT_TRUE(Discard(*engine, "vol", host.RootOf("vol")).ok());
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
  ASSERT_TRUE(Discard(*engine, "vol", Root()).ok());
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

// Counting and restoring look at the work folder before the purge does: what they make must not pass for the entry.
TEST_F(TrashTest, NeitherCountingNorRestoringMakesAFolderWhileTheFilesystemIsAway) {
  const auto engine = Start();
  const std::string id = MakeVolume(*engine).replica_id;
  ASSERT_TRUE(Discard(*engine, "vol", Root()).ok());
  const std::string work = host_.File(".understudy");
  fs::rename(work, host_.File("aside"));
  engine->trash().Work({});
  EXPECT_FALSE(List(*engine).at(0).measured);
  EXPECT_EQ(engine->Restore(id).status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(List(*engine).at(0).state, model::TrashState::kTrashed);
  ASSERT_TRUE(engine->trash().Purge(id).ok());
  engine->trash().Work({});
  EXPECT_EQ(List(*engine).size(), 1u);
  EXPECT_TRUE(fs::exists(host_.State() + "/trash/" + id));
  EXPECT_FALSE(fs::exists(work + "/trash/" + id));
}

TEST_F(TrashTest, AMakingThatWasCutShortIsNotInTheWayOfARestore) {
  const auto engine = Start();
  const std::string id = MakeVolume(*engine).replica_id;
  ASSERT_TRUE(Discard(*engine, "vol", Root()).ok());
  fs::create_directory(host_.State() + "/volumes/vol");
  const auto restored = engine->Restore(id);
  ASSERT_TRUE(restored.ok()) << restored.status();
  EXPECT_EQ(restored->replica_id, id);
}

TEST_F(TrashTest, NothingIsPutBackInsideAnotherReplica) {
  const auto engine = Start();
  const std::string root = host_.RootOf("above/vol");
  auto session = engine->Open({"vol", root, 0});
  ASSERT_TRUE(session.ok());
  const std::string id = session->State().replica_id;
  ASSERT_TRUE(Discard(*engine, "vol", root).ok());
  ASSERT_TRUE(engine->Open({"above", host_.RootOf("above"), 0}).ok());
  EXPECT_EQ(engine->Restore(id).status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(fs::is_empty(host_.RootOf("above")));
  EXPECT_EQ(List(*engine).at(0).state, model::TrashState::kTrashed);
}

TEST_F(TrashTest, NothingIsTouchedOutsideTheExports) {
  std::string id;
  {
    const auto engine = Start();
    id = MakeVolume(*engine).replica_id;
    ASSERT_TRUE(Discard(*engine, "vol", Root()).ok());
  }
  const std::string other = host_.File("another-export");
  fs::create_directory(other);
  const auto engine = dr::CommitEngine::Start({.state_dir = host_.State(), .exports = {other}});
  ASSERT_TRUE(engine.ok()) << engine.status();
  EXPECT_EQ((*engine)->Restore(id).status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(List(**engine).at(0).state, model::TrashState::kTrashed);
  ASSERT_TRUE((*engine)->trash().Purge(id).ok());
  (*engine)->trash().Work({});
  EXPECT_EQ(List(**engine).size(), 1u);
  EXPECT_EQ(Read(DataOf(id) + "/d/f"), "A");
}

TEST_F(TrashTest, ARestoreWhoseFolderAboveIsGoneChangesNothing) {
  const auto engine = Start();
  const std::string root = host_.RootOf("above/vol");
  auto session = engine->Open({"vol", root, 0});
  ASSERT_TRUE(session.ok());
  const std::string id = session->State().replica_id;
  ASSERT_TRUE(Discard(*engine, "vol", root).ok());
  fs::remove(host_.RootOf("above"));
  EXPECT_EQ(engine->Restore(id).status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(List(*engine).at(0).state, model::TrashState::kTrashed);
  fs::create_directory(host_.RootOf("above"));
  EXPECT_TRUE(engine->Restore(id).ok());
}

// Its data is back in its place, and its state isn't yet, when the filesystem goes away.
TEST_F(TrashTest, AnUnfinishedRestoreWaitsForItsFolder) {
  std::string id;
  {
    const auto engine = Start();
    id = MakeVolume(*engine).replica_id;
    ASSERT_TRUE(Discard(*engine, "vol", Root()).ok());
  }
  const int result = InProcess([&] {
    CrashAt crash(2);
    return Start(crash)->Restore(id).ok();
  });
  ASSERT_EQ(result, kCrashed);
  fs::rename(Root(), host_.File("aside"));
  const auto engine = Start();
  EXPECT_EQ(engine->Problems().size(), 1u);
  EXPECT_EQ(List(*engine).at(0).state, model::TrashState::kRestoring);
  EXPECT_FALSE(engine->Open({"vol", Root(), 0}).ok());
  EXPECT_EQ(engine->trash().Purge(id).code(), absl::StatusCode::kFailedPrecondition);
  fs::rename(host_.File("aside"), Root());
  const auto restored = engine->Restore(id);
  ASSERT_TRUE(restored.ok()) << restored.status();
  EXPECT_EQ(restored->replica_id, id);
  EXPECT_EQ(Read(Root() + "/d/f"), "A");
}

// The folder that was the replica's is away, another one is there in its place: nothing of somebody else's is moved.
TEST_F(TrashTest, AnUnfinishedMoveHoldsItsPlaceUntilItsFolderIsBack) {
  const std::string aside = host_.File("aside");
  const int result = InProcess([&] {
    CrashAt crash(1);
    const auto engine = Start(crash);
    MakeVolume(*engine);
    return Discard(*engine, "vol", Root()).ok();
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
