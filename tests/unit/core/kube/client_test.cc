#include "core/kube/client.h"

#include <gtest/gtest.h>

#include <fstream>
#include <string>
#include <thread>

#include "tests/sim/fake_clock.h"
#include "tests/support/http_test_server.h"
#include "tests/support/temp_dir.h"

namespace understudy::kube {
namespace {

using nlohmann::json;
using tests::HttpTestServer;
using tests::TestReply;
using tests::TestRequest;

std::string ApiStatus(int code, const std::string& reason, const std::string& message) {
  return json{{"kind", "Status"}, {"code", code}, {"reason", reason}, {"message", message}}.dump();
}

ClusterAccess AccessTo(const HttpTestServer& server) {
  ClusterAccess access;
  access.server = server.Url();
  return access;
}

std::string Page(std::vector<std::string> names, const std::string& more, const std::string& version = "70") {
  json items = json::array();
  for (const std::string& name : names) items.push_back({{"metadata", {{"name", name}}}});
  return json{{"kind", "PersistentVolumeList"},
              {"metadata", {{"resourceVersion", version}, {"continue", more}}},
              {"items", items}}
      .dump();
}

std::vector<std::string> NamesOf(const ListResult& list) {
  std::vector<std::string> names;
  for (const json& item : list.items) names.push_back(item["metadata"]["name"]);
  return names;
}

TEST(StatusOfResponseTest, TheCodeSaysWhatKindAndTheMessageIsTheApis) {
  const auto code = [](int http_status, const std::string& reason) {
    return StatusOfResponse({.status = http_status, .headers = {}, .body = ApiStatus(http_status, reason, "because")},
                            "GET x")
        .code();
  };
  EXPECT_EQ(code(201, ""), absl::StatusCode::kOk);
  EXPECT_EQ(code(400, "BadRequest"), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code(401, "Unauthorized"), absl::StatusCode::kUnauthenticated);
  EXPECT_EQ(code(403, "Forbidden"), absl::StatusCode::kPermissionDenied);
  EXPECT_EQ(code(404, "NotFound"), absl::StatusCode::kNotFound);
  EXPECT_EQ(code(409, "AlreadyExists"), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(code(409, "Conflict"), absl::StatusCode::kAborted);
  EXPECT_EQ(code(410, "Expired"), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(code(422, "Invalid"), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code(429, "TooManyRequests"), absl::StatusCode::kUnavailable);
  EXPECT_EQ(code(500, "InternalError"), absl::StatusCode::kUnavailable);
  EXPECT_EQ(code(503, ""), absl::StatusCode::kUnavailable);
  EXPECT_EQ(code(302, ""), absl::StatusCode::kFailedPrecondition);
}

TEST(StatusOfResponseTest, RetryAfterAndReasonAreCarried) {
  const absl::Status status = StatusOfResponse(
      {.status = 429, .headers = {{"retry-after", "7"}}, .body = ApiStatus(429, "TooManyRequests", "slow down")},
      "GET x");
  EXPECT_EQ(RetryAfter(status), absl::Seconds(7));
  EXPECT_EQ(ApiReason(status), "TooManyRequests");
  EXPECT_NE(MessageOf(status).find("slow down"), std::string_view::npos);
  const auto until = [](std::map<std::string, std::string> headers) {
    return RetryAfter(StatusOfResponse({.status = 503, .headers = std::move(headers), .body = ""}, "GET x"));
  };
  EXPECT_EQ(until({{"retry-after", "Wed, 25 Nov 2026 10:00:30 GMT"}, {"date", "Wed, 25 Nov 2026 10:00:00 GMT"}}),
            absl::Seconds(30));
  EXPECT_EQ(until({{"retry-after", "Wed, 25 Nov 2020 10:00:30 GMT"}}), absl::ZeroDuration());
  EXPECT_EQ(until({{"retry-after", "soon"}}), std::nullopt);
  EXPECT_EQ(until({{"retry-after", "-3"}}), std::nullopt);
  const absl::Status plain = StatusOfResponse({.status = 502, .headers = {}, .body = "bad gateway"}, "GET x");
  EXPECT_EQ(RetryAfter(plain), std::nullopt);
  EXPECT_NE(MessageOf(plain).find("bad gateway"), std::string_view::npos);
}

TEST(ClientTest, AListIsReadInPagesAndItemsGetTheirKind) {
  HttpTestServer server([](const TestRequest& request, TestReply& reply) {
    const bool second = request.target.find("continue=next%2F1%3D") != std::string::npos;
    reply.Send(200, second ? Page({"c"}, "") : Page({"a", "b"}, "next/1="));
  });
  const auto list = Client(AccessTo(server)).List(kPersistentVolumes, "");
  ASSERT_TRUE(list.ok()) << list.status();
  EXPECT_EQ(NamesOf(*list), (std::vector<std::string>{"a", "b", "c"}));
  EXPECT_EQ(list->items[2]["kind"], "PersistentVolume");
  EXPECT_EQ(list->items[2]["apiVersion"], "v1");
  EXPECT_EQ(list->resource_version, "70");
}

TEST(ClientTest, AListThatExpiresHalfWayIsBegunAnew) {
  int lists = 0;
  HttpTestServer server([&lists](const TestRequest& request, TestReply& reply) {
    if (request.target.find("continue=") == std::string::npos) {
      ++lists;
      reply.Send(200, lists == 1 ? Page({"gone"}, "old", "1") : Page({"a"}, "new", "2"));
    } else if (request.target.find("continue=old") != std::string::npos) {
      reply.Send(410, ApiStatus(410, "Expired", "too old"));
    } else {
      reply.Send(200, Page({"b"}, "", "2"));
    }
  });
  const auto list = Client(AccessTo(server)).List(kPersistentVolumes, "");
  ASSERT_TRUE(list.ok()) << list.status();
  EXPECT_EQ(NamesOf(*list), (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(list->resource_version, "2");
}

TEST(ClientTest, AListWithABrokenPageIsAnError) {
  HttpTestServer server([](const TestRequest& request, TestReply& reply) {
    if (request.target.find("continue=") != std::string::npos) return reply.Send(500, "etcd is away");
    reply.Send(200, Page({"a"}, "more"));
  });
  EXPECT_TRUE(absl::IsUnavailable(Client(AccessTo(server)).List(kPersistentVolumes, "").status()));
}

// What a list lacks may be deleted at DR: whatever makes it doubtful that it is everything is an error.
TEST(ClientTest, AListThatCannotBeEverythingIsAnError) {
  const char* const kAnswers[] = {
      R"({"metadata":{"resourceVersion":"70","remainingItemCount":7},"items":[{"metadata":{"name":"a"}}]})",
      R"({"metadata":{"resourceVersion":""},"items":[]})",
      R"({"metadata":{},"items":[]})",
      R"({"metadata":{"resourceVersion":"70"}})",
      R"({"metadata":{"resourceVersion":"70"},"items":{}})",
      R"({"metadata":{"resourceVersion":"70"},"items":["a"]})",
      R"({"metadata":{"resourceVersion":"70"},"items":[{"metadata":{}}]})",
  };
  for (const char* answer : kAnswers) {
    HttpTestServer server([&](const TestRequest&, TestReply& reply) { reply.Send(200, answer); });
    EXPECT_TRUE(absl::IsUnavailable(Client(AccessTo(server)).List(kPersistentVolumes, "").status())) << answer;
  }
  HttpTestServer no_items([](const TestRequest&, TestReply& reply) {
    reply.Send(200, R"({"metadata":{"resourceVersion":"70"},"items":null})");
  });
  EXPECT_TRUE(Client(AccessTo(no_items)).List(kPersistentVolumes, "").ok());
}

TEST(ClientTest, PagesOfTwoVersionsAreNoList) {
  HttpTestServer server([](const TestRequest& request, TestReply& reply) {
    const bool second = request.target.find("continue=") != std::string::npos;
    reply.Send(200, second ? Page({"b"}, "", "71") : Page({"a"}, "more", "70"));
  });
  EXPECT_TRUE(absl::IsUnavailable(Client(AccessTo(server)).List(kPersistentVolumes, "").status()));
}

TEST(ClientTest, AListWhoseSecondPageBreaksOffIsAnError) {
  HttpTestServer server([](const TestRequest& request, TestReply& reply) {
    if (request.target.find("continue=") == std::string::npos) return reply.Send(200, Page({"a"}, "more"));
    reply.Begin(200);
    reply.Chunk(R"({"metadata":{"resourceVersion":"70"},"items":[)");
    reply.BreakOff();
  });
  EXPECT_TRUE(absl::IsUnavailable(Client(AccessTo(server)).List(kPersistentVolumes, "").status()));
}

TEST(ClientTest, AServerThatAcceptsAndSaysNothingIsGivenUp) {
  HttpTestServer server([](const TestRequest&, TestReply& reply) { reply.Hold(); });
  const Client client(AccessTo(server), {.request_timeout = absl::Milliseconds(100)});
  EXPECT_TRUE(absl::IsDeadlineExceeded(client.List(kPersistentVolumes, "").status()));
}

TEST(ClientTest, ATokenFileIsReadAgainAfterAMinute) {
  const tests::TempDir folder;
  std::ofstream(folder.File("token")) << "old";
  HttpTestServer server([](const TestRequest&, TestReply& reply) { reply.Send(200, "{}"); });
  ClusterAccess access = AccessTo(server);
  access.token_file = folder.File("token");
  sim::FakeClock clock;
  const Client client(access, {}, clock);
  EXPECT_TRUE(client.Version().ok());
  std::ofstream(folder.File("token")) << "new";
  clock.Advance(absl::Seconds(59));
  EXPECT_TRUE(client.Version().ok());
  clock.Advance(absl::Seconds(2));
  EXPECT_TRUE(client.Version().ok());
  std::vector<std::string> tokens;
  for (const TestRequest& request : server.Requests()) tokens.push_back(request.headers.at("authorization"));
  EXPECT_EQ(tokens, (std::vector<std::string>{"Bearer old", "Bearer old", "Bearer new"}));
}

TEST(ClientTest, AClusterIsRecognisedByItsOldestNamespace) {
  HttpTestServer server([](const TestRequest& request, TestReply& reply) {
    const bool right = request.target == "/api/v1/namespaces/kube-system";
    reply.Send(right ? 200 : 404, right ? R"({"metadata":{"uid":"u-1"}})" : "{}");
  });
  const auto uid = ClusterUid(Client(AccessTo(server)));
  ASSERT_TRUE(uid.ok()) << uid.status();
  EXPECT_EQ(*uid, "u-1");
  HttpTestServer nameless([](const TestRequest&, TestReply& reply) { reply.Send(200, "{}"); });
  EXPECT_FALSE(ClusterUid(Client(AccessTo(nameless))).ok());
}

TEST(ClientTest, AnAnswerThatIsNoKubernetesIsUnavailable) {
  HttpTestServer server([](const TestRequest&, TestReply& reply) { reply.Send(200, "<html>welcome</html>"); });
  EXPECT_TRUE(absl::IsUnavailable(Client(AccessTo(server)).List(kPersistentVolumes, "").status()));
}

TEST(ClientTest, ATokenFileIsReadAgainOn401) {
  const tests::TempDir folder;
  std::ofstream(folder.File("token")) << "old\n";
  HttpTestServer server([](const TestRequest& request, TestReply& reply) {
    const bool fresh = request.headers.at("authorization") == "Bearer new";
    reply.Send(fresh ? 200 : 401, fresh ? R"({"gitVersion":"v1.30.1"})" : ApiStatus(401, "Unauthorized", "who?"));
  });
  ClusterAccess access = AccessTo(server);
  access.token_file = folder.File("token");
  const Client client(access);
  EXPECT_TRUE(absl::IsUnauthenticated(client.Version().status()));
  std::ofstream(folder.File("token")) << "new\n";
  const auto version = client.Version();
  ASSERT_TRUE(version.ok()) << version.status();
  EXPECT_EQ(*version, "v1.30.1");
}

TEST(ClientTest, AWatchHandsOverEventsHoweverTheyAreCut) {
  HttpTestServer server([](const TestRequest&, TestReply& reply) {
    reply.Begin(200);
    reply.Chunk(R"({"type":"ADDED","object":{"metadata":{"na)");
    reply.Chunk(
        "me\":\"a\"}}}\n"
        R"({"type":"BOOKMARK","object":{"metadata":{"name":"b"}}})"
        "\n"
        R"({"type")");
    reply.Chunk(R"(:"DELETED","object":{"metadata":{"name":"c"}}})"
                "\n");
  });
  std::vector<std::string> seen;
  bool opened = false;
  const absl::Status status =
      Client(AccessTo(server))
          .Watch(
              kPersistentVolumeClaims, "shop", "17", {},
              [&](const WatchEvent& event) {
                seen.push_back(event.type + " " + event.object["metadata"]["name"].get<std::string>());
              },
              [&] { opened = true; });
  EXPECT_EQ(status, absl::OkStatus());
  EXPECT_TRUE(opened);
  EXPECT_EQ(seen, (std::vector<std::string>{"ADDED a", "BOOKMARK b", "DELETED c"}));
  const std::string target = server.Requests().at(0).target;
  EXPECT_TRUE(target.starts_with("/api/v1/namespaces/shop/persistentvolumeclaims?watch=true&allowWatchBookmarks=true"))
      << target;
  EXPECT_NE(target.find("resourceVersion=17"), std::string::npos) << target;
}

TEST(ClientTest, AnExpiredWatchIsOutOfRangeEitherWay) {
  HttpTestServer server([](const TestRequest& request, TestReply& reply) {
    if (request.target.find("resourceVersion=1") != std::string::npos) {
      return reply.Send(410, ApiStatus(410, "Expired", "too old"));
    }
    reply.Begin(200);
    reply.Chunk(R"({"type":"ERROR","object":)" + ApiStatus(410, "Expired", "too old") + "}\n");
    reply.Hold();
  });
  const Client client(AccessTo(server));
  bool opened = false;
  const auto ignore = [](const WatchEvent&) {};
  EXPECT_TRUE(absl::IsOutOfRange(client.Watch(kPersistentVolumes, "", "1", {}, ignore, [&] { opened = true; })));
  EXPECT_FALSE(opened);
  EXPECT_TRUE(absl::IsOutOfRange(client.Watch(kPersistentVolumes, "", "2", {}, ignore)));
}

TEST(ClientTest, AWatchThatSaysWhatNoApiServerSaysIsUnavailable) {
  std::string line;
  HttpTestServer server([&](const TestRequest&, TestReply& reply) {
    reply.Begin(200);
    reply.Chunk(line + "\n");
    reply.Hold();
  });
  const Client client(AccessTo(server));
  for (const char* const broken :
       {R"({"type":"ADDED","object":{"metadata":null}})", R"({"type":"MODIFIED","object":{"metadata":{"name":7}}})",
        R"({"type":"DELETED","object":{}})", R"({"type":"BOOKMARK","object":{"metadata":[]}})", R"({"type":"ADDED"})",
        R"({"type":7,"object":{"metadata":null}})", R"({"type":"ERROR","object":{"code":"410"}})",
        R"({"type":"ERROR","object":{"code":null}})", "[]", "{"}) {
    line = broken;
    int events = 0;
    const absl::Status status = client.Watch(kPersistentVolumes, "", "1", {}, [&](const WatchEvent&) { ++events; });
    EXPECT_TRUE(absl::IsUnavailable(status)) << broken << ": " << status;
    EXPECT_EQ(events, 0) << broken;
  }
}

TEST(ClientTest, AWatchEndsAtOnceWhenStopped) {
  HttpTestServer server([](const TestRequest&, TestReply& reply) {
    reply.Begin(200);
    reply.Hold();
  });
  std::stop_source stop;
  const absl::Status status =
      Client(AccessTo(server))
          .Watch(
              kPersistentVolumes, "", "1", stop.get_token(), [](const WatchEvent&) {}, [&] { stop.request_stop(); });
  EXPECT_TRUE(absl::IsCancelled(status)) << status;
}

TEST(ClientTest, ASilentWatchIsGivenUp) {
  HttpTestServer server([](const TestRequest&, TestReply& reply) { reply.Hold(); });
  const Client client(AccessTo(server), {.watch_silence_timeout = absl::Milliseconds(100)});
  EXPECT_TRUE(absl::IsDeadlineExceeded(client.Watch(kPersistentVolumes, "", "1", {}, [](const WatchEvent&) {})));
}

TEST(ClientTest, ASubresourceIsPutAndItsAnswerMayBeEmpty) {
  int code = 202;
  HttpTestServer server([&](const TestRequest&, TestReply& reply) {
    reply.Send(code, code == 409 ? ApiStatus(409, "Conflict", "VM is not running") : "");
  });
  const Client client(AccessTo(server));
  EXPECT_EQ(client.Put(kVirtualMachineActions, "shop", "db", "stop", json::object()), absl::OkStatus());
  const TestRequest request = server.Requests().at(0);
  EXPECT_EQ(request.method, "PUT");
  EXPECT_EQ(request.target, "/apis/subresources.kubevirt.io/v1/namespaces/shop/virtualmachines/db/stop");
  EXPECT_EQ(request.body, "{}");
  EXPECT_EQ(request.headers.at("content-type"), "application/json");
  code = 404;
  EXPECT_TRUE(absl::IsNotFound(client.Put(kVirtualMachineActions, "shop", "db", "stop", json::object())));
  code = 409;
  const absl::Status conflict = client.Put(kVirtualMachineActions, "shop", "db", "stop", json::object());
  EXPECT_TRUE(absl::IsAborted(conflict)) << conflict;
  EXPECT_NE(MessageOf(conflict).find("VM is not running"), std::string_view::npos);
  code = 503;
  EXPECT_TRUE(absl::IsUnavailable(client.Put(kVirtualMachineActions, "shop", "db", "stop", json::object())));
}

TEST(ClientTest, ASubresourceIsRead) {
  HttpTestServer server([](const TestRequest&, TestReply& reply) { reply.Send(200, R"({"hostname":"db"})"); });
  const auto info =
      Client(AccessTo(server)).GetSubresource(kVirtualMachineInstanceActions, "shop", "db", "guestosinfo");
  ASSERT_TRUE(info.ok()) << info.status();
  EXPECT_EQ(info->at("hostname"), "db");
  EXPECT_EQ(server.Requests().at(0).target,
            "/apis/subresources.kubevirt.io/v1/namespaces/shop/virtualmachineinstances/db/guestosinfo");
}

TEST(ClientTest, WritesSayWhoWritesAndDeletesSayWhichObject) {
  HttpTestServer server([](const TestRequest&, TestReply& reply) { reply.Send(200, "{}"); });
  const Client client(AccessTo(server));
  EXPECT_TRUE(client.Apply(kVolumeSnapshots, "shop", "s", json{{"a", 1}}).ok());
  EXPECT_TRUE(client.Patch(kPersistentVolumes, "", "p", PatchType::kMerge, json{{"b", 2}}).ok());
  EXPECT_TRUE(client.Delete(kPersistentVolumes, "", "p", "u-1").ok());
  const std::vector<TestRequest> seen = server.Requests();
  ASSERT_EQ(seen.size(), 3U);
  EXPECT_EQ(seen[0].method + " " + seen[0].target,
            "PATCH /apis/snapshot.storage.k8s.io/v1/namespaces/shop/volumesnapshots/s?fieldManager=understudy");
  EXPECT_EQ(seen[0].headers.at("content-type"), "application/apply-patch+yaml");
  EXPECT_EQ(seen[1].headers.at("content-type"), "application/merge-patch+json");
  EXPECT_EQ(seen[2].method + " " + seen[2].target, "DELETE /api/v1/persistentvolumes/p");
  EXPECT_EQ(json::parse(seen[2].body)["preconditions"]["uid"], "u-1");
}

}  // namespace
}  // namespace understudy::kube
