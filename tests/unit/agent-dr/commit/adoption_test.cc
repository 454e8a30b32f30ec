// A folder becomes a replica of the live copy at the other side: what it held stays reachable, whose commits are taken,
// when it is refused, and that each of its steps may be cut by a crash and asked for again.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <set>
#include <string>
#include <thread>
#include <utility>

#include "agent-dr/commit/state_change.h"
#include "core/wire/limits.h"
#include "core/wire/status_fence.h"
#include "tests/unit/agent-dr/commit/engine_fixture.h"

namespace understudy::tests {
namespace {

using model::VolumeState;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// Ends the process at the `at`-th step that is reached once it is armed.
class CrashAt : public dr::FaultPoints {
 public:
  explicit CrashAt(size_t at) : at_(at) {}
  absl::Status Reach(dr::Step, size_t) override {
    if (armed_ && reached_++ == at_) _exit(kCrashed);
    return absl::OkStatus();
  }
  void Arm() { armed_ = true; }

 private:
  const size_t at_;
  bool armed_ = false;
  size_t reached_ = 0;
};

void Write(const std::string& path, const std::string& content) {
  std::filesystem::create_directories(std::filesystem::path(path).parent_path());
  std::ofstream(path) << content;
}

std::string Content(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

model::VolumeSpec SpecOf(const DrHost& host, model::Epoch epoch) {
  return {"vol", host.RootOf("vol"), epoch};
}

// As a live copy: active at epoch 2, with what clients wrote.
bool MakeLive(dr::CommitEngine& engine, const DrHost& host) {
  auto session = engine.Open(SpecOf(host, 0));
  if (!session.ok() || !session->SubmitDurable(NextCommit(session->State(), {InlinePut("a", "old")})).ok())
    return false;
  if (!session->Publish().ok() || !engine.BeginPromotion("vol", false).ok()) return false;
  if (!engine.FinishPromotion("vol").ok()) return false;
  Write(host.RootOf("vol") + "/a", "written live");
  Write(host.RootOf("vol") + "/late", "never across");
  return true;
}

// As a live copy that is replicated to the other side.
bool MakeRetired(dr::CommitEngine& engine, const DrHost& host) {
  return MakeLive(engine, host) && engine.LetGo("vol", 2).ok();
}

bool Adopt(dr::CommitEngine& engine, const model::VolumeSpec& spec) {
  if (!engine.State("vol").ok()) return engine.AdoptFolder(spec).ok();
  return engine.BeginAdoption(spec).ok() && engine.FinishDemotion("vol").ok();
}

// What the volume was is its one labelled state, and comes back after the other side's commit.
void ExpectReachable(dr::CommitEngine& engine, const DrHost& host, const model::VolumeSpec& spec) {
  const std::string before = Show(engine, "vol");
  auto session = engine.Open(spec);
  ASSERT_TRUE(session.ok()) << session.status();
  EXPECT_FALSE(session->State().complete);
  EXPECT_EQ(session->State().commit_id, "");
  ASSERT_TRUE(session
                  ->SubmitDurable(NextCommit(session->State(), {model::Remove{"late", model::FileKind::kRegular},
                                                                InlinePut("a", "from the other side")}))
                  .ok());
  ASSERT_TRUE(session->Publish().ok());
  EXPECT_EQ(Content(host.RootOf("vol") + "/a"), "from the other side");
  const auto points = engine.Points("vol");
  ASSERT_EQ(points->size(), 1u);
  EXPECT_EQ(points->front().label, dr::AdoptionLabel(spec.epoch));
  EXPECT_TRUE(points->front().pinned);
  ASSERT_TRUE(engine.Rewind("vol", points->front().sequence).ok());
  EXPECT_EQ(Show(engine, "vol"), before);
}

class AdoptionTest : public ::testing::Test {
 protected:
  // Makes the call while an inventory of more than a page is under way, whose end it doesn't wait for. How that ends.
  absl::Status CallDuringAnInventory(dr::CommitEngine& engine, const std::function<absl::Status()>& call) {
    constexpr size_t kFiles = wire::kMaxPageEntries + 1;
    for (size_t i = 0; i < kFiles; ++i) Write(host_.RootOf("vol") + "/many/" + std::to_string(i), "");
    size_t listed = 0;
    absl::Status called = absl::UnknownError("not called");
    const absl::Status ended = engine.Inventory("vol", /*with_digests=*/false, [&](const model::InventoryEntry&) {
      if (listed++ == 0) std::thread([&] { called = call(); }).join();
      return absl::OkStatus();
    });
    EXPECT_EQ(called, absl::OkStatus());
    return ended;
  }

  DrHost host_;
};

TEST_F(AdoptionTest, AFolderThatWasNoneIsAReplicaAsItIs) {
  Write(host_.RootOf("vol") + "/a", "written live");
  Write(host_.RootOf("vol") + "/late", "never across");
  {
    const auto engine = host_.Start();
    ASSERT_TRUE(engine->CheckAdoption(SpecOf(host_, 2)).ok());
    EXPECT_TRUE(absl::IsNotFound(engine->State("vol").status())) << "asking changes nothing";
    const auto adopted = engine->AdoptFolder(SpecOf(host_, 2));
    ASSERT_TRUE(adopted.ok()) << adopted.status();
    EXPECT_EQ(adopted->state, VolumeState::kStandby);
    EXPECT_EQ(adopted->epoch, 2u);
    EXPECT_EQ(engine->AdoptFolder(SpecOf(host_, 2))->replica_id, adopted->replica_id) << "once more";
    EXPECT_EQ(Content(host_.RootOf("vol") + "/late"), "never across");
  }
  const auto engine = host_.Start();
  EXPECT_EQ(engine->State("vol")->epoch, 2u);
  EXPECT_TRUE(absl::IsFailedPrecondition(engine->BeginPromotion("vol", false).status())) << "nothing came yet";
  EXPECT_EQ(wire::FenceOf(engine->Open(SpecOf(host_, 1)).status()), 2u) << "a primary of before";
  ExpectReachable(*engine, host_, SpecOf(host_, 2));
}

TEST_F(AdoptionTest, LettingGoDoesNotWaitForAnInventory) {
  const auto engine = host_.Start();
  ASSERT_TRUE(MakeLive(*engine, host_));
  const absl::Status ended = CallDuringAnInventory(*engine, [&] { return engine->LetGo("vol", 2).status(); });
  EXPECT_EQ(ended, absl::OkStatus()) << "the folder is what it was";
  EXPECT_TRUE(engine->State("vol")->reprotected);
}

TEST_F(AdoptionTest, BecomingAReplicaAgainDoesNotWaitForAnInventory) {
  const auto engine = host_.Start();
  ASSERT_TRUE(MakeRetired(*engine, host_));
  const absl::Status ended =
      CallDuringAnInventory(*engine, [&] { return engine->BeginAdoption(SpecOf(host_, 3)).status(); });
  EXPECT_TRUE(absl::IsAborted(ended)) << ended;
  EXPECT_EQ(engine->State("vol")->state, VolumeState::kDemoting);
}

TEST_F(AdoptionTest, ARetiredLiveCopyIsAReplicaAgainForALaterEpochOnly) {
  {
    const auto engine = host_.Start();
    ASSERT_TRUE(MakeRetired(*engine, host_));
  }
  const auto engine = host_.Start();
  EXPECT_TRUE(engine->State("vol")->reprotected);
  // The old primary, for ever; and nobody makes it a replica by mistake.
  for (const model::Epoch epoch : {0, 1, 2, 9}) {
    const absl::Status refused = engine->Open(SpecOf(host_, epoch)).status();
    EXPECT_EQ(wire::FenceOf(refused), 2u) << epoch;
    EXPECT_THAT(std::string(refused.message()), HasSubstr("drctl volumes reprotect vol"));
  }
  EXPECT_TRUE(absl::IsFailedPrecondition(engine->BeginDemotion("vol").status()));
  for (const model::Epoch epoch : {1, 2}) {
    EXPECT_TRUE(absl::IsFailedPrecondition(engine->BeginAdoption(SpecOf(host_, epoch)).status())) << epoch;
    EXPECT_TRUE(absl::IsFailedPrecondition(engine->CheckAdoption(SpecOf(host_, epoch)))) << epoch;
  }
  EXPECT_EQ(engine->State("vol")->state, VolumeState::kActive);

  ASSERT_TRUE(Adopt(*engine, SpecOf(host_, 3)));
  ASSERT_TRUE(Adopt(*engine, SpecOf(host_, 3))) << "once more";
  EXPECT_EQ(engine->State("vol")->epoch, 3u);
  EXPECT_FALSE(engine->State("vol")->reprotected);
  EXPECT_EQ(wire::FenceOf(engine->Open(SpecOf(host_, 2)).status()), 3u) << "a primary of before, before any commit";
  ExpectReachable(*engine, host_, SpecOf(host_, 3));
}

TEST_F(AdoptionTest, LettingGoIsForWhatIsActiveAtThatEpoch) {
  const auto engine = host_.Start();
  EXPECT_TRUE(absl::IsNotFound(engine->LetGo("vol", 2).status()));
  auto session = engine->Open(SpecOf(host_, 0));
  ASSERT_TRUE(session->SubmitDurable(NextCommit(session->State(), {InlinePut("a", "a")})).ok());
  EXPECT_TRUE(absl::IsFailedPrecondition(engine->LetGo("vol", 1).status())) << "a standby";
  ASSERT_TRUE(engine->BeginPromotion("vol", false).ok());
  EXPECT_TRUE(absl::IsFailedPrecondition(engine->LetGo("vol", 2).status())) << "promoting";
  ASSERT_TRUE(engine->FinishPromotion("vol").ok());
  for (const model::Epoch epoch : {1, 3}) {
    EXPECT_TRUE(absl::IsFailedPrecondition(engine->LetGo("vol", epoch).status())) << epoch;
  }
  EXPECT_FALSE(engine->State("vol")->reprotected);
  EXPECT_TRUE(engine->LetGo("vol", 2)->reprotected);
  EXPECT_TRUE(engine->LetGo("vol", 2)->reprotected) << "once more";
}

TEST_F(AdoptionTest, AStandbyWithItsRecoveryPointsStaysAsItIs) {
  const auto engine = host_.Start();
  auto session = engine->Open(SpecOf(host_, 0));
  for (const char* const content : {"one", "two"}) {
    ASSERT_TRUE(session->SubmitDurable(NextCommit(session->State(), {InlinePut("a", content)})).ok());
    ASSERT_TRUE(session->Publish().ok());
  }
  EXPECT_TRUE(absl::IsFailedPrecondition(engine->AdoptFolder(SpecOf(host_, 2)).status()));
  EXPECT_TRUE(absl::IsFailedPrecondition(engine->BeginAdoption(SpecOf(host_, 2)).status()));
  // Nobody was promoted at the first epoch: it is that live copy's replica already.
  EXPECT_TRUE(engine->BeginAdoption(SpecOf(host_, 1)).ok());
  EXPECT_EQ(engine->Points("vol")->size(), 2u);
  EXPECT_TRUE(engine->Open(SpecOf(host_, 1)).ok());
}

TEST_F(AdoptionTest, WhatIsNoFolderOfItsOwnIsRefused) {
  const auto engine = host_.Start();
  EXPECT_TRUE(absl::IsNotFound(engine->AdoptFolder(SpecOf(host_, 2)).status())) << "no folder";
  EXPECT_FALSE(std::filesystem::exists(host_.RootOf("vol"))) << "an export that isn't mounted isn't filled";
  ASSERT_TRUE(engine->Open({"other", host_.RootOf("other"), 0}).ok());
  Write(host_.RootOf("other") + "/inside/file", "x");
  Write(host_.File("elsewhere/file"), "x");
  EXPECT_TRUE(absl::IsFailedPrecondition(engine->AdoptFolder({"vol", host_.RootOf("other") + "/inside", 2}).status()));
  EXPECT_TRUE(absl::IsFailedPrecondition(engine->AdoptFolder({"vol", host_.Export(), 2}).status())) << "around one";
  EXPECT_TRUE(absl::IsInvalidArgument(engine->AdoptFolder({"vol", host_.File("elsewhere"), 2}).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(engine->AdoptFolder({"vol", host_.RootOf("other"), 0}).status())) << "no epoch";
  EXPECT_TRUE(absl::IsNotFound(engine->State("vol").status()));
}

TEST_F(AdoptionTest, WithoutRecoveryPointsNothingIsTaken) {
  Write(host_.RootOf("vol") + "/a", "written live");
  const auto engine = host_.Start(dr::FaultPoints::None(), {.keep_for = absl::ZeroDuration()});
  const absl::Status refused = engine->AdoptFolder(SpecOf(host_, 2)).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(refused)) << refused;
  EXPECT_THAT(std::string(refused.message()), HasSubstr("points.keep_for"));
}

// A crash at each step: the folder is untouched, the replica is in one of the states, and the same request ends it.
void CrashAtEachStep(bool retired, const std::set<std::string>& expected) {
  std::set<std::string> seen;
  for (size_t at = 0;; ++at) {
    SCOPED_TRACE(at);
    DrHost host;
    const int result = InProcess([&] {
      CrashAt crash(at);
      const auto engine = host.Start(crash);
      if (retired && !MakeRetired(*engine, host)) return false;
      if (!retired) {
        Write(host.RootOf("vol") + "/a", "written live");
        Write(host.RootOf("vol") + "/late", "never across");
      }
      crash.Arm();
      return Adopt(*engine, SpecOf(host, 3));
    });
    ASSERT_TRUE(result == 0 || result == kCrashed) << result;
    const auto engine = host.Start();
    ASSERT_THAT(engine->Problems(), IsEmpty());
    const auto state = engine->State("vol");
    seen.insert(state.ok() ? std::string(model::ToString(state->state)) : "none");
    EXPECT_EQ(Content(host.RootOf("vol") + "/late"), "never across");
    ASSERT_TRUE(Adopt(*engine, SpecOf(host, 3)));
    EXPECT_EQ(engine->State("vol")->epoch, 3u);
    ExpectReachable(*engine, host, SpecOf(host, 3));
    if (result == 0) break;
  }
  EXPECT_EQ(seen, expected);
}

TEST(AdoptionCrashTest, AtEachStepOfAFolderThatWasNone) {
  CrashAtEachStep(false, {"none", "standby"});
}

TEST(AdoptionCrashTest, AtEachStepOfARetiredLiveCopy) {
  CrashAtEachStep(true, {"active", "demoting", "standby"});
}

}  // namespace
}  // namespace understudy::tests
