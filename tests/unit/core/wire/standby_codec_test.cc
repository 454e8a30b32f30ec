// Messages of promotion, demotion and hooks: back and forth, and what is refused.
#include "core/wire/standby_codec.h"

#include <gtest/gtest.h>

#include <string>

#include "core/wire/handover_codec.h"
#include "core/wire/limits.h"
#include "understudy/v1/primary.pb.h"
#include "understudy/v1/standby.pb.h"

namespace understudy::wire {
namespace {

TEST(StandbyCodec, RequestsComeBackAndAreChecked) {
  v1::PromoteRequest promote = ToProto(PromoteRequest{.volume = "vol", .allow_incomplete = true, .run = "r"});
  ASSERT_TRUE(Parse(promote).ok());
  EXPECT_TRUE(Parse(promote)->allow_incomplete);
  EXPECT_EQ(Parse(promote)->run, "r");
  promote.set_run("a\nb");
  EXPECT_FALSE(Parse(promote).ok());
  v1::DemoteRequest demote = ToProto(DemoteRequest{.volume = "../vol"});
  EXPECT_FALSE(Parse(demote).ok());
  v1::RunHooksRequest hooks =
      ToProto(RunHooksRequest{.phase = model::HookPhase::kPostFence, .volume = "", .run = "", .facts = {{"a", "b"}}});
  ASSERT_TRUE(Parse(hooks).ok()) << "no volume is fine";
  EXPECT_EQ(Parse(hooks)->phase, model::HookPhase::kPostFence);
  EXPECT_EQ(Parse(hooks)->facts.at("a"), "b");
  hooks.set_phase("../pre-fence");
  EXPECT_FALSE(Parse(hooks).ok());
  hooks.set_phase("pre-fence");
  for (size_t i = 0; i <= kMaxHookFacts; ++i) (*hooks.mutable_facts())[std::to_string(i)] = "";
  EXPECT_FALSE(Parse(hooks).ok());
}

TEST(StandbyCodec, EveryPhaseHasAName) {
  for (const model::HookPhase phase : model::kHookPhases) {
    EXPECT_EQ(model::ParseHookPhase(model::ToString(phase)).value(), phase);
  }
}

TEST(StandbyCodec, ProgressComesBackAndOutputIsBounded) {
  const model::HookResult hook{.phase = model::HookPhase::kPrePromote,
                               .name = "10-a\xff",
                               .optional = true,
                               .problem = "exit code 1",
                               .output = std::string(kMaxHookOutputBytes, 'x') + "end",
                               .output_left_out_bytes = 5,
                               .took = absl::Milliseconds(1500)};
  v1::StandbyProgress message = ToProto(StandbyProgress{.step = "", .hook = hook, .done = false});
  const auto parsed = Parse(message);
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->hook->problem, "exit code 1");
  EXPECT_TRUE(parsed->hook->output.ends_with("xend"));
  EXPECT_EQ(parsed->hook->output_left_out_bytes, 8u);
  EXPECT_EQ(parsed->hook->took, absl::Milliseconds(1500));
  message.mutable_hook()->set_ok(true);
  EXPECT_FALSE(Parse(message).ok());
  const model::ReplicaState state{"vol", "id", 3, 9, 8, "", model::VolumeState::kActive, "/srv/b/vol", true};
  const auto done = Parse(ToProto(StandbyProgress{.step = "", .done = true, .replica = state}));
  ASSERT_TRUE(done.ok()) << done.status();
  EXPECT_EQ(done->replica->state, model::VolumeState::kActive);
}

TEST(StandbyCodec, WhatTurnsReplicationRoundNeedsAnEpoch) {
  const AdoptRequest adopt{.volume = {"vol", "/srv/a/vol", 3}, .run = "r"};
  ASSERT_TRUE(Parse(ToProto(adopt)).ok());
  EXPECT_EQ(Parse(ToProto(adopt))->volume.replica_root, "/srv/a/vol");
  EXPECT_EQ(Parse(ToProto(adopt))->volume.epoch, 3u);
  EXPECT_EQ(Parse(ToProto(adopt))->run, "r");
  for (const AdoptRequest& wrong :
       {AdoptRequest{.volume = {"../vol", "/srv/a/vol", 3}}, AdoptRequest{.volume = {"vol", "srv", 3}},
        AdoptRequest{.volume = {"vol", "/", 3}}, AdoptRequest{.volume = {"vol", "/srv/a/vol", 0}},
        AdoptRequest{.volume = {"vol", "/srv/a/vol", kMaxEpoch + 1}},
        AdoptRequest{.volume = {"vol", "/srv/a/vol", 3}, .run = "a\nb"}}) {
    EXPECT_FALSE(Parse(ToProto(wrong)).ok());
  }
  EXPECT_FALSE(Parse(ToProto(adopt))->made_there);
  EXPECT_TRUE(Parse(ToProto(AdoptRequest{.volume = {"vol", "/srv/a/vol", 1}, .made_there = true}))->made_there);
  EXPECT_EQ(Parse(ToProto(LetGoRequest{"vol", 4}))->epoch, 4u);
  EXPECT_EQ(Parse(ToProto(LetGoRequest{"vol", 4, "/srv/b/vol"}))->root, "/srv/b/vol");
  EXPECT_FALSE(Parse(ToProto(LetGoRequest{"vol", 4, "b/vol"})).ok());
  EXPECT_FALSE(Parse(ToProto(LetGoRequest{"vol", 0})).ok());
  EXPECT_FALSE(Parse(ToProto(LetGoRequest{"", 4})).ok());
  EXPECT_EQ(Parse(ToProto(HandOverRequest{"vol", 4}))->epoch, 4u);
  EXPECT_FALSE(Parse(ToProto(HandOverRequest{"vol", 0})).ok());
  EXPECT_FALSE(Parse(ToProto(HandOverRequest{"a/b", 4})).ok());
  const auto taken = Parse(ToProto(TakeUpRequest{"vol", "/srv/b/vol", "/srv/a/vol", 4}));
  ASSERT_TRUE(taken.ok()) << taken.status();
  EXPECT_EQ(taken->path, "/srv/b/vol");
  EXPECT_EQ(taken->replica_path, "/srv/a/vol");
  EXPECT_TRUE(Parse(ToProto(TakeUpRequest{"vol", "", "", 4})).ok());
  EXPECT_FALSE(Parse(ToProto(TakeUpRequest{"vol", "srv", "", 4})).ok());
  EXPECT_FALSE(Parse(ToProto(TakeUpRequest{"vol", "", "/srv/../a", 4})).ok());
  EXPECT_FALSE(Parse(ToProto(TakeUpRequest{"vol", "", "", 0})).ok());
}

}  // namespace
}  // namespace understudy::wire
