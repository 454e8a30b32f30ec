// Promotion and demotion as a whole: in which order, what a failing part leaves, and that the same request goes on.
#include "agent-dr/standby/promoter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_split.h"
#include "absl/synchronization/notification.h"
#include "nlohmann/json.hpp"
#include "tests/support/wait.h"
#include "tests/unit/agent-dr/commit/engine_fixture.h"

namespace understudy::tests {
namespace {

using model::VolumeState;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// Writes what is asked of it down, beside what hooks write.
class NotedExports : public dr::ExportPort {
 public:
  explicit NotedExports(std::string file) : file_(std::move(file)) {}
  absl::Status SetExport(const model::VolumeName& volume, const std::string&, model::ExportMode mode) override {
    std::ofstream(file_, std::ios::app) << "export " << volume
                                        << (mode == model::ExportMode::kReadWrite ? " rw" : " ro") << "\n";
    return answer;
  }
  absl::Status answer;

 private:
  const std::string file_;
};

class PromoterTest : public ::testing::Test {
 protected:
  void SetUp() override {
    Start();
    auto session = engine_->Open({"vol", host_.RootOf("vol"), 0});
    ASSERT_TRUE(session.ok()) << session.status();
    ASSERT_TRUE(session->SubmitDurable(NextCommit(session->State(), {InlinePut("a", "a")})).ok());
    ASSERT_TRUE(session->Publish().ok());
    for (const model::HookPhase phase : model::kHookPhases) Hook(phase, "note", "true");
  }
  void Start() {
    promoter_.reset();
    engine_.reset();
    engine_ = host_.Start();
    promoter_ = std::make_unique<dr::Promoter>(*engine_, exports_, hooks_);
  }
  // Notes its phase and the volume's state, then does `script`.
  void Hook(model::HookPhase phase, const std::string& name, const std::string& script) {
    const std::string folder = host_.File("hooks.d/" + std::string(model::ToString(phase)));
    std::filesystem::create_directories(folder);
    std::ofstream(folder + "/" + name) << "#!/bin/sh\necho \"$UNDERSTUDY_PHASE $(jq -r .volume.state)\" >> "
                                       << host_.File("log") << "\n"
                                       << script << "\n";
    ASSERT_EQ(chmod((folder + "/" + name).c_str(), 0755), 0);
  }
  std::vector<std::string> TakeLog() {
    std::ifstream file(host_.File("log"));
    const std::string text{std::istreambuf_iterator<char>(file), {}};
    std::filesystem::remove(host_.File("log"));
    return absl::StrSplit(text, '\n', absl::SkipEmpty());
  }
  absl::StatusOr<model::ReplicaState> Promote() { return promoter_->Promote({.volume = "vol"}, caller_); }
  absl::StatusOr<model::ReplicaState> Demote() { return promoter_->Demote({.volume = "vol"}, caller_); }
  VolumeState StateNow() { return engine_->State("vol")->state; }

