// Who waits for whom around a promotion: what takes long makes way, who is told something holds nobody up, and a
// promotion that is given up while it waits changes nothing.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <set>
#include <string>
#include <thread>

#include "absl/synchronization/notification.h"
#include "core/wire/limits.h"
#include "tests/unit/agent-dr/commit/engine_fixture.h"

namespace understudy::tests {
namespace {

using model::VolumeState;
using ::testing::HasSubstr;

// The newest commit is durable, and not in the folder yet.
absl::Status MakeTwoCommits(dr::CommitEngine& engine, const std::string& root) {
  auto session = engine.Open({"vol", root, 0});
  RETURN_IF_ERROR(session.status());
  RETURN_IF_ERROR(session->SubmitDurable(NextCommit(session->State(), {InlinePut("a", "old"), InlinePut("b", "b")})));
  RETURN_IF_ERROR(session->Publish());
  return session->SubmitDurable(NextCommit(
      session->State(), {model::Remove{"b", model::FileKind::kRegular}, InlinePut("a", "new"), InlinePut("c", "c")}));
}

class PromotionWaitsTest : public ::testing::Test {
 protected:
  DrHost host_;
};

// A promotion that is asked for while something else has the replica's lock.
class WaitingPromotion {
 public:
  explicit WaitingPromotion(dr::CommitEngine& engine) : engine_(engine) {}
  ~WaitingPromotion() { Join().status().IgnoreError(); }
  // Returns once the promotion waits. For whoever holds the lock; begins once.
  void Begin() {
    if (thread_.joinable()) return;
    thread_ = std::thread([this] {
      result_ = engine_.BeginPromotion("vol", false, [this] {
        if (!waits_.HasBeenNotified()) waits_.Notify();
        return false;
      });
    });
    waits_.WaitForNotification();
  }
  absl::StatusOr<model::ReplicaState> Join() {
    if (thread_.joinable()) thread_.join();
    return result_;
  }

