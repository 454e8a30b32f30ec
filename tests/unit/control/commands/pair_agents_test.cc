// What a pair's agents say of where its volumes live, while some of them can't be asked.
#include "control/commands/pair_agents.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include "core/net/pki.h"
#include "core/net/rpc_server.h"
#include "tests/support/temp_dir.h"
#include "understudy/v1/primary.grpc.pb.h"
#include "understudy/v1/replica.grpc.pb.h"

namespace understudy::control {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;

const grpc::Status kAway(grpc::StatusCode::UNAVAILABLE, "is starting");

class Replicas : public v1::Replica::Service {
 public:
  grpc::Status ListReplicas(grpc::ServerContext*, const v1::ListReplicasRequest*,
                            v1::ListReplicasResponse* response) override {
    if (answer.ok()) *response = replicas;
    return answer;
  }
  void Set(const std::string& volume, const std::string& state, bool reprotected = false) {
    replicas.clear_replicas();
    v1::ReplicaState& replica = *replicas.add_replicas();
    replica.set_volume(volume);
    replica.set_state(state);
    replica.set_epoch(2);
    replica.set_reprotected(reprotected);
  }
  v1::ListReplicasResponse replicas;
  grpc::Status answer;
};

class Volumes : public v1::Primary::Service {
 public:
  grpc::Status ListVolumes(grpc::ServerContext*, const v1::ListVolumesRequest*,
                           v1::ListVolumesResponse* response) override {
    if (answer.ok()) *response = volumes;
    return answer;
  }
  void Set(const std::string& volume, const std::string& state) {
    volumes.clear_volumes();
    volumes.add_volumes()->set_name(volume);
    volumes.mutable_volumes(0)->set_state(state);
  }
  v1::ListVolumesResponse volumes;
  grpc::Status answer;
};

class PairAgentsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(net::InitAuthority(folder_.Path(), true).ok());
    for (const net::Role role : net::kAllRoles) {
      const net::IssueRequest request{
          .name = std::string(net::ToString(role)), .roles = {role}, .hosts = {"127.0.0.1"}};
      ASSERT_TRUE(net::IssueCertificate(folder_.Path(), request).ok());
    }
    config_.tls.ca = folder_.File("ca.crt");
    config_.tls.cert = folder_.File("control.crt");
    config_.tls.key = folder_.File("control.key");
    pair_.name = "east";
    pair_.primary = Serve(net::Role::kPrimary, primary_);
    pair_.dr = Serve(net::Role::kDr, dr_);
    pair_.reverse = {.primary = Serve(net::Role::kPrimary, reverse_primary_), .dr = Serve(net::Role::kDr, reverse_dr_)};
  }
  std::string Serve(net::Role role, grpc::Service& service) {
    const std::string name(net::ToString(role));
    auto server = net::RpcServer::Start(
        "127.0.0.1:0", {folder_.File("ca.crt"), folder_.File(name + ".crt"), folder_.File(name + ".key")}, role,
        {&service});
    EXPECT_TRUE(server.ok()) << server.status();
    if (!server.ok()) return "";
    servers_.push_back(*std::move(server));
    return fmt::format("127.0.0.1:{}", servers_.back()->port());
  }
  std::unique_ptr<PairAgents> Connect(Direction direction) {
    auto agents = ConnectPair(config_, pair_, direction);
    EXPECT_TRUE(agents.ok()) << agents.status();
    return agents.ok() ? *std::move(agents) : nullptr;
  }

  tests::TempDir folder_;
  Volumes primary_;
  Replicas dr_;
  Volumes reverse_primary_;
  Replicas reverse_dr_;
  std::vector<std::unique_ptr<net::RpcServer>> servers_;
  config::ControlConfig config_;
  config::PairConfig pair_;
};

TEST_F(PairAgentsTest, WhatDrSaysHoldsWhateverTheOthersDo) {
  const std::unique_ptr<PairAgents> agents = Connect(Direction::kToDr);
  reverse_dr_.Set("made-at-dr", "standby");
  dr_.Set("web", "active");
  absl::StatusOr<LiveCopies> live = agents->LiveAtDr();
  ASSERT_TRUE(live.ok()) << live.status();
  EXPECT_THAT(live->states, ElementsAre(Pair("made-at-dr", "live at DR"), Pair("web", "active")));
  EXPECT_TRUE(live->others.ok());

  reverse_dr_.answer = kAway;
  live = agents->LiveAtDr();
  ASSERT_TRUE(live.ok()) << live.status();
  EXPECT_THAT(live->states, ElementsAre(Pair("web", "active")));
  EXPECT_FALSE(live->others.ok());
  dr_.Set("web", "standby");
  EXPECT_THAT(agents->LiveAtDr()->standby, ElementsAre("web"));
  dr_.answer = kAway;
  EXPECT_FALSE(agents->LiveAtDr().ok());
}

TEST_F(PairAgentsTest, NothingIsCarriedToThePrimaryWhenDrsHostSaysThatNothingWasTurned) {
  const std::unique_ptr<PairAgents> agents = Connect(Direction::kToPrimary);
  reverse_dr_.answer = kAway;
  reverse_primary_.answer = kAway;
  dr_.Set("web", "active");
  EXPECT_FALSE(agents->LiveAtDr().ok());
  ASSERT_TRUE(agents->Carried().ok()) << agents->Carried().status();
  EXPECT_THAT(*agents->Carried(), IsEmpty());
  dr_.Set("web", "active", /*reprotected=*/true);
  EXPECT_FALSE(agents->Carried().ok());

  // What was made at DR is known there by who sends it alone.
  dr_.Set("web", "standby");
  EXPECT_TRUE(agents->Carried().ok());
  reverse_primary_.answer = {};
  reverse_primary_.Set("made-at-dr", "connecting");
  EXPECT_FALSE(agents->Carried().ok());
  reverse_primary_.Set("made-at-dr", "handed-over");
  EXPECT_TRUE(agents->Carried().ok());
  dr_.answer = kAway;
  EXPECT_FALSE(agents->Carried().ok());
}

}  // namespace
}  // namespace understudy::control
