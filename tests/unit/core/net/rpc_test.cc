// Mutual TLS, roles and health between a real server and real clients on loopback.
#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "core/net/channel.h"
#include "core/net/grpc_status.h"
#include "core/net/limits.h"
#include "core/net/pki.h"
#include "core/net/rpc_server.h"
#include "tests/support/health_probe.h"
#include "understudy/v1/catalog.grpc.pb.h"
#include "understudy/v1/primary.grpc.pb.h"
#include "understudy/v1/replica.grpc.pb.h"

namespace understudy::net {
namespace {

using ::testing::HasSubstr;

constexpr absl::Duration kCallTimeout = absl::Seconds(20);

class ReplicaService : public v1::Replica::Service {
 public:
  grpc::Status ListReplicas(grpc::ServerContext*, const v1::ListReplicasRequest* request,
                            v1::ListReplicasResponse* response) override {
    response->add_replicas()->set_volume(request->volume());
    return grpc::Status::OK;
  }
};

class CatalogService : public v1::Catalog::Service {
 public:
  grpc::Status PutObject(grpc::ServerContext*, const v1::PutObjectRequest*, v1::PutObjectResponse* response) override {
    response->set_revision(7);
    return grpc::Status::OK;
  }
  // Says the same until the caller or the server ends it.
  grpc::Status WatchObjects(grpc::ServerContext*, const v1::WatchObjectsRequest*,
                            grpc::ServerWriter<v1::WatchObjectsResponse>* writer) override {
    while (writer->Write(v1::WatchObjectsResponse())) continue;
    return grpc::Status::CANCELLED;
  }
};

class RpcTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (std::filesystem::temp_directory_path() / "understudy-rpc-XXXXXX").string();
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
    ASSERT_TRUE(InitAuthority(folder_, false).ok());
    for (const Role role : kAllRoles) Issue(folder_, std::string(ToString(role)), role, "127.0.0.1");
    auto server = RpcServer::Start("127.0.0.1:0", Files("dr"), Role::kDr, {&replica_, &catalog_});
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }
  void TearDown() override {
    server_.reset();
    std::filesystem::remove_all(folder_);
  }

  static void Issue(const std::filesystem::path& folder, const std::string& name, Role role, const std::string& host) {
    const auto files = IssueCertificate(folder, {.name = name, .roles = {role}, .hosts = {host}});
    ASSERT_TRUE(files.ok()) << files.status();
  }
  TlsFiles Files(const std::string& name) const {
    return {folder_ / "ca.crt", folder_ / (name + ".crt"), folder_ / (name + ".key")};
  }
  std::string Address(const RpcServer& server) const { return "127.0.0.1:" + std::to_string(server.port()); }
  std::shared_ptr<grpc::Channel> Channel(Role role, Role server_role = Role::kDr) const {
    auto channel = MakeChannel({Address(*server_), Files(std::string(ToString(role))), role, server_role});
    EXPECT_TRUE(channel.ok()) << channel.status();
    return *channel;
  }
  static grpc::Status List(const std::shared_ptr<grpc::Channel>& channel) {
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(absl::Now() + kCallTimeout));
    v1::ListReplicasResponse response;
    return v1::Replica::NewStub(channel)->ListReplicas(&context, {}, &response);
  }

  std::filesystem::path folder_;
  ReplicaService replica_;
  CatalogService catalog_;
  std::unique_ptr<RpcServer> server_;
};

TEST_F(RpcTest, ARoleMayCallWhatTheTableAllows) {
  EXPECT_TRUE(List(Channel(Role::kControl)).ok()) << List(Channel(Role::kControl)).error_message();
}