 private:
  dr::CommitEngine& engine_;
  absl::Notification waits_;
  absl::StatusOr<model::ReplicaState> result_ = absl::UnknownError("not asked");
  std::thread thread_;
};

// More than one page of entries.
absl::Status MakeManyEntries(dr::CommitEngine& engine, const std::string& root) {
  for (size_t i = 0; i < wire::kMaxPageEntries + 5; ++i) {
    std::filesystem::create_directories(root + "/d" + std::to_string(i));
  }
  return MakeTwoCommits(engine, root);
}

// A primary that stalls while it is told what there is holds nobody up.
TEST_F(PromotionWaitsTest, NobodyWaitsForWhoIsToldAnInventory) {
  const auto engine = host_.Start();
  ASSERT_TRUE(MakeManyEntries(*engine, host_.RootOf("vol")).ok());
  size_t listed = 0;
  absl::Notification promoted;
  std::thread promotion;
  bool waited_in_vain = false;
  const absl::Status ended = engine->Inventory("vol", /*with_digests=*/true, [&](const model::InventoryEntry&) {
    if (listed++ > 0) return absl::OkStatus();
    promotion = std::thread([&] {
      EXPECT_TRUE(engine->BeginPromotion("vol", false).ok());
      promoted.Notify();
    });
    // Should it wait all the same, it goes on in the end, so that the test fails instead of hanging.
    waited_in_vain = !promoted.WaitForNotificationWithTimeout(absl::Seconds(20));
    return absl::OkStatus();
  });
  promotion.join();
  EXPECT_FALSE(waited_in_vain);
  EXPECT_TRUE(absl::IsAborted(ended)) << ended;
  EXPECT_EQ(listed, wire::kMaxPageEntries) << "what comes is of another state";
  EXPECT_EQ(engine->State("vol")->state, VolumeState::kPromoting);
  EXPECT_THAT(Show(*engine, "vol"), HasSubstr("a kind1")) << "the next one isn't in the way of anything";
}

TEST_F(PromotionWaitsTest, AnInventoryIsOfOneState) {
  const auto engine = host_.Start();
  ASSERT_TRUE(MakeManyEntries(*engine, host_.RootOf("vol")).ok());
  auto session = engine->Open({"vol", host_.RootOf("vol"), 0});
  ASSERT_TRUE(session.ok());
  size_t listed = 0;
  const absl::Status ended = engine->Inventory("vol", false, [&](const model::InventoryEntry&) {
    if (listed++ > 0) return absl::OkStatus();
    return session->SubmitDurable(NextCommit(session->State(), {InlinePut("zz", "new")}));
  });
  EXPECT_TRUE(absl::IsAborted(ended)) << ended;
  EXPECT_THAT(std::string(ended.message()), HasSubstr("changed since its inventory began"));
}

TEST_F(PromotionWaitsTest, ACopyOfTheTreeMakesWay) {
  const auto engine = host_.Start();
  ASSERT_TRUE(MakeTwoCommits(*engine, host_.RootOf("vol")).ok());
  ASSERT_TRUE(engine->Open({"vol", host_.RootOf("vol"), 0}).ok());
  std::filesystem::create_directory(host_.File("clone"));
  WaitingPromotion promotion(*engine);
  const absl::Status ended = engine->ClonePoint("vol", 2, *os::Root::Open(host_.File("clone")), {.cancelled = [&] {
                                                  promotion.Begin();
                                                  return false;
                                                }});
  EXPECT_TRUE(absl::IsAborted(ended)) << ended;
  EXPECT_TRUE(promotion.Join().ok());
}

// On a filesystem without shared blocks, as here.
TEST_F(PromotionWaitsTest, NobodyWaitsForALargeCopyWhoHasOtherVolumesToSeeTo) {
  const auto engine = host_.Start(dr::FaultPoints::None(), {.copied_while_commits_wait = 0});
  ASSERT_TRUE(MakeTwoCommits(*engine, host_.RootOf("vol")).ok());
  auto session = engine->Open({"vol", host_.RootOf("vol"), 0});
  ASSERT_TRUE(session.ok());
  std::filesystem::create_directory(host_.File("clone"));
  const model::Commit next = NextCommit(session->State(), {InlinePut("d", "d")});
  const model::DiscardedVolume discarded{"vol", host_.RootOf("vol"), session->State().replica_id, 1};
  std::set<absl::StatusCode> codes;
  const auto others_call = [&] {
    for (const absl::Status& status :
         {session->StageBegin(1, "e", 1, ""), session->SubmitDurable(next), session->Publish(),
          engine->Open({"vol", host_.RootOf("vol"), 0}).status(), engine->MoveToTrash(discarded, "deleted")}) {
      codes.insert(status.code());
    }
    EXPECT_TRUE(engine->Open({"other", host_.RootOf("other"), 0}).ok());
  };
  bool called = false;
  const absl::Status cloned = engine->ClonePoint("vol", 2, *os::Root::Open(host_.File("clone")), {.cancelled = [&] {
                                                   // Is asked first while what is to be copied is counted, which
                                                   // doesn't take long.
                                                   if (called || !std::filesystem::exists(host_.File("clone/tree")))
                                                     return false;
                                                   called = true;
                                                   std::thread(others_call).join();
                                                   return false;
                                                 }});
  ASSERT_TRUE(cloned.ok()) << cloned;
  EXPECT_TRUE(called);
  EXPECT_THAT(codes, testing::ElementsAre(absl::StatusCode::kUnavailable));
  EXPECT_TRUE(absl::IsFailedPrecondition(session->SubmitDurable(next))) << "its session is over";
  session = engine->Open({"vol", host_.RootOf("vol"), 0});
  ASSERT_TRUE(session.ok()) << session.status();
  EXPECT_TRUE(session->SubmitDurable(next).ok());
}

// Whoever works on the folder may hang as well.
TEST_F(PromotionWaitsTest, OneThatIsGivenUpWhileItWaitsChangesNothing) {
  const auto engine = host_.Start();
  ASSERT_TRUE(MakeTwoCommits(*engine, host_.RootOf("vol")).ok());
  auto session = engine->Open({"vol", host_.RootOf("vol"), 0});
  ASSERT_TRUE(session.ok());
  std::atomic<bool> gone{false};
  absl::Notification asked;
  absl::Notification ended;
  absl::Status promotion;
  std::thread waits;
  bool ended_in_time = false;
  const absl::Status held =
      (*engine->FindReplica("vol"))->WithPublished([&](const dr::Replica::Published&) -> absl::Status {
        waits = std::thread([&] {
          promotion = engine
                          ->BeginPromotion("vol", false,
                                           [&] {
                                             if (!asked.HasBeenNotified()) asked.Notify();
                                             return gone.load();
                                           })
                          .status();
          ended.Notify();
        });
        asked.WaitForNotification();
        gone = true;
        ended_in_time = ended.WaitForNotificationWithTimeout(absl::Seconds(20));
        return absl::OkStatus();
      });
  waits.join();
  EXPECT_TRUE(held.ok()) << held;
  EXPECT_TRUE(ended_in_time) << "while the lock was held";
  EXPECT_TRUE(absl::IsCancelled(promotion)) << promotion;
  EXPECT_EQ(engine->State("vol")->state, VolumeState::kStandby);
  EXPECT_EQ(engine->State("vol")->epoch, 1u);
  EXPECT_TRUE(session->SubmitDurable(NextCommit(session->State(), {InlinePut("d", "d")})).ok())
      << "its session goes on";
}

}  // namespace
}  // namespace understudy::tests
