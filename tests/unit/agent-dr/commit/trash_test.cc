// Deleted volumes: moved to the trash and brought back, and what stays where it is.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <string>

#include "tests/unit/agent-dr/commit/trash_fixture.h"

namespace understudy::tests {
namespace {

namespace fs = std::filesystem;

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

// Its export goes then, which mustn't happen to one that stays.
TEST_F(TrashTest, OnlyWhenItIsCertainThatAVolumeGoesIsThatTold) {
  model::ReplicaState state;
  {
    const auto engine = Start();
    MakeVolume(*engine);
    ASSERT_TRUE(engine->BeginPromotion("vol", true).ok());
    EXPECT_TRUE(absl::IsFailedPrecondition(Discard(*engine, "vol", Root()))) << "it is no standby";
    EXPECT_TRUE(told_.empty());
    ASSERT_TRUE(engine->BeginDemotion("vol").ok() && engine->FinishDemotion("vol").ok());
    fs::rename(Root(), Root() + ".away");
    EXPECT_TRUE(absl::IsUnavailable(Discard(*engine, "vol", Root()))) << "its folder isn't in its place";
    EXPECT_TRUE(told_.empty());
    fs::rename(Root() + ".away", Root());
  }
  const auto engine = Start();
  ASSERT_TRUE(Discard(*engine, "vol", Root()).ok());
  EXPECT_EQ(told_, std::vector<std::string>{"vol"});
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

// No entry in the trash's list, so nothing of it may count as deleted.
TEST_F(TrashTest, AMoveThatFailsBeforeItIsWrittenDownLeavesAReplicaInUse) {
  class FullDisk : public dr::FaultPoints {
   public:
    absl::Status Reach(dr::Step step, size_t index) override {
      return step == dr::Step::kTrash && index == 0 ? absl::ResourceExhaustedError("injected") : absl::OkStatus();
    }
  } faults;
  const auto engine = Start(faults);
  MakeVolume(*engine);
  EXPECT_TRUE(absl::IsResourceExhausted(Discard(*engine, "vol", Root())));
  EXPECT_TRUE(List(*engine).empty());
  EXPECT_EQ(engine->List().size(), 1u);
  auto session = engine->Open({"vol", Root(), 0});
  ASSERT_TRUE(session.ok()) << session.status();
  EXPECT_TRUE(session->SubmitDurable(NextCommit(session->State(), {InlinePut("later", "L")})).ok());
  ASSERT_TRUE(session->Publish().ok());
  EXPECT_EQ(Read(Root() + "/later"), "L");
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
  {
    auto database = store::Database::Open(host_.State() + "/volumes/vol/replica.db", {});
    ASSERT_TRUE(database.ok()) << database.status();
    ASSERT_TRUE(database->Execute("UPDATE replica SET state = 'active'").ok());
  }
  const auto engine = Start();
  EXPECT_EQ(Discard(*engine, "vol", Root()).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(Read(Root() + "/d/f"), "A");
  EXPECT_TRUE(List(*engine).empty());
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

}  // namespace
}  // namespace understudy::tests