  DrHost host_;
  NotedExports exports_{host_.File("log")};
  const dr::HookRunner hooks_{{.dir = host_.File("hooks.d"), .timeout = absl::Seconds(60)}};
  dr::StandbyCaller caller_;
  std::unique_ptr<dr::CommitEngine> engine_;
  std::unique_ptr<dr::Promoter> promoter_;
};

TEST_F(PromoterTest, EverythingInItsOrderAndOnce) {
  const auto promoted = Promote();
  ASSERT_TRUE(promoted.ok()) << promoted.status();
  EXPECT_EQ(promoted->state, VolumeState::kActive);
  EXPECT_EQ(promoted->epoch, 2u);
  EXPECT_THAT(TakeLog(), ElementsAre("pre-promote standby", "export vol rw", "post-promote active"));
  Start();
  ASSERT_TRUE(Promote().ok()) << "what is done already is fine";
  EXPECT_THAT(TakeLog(), ElementsAre("export vol rw"));
  const auto demoted = Demote();
  ASSERT_TRUE(demoted.ok()) << demoted.status();
  EXPECT_EQ(demoted->state, VolumeState::kStandby);
  EXPECT_THAT(TakeLog(), ElementsAre("pre-demote active", "export vol ro", "post-demote standby"));
  ASSERT_TRUE(Demote().ok());
  EXPECT_THAT(TakeLog(), IsEmpty());
}

TEST_F(PromoterTest, APrePromoteHookThatFailsChangesNothing) {
  Hook(model::HookPhase::kPrePromote, "no", "echo not now; exit 1");
  const auto refused = Promote();
  EXPECT_TRUE(absl::IsAborted(refused.status())) << refused.status();
  EXPECT_THAT(std::string(refused.status().message()), HasSubstr("volume 'vol' wasn't promoted"));
  EXPECT_EQ(StateNow(), VolumeState::kStandby);
  EXPECT_EQ(engine_->State("vol")->epoch, 1u);
  EXPECT_TRUE(engine_->Open({"vol", host_.RootOf("vol"), 1}).ok());
  EXPECT_THAT(TakeLog(), ElementsAre("pre-promote standby")) << "no other hook after it";
}

TEST_F(PromoterTest, WhatAnExportThatFailsLeavesGoesOnAfterARestart) {
  exports_.answer = absl::UnavailableError("exportfs isn't there");
  EXPECT_TRUE(absl::IsUnavailable(Promote().status()));
  EXPECT_EQ(StateNow(), VolumeState::kPromoting);
  Start();
  EXPECT_EQ(StateNow(), VolumeState::kPromoting) << "nothing goes on by itself";
  TakeLog();
  exports_.answer = absl::OkStatus();
  ASSERT_TRUE(Promote().ok());
  EXPECT_EQ(engine_->State("vol")->epoch, 2u);
  EXPECT_THAT(TakeLog(), ElementsAre("export vol rw", "post-promote active"));
}

TEST_F(PromoterTest, HooksThatComeLastAreRunAgainUntilAllHaveSucceeded) {
  Hook(model::HookPhase::kPostPromote, "z", "test -e " + host_.File("fixed"));
  const auto failed = Promote();
  EXPECT_TRUE(absl::IsAborted(failed.status()));
  EXPECT_THAT(std::string(failed.status().message()), HasSubstr("is active now"));
  EXPECT_EQ(StateNow(), VolumeState::kActive);
  EXPECT_TRUE(engine_->State("vol")->hooks_due);
  TakeLog();
  std::ofstream(host_.File("fixed")) << "";
  Start();
  ASSERT_TRUE(Promote().ok());
  EXPECT_THAT(TakeLog(), ElementsAre("export vol rw", "post-promote active", "post-promote active"));
  EXPECT_FALSE(engine_->State("vol")->hooks_due);
}

TEST_F(PromoterTest, APromotionThatHangsCanBeCalledOff) {
  exports_.answer = absl::UnavailableError("exportfs isn't there");
  ASSERT_FALSE(Promote().ok());
  exports_.answer = absl::OkStatus();
  TakeLog();
  ASSERT_TRUE(Demote().ok());
  EXPECT_EQ(StateNow(), VolumeState::kStandby);
  EXPECT_THAT(TakeLog(), ElementsAre("pre-demote promoting", "export vol ro", "post-demote standby"));
}

TEST_F(PromoterTest, ADemotionThatFailsGoesOn) {
  ASSERT_TRUE(Promote().ok());
  exports_.answer = absl::UnavailableError("exportfs isn't there");
  EXPECT_FALSE(Demote().ok());
  EXPECT_EQ(StateNow(), VolumeState::kDemoting) << "no replica while clients may write";
  exports_.answer = absl::OkStatus();
  Start();
  EXPECT_TRUE(absl::IsFailedPrecondition(Promote().status()));
  TakeLog();
  ASSERT_TRUE(Demote().ok());
  EXPECT_THAT(TakeLog(), ElementsAre("export vol ro", "post-demote standby"));
}

TEST_F(PromoterTest, OneCallAtATimeOfAVolume) {
  Hook(model::HookPhase::kPrePromote, "wait", "while [ ! -e " + host_.File("go") + " ]; do sleep 0.01; done");
  absl::Notification began;
  dr::StandbyCaller slow{.on_step = [&](const std::string&) {
    if (!began.HasBeenNotified()) began.Notify();
  }};
  absl::StatusOr<model::ReplicaState> promoted = absl::UnknownError("not done");
  std::thread first([&] { promoted = promoter_->Promote({.volume = "vol"}, slow); });
  began.WaitForNotification();
  EXPECT_TRUE(absl::IsFailedPrecondition(Promote().status()));
  EXPECT_TRUE(absl::IsFailedPrecondition(Demote().status()));
  EXPECT_TRUE(absl::IsNotFound(promoter_->Promote({.volume = "other"}, caller_).status()));
  std::ofstream(host_.File("go")) << "";
  first.join();
  EXPECT_TRUE(promoted.ok()) << promoted.status();
  EXPECT_TRUE(Promote().ok());
}

TEST_F(PromoterTest, ACallerThatIsGoneEndsHooksButNoPromotionThatHasBegun) {
  caller_.gone = [&] { return StateNow() != VolumeState::kStandby; };
  EXPECT_TRUE(absl::IsCancelled(Promote().status()));
  EXPECT_EQ(StateNow(), VolumeState::kActive);
  caller_.gone = nullptr;
  EXPECT_TRUE(Promote().ok());
}

TEST_F(PromoterTest, HooksOfAPhaseByThemselvesGetTheFacts) {
  Hook(model::HookPhase::kPreFence, "facts", "true");
  std::ofstream(host_.File("hooks.d/pre-fence/facts")) << "#!/bin/sh\ncat > " << host_.File("input") << "\n";
  std::vector<std::string> hooks;
  caller_.on_hook = [&](const model::HookResult& result) { hooks.push_back(result.name); };
  const absl::Status ran = promoter_->RunHooks(
      {.phase = model::HookPhase::kPreFence, .volume = "vol", .run = "r1", .facts = {{"server", "nfs-a"}}}, caller_);
  ASSERT_TRUE(ran.ok()) << ran;
  EXPECT_THAT(hooks, ElementsAre("facts", "note"));
  std::ifstream file(host_.File("input"));
  const nlohmann::json input = nlohmann::json::parse(file);
  EXPECT_EQ(input.at("phase"), "pre-fence");
  EXPECT_EQ(input.at("run"), "r1");
  EXPECT_EQ(input.at("volume").at("name"), "vol");
  EXPECT_EQ(input.at("volume").at("replica_path"), host_.RootOf("vol"));
  EXPECT_EQ(input.at("facts").at("server"), "nfs-a");
  EXPECT_TRUE(promoter_->RunHooks({.phase = model::HookPhase::kPostFence}, caller_).ok());
  EXPECT_TRUE(absl::IsNotFound(promoter_->RunHooks({.volume = "other"}, caller_)));
}

TEST_F(PromoterTest, AFolderIsFencedBeforeItIsAReplica) {
  const wire::AdoptRequest adopt{.volume = {"new", host_.RootOf("new"), 2}, .run = ""};
  EXPECT_TRUE(absl::IsNotFound(promoter_->Adopt(adopt, caller_).status()));
  EXPECT_THAT(TakeLog(), IsEmpty()) << "what can't be adopted isn't exported";
  std::filesystem::create_directories(host_.RootOf("new"));
  exports_.answer = absl::FailedPreconditionError("clients may write by /etc/exports");
  EXPECT_TRUE(absl::IsFailedPrecondition(promoter_->Adopt(adopt, caller_).status()));
  EXPECT_TRUE(absl::IsNotFound(engine_->State("new").status()));
  exports_.answer = absl::OkStatus();
  TakeLog();
  for (const char* const time : {"once", "once more"}) {
    const auto adopted = promoter_->Adopt(adopt, caller_);
    ASSERT_TRUE(adopted.ok()) << time << adopted.status();
    EXPECT_EQ(adopted->state, VolumeState::kStandby);
    EXPECT_THAT(TakeLog(), ElementsAre("export new ro"));
  }
}

TEST_F(PromoterTest, WhatWasLetGoIsAdoptedAsADemotionAndGoesOnAfterAFailure) {
  ASSERT_TRUE(Promote().ok());
  ASSERT_TRUE(promoter_->LetGo({.volume = "vol", .epoch = 2}).ok());
  TakeLog();
  EXPECT_TRUE(absl::IsFailedPrecondition(Demote().status()));
  EXPECT_EQ(StateNow(), VolumeState::kActive);
  EXPECT_THAT(TakeLog(), IsEmpty()) << "refused before any hook";
  const wire::AdoptRequest adopt{.volume = {"vol", host_.RootOf("vol"), 3}, .run = ""};
  exports_.answer = absl::UnavailableError("exportfs isn't there");
  EXPECT_FALSE(promoter_->Adopt(adopt, caller_).ok());
  EXPECT_EQ(StateNow(), VolumeState::kDemoting) << "no replica while clients may write";
  EXPECT_THAT(TakeLog(), ElementsAre("pre-demote active", "export vol ro"));
  exports_.answer = absl::OkStatus();
  Start();
  ASSERT_TRUE(promoter_->Adopt(adopt, caller_).ok());
  EXPECT_THAT(TakeLog(), ElementsAre("export vol ro", "post-demote standby"));
  EXPECT_EQ(engine_->State("vol")->epoch, 3u);
  ASSERT_TRUE(promoter_->Adopt(adopt, caller_).ok());
  EXPECT_THAT(TakeLog(), ElementsAre("export vol ro")) << "hooks run once";
}

}  // namespace
}  // namespace understudy::tests
