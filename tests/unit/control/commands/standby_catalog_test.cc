// What drctl brings from a catalog to the DR cluster, by what DR's agent says of the volumes.
#include "control/commands/standby_catalog.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "control/commands/commands.h"
#include "core/net/pki.h"
#include "core/net/rpc_server.h"
#include "core/wire/catalog_codec.h"
#include "nlohmann/json.hpp"
#include "tests/support/http_test_server.h"
#include "tests/support/temp_dir.h"
#include "understudy/v1/catalog.grpc.pb.h"
#include "understudy/v1/replica.grpc.pb.h"

namespace understudy::control {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class SteppedClock : public Clock {
 public:
  absl::Time Now() const override { return absl::UnixEpoch() + now; }
  absl::Duration Monotonic() const override { return now; }
  absl::Duration now = absl::Hours(1);
};

TEST(TurnedVolumesTest, AnAnswerHoldsForAMomentAndAnOldOneForNothing) {
  SteppedClock clock;
  absl::StatusOr<std::set<std::string>> answer = absl::UnavailableError("no answer");
  int asked = 0;
  TurnedVolumes turned(
      [&] {
        ++asked;
        return answer;
      },
      clock);
  EXPECT_EQ(turned.Has("web").status(), answer.status()) << "never known";
  answer = std::set<std::string>{"web"};
  EXPECT_FALSE(turned.Has("web").ok());
  EXPECT_EQ(asked, 1);
  clock.now += TurnedVolumes::kErrorHolds + absl::Milliseconds(1);
  EXPECT_TRUE(*turned.Has("web"));
  answer = std::set<std::string>{};
  EXPECT_TRUE(*turned.Has("web"));
  EXPECT_FALSE(*turned.Has("db"));
  clock.now += TurnedVolumes::kAnswerHolds + absl::Milliseconds(1);
  EXPECT_FALSE(*turned.Has("web"));
  EXPECT_EQ(asked, 3);
  answer = absl::UnavailableError("no answer");
  clock.now += TurnedVolumes::kAnswerHolds + absl::Milliseconds(1);
  EXPECT_EQ(turned.Has("web").status(), answer.status()) << "not known any more";
}

// DR's agent, with one PersistentVolume in its catalog.
class Replicas : public v1::Replica::Service {
 public:
  grpc::Status ListReplicas(grpc::ServerContext*, const v1::ListReplicasRequest*,
                            v1::ListReplicasResponse* response) override {
    if (!answer.ok()) return answer;
    *response->add_replicas() = replica;
    return answer;
  }
  v1::ReplicaState replica;
  grpc::Status answer;
};

class Catalog : public v1::Catalog::Service {
 public:
  grpc::Status ListObjects(grpc::ServerContext*, const v1::ListObjectsRequest* request,
                           v1::ListObjectsResponse* response) override {
    if (request->kind() == model::ToString(entry.key.kind)) *response->add_entries() = wire::ToProto(entry);
    return grpc::Status::OK;
  }
  model::CatalogEntry entry;
};

class ApplyTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(net::InitAuthority(folder_.Path(), true).ok());
    for (const net::Role role : {net::Role::kDr, net::Role::kControl}) {
      const net::IssueRequest request{
          .name = std::string(net::ToString(role)), .roles = {role}, .hosts = {"127.0.0.1"}};
      ASSERT_TRUE(net::IssueCertificate(folder_.Path(), request).ok());
    }
    auto agent = net::RpcServer::Start("127.0.0.1:0", Files("dr"), net::Role::kDr, {&replicas_, &catalog_});
    ASSERT_TRUE(agent.ok()) << agent.status();
    agent_ = *std::move(agent);
    config_.tls.ca = folder_.File("ca.crt");
    config_.tls.cert = folder_.File("control.crt");
    config_.tls.key = folder_.File("control.key");
    config::PairConfig pair;
    pair.name = "east";
    pair.dr = fmt::format("127.0.0.1:{}", agent_->port());
    pair.dr_server = "dr-nfs";
    config_.pairs = {pair};
    config_.clusters.dr.emplace().kubeconfig = folder_.File("kubeconfig");
    std::ofstream(folder_.File("kubeconfig")) << fmt::format(
        "apiVersion: v1\nkind: Config\nclusters: [{{name: dr, cluster: {{server: \"{}\"}}}}]\n"
        "users: [{{name: admin, user: {{token: secret}}}}]\ncontexts: [{{name: dr, context: {{cluster: dr, user: "
        "admin}}}}]\ncurrent-context: dr\n",
        cluster_.Url());
    replicas_.replica.set_volume("web");
    catalog_.entry.key = {model::ObjectKind::kPersistentVolume, "", "web"};
    catalog_.entry.uid = "at-primary";
    catalog_.entry.revision = 1;
    catalog_.entry.volume = "web";
    catalog_.entry.replica_path = "/replicas/web";
    catalog_.entry.resource = AtPrimary().dump();
  }
  net::TlsFiles Files(const std::string& name) const {
    return {folder_.File("ca.crt"), folder_.File(name + ".crt"), folder_.File(name + ".key")};
  }
  // As Understudy made it there from DR's own, whose uid is at-dr.
  static json AtPrimary() {
    return {{"metadata",
             {{"uid", "at-primary"},
              {"labels", {{"app.kubernetes.io/managed-by", "understudy"}}},
              {"annotations", {{"understudy.io/source-uid", "at-dr"}}}}},
            {"spec", {{"nfs", {{"server", "nfs1"}, {"path", "/export/web"}}}}}};
  }
  void SetReplica(const std::string& state, bool reprotected) {
    replicas_.replica.set_state(state);
    replicas_.replica.set_epoch(2);
    replicas_.replica.set_reprotected(reprotected);
  }
  ExitCode Apply() {
    out_.str("");
    err_.str("");
    return RunApply({.out = out_, .err = err_}, OutputFormat::kTable, config_, {});
  }
  // What was asked of the cluster, as methods.
  std::vector<std::string> Methods() const {
    std::vector<std::string> methods;
    for (const tests::TestRequest& request : cluster_.Requests()) methods.push_back(request.method);
    return methods;
  }

  tests::TempDir folder_;
  Replicas replicas_;
  Catalog catalog_;
  std::unique_ptr<net::RpcServer> agent_;
  config::ControlConfig config_;
  json present_;  // at the DR cluster; null: nothing
  tests::HttpTestServer cluster_{[this](const tests::TestRequest& request, tests::TestReply& reply) {
    const bool is_change = request.method != "GET";
    const std::string answer = is_change ? request.body : present_.dump();
    reply.Send(is_change || !present_.is_null() ? 200 : 404, answer, {{"content-type", "application/json"}});
  }};
  std::ostringstream out_;
  std::ostringstream err_;
};

