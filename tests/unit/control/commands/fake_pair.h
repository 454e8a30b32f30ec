// fake_pair.h: the four agents of a pair with `reverse`, which say what a test sets, and note what else they are asked
// for.
#pragma once

#include <fmt/format.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "core/config/control_config.h"
#include "core/net/pki.h"
#include "core/net/rpc_server.h"
#include "tests/support/temp_dir.h"
#include "understudy/v1/points.grpc.pb.h"
#include "understudy/v1/primary.grpc.pb.h"
#include "understudy/v1/replica.grpc.pb.h"
#include "understudy/v1/verify.grpc.pb.h"

namespace understudy::control {

inline const grpc::Status kAway(grpc::StatusCode::UNAVAILABLE, "is starting");

class FakeReplicas : public v1::Replica::Service {
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

class FakeVolumes : public v1::Primary::Service {
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
  grpc::Status VerifyVolume(grpc::ServerContext*, const v1::VerifyVolumeRequest* request,
                            grpc::ServerWriter<v1::VerifyUpdate>*) override {
    return Note("verify " + request->volume());
  }
  grpc::Status ApproveGuard(grpc::ServerContext*, const v1::ApproveGuardRequest* request,
                            v1::ApproveGuardResponse*) override {
    return Note("approve " + request->volume());
  }
  v1::ListVolumesResponse volumes;
  grpc::Status answer;
  std::vector<std::string> asked;

 private:
  grpc::Status Note(const std::string& call) {
    asked.push_back(call);
    return {grpc::StatusCode::ABORTED, "was asked"};
  }
};

class FakeVerify : public v1::Verify::Service {
 public:
  grpc::Status VerifyReplica(grpc::ServerContext*, const v1::VerifyReplicaRequest* request,
                             grpc::ServerWriter<v1::VerifyUpdate>*) override {
    asked.push_back("verify " + request->volume());
    return {grpc::StatusCode::ABORTED, "was asked"};
  }
  std::vector<std::string> asked;
};

class FakeTrees : public v1::Points::Service {
 public:
  grpc::Status ListTrees(grpc::ServerContext*, const v1::ListTreesRequest*, v1::ListTreesResponse* response) override {
    *response = trees;
    return grpc::Status::OK;
  }
  grpc::Status RemoveTree(grpc::ServerContext*, const v1::RemoveTreeRequest* request,
                          v1::RemoveTreeResponse*) override {
    asked.push_back("remove " + request->id());
    return {grpc::StatusCode::ABORTED, "was asked"};
  }
  v1::ListTreesResponse trees;
  std::vector<std::string> asked;
};

// The understudy-dr of one side.
struct FakeDr {
  FakeReplicas replicas;
  FakeVerify verify;
  FakeTrees points;
};

class FakePairTest : public ::testing::Test {
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
    pair_.primary = Serve(net::Role::kPrimary, {&primary_});
    pair_.dr = Serve(dr_);
    pair_.reverse = {.primary = Serve(net::Role::kPrimary, {&reverse_primary_}), .dr = Serve(reverse_dr_)};
    config_.pairs = {pair_};
  }
  std::string Serve(FakeDr& dr) { return Serve(net::Role::kDr, {&dr.replicas, &dr.verify, &dr.points}); }
  std::string Serve(net::Role role, const std::vector<grpc::Service*>& services) {
    const std::string name(net::ToString(role));
    auto server = net::RpcServer::Start(
        "127.0.0.1:0", {folder_.File("ca.crt"), folder_.File(name + ".crt"), folder_.File(name + ".key")}, role,
        services);
    EXPECT_TRUE(server.ok()) << server.status();
    if (!server.ok()) return "";
    servers_.push_back(*std::move(server));
    return fmt::format("127.0.0.1:{}", servers_.back()->port());
  }
  tests::TempDir folder_;
  FakeVolumes primary_;
  FakeDr dr_;
  FakeVolumes reverse_primary_;
  FakeDr reverse_dr_;
  std::vector<std::unique_ptr<net::RpcServer>> servers_;
  config::ControlConfig config_;
  config::PairConfig pair_;
};

}  // namespace understudy::control
