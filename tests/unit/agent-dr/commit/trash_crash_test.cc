// Never half a move to the trash, a restore or a purge, whatever step a crash ends.
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <string>

#include "tests/unit/agent-dr/commit/trash_fixture.h"

namespace understudy::tests {
namespace {

namespace fs = std::filesystem;

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

class TrashCrashTest : public TrashTest {
 protected:
  // Its intent is durable, and nothing is moved, when the process ends.
  void BeginAMove() {
    const int result = InProcess([&] {
      CrashAt crash(1);
      const auto engine = Start(crash);
      MakeVolume(*engine);
      return Discard(*engine, "vol", Root()).ok();
    });
    ASSERT_EQ(result, kCrashed);
  }
};

// A crash before the intent leaves a replica; after it, the next start finishes the move.
TEST_F(TrashCrashTest, AMoveThatACrashEndsIsFinishedByTheNextStart) {
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

TEST_F(TrashCrashTest, AskingAgainFinishesAMove) {
  ASSERT_NO_FATAL_FAILURE(BeginAMove());
  fs::rename(Root(), host_.File("aside"));
  const auto engine = Start();
  const std::string id = List(*engine).at(0).id;
  const auto again = [&] { return engine->MoveToTrash({"vol", Root(), id, 1}, "deleted"); };
  EXPECT_EQ(again().code(), absl::StatusCode::kUnavailable);
  fs::rename(host_.File("aside"), Root());
  EXPECT_TRUE(again().ok());
  EXPECT_EQ(List(*engine).at(0).state, model::TrashState::kTrashed);
  EXPECT_FALSE(fs::exists(Root()));
}

TEST_F(TrashCrashTest, ARestoreThatACrashEndsIsFinishedByTheNextStart) {
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

TEST_F(TrashCrashTest, APurgeThatACrashEndsGoesOn) {
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

// Its data is back in its place, and its state isn't yet, when the filesystem goes away.
TEST_F(TrashCrashTest, AnUnfinishedRestoreWaitsForItsFolder) {
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
TEST_F(TrashCrashTest, AnUnfinishedMoveHoldsItsPlaceUntilItsFolderIsBack) {
  const std::string aside = host_.File("aside");
  ASSERT_NO_FATAL_FAILURE(BeginAMove());
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
