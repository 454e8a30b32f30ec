#include "core/kube/list_watch.h"

#include <gtest/gtest.h>

#include <atomic>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "tests/support/http_test_server.h"
#include "tests/support/wait.h"

namespace understudy::kube {
namespace {

using nlohmann::json;
using tests::HttpTestServer;
using tests::TestReply;
using tests::TestRequest;

json Volume(const std::string& name, const std::string& uid, const std::string& version) {
  return {{"metadata", {{"name", name}, {"uid", uid}, {"resourceVersion", version}, {"managedFields", json::array()}}}};
}

std::string ListOf(const std::vector<json>& items, const std::string& version, const std::string& more = "") {
  return json{{"metadata", {{"resourceVersion", version}, {"continue", more}}}, {"items", items}}.dump();
}

std::string Event(const std::string& type, const json& object) {
  return json{{"type", type}, {"object", object}}.dump() + "\n";
}

const char kExpired[] = R"({"kind":"Status","code":410,"reason":"Expired","message":"too old"})";

// Stands still until it is moved, by any thread.
class SharedClock : public Clock {
 public:
  absl::Time Now() const override { return absl::UnixEpoch() + Monotonic(); }
  absl::Duration Monotonic() const override { return absl::Seconds(seconds_.load()); }
  void Advance(absl::Duration by) { seconds_ += absl::ToInt64Seconds(by); }

 private:
  std::atomic<int64_t> seconds_ = 1'000;
};

// Follows PersistentVolumes of a scripted server and writes down what it is told.
class ListWatchTest : public testing::Test {
 protected:
  // `lists` and `watches` answer the first, second, … request of their sort; the last watch holds still.
  using Answer = std::function<void(TestReply&)>;

  void Follow(std::vector<Answer> lists, std::vector<Answer> watches,
              model::ObjectKind kind = model::ObjectKind::kPersistentVolume) {
    lists_ = std::move(lists);
    watches_ = std::move(watches);
    server_.emplace([this](const TestRequest& request, TestReply& reply) { Serve(request, reply); });
    ClusterAccess access;
    access.server = server_->Url();
    client_.emplace(access, ClientOptions{.list_page_size = 2});
    const ListWatchOptions options{.retry_first = absl::Milliseconds(1),
                                   .retry_longest = absl::Milliseconds(5),
                                   .not_served_retry = absl::Milliseconds(5),
                                   .doubt_retry = absl::Seconds(7)};
    ListWatchCallbacks callbacks{
        .on_event = [this](const model::ObjectEvent& event) { Note(event); },
        .on_synced =
            [this](const std::set<model::ObjectKey>& keys) { NoteLine("SYNCED " + std::to_string(keys.size())); },
        .on_state = [this](const WatchState& state) { NoteState(state); },
        .is_doubted = [this] { return doubted_.load(); }};
    thread_ = std::jthread([this, kind, callbacks, options](std::stop_token stop) {
      ListWatch(*client_, kind, callbacks, options, clock_).Run(stop);
    });
  }

  std::vector<std::string> LinesOnce(size_t count) {
    EXPECT_EQ(tests::WaitFor("the events", absl::Seconds(30), [&] { return Seen().size() >= count; }),
              absl::OkStatus());
    return Seen();
  }
  std::vector<std::string> Seen() {
    absl::MutexLock lock(&mutex_);
    return lines_;
  }
  std::vector<WatchState::Kind> StatesOnce(size_t count) {
    EXPECT_EQ(tests::WaitFor("the states", absl::Seconds(30), [&] { return States().size() >= count; }),
              absl::OkStatus());
    return States();
  }
  std::vector<WatchState::Kind> States() {
    absl::MutexLock lock(&mutex_);
    return states_;
  }
  std::vector<model::ObjectEvent> Events() {
    absl::MutexLock lock(&mutex_);
    return events_;
  }
  std::vector<std::string> WatchTargets() {
    std::vector<std::string> targets;
    for (const TestRequest& request : server_->Requests()) {
      if (request.target.find("watch=true") != std::string::npos) targets.push_back(request.target);
    }
    return targets;
  }

  std::atomic<bool> doubted_ = false;
  SharedClock clock_;

 private:
  void Serve(const TestRequest& request, TestReply& reply) {
    const bool watch = request.target.find("watch=true") != std::string::npos;
    Answer answer;
    {
      absl::MutexLock lock(&mutex_);
      std::vector<Answer>& answers = watch ? watches_ : lists_;
      size_t& next = watch ? next_watch_ : next_list_;
      if (next < answers.size()) answer = answers[next++];
    }
    if (answer) return answer(reply);
    if (!watch) return reply.Send(500, "no list is expected here");
    reply.Begin(200);
    reply.Hold();
  }
  void Note(const model::ObjectEvent& event) {
    {
      absl::MutexLock lock(&mutex_);
      events_.push_back(event);
    }
    const json object = json::parse(event.resource);
    NoteLine(std::string(ToString(event.type)) + " " + event.key.name + " " +
             object["metadata"]["uid"].get<std::string>() + "@" +
             object["metadata"]["resourceVersion"].get<std::string>());
  }
  void NoteLine(std::string line) {
    absl::MutexLock lock(&mutex_);
    lines_.push_back(std::move(line));
  }
  void NoteState(const WatchState& state) {
    absl::MutexLock lock(&mutex_);
    states_.push_back(state.kind);
  }

