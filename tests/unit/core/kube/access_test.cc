#include "core/kube/access.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <string>

#include "tests/support/temp_dir.h"

namespace understudy::kube {
namespace {

constexpr const char* kBase = R"(
apiVersion: v1
kind: Config
current-context: east
clusters:
- {name: c1, cluster: {server: "https://east.example:6443/", certificate-authority: pki/ca.crt}}
- {name: c2, cluster: {server: "https://west.example", certificate-authority-data: Q0E=, insecure-skip-tls-verify: true}}
contexts:
- {name: east, context: {cluster: c1, user: by-certificate}}
- {name: west, context: {cluster: c2, user: by-token}}
- {name: file, context: {cluster: c2, user: by-token-file}}
- {name: exec, context: {cluster: c2, user: by-exec}}
- {name: lost, context: {cluster: c9, user: by-token}}
users:
- {name: by-certificate, user: {client-certificate: /abs/me.crt, client-key-data: S0VZ}}
- {name: by-token, user: {token: sesame}}
- {name: by-token-file, user: {tokenFile: secrets/token, token: ignored}}
- {name: by-exec, user: {exec: {command: oc}}}
)";

class KubeconfigTest : public testing::Test {
 protected:
  absl::StatusOr<ClusterAccess> Load(const std::string& context, const std::string& text = kBase) {
    std::ofstream(folder_.File("config")) << text;
    return LoadKubeconfig(folder_.File("config"), context);
  }
  tests::TempDir folder_;
};

TEST_F(KubeconfigTest, TheCurrentContextCountsAndPathsAreRelativeToTheFile) {
  const auto access = Load("");
  ASSERT_TRUE(access.ok()) << access.status();
  EXPECT_EQ(access->server, "https://east.example:6443");
  EXPECT_EQ(access->tls.ca_file, folder_.File("pki/ca.crt"));
  EXPECT_EQ(access->tls.certificate_file, "/abs/me.crt");
  EXPECT_EQ(access->tls.key_pem, "KEY");
  EXPECT_TRUE(access->tls.verify_server);
  EXPECT_TRUE(access->token.empty());
}

TEST_F(KubeconfigTest, ANamedContextWithDataTokenAndNoVerification) {
  const auto access = Load("west");
  ASSERT_TRUE(access.ok()) << access.status();
  EXPECT_EQ(access->tls.ca_pem, "CA");
  EXPECT_EQ(access->token, "sesame");
  EXPECT_FALSE(access->tls.verify_server);
}

TEST_F(KubeconfigTest, ATokenFileCountsBeforeAToken) {
  const auto access = Load("file");
  ASSERT_TRUE(access.ok()) << access.status();
  EXPECT_EQ(access->token_file, folder_.File("secrets/token"));
  EXPECT_TRUE(access->token.empty());
}

TEST_F(KubeconfigTest, WhatCannotBeUsedIsSaidWithWhatToDo) {
  EXPECT_TRUE(absl::IsUnimplemented(Load("exec").status()));
  EXPECT_NE(MessageOf(Load("exec").status()).find("token"), std::string_view::npos);
  EXPECT_TRUE(absl::IsNotFound(Load("south").status()));
  EXPECT_TRUE(absl::IsInvalidArgument(Load("lost").status()));
  EXPECT_TRUE(absl::IsInvalidArgument(Load("", "clusters: [").status()));
  EXPECT_TRUE(absl::IsInvalidArgument(Load("", "just text").status()));
  EXPECT_TRUE(absl::IsInvalidArgument(Load("", "clusters: []").status()));
  EXPECT_TRUE(absl::IsNotFound(LoadKubeconfig(folder_.File("none"), "").status()));
}

TEST(InClusterTest, ThePodsFilesAndEnvironment) {
  const tests::TempDir folder;
  unsetenv("KUBERNETES_SERVICE_HOST");
  EXPECT_TRUE(absl::IsFailedPrecondition(LoadInCluster(folder.Path()).status()));
  setenv("KUBERNETES_SERVICE_HOST", "fd00::1", 1);
  setenv("KUBERNETES_SERVICE_PORT", "443", 1);
  EXPECT_TRUE(absl::IsFailedPrecondition(LoadInCluster(folder.Path()).status()));
  std::ofstream(folder.File("token")) << "t";
  const auto access = LoadInCluster(folder.Path());
  ASSERT_TRUE(access.ok()) << access.status();
  EXPECT_EQ(access->server, "https://[fd00::1]:443");
  EXPECT_EQ(access->token_file, folder.File("token"));
  EXPECT_EQ(access->tls.ca_file, folder.File("ca.crt"));
}

}  // namespace
}  // namespace understudy::kube
