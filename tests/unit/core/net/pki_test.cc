// The certificate authority on real files.
#include "core/net/pki.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdlib>
#include <fstream>
#include <iterator>

#include "core/net/tls_files.h"

namespace understudy::net {
namespace {

using ::testing::HasSubstr;

class PkiTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (std::filesystem::temp_directory_path() / "understudy-pki-XXXXXX").string();
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    folder_ = std::filesystem::path(pattern) / "pki";
  }
  void TearDown() override { std::filesystem::remove_all(folder_.parent_path()); }

  static mode_t ModeOf(const std::filesystem::path& file) {
    struct stat status {};
    EXPECT_EQ(stat(file.c_str(), &status), 0) << file;
    return status.st_mode & 07777;
  }
  static std::string ContentOf(const std::filesystem::path& file) {
    std::ifstream stream(file, std::ios::binary);
    return {std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
  }
  absl::StatusOr<TlsFiles> Issue(Role role, int days = kDefaultCertificateDays) const {
    return IssueCertificate(
        folder_, {.name = std::string(ToString(role)), .roles = {role}, .hosts = {"127.0.0.1"}, .days = days});
  }

  std::filesystem::path folder_;
};

TEST_F(PkiTest, IssuedFilesAreFitForTheirRoleAlone) {
  ASSERT_TRUE(InitAuthority(folder_, false).ok());
  const auto files = Issue(Role::kPrimary);
  ASSERT_TRUE(files.ok()) << files.status();
  EXPECT_TRUE(CheckTlsFiles(*files, Role::kPrimary).ok()) << CheckTlsFiles(*files, Role::kPrimary);
  EXPECT_THAT(std::string(MessageOf(CheckTlsFiles(*files, Role::kDr))), HasSubstr("doesn't carry the role 'dr'"));
}

TEST_F(PkiTest, ACertificateMayCarrySeveralRoles) {
  ASSERT_TRUE(InitAuthority(folder_, false).ok());
  const auto files = IssueCertificate(
      folder_, {.name = "nfs1", .roles = {Role::kPrimary, Role::kDr}, .hosts = {"nfs1.example.com", "fd00::1"}});
  ASSERT_TRUE(files.ok()) << files.status();
  EXPECT_EQ(files->cert, folder_ / "nfs1.crt");
  EXPECT_TRUE(CheckTlsFiles(*files, Role::kPrimary).ok());
  EXPECT_TRUE(CheckTlsFiles(*files, Role::kDr).ok());
}

TEST_F(PkiTest, PrivateKeysAreTheOwnersAlone) {
  ASSERT_TRUE(InitAuthority(folder_, false).ok());
  ASSERT_TRUE(Issue(Role::kDr).ok());
  EXPECT_EQ(ModeOf(folder_), 0700u);
  EXPECT_EQ(ModeOf(folder_ / "ca.key"), 0600u);
  EXPECT_EQ(ModeOf(folder_ / "dr.key"), 0600u);
  EXPECT_EQ(ModeOf(folder_ / "dr.crt"), 0644u);
}

TEST_F(PkiTest, NothingIsReplacedWithoutForce) {
  ASSERT_TRUE(InitAuthority(folder_, false).ok());
  ASSERT_TRUE(Issue(Role::kDr).ok());
  const std::string authority_key = ContentOf(folder_ / "ca.key");
  const std::string key = ContentOf(folder_ / "dr.key");
  EXPECT_EQ(InitAuthority(folder_, false).code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(Issue(Role::kDr).status().code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(ContentOf(folder_ / "ca.key"), authority_key);
  EXPECT_EQ(ContentOf(folder_ / "dr.key"), key);
  const auto again = IssueCertificate(folder_, {.name = "dr", .roles = {Role::kDr}, .hosts = {}, .force = true});
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_NE(ContentOf(folder_ / "dr.key"), key);
  EXPECT_TRUE(CheckTlsFiles(*again, Role::kDr).ok());
}

TEST_F(PkiTest, NoTemporaryFilesStay) {
  ASSERT_TRUE(InitAuthority(folder_, false).ok());
  EXPECT_FALSE(InitAuthority(folder_, false).ok());
  const std::filesystem::directory_iterator entries(folder_);
  EXPECT_EQ(std::distance(begin(entries), end(entries)), 2);
}

TEST_F(PkiTest, UnfitRequestsAreRefused) {
  EXPECT_EQ(Issue(Role::kDr).status().code(), absl::StatusCode::kNotFound);
  ASSERT_TRUE(InitAuthority(folder_, false).ok());
  const auto code = [&](IssueRequest request) { return IssueCertificate(folder_, request).status().code(); };
  EXPECT_EQ(code({.name = "../x", .roles = {Role::kDr}, .hosts = {}}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code({.name = "ca", .roles = {Role::kDr}, .hosts = {}, .force = true}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code({.name = "x", .roles = {}, .hosts = {}}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code({.name = "x", .roles = {Role::kDr}, .hosts = {"a,DNS:b"}}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code({.name = "x", .roles = {Role::kDr}, .hosts = {"a:1"}}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code({.name = "x", .roles = {Role::kDr}, .hosts = {}, .days = 0}), absl::StatusCode::kInvalidArgument);
}

TEST_F(PkiTest, UnfitFilesSayWhatToDo) {
  ASSERT_TRUE(InitAuthority(folder_, false).ok());
  const TlsFiles primary = *Issue(Role::kPrimary);
  const TlsFiles dr = *Issue(Role::kDr);
  const auto message = [](const TlsFiles& files) {
    const absl::Status status = CheckTlsFiles(files, Role::kPrimary);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    return std::string(MessageOf(status));
  };
  EXPECT_THAT(message({primary.ca, primary.cert, dr.key}), HasSubstr("doesn't belong to"));
  EXPECT_THAT(message({primary.ca, folder_ / "none.crt", primary.key}), HasSubstr("No such file"));
  EXPECT_THAT(message({primary.ca, primary.key, primary.key}), HasSubstr("no certificate in PEM form"));
  EXPECT_THAT(message({primary.ca, primary.cert, primary.cert}), HasSubstr("no unencrypted private key"));
  ASSERT_TRUE(InitAuthority(folder_ / "other", false).ok());
  EXPECT_THAT(message({folder_ / "other/ca.crt", primary.cert, primary.key}),
              HasSubstr("isn't signed by an authority"));
}

}  // namespace
}  // namespace understudy::net