TEST_F(ApplyTest, WhatWasTurnedRoundIsLeftAsItIs) {
  SetReplica("active", /*reprotected=*/true);
  EXPECT_EQ(Apply(), ExitCode::kDone);
  EXPECT_THAT(Methods(), IsEmpty());
  EXPECT_EQ(out_.str(), "0 objects, nothing to change\n");
  SetReplica("standby", /*reprotected=*/false);
  EXPECT_EQ(Apply(), ExitCode::kDone) << err_.str();
  EXPECT_THAT(out_.str(), HasSubstr("create     PersistentVolume web"));
}

TEST_F(ApplyTest, NothingIsAppliedWhileItIsntKnownWhatWasTurnedRound) {
  replicas_.answer = {grpc::StatusCode::UNAVAILABLE, "is starting"};
  EXPECT_EQ(Apply(), ExitCode::kUnreachable);
  EXPECT_THAT(Methods(), IsEmpty());
  EXPECT_THAT(err_.str(), HasSubstr("pair east"));
}

TEST_F(ApplyTest, WhatCameBackToWhereItWasMadeIsLeftAsItIs) {
  SetReplica("standby", /*reprotected=*/false);
  present_ = {{"metadata", {{"name", "web"}, {"uid", "at-dr"}}}};
  EXPECT_EQ(Apply(), ExitCode::kDone);
  EXPECT_EQ(out_.str(), "1 objects, nothing to change\n");
  present_["metadata"]["uid"] = "somebody-elses";
  (void)Apply();
  EXPECT_THAT(out_.str(), HasSubstr("isn't Understudy's"));
  EXPECT_THAT(Methods(), ElementsAre("GET", "GET"));
}

}  // namespace
}  // namespace understudy::control
