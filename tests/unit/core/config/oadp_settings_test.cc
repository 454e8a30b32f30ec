#include "core/config/oadp_settings.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "core/config/control_config.h"

namespace understudy::config {
namespace {

using ::testing::HasSubstr;

class OadpSettingsTest : public ::testing::Test {
 protected:
  OadpSettingsTest() {
    std::string made = (std::filesystem::path(::testing::TempDir()) / "oadp-XXXXXX").native();
    EXPECT_NE(mkdtemp(made.data()), nullptr);
    folder_ = made;
  }
  ~OadpSettingsTest() override { std::filesystem::remove_all(folder_); }

  absl::StatusOr<ControlConfig> Load(const std::string& oadp) const {
    const std::filesystem::path file = folder_ / "control.yaml";
    std::ofstream(file) << "tls: {ca: a, cert: b, key: c}\npairs: [{name: p, primary: 'h:1', dr: 'h:2'}]\n" << oadp;
    return LoadControlConfig(file.native());
  }
  std::string ErrorOf(const std::string& s3) const {
    return std::string(MessageOf(Load("oadp: {s3: {" + s3 + "}}\n").status()));
  }

  std::filesystem::path folder_;
};

TEST_F(OadpSettingsTest, AreRead) {
  const auto config = Load(R"(
oadp:
  namespace: velero
  accept_partially_failed: true
  max_archive_bytes: 1GiB
  s3:
    endpoint: "https://s3.example.com:9000"
    region: eu-west-1
    bucket: velero-backups
    prefix: site/a
    path_style: false
    ca: s3-ca.crt
    access_key_file: access
    secret_key_file: secret
    session_token_file: token
)");
  ASSERT_TRUE(config.ok()) << config.status();
  ASSERT_TRUE(config->oadp.has_value());
  EXPECT_EQ(config->oadp->namespace_name, "velero");
  EXPECT_TRUE(config->oadp->accept_partially_failed);
  EXPECT_EQ(config->oadp->max_archive_bytes, uint64_t{1} << 30);
  const S3Config& s3 = config->oadp->s3;
  EXPECT_EQ(s3.endpoint, "https://s3.example.com:9000");
  EXPECT_EQ(s3.region, "eu-west-1");
  EXPECT_EQ(s3.bucket, "velero-backups");
  EXPECT_EQ(s3.prefix, "site/a");
  EXPECT_FALSE(s3.path_style);
  EXPECT_EQ(s3.ca, folder_ / "s3-ca.crt");
  EXPECT_EQ(s3.access_key_file, folder_ / "access");
  EXPECT_EQ(s3.secret_key_file, folder_ / "secret");
  EXPECT_EQ(s3.session_token_file, folder_ / "token");
}

TEST_F(OadpSettingsTest, ABucketAndItsKeysAreEnough) {
  EXPECT_FALSE(Load("")->oadp.has_value());
  const auto config = Load("oadp: {s3: {bucket: velero, credentials_file: cloud}}\n");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->oadp->namespace_name, "openshift-adp");
  EXPECT_FALSE(config->oadp->accept_partially_failed);
  EXPECT_EQ(config->oadp->s3.profile, "default");
  EXPECT_TRUE(config->oadp->s3.path_style);
  EXPECT_EQ(config->oadp->s3.region, "us-east-1");
}

TEST_F(OadpSettingsTest, BackupsOfTheTwoClustersAreApart) {
  const std::string here = "bucket: one, access_key_file: a, secret_key_file: b";
  const auto error_of = [&](const std::string& back) {
    return std::string(MessageOf(Load("oadp: {s3: {" + here + "}, failback_s3: {" + back + "}}\n").status()));
  };
  EXPECT_EQ(error_of("bucket: two, access_key_file: a, secret_key_file: b"), "");
  EXPECT_EQ(error_of("bucket: one, prefix: dr, access_key_file: a, secret_key_file: b"), "");
  EXPECT_THAT(error_of("bucket: one, access_key_file: c, secret_key_file: d"), HasSubstr("oadp.failback_s3"));
  EXPECT_THAT(error_of("bucket: two"), HasSubstr("oadp.failback_s3.access_key_file"));
}

TEST_F(OadpSettingsTest, KeysAreGivenInOneWay) {
  EXPECT_THAT(ErrorOf("bucket: velero"), HasSubstr("oadp.s3.access_key_file"));
  EXPECT_THAT(ErrorOf("bucket: velero, access_key_file: a"), HasSubstr("oadp.s3.secret_key_file"));
  EXPECT_THAT(ErrorOf("bucket: velero, secret_key_file: a"), HasSubstr("oadp.s3.access_key_file"));
  EXPECT_THAT(ErrorOf("bucket: velero, credentials_file: a, access_key_file: b"), HasSubstr("holds the keys already"));
  EXPECT_THAT(ErrorOf("bucket: velero, credentials_file: a, session_token_file: b"),
              HasSubstr("holds the keys already"));
}

TEST_F(OadpSettingsTest, WhatCantBeIsRefused) {
  const std::string keys = "credentials_file: cloud";
  EXPECT_EQ(ErrorOf("bucket: velero, " + keys), "");
  EXPECT_THAT(ErrorOf(keys), HasSubstr("bucket"));
  for (const char* const bucket : {"ve", "'a/b'", "'a b'", "\"a\\nb\"", "'-' "}) {
    EXPECT_THAT(ErrorOf("bucket: " + std::string(bucket) + ", " + keys), HasSubstr("oadp.s3.bucket")) << bucket;
  }
  for (const char* const endpoint :
       {"s3.example.com", "'ftp://x'", "'https://'", "'https://x/bucket'", "'https://u:p@x'", "'https://x?y'"}) {
    EXPECT_THAT(ErrorOf("bucket: velero, endpoint: " + std::string(endpoint) + ", " + keys),
                HasSubstr("oadp.s3.endpoint"))
        << endpoint;
  }
  for (const char* const prefix : {"'/a'", "'a/'", "''", "\"a\\nb\""}) {
    EXPECT_THAT(ErrorOf("bucket: velero, prefix: " + std::string(prefix) + ", " + keys), HasSubstr("oadp.s3.prefix"))
        << prefix;
  }
  EXPECT_THAT(ErrorOf("bucket: velero, region: 'eu/west', " + keys), HasSubstr("oadp.s3.region"));
  EXPECT_THAT(ErrorOf("bucket: Velero_1, path_style: false, " + keys), HasSubstr("path_style: true"));
  EXPECT_EQ(ErrorOf("bucket: Velero_1, " + keys), "");
}

}  // namespace
}  // namespace understudy::config