  absl::Mutex mutex_;
  std::vector<Answer> lists_;
  std::vector<Answer> watches_;
  size_t next_list_ = 0;
  size_t next_watch_ = 0;
  std::vector<std::string> lines_;
  std::vector<WatchState::Kind> states_;
  std::vector<model::ObjectEvent> events_;
  std::optional<HttpTestServer> server_;
  std::optional<Client> client_;
  std::jthread thread_;  // ends first
};

using Answer = std::function<void(TestReply&)>;

Answer Sends(const std::string& body, int status = 200) {
  return [=](TestReply& reply) { reply.Send(status, body); };
}

// A watch that says `lines`, then holds still or ends in good order.
Answer Streams(const std::string& lines, bool hold) {
  return [=](TestReply& reply) {
    reply.Begin(200);
    if (!lines.empty()) reply.Chunk(lines);
    if (hold) reply.Hold();
  };
}

using Lines = std::vector<std::string>;

TEST_F(ListWatchTest, ListsThenFollowsEachChange) {
  Follow({Sends(ListOf({Volume("a", "u1", "5")}, "10"))},
         {Streams(Event("ADDED", Volume("b", "u2", "11")) + Event("MODIFIED", Volume("a", "u1", "12")) +
                      Event("DELETED", Volume("b", "u2", "13")),
                  true)});
  EXPECT_EQ(LinesOnce(5), (Lines{"ADDED a u1@5", "SYNCED 1", "ADDED b u2@11", "MODIFIED a u1@12", "DELETED b u2@13"}));
  const model::ObjectEvent event = Events().at(0);
  const json object = json::parse(event.resource);
  EXPECT_EQ(object["kind"], "PersistentVolume");
  EXPECT_FALSE(object["metadata"].contains("managedFields"));
  EXPECT_EQ(event.event_id, "ADDED-u1-5");
  EXPECT_NE(WatchTargets().at(0).find("resourceVersion=10"), std::string::npos);
}

TEST_F(ListWatchTest, AWatchThatEndsIsResumedFromTheLastVersionSeen) {
  Follow({Sends(ListOf({}, "10"))},
         {Streams(Event("ADDED", Volume("a", "u1", "11")) + Event("BOOKMARK", Volume("", "", "40")), false),
          Streams(Event("MODIFIED", Volume("a", "u1", "41")), true)});
  EXPECT_EQ(LinesOnce(3), (Lines{"SYNCED 0", "ADDED a u1@11", "MODIFIED a u1@41"}));
  EXPECT_NE(WatchTargets().at(1).find("resourceVersion=40"), std::string::npos);
}

TEST_F(ListWatchTest, AfterAnExpiredWatchWhatWentMeanwhileIsDeleted) {
  Follow({Sends(ListOf({Volume("gone", "u1", "1"), Volume("same", "u2", "2"), Volume("changed", "u3", "3"),
                        Volume("reborn", "u4", "4")},
                       "10")),
          Sends(ListOf({Volume("changed", "u3", "30"), Volume("new", "u6", "31"), Volume("reborn", "u5", "32"),
                        Volume("same", "u2", "2")},
                       "50"))},
         {Streams(std::string(R"({"type":"ERROR","object":)") + kExpired + "}\n", false)});
  const Lines lines = LinesOnce(11);
  EXPECT_EQ(Lines(lines.begin() + 4, lines.end()),
            (Lines{"SYNCED 4", "DELETED gone u1@1", "MODIFIED changed u3@30", "ADDED new u6@31", "DELETED reborn u4@4",
                   "ADDED reborn u5@32", "SYNCED 4"}));
}

TEST_F(ListWatchTest, AListThatFailsHalfWayDeletesNothing) {
  Follow({Sends(ListOf({Volume("a", "u1", "1"), Volume("b", "u2", "2")}, "10")), Sends(kExpired, 410),
          Sends(ListOf({Volume("a", "u1", "1")}, "20", "more")), Sends("etcd is away", 500), Sends("half a li"),
          Sends(ListOf({Volume("b", "u2", "2")}, "30"))},
         {Sends(kExpired, 410)});
  EXPECT_EQ(LinesOnce(5), (Lines{"ADDED a u1@1", "ADDED b u2@2", "SYNCED 2", "DELETED a u1@1", "SYNCED 1"}));
  EXPECT_EQ(StatesOnce(4), (std::vector{WatchState::Kind::kSynced, WatchState::Kind::kFailing,
                                        WatchState::Kind::kFailing, WatchState::Kind::kSynced}));
}

TEST_F(ListWatchTest, WhatAListLacksIsConcludedAndWhatIsSeenIsNot) {
  Follow(
      {Sends(ListOf({Volume("a", "u1", "1"), Volume("b", "u2", "2"), Volume("c", "u3", "3")}, "10")),
       Sends(ListOf({Volume("c", "u4", "20")}, "30"))},
      {Streams(Event("DELETED", Volume("b", "u2", "13")) + R"({"type":"ERROR","object":)" + kExpired + "}\n", false)});
  EXPECT_EQ(LinesOnce(9), (Lines{"ADDED a u1@1", "ADDED b u2@2", "ADDED c u3@3", "SYNCED 3", "DELETED b u2@13",
                                 "DELETED a u1@1", "DELETED c u3@3", "ADDED c u4@20", "SYNCED 1"}));
  std::map<std::string, bool> concluded;
  for (const model::ObjectEvent& event : Events()) {
    if (event.type == model::EventType::kDeleted) concluded[event.key.name] = event.concluded;
  }
  EXPECT_EQ(concluded, (std::map<std::string, bool>{{"a", true}, {"b", false}, {"c", true}}));
}

TEST_F(ListWatchTest, ADoubtedListIsReadAgain) {
  doubted_ = true;
  Follow({Sends(ListOf({}, "10")), Sends(ListOf({Volume("a", "u1", "1")}, "20"))}, {Streams("", false)});
  EXPECT_EQ(LinesOnce(3), (Lines{"SYNCED 0", "ADDED a u1@1", "SYNCED 1"}));
  EXPECT_NE(WatchTargets().at(0).find("timeoutSeconds=7&"), std::string::npos) << WatchTargets().at(0);
}

// A cluster that was restored to an earlier state says nothing until it has come to the version that is asked for.
TEST_F(ListWatchTest, AWatchThatEndsWithoutAWordLeadsToAList) {
  const auto silent = [this](TestReply& reply) {
    reply.Begin(200);
    clock_.Advance(absl::Minutes(5));
  };
  Follow({Sends(ListOf({Volume("a", "u1", "90")}, "100")), Sends(ListOf({Volume("b", "u2", "5")}, "7"))},
         {Streams(Event("BOOKMARK", Volume("", "", "101")), false), silent});
  EXPECT_EQ(LinesOnce(5), (Lines{"ADDED a u1@90", "SYNCED 1", "DELETED a u1@90", "ADDED b u2@5", "SYNCED 1"}));
}

TEST_F(ListWatchTest, WhatIsKnownOutlivesAKindThatIsNotServedForAWhile) {
  const std::string not_found = R"({"kind":"Status","code":404,"reason":"NotFound","message":"no such kind"})";
  Follow({Sends(ListOf({Volume("a", "u1", "1")}, "10")), Sends(not_found, 404), Sends(ListOf({}, "20"))},
         {Sends(not_found, 404)}, model::ObjectKind::kVolumeSnapshotContent);
  EXPECT_EQ(LinesOnce(4), (Lines{"ADDED a u1@1", "SYNCED 1", "DELETED a u1@1", "SYNCED 0"}));
  EXPECT_TRUE(Events().at(1).concluded) << "nobody saw it go";
}

TEST_F(ListWatchTest, AKindThatIsNotServedIsSaidOnceAndFoundLater) {
  const std::string not_found = R"({"kind":"Status","code":404,"reason":"NotFound","message":"no such kind"})";
  Follow({Sends(not_found, 404), Sends(not_found, 404), Sends(not_found, 404),
          Sends(ListOf({Volume("a", "u1", "1")}, "10"))},
         {}, model::ObjectKind::kVolumeSnapshotContent);
  EXPECT_EQ(LinesOnce(2), (Lines{"ADDED a u1@1", "SYNCED 1"}));
  EXPECT_EQ(StatesOnce(2), (std::vector{WatchState::Kind::kNotServed, WatchState::Kind::kSynced}));
}

// A wrong address, or a load balancer that answers for a cluster that is away.
TEST_F(ListWatchTest, WhatEveryClusterHasIsNeverMissing) {
  const std::string not_found = R"({"kind":"Status","code":404,"reason":"NotFound","message":"no such page"})";
  Follow({Sends(not_found, 404), Sends(not_found, 404), Sends(ListOf({Volume("a", "u1", "1")}, "10"))}, {});
  EXPECT_EQ(LinesOnce(2), (Lines{"ADDED a u1@1", "SYNCED 1"}));
  EXPECT_EQ(StatesOnce(2), (std::vector{WatchState::Kind::kFailing, WatchState::Kind::kSynced}));
}

TEST_F(ListWatchTest, AWatchThatIsBrokenOffGoesOnWithoutAList) {
  Follow({Sends(ListOf({}, "10"))}, {[](TestReply& reply) {
                                       reply.Begin(200);
                                       reply.BreakOff();
                                     },
                                     Streams(Event("ADDED", Volume("a", "u1", "11")), true)});
  EXPECT_EQ(LinesOnce(2), (Lines{"SYNCED 0", "ADDED a u1@11"}));
  EXPECT_EQ(StatesOnce(3),
            (std::vector{WatchState::Kind::kSynced, WatchState::Kind::kFailing, WatchState::Kind::kSynced}));
}

}  // namespace
}  // namespace understudy::kube