TEST_F(RpcTest, ARoleMayNotCallWhatTheTableDoesNotAllow) {
  const grpc::Status status = List(Channel(Role::kPrimary));
  EXPECT_EQ(status.error_code(), grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_THAT(status.error_message(), HasSubstr("'primary' may not call /understudy.v1.Replica/ListReplicas"));

  grpc::ClientContext context;
  v1::PutObjectResponse response;
  const auto put = v1::Catalog::NewStub(Channel(Role::kDr))->PutObject(&context, {}, &response);
  EXPECT_EQ(put.error_code(), grpc::StatusCode::PERMISSION_DENIED);
}

TEST_F(RpcTest, AMethodOutsideTheTableIsRefusedBeforeItIsLookedUp) {
  grpc::ClientContext context;
  v1::ListVolumesResponse response;
  const auto status = v1::Primary::NewStub(Channel(Role::kDr))->ListVolumes(&context, {}, &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::PERMISSION_DENIED);
}

TEST_F(RpcTest, ACertificateOfAnotherAuthorityIsRefusedOnBothSides) {
  const std::filesystem::path other = folder_ / "other";
  ASSERT_TRUE(InitAuthority(other, false).ok());
  Issue(other, "control", Role::kControl, "127.0.0.1");
  // The client trusts only the other authority.
  const auto stranger = MakeChannel(
      {Address(*server_), {other / "ca.crt", other / "control.crt", other / "control.key"}, Role::kControl, Role::kDr});
  ASSERT_TRUE(stranger.ok());
  EXPECT_EQ(List(*stranger).error_code(), grpc::StatusCode::UNAVAILABLE);

  // The client trusts the server, but has a certificate that the server doesn't trust.
  grpc::SslCredentialsOptions options;
  const auto read = [](const std::filesystem::path& file) {
    std::string text(std::filesystem::file_size(file), '\0');
    std::FILE* const stream = std::fopen(file.c_str(), "rb");
    EXPECT_EQ(std::fread(text.data(), 1, text.size(), stream), text.size());
    std::fclose(stream);
    return text;
  };
  options.pem_root_certs = read(folder_ / "ca.crt");
  EXPECT_FALSE(List(grpc::CreateChannel(Address(*server_), grpc::SslCredentials(options))).ok())
      << "without a certificate";
  options.pem_cert_chain = read(other / "control.crt");
  options.pem_private_key = read(other / "control.key");
  EXPECT_FALSE(List(grpc::CreateChannel(Address(*server_), grpc::SslCredentials(options))).ok())
      << "with a strange one";
  options.pem_cert_chain = read(folder_ / "control.crt");
  options.pem_private_key = read(folder_ / "control.key");
  EXPECT_TRUE(List(grpc::CreateChannel(Address(*server_), grpc::SslCredentials(options))).ok()) << "with the right one";
}

TEST_F(RpcTest, PlainTextIsRefused) {
  EXPECT_FALSE(List(grpc::CreateChannel(Address(*server_), grpc::InsecureChannelCredentials())).ok());
}

TEST_F(RpcTest, AServerWithAnotherRoleIsNotTrusted) {
  const grpc::Status status = List(Channel(Role::kControl, Role::kPrimary));
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_THAT(std::string(MessageOf(CallError(status, "understudy-primary", "x:1"))), HasSubstr("right role"));
}

TEST_F(RpcTest, AServerThatIsNotNamedByItsCertificateIsNotTrusted) {
  Issue(folder_, "elsewhere", Role::kDr, "elsewhere.example.com");
  const auto elsewhere = RpcServer::Start("127.0.0.1:0", Files("elsewhere"), Role::kDr, {&replica_});
  ASSERT_TRUE(elsewhere.ok());
  const auto channel = MakeChannel({Address(**elsewhere), Files("control"), Role::kControl, Role::kDr});
  ASSERT_TRUE(channel.ok());
  EXPECT_EQ(List(*channel).error_code(), grpc::StatusCode::UNAVAILABLE);
}

TEST_F(RpcTest, AnUnreachablePeerSaysWhatToCheck) {
  const std::string address = Address(*server_);
  server_.reset();
  const auto channel = MakeChannel({address, Files("control"), Role::kControl, Role::kDr});
  ASSERT_TRUE(channel.ok());
  const absl::Status status = CallError(List(*channel), "understudy-dr", address);
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(MessageOf(status)), HasSubstr("can't reach understudy-dr at " + address));
  EXPECT_THAT(std::string(MessageOf(status)), HasSubstr("check that it runs"));
}

TEST_F(RpcTest, UnfitCertificatesAreRefusedAtTheStart) {
  EXPECT_EQ(RpcServer::Start("127.0.0.1:0", Files("primary"), Role::kDr, {}).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(MakeChannel({"127.0.0.1:1", Files("none"), Role::kControl, Role::kDr}).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST_F(RpcTest, ATakenPortIsAnError) {
  const auto second = RpcServer::Start(Address(*server_), Files("dr"), Role::kDr, {&replica_});
  ASSERT_FALSE(second.ok());
  EXPECT_THAT(std::string(MessageOf(second.status())), HasSubstr("can't listen on"));
}

TEST_F(RpcTest, HealthAnswersEveryRole) {
  server_->SetServing("understudy.v1.Replica", false);
  for (const Role role : kAllRoles) {
    EXPECT_TRUE(tests::CheckHealth(Channel(role), "").value());
    EXPECT_FALSE(tests::CheckHealth(Channel(role), "understudy.v1.Replica").value());
  }
  EXPECT_TRUE(absl::IsNotFound(tests::CheckHealth(Channel(Role::kControl), "nobody").status()));
}

TEST_F(RpcTest, TooLargeAMessageIsRefused) {
  v1::PutObjectRequest request;
  request.mutable_entry()->set_resource_json(std::string(kMaxMessageBytes, 'x'));
  grpc::ClientContext context;
  v1::PutObjectResponse response;
  const auto status = v1::Catalog::NewStub(Channel(Role::kPrimary))->PutObject(&context, request, &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
}

TEST_F(RpcTest, ShutdownEndsOpenStreams) {
  grpc::ClientContext context;
  const auto stub = v1::Catalog::NewStub(Channel(Role::kControl));
  const auto reader = stub->WatchObjects(&context, {});
  v1::WatchObjectsResponse response;
  ASSERT_TRUE(reader->Read(&response));
  server_->Shutdown(absl::ZeroDuration());
  while (reader->Read(&response)) continue;
  EXPECT_FALSE(reader->Finish().ok());
}

TEST_F(RpcTest, AChannelFindsAServerThatCameBack) {
  const auto channel = Channel(Role::kControl);
  ASSERT_TRUE(List(channel).ok());
  const std::string address = Address(*server_);
  server_.reset();
  EXPECT_FALSE(List(channel).ok());
  auto again = RpcServer::Start(address, Files("dr"), Role::kDr, {&replica_});
  ASSERT_TRUE(again.ok()) << again.status();
  grpc::ClientContext context;
  context.set_wait_for_ready(true);
  context.set_deadline(absl::ToChronoTime(absl::Now() + kCallTimeout));
  v1::ListReplicasResponse response;
  EXPECT_TRUE(v1::Replica::NewStub(channel)->ListReplicas(&context, {}, &response).ok());
}

TEST(GrpcStatusTest, CodesAndMessagesRoundTrip) {
  const absl::Status status = absl::FailedPreconditionError("old epoch");
  EXPECT_EQ(FromGrpcStatus(ToGrpcStatus(status)), status);
  EXPECT_TRUE(FromGrpcStatus(ToGrpcStatus(absl::OkStatus())).ok());
  EXPECT_EQ(ToGrpcStatus(absl::InternalError(std::string(100000, 'x'))).error_message().size(), kMaxStatusMessageBytes);
}

}  // namespace
}  // namespace understudy::net
