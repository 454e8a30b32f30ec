#include "core/net/s3_credentials.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "tests/support/temp_dir.h"

namespace understudy::net {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

void Write(const std::string& file, const std::string& text) {
  std::ofstream(file, std::ios::trunc) << text;
}

TEST(S3Credentials, AreReadFromTheSectionThatIsNamed) {
  constexpr char kText[] =
      "# OADP\n[default]\naws_access_key_id=A\naws_secret_access_key=SA\n"
      "[ backups ]\nAWS_ACCESS_KEY_ID = B\n aws_secret_access_key = S=B/+ \naws_session_token=T\nregion = eu\n";
  const auto of_default = ParseCredentialsFile(kText, "default");
  ASSERT_TRUE(of_default.ok()) << of_default.status();
  EXPECT_EQ(of_default->access_key, "A");
  EXPECT_EQ(of_default->secret_key, "SA");
  EXPECT_EQ(of_default->session_token, "");
  const auto of_backups = ParseCredentialsFile(kText, "backups");
  ASSERT_TRUE(of_backups.ok()) << of_backups.status();
  EXPECT_EQ(of_backups->access_key, "B");
  EXPECT_EQ(of_backups->secret_key, "S=B/+");
  EXPECT_EQ(of_backups->session_token, "T");
}

TEST(S3Credentials, WhatIsMissingIsNamedAndNoSecretIsTold) {
  EXPECT_THAT(std::string(ParseCredentialsFile("[default]\n", "other").status().message()), HasSubstr("[other]"));
  const absl::Status no_access_key =
      ParseCredentialsFile("[default]\naws_secret_access_key=hush\n", "default").status();
  EXPECT_THAT(std::string(no_access_key.message()), HasSubstr("aws_access_key_id"));
  EXPECT_THAT(std::string(no_access_key.message()), Not(HasSubstr("hush")));
  EXPECT_THAT(std::string(ParseCredentialsFile("[default]\naws_access_key_id=A\n", "default").status().message()),
              HasSubstr("aws_secret_access_key"));
}

TEST(S3Credentials, RenewedFilesCountAtOnce) {
  const tests::TempDir folder;
  Write(folder.File("access"), "A1\n");
  Write(folder.File("secret"), "S1\n");
  Write(folder.File("token"), "T1\n");
  S3Credentials credentials({.access_key_file = folder.File("access"),
                             .secret_key_file = folder.File("secret"),
                             .session_token_file = folder.File("token")});
  ASSERT_TRUE(credentials.Read().ok()) << credentials.Read().status();
  EXPECT_EQ(credentials.Read()->session_token, "T1");
  Write(folder.File("token"), "another\n");
  EXPECT_EQ(credentials.Read()->session_token, "another");
}

TEST(S3Credentials, AFileThatIsMissingIsNamed) {
  const tests::TempDir folder;
  S3Credentials of_files({.access_key_file = folder.File("access"), .secret_key_file = folder.File("secret")});
  EXPECT_THAT(std::string(of_files.Read().status().message()), HasSubstr(folder.File("access")));
  S3Credentials of_one({.credentials_file = folder.File("cloud")});
  EXPECT_THAT(std::string(of_one.Read().status().message()), HasSubstr(folder.File("cloud")));
  Write(folder.File("cloud"), "[default]\n");
  EXPECT_THAT(std::string(of_one.Read().status().message()), HasSubstr(folder.File("cloud")));
}

}  // namespace
}  // namespace understudy::net
