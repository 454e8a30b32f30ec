// What the client does about servers that answer badly; tests/integration/s3_test.cc has a real one.
#include "core/net/s3_client.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "tests/support/http_test_server.h"
#include "tests/support/temp_dir.h"

namespace understudy::net {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;
using tests::HttpTestServer;
using tests::TestReply;
using tests::TestRequest;

std::string FileText(const std::filesystem::path& path) {
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

// Bytes of which no part is like another.
std::string Content(size_t size) {
  std::string content;
  for (uint32_t i = 0; content.size() < size; ++i) content += fmt::format("{:08x}", i * 2654435761U);
  content.resize(size);
  return content;
}

class S3ClientTest : public ::testing::Test {
 protected:
  S3Client ClientOf(const HttpTestServer& server) {
    S3Options options{.endpoint = server.Url(), .bucket = "velero"};
    options.attempts = 3;
    options.first_pause = absl::Milliseconds(1);
    options.longest_pause = absl::Milliseconds(5);
    return S3Client(options, [this] { return credentials_; });
  }
  // What was downloaded, which is removed then.
  absl::StatusOr<std::string> Download(const S3Client& client, uint64_t max_bytes = 10 << 20) {
    ASSIGN_OR_RETURN(const S3Download download, client.Download("a/object", folder_.Path(), max_bytes));
    std::string text = FileText(download.file);
    EXPECT_EQ(download.size, text.size());
    EXPECT_EQ(std::filesystem::status(download.file).permissions(), std::filesystem::perms(0600));
    std::filesystem::remove(download.file);
    return text;
  }
  size_t FilesLeft() const {
    return static_cast<size_t>(std::distance(std::filesystem::directory_iterator(folder_.Path()), {}));
  }

  const tests::TempDir folder_;
  absl::StatusOr<AwsCredentials> credentials_ =
      AwsCredentials{.access_key = "AKIA1", .secret_key = "S", .session_token = "T"};
};

TEST_F(S3ClientTest, SignsWhatItSends) {
  const HttpTestServer server([](const TestRequest&, TestReply& reply) { reply.Send(200, "hello"); });
  const auto got = ClientOf(server).Get("a b/\xC3\xBC+&.json", 100);
  ASSERT_TRUE(got.ok()) << got.status();
  EXPECT_EQ(*got, "hello");
  const TestRequest request = server.Requests().at(0);
  EXPECT_EQ(request.target, "/velero/a%20b/%C3%BC%2B%26.json");
  EXPECT_EQ(request.headers.at("host"), server.Url().substr(7));
  EXPECT_EQ(request.headers.at("x-amz-content-sha256"), kEmptyPayloadSha256);
  EXPECT_EQ(request.headers.at("x-amz-security-token"), "T");
  EXPECT_THAT(request.headers.at("authorization"), StartsWith("AWS4-HMAC-SHA256 Credential=AKIA1/"));
  EXPECT_THAT(request.headers.at("authorization"),
              HasSubstr("SignedHeaders=host;x-amz-content-sha256;x-amz-date;x-amz-security-token,"));
}

TEST_F(S3ClientTest, ABucketMayStandBeforeTheHost) {
  const HttpTestServer server([](const TestRequest&, TestReply& reply) { reply.Send(200, "hello"); });
  S3Options options{.endpoint = "http://localhost" + server.Url().substr(server.Url().rfind(':')), .bucket = "velero"};
  options.path_style = false;
  options.attempts = 1;
  const S3Client client(options, [this] { return credentials_; });
  // "velero.localhost" is this host to curl, as every name below localhost is.
  ASSERT_TRUE(client.Get("key", 100).ok()) << client.Get("key", 100).status();
  EXPECT_EQ(server.Requests().at(0).target, "/key");
  EXPECT_THAT(server.Requests().at(0).headers.at("host"), StartsWith("velero.localhost:"));
}

TEST_F(S3ClientTest, ListsPageByPage) {
  const HttpTestServer server([](const TestRequest& request, TestReply& reply) {
    const bool second = request.target.find("continuation-token=to%2Bken") != std::string::npos;
    reply.Send(200, second ? "<ListBucketResult><IsTruncated>false</IsTruncated>"
                             "<CommonPrefixes><Prefix>b/two/</Prefix></CommonPrefixes></ListBucketResult>"
                           : "<ListBucketResult><IsTruncated>true</IsTruncated>"
                             "<NextContinuationToken>to+ken</NextContinuationToken>"
                             "<CommonPrefixes><Prefix>b/one/</Prefix></CommonPrefixes></ListBucketResult>");
  });
  const auto listing = ClientOf(server).List("b/", "/");
  ASSERT_TRUE(listing.ok()) << listing.status();
  EXPECT_THAT(listing->common_prefixes, ::testing::ElementsAre("b/one/", "b/two/"));
  EXPECT_EQ(server.Requests().at(0).target, "/velero/?delimiter=%2F&list-type=2&max-keys=1000&prefix=b%2F");
}

TEST_F(S3ClientTest, AListThatGoesInCirclesEnds) {
  const HttpTestServer server([](const TestRequest&, TestReply& reply) {
    reply.Send(200,
               "<ListBucketResult><IsTruncated>true</IsTruncated>"
               "<NextContinuationToken>again</NextContinuationToken></ListBucketResult>");
  });
  EXPECT_TRUE(absl::IsDataLoss(ClientOf(server).List("b/", "/").status()));
}

TEST_F(S3ClientTest, TriesAgainWhatMayPassAndNothingElse) {
  std::atomic<int> answer = 503;
  const HttpTestServer server([&](const TestRequest&, TestReply& reply) {
    const int status = answer;
    if (status == 503) answer = 200;
    reply.Send(status, status == 200 ? "there" : "");
  });
  EXPECT_EQ(*ClientOf(server).Get("key", 100), "there");
  EXPECT_EQ(server.Requests().size(), 2);
  answer = 403;
  EXPECT_TRUE(absl::IsPermissionDenied(ClientOf(server).Get("key", 100).status()));
  EXPECT_EQ(server.Requests().size(), 3);
  answer = 500;
  const absl::Status given_up = ClientOf(server).Get("key", 100).status();
  EXPECT_TRUE(absl::IsUnavailable(given_up));
  EXPECT_THAT(std::string(given_up.message()), HasSubstr("after 3 tries"));
  EXPECT_EQ(server.Requests().size(), 6);
}

TEST_F(S3ClientTest, AsksForTheKeysBeforeEachRequest) {
  const HttpTestServer server([](const TestRequest&, TestReply& reply) { reply.Send(200, "hello"); });
  const S3Client client = ClientOf(server);
  ASSERT_TRUE(client.Get("key", 100).ok());
  credentials_ = AwsCredentials{.access_key = "AKIA2", .secret_key = "S", .session_token = ""};
  ASSERT_TRUE(client.Get("key", 100).ok());
  EXPECT_THAT(server.Requests().at(1).headers.at("authorization"), HasSubstr("Credential=AKIA2/"));
  credentials_ = absl::NotFoundError("no such file");
  EXPECT_TRUE(absl::IsNotFound(client.Get("key", 100).status()));
}

TEST_F(S3ClientTest, GoesOnWhereATransferBroke) {
  const std::string content = Content(300'000);
  const HttpTestServer server([&](const TestRequest& request, TestReply& reply) {
    if (!request.headers.contains("range")) {
      reply.BreakOffAfter(200, content.size(), content.substr(0, 100'000), {{"ETag", "\"tag\""}});
      return;
    }
    EXPECT_TRUE(request.headers.contains("if-match") && request.headers.at("if-match") == "\"tag\"");
    const size_t begin = std::stoul(request.headers.at("range").substr(6));
    reply.Send(206, content.substr(begin),
               {{"ETag", "\"tag\""},
                {"Content-Range", fmt::format("bytes {}-{}/{}", begin, content.size() - 1, content.size())}});
  });
  const auto got = Download(ClientOf(server));
  ASSERT_TRUE(got.ok()) << got.status();
  EXPECT_EQ(*got, content);
  EXPECT_EQ(server.Requests().size(), 2);
  EXPECT_NE(server.Requests().at(1).headers.at("range"), "bytes=0-");
}

TEST_F(S3ClientTest, BeginsAnewWhenTheObjectWasReplaced) {
  const std::string old_content = Content(300'000);
  const std::string new_content = Content(200'000).substr(7);
  std::atomic<int> requests = 0;
  const HttpTestServer server([&](const TestRequest& request, TestReply& reply) {
    if (++requests == 1) {
      reply.BreakOffAfter(200, old_content.size(), old_content.substr(0, 100'000), {{"ETag", "\"old\""}});
    } else if (request.headers.contains("range")) {
      reply.Send(412, "<Error><Code>PreconditionFailed</Code></Error>");
    } else {
      reply.Send(200, new_content, {{"ETag", "\"new\""}});
    }
  });
  const auto got = Download(ClientOf(server));
  ASSERT_TRUE(got.ok()) << got.status();
  EXPECT_EQ(*got, new_content);
}

TEST_F(S3ClientTest, TakesTheWholeWhereTheServerKnowsNoRest) {
  const std::string content = Content(300'000);
  std::atomic<int> requests = 0;
  const HttpTestServer server([&](const TestRequest&, TestReply& reply) {
    if (++requests == 1) {
      reply.BreakOffAfter(200, content.size(), content.substr(0, 100'000), {});
    } else {
      reply.Send(200, content);
    }
  });
  const auto got = Download(ClientOf(server));
  ASSERT_TRUE(got.ok()) << got.status();
  EXPECT_EQ(*got, content);
}

TEST_F(S3ClientTest, ARestOfAnotherObjectIsntTaken) {
  const std::string content = Content(300'000);
  const HttpTestServer server([&](const TestRequest& request, TestReply& reply) {
    if (!request.headers.contains("range")) {
      reply.BreakOffAfter(200, content.size(), content.substr(0, 100'000), {{"ETag", "\"one\""}});
    } else {
      reply.Send(206, content.substr(0, 200'000),
                 {{"ETag", "\"two\""}, {"Content-Range", fmt::format("bytes 100000-299999/{}", content.size())}});
    }
  });
  EXPECT_FALSE(Download(ClientOf(server)).ok());
  EXPECT_EQ(FilesLeft(), 0);
}

TEST_F(S3ClientTest, WhatIsDamagedOnItsWayComesAgain) {
  const std::string content = "Welcome to Amazon S3.";
  std::atomic<int> requests = 0;
  const HttpTestServer server([&](const TestRequest&, TestReply& reply) {
    reply.Send(200, ++requests == 1 ? "Welcome to Amazon S4." : content,
               {{"ETag", "\"d447d0e8f289f16a12ff6027ce77c258\""}});
  });
  const auto got = Download(ClientOf(server));
  ASSERT_TRUE(got.ok()) << got.status();
  EXPECT_EQ(*got, content);
}

TEST_F(S3ClientTest, WhatIsDamagedInTheStoreIsTold) {
  const HttpTestServer server([](const TestRequest&, TestReply& reply) {
    reply.Send(200, "Welcome to Amazon S4.", {{"ETag", "\"d447d0e8f289f16a12ff6027ce77c258\""}});
  });
  const absl::Status status = Download(ClientOf(server)).status();
  EXPECT_TRUE(absl::IsDataLoss(status)) << status;
  EXPECT_EQ(FilesLeft(), 0);
}

TEST_F(S3ClientTest, AnObjectOverTheLimitIsRefusedBeforeItComes) {
  const HttpTestServer server([](const TestRequest&, TestReply& reply) { reply.Send(200, Content(2000)); });
  const absl::Status status = Download(ClientOf(server), 1999).status();
  EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
  EXPECT_EQ(server.Requests().size(), 1);
  EXPECT_EQ(FilesLeft(), 0);
  EXPECT_TRUE(Download(ClientOf(server), 2000).ok());
}

TEST_F(S3ClientTest, AnObjectWithoutALengthEndsAtTheLimit) {
  const HttpTestServer server([](const TestRequest&, TestReply& reply) {
    reply.Begin(200);
    while (reply.Chunk(Content(10'000))) {
    }
  });
  EXPECT_TRUE(absl::IsResourceExhausted(Download(ClientOf(server), 100'000).status()));
  EXPECT_EQ(FilesLeft(), 0);
}

TEST_F(S3ClientTest, AnErrorDocumentIsReadWhereAnObjectWasAskedFor) {
  const HttpTestServer server(
      [](const TestRequest&, TestReply& reply) { reply.Send(404, "<Error><Code>NoSuchKey</Code></Error>"); });
  const absl::Status status = Download(ClientOf(server)).status();
  EXPECT_TRUE(absl::IsNotFound(status));
  EXPECT_THAT(std::string(status.message()), HasSubstr("no such object"));
  EXPECT_EQ(FilesLeft(), 0);
}

TEST_F(S3ClientTest, AStopEndsADownload) {
  std::stop_source stop;
  const HttpTestServer server([&](const TestRequest&, TestReply& reply) {
    reply.Begin(200);
    reply.Chunk("a beginning");
    stop.request_stop();
    reply.Hold();
  });
  EXPECT_TRUE(absl::IsCancelled(ClientOf(server).Download("key", folder_.Path(), 1000, stop.get_token()).status()));
  EXPECT_EQ(FilesLeft(), 0);
}

TEST_F(S3ClientTest, AFolderThatIsntThereIsTold) {
  const HttpTestServer server([](const TestRequest&, TestReply& reply) { reply.Send(200, "x"); });
  EXPECT_TRUE(absl::IsNotFound(ClientOf(server).Download("key", folder_.File("none"), 1000).status()));
}

}  // namespace
}  // namespace understudy::net
