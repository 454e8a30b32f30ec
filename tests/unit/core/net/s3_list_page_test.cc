#include "core/net/s3_list_page.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace understudy::net {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string List(const std::string& content) {
  return "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ListBucketResult "
         "xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">" +
         content + "</ListBucketResult>";
}

TEST(S3ListPage, HasObjectsPrefixesAndWhereItGoesOn) {
  const auto page = ParseS3ListPage(
      List("<Name>velero</Name><IsTruncated>true</IsTruncated><NextContinuationToken>a&amp;b=</NextContinuationToken>"
           "<Contents><Key>backups/a&lt;&amp;&#x20AC;</Key><Size>9000000000</Size></Contents>"
           "<CommonPrefixes><Prefix>backups/one/</Prefix></CommonPrefixes>"
           "<CommonPrefixes><Prefix>backups/two/</Prefix></CommonPrefixes>"));
  ASSERT_TRUE(page.ok()) << page.status();
  ASSERT_EQ(page->objects.size(), 1);
  EXPECT_EQ(page->objects[0].key, "backups/a<&\xE2\x82\xAC");
  EXPECT_EQ(page->objects[0].size, 9'000'000'000);
  EXPECT_THAT(page->common_prefixes, ElementsAre("backups/one/", "backups/two/"));
  EXPECT_EQ(page->continuation_token, "a&b=");
}

TEST(S3ListPage, TheLastOneGoesNowhere) {
  const auto page = ParseS3ListPage(List("<IsTruncated>false</IsTruncated>"));
  ASSERT_TRUE(page.ok()) << page.status();
  EXPECT_EQ(page->continuation_token, "");
}

TEST(S3ListPage, WhatEndsEarlyOrIsSomethingElseIsRefused) {
  const std::string whole = List("<IsTruncated>false</IsTruncated><Contents><Key>a</Key><Size>1</Size></Contents>");
  for (size_t length = 0; length < whole.size(); ++length) {
    EXPECT_TRUE(absl::IsDataLoss(ParseS3ListPage(whole.substr(0, length)).status())) << length;
  }
  EXPECT_TRUE(absl::IsDataLoss(ParseS3ListPage("<html></html>").status()));
  EXPECT_TRUE(absl::IsDataLoss(ParseS3ListPage(List("<Contents><Key>a</Key><Size>many</Size></Contents>")).status()));
  EXPECT_TRUE(absl::IsDataLoss(ParseS3ListPage(List("<IsTruncated>true</IsTruncated>")).status()));
}

TEST(S3ListPage, EntitiesOfADocumentTypeStayAsTheyAre) {
  const auto page = ParseS3ListPage(
      "<?xml version=\"1.0\"?><!DOCTYPE x [<!ENTITY secret SYSTEM \"file:///etc/passwd\">]>"
      "<ListBucketResult><Contents><Key>&secret;</Key><Size>1</Size></Contents></ListBucketResult>");
  ASSERT_TRUE(page.ok()) << page.status();
  EXPECT_EQ(page->objects.at(0).key, "&secret;");
}

}  // namespace
}  // namespace understudy::net
