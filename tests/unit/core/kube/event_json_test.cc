#include "core/kube/event_json.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "nlohmann/json.hpp"

namespace understudy::kube {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

const absl::Time kNow = absl::FromUnixSeconds(1'800'000'000);

json Claim() {
  return {{"type", "MODIFIED"},
          {"kind", "PersistentVolumeClaim"},
          {"namespace", "shop"},
          {"name", "db"},
          {"resource",
           {{"kind", "PersistentVolumeClaim"},
            {"metadata",
             {{"name", "db"},
              {"namespace", "shop"},
              {"uid", "u1"},
              {"resourceVersion", "17"},
              {"managedFields", json::array({"long"})}}},
            {"spec", {{"volumeName", "pv1"}}},
            {"status", {{"phase", "Bound"}}}}}};
}

std::string ErrorOf(const json& body) {
  const auto event = ParseEventJson(body.dump(), kNow);
  EXPECT_TRUE(absl::IsInvalidArgument(event.status())) << body;
  return std::string(MessageOf(event.status()));
}

TEST(ParseEventJsonTest, WhatAForwarderLeavesOutIsMadeHere) {
  const auto event = ParseEventJson(Claim().dump(), kNow);
  ASSERT_TRUE(event.ok()) << event.status();
  EXPECT_EQ(event->type, model::EventType::kModified);
  EXPECT_EQ(ToString(event->key), "PersistentVolumeClaim shop/db");
  EXPECT_EQ(event->event_id, "MODIFIED-u1-17") << "as list_watch.cc makes it";
  EXPECT_EQ(event->observed_at, kNow);
  EXPECT_EQ(event->resource.find("managedFields"), std::string::npos);
  EXPECT_EQ(UidOf(*event), "u1");
}

TEST(ParseEventJsonTest, WhatIsThereCounts) {
  json body = Claim();
  body["event_id"] = "e-1";
  body["observed_at"] = "2026-01-02T03:04:05.5+01:00";
  const auto event = ParseEventJson(body.dump(), kNow);
  ASSERT_TRUE(event.ok()) << event.status();
  EXPECT_EQ(event->event_id, "e-1");
  EXPECT_EQ(absl::FormatTime(event->observed_at, absl::UTCTimeZone()), "2026-01-02T02:04:05.5+00:00");
}

TEST(ParseEventJsonTest, AnEventThatSaysNothingToTellItByGetsAnIdOfItsOwn) {
  json body = Claim();
  body["resource"]["metadata"].erase("resourceVersion");
  EXPECT_NE(ParseEventJson(body.dump(), kNow)->event_id, ParseEventJson(body.dump(), kNow)->event_id);
}

TEST(ParseEventJsonTest, MalformedEventsSayWhatIsWrong) {
  EXPECT_THAT(ErrorOf(json::array()), HasSubstr("write one JSON object"));
  EXPECT_TRUE(absl::IsInvalidArgument(ParseEventJson("{\"type\":", kNow).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(ParseEventJson("", kNow).status()));
  const auto with = [](const char* key, const json& value) {
    json body = Claim();
    body[key] = value;
    return ErrorOf(body);
  };
  EXPECT_THAT(with("type", "BOOKMARK"), HasSubstr("event type"));
  EXPECT_THAT(with("type", 3), HasSubstr("type: write text"));
  EXPECT_THAT(with("kind", "Pod"), HasSubstr("unknown kind 'Pod'"));
  EXPECT_THAT(with("kind", "VolumeSnapshot"), HasSubstr("resource.kind"));
  EXPECT_THAT(with("namespace", nullptr), HasSubstr("namespace: write"));
  EXPECT_THAT(with("namespace", "bank"), HasSubstr("resource.metadata.namespace is 'shop'"));
  EXPECT_THAT(with("name", "other"), HasSubstr("resource.metadata.name is 'db'"));
  EXPECT_THAT(with("name", "../db"), HasSubstr("name: write"));
  EXPECT_THAT(with("resource", "text"), HasSubstr("resource: write"));
  EXPECT_THAT(with("event_id", std::string(257, 'x')), HasSubstr("event_id"));
  EXPECT_THAT(with("event_id", "a b"), HasSubstr("event_id"));
  EXPECT_THAT(with("observed_at", "yesterday"), HasSubstr("observed_at"));
  EXPECT_THAT(with("observed_at", "infinite-future"), HasSubstr("observed_at"));
  json volume = {{"type", "ADDED"},
                 {"kind", "PersistentVolume"},
                 {"namespace", "shop"},
                 {"name", "pv1"},
                 {"resource", {{"metadata", {{"name", "pv1"}}}}}};
  EXPECT_THAT(ErrorOf(volume), HasSubstr("a PersistentVolume has none"));
  volume["namespace"] = nullptr;
  EXPECT_TRUE(ParseEventJson(volume.dump(), kNow).ok());
}

TEST(ParseEventJsonTest, DeepNestingIsRefusedBeforeItIsBuilt) {
  const std::string deep = "{\"type\":" + std::string(500'000, '[') + std::string(500'000, ']') + "}";
  const auto event = ParseEventJson(deep, kNow);
  EXPECT_THAT(std::string(MessageOf(event.status())), HasSubstr("nested deeper"));
}

TEST(EventJsonTest, ReadsBackAsTheSameEvent) {
  const auto event = ParseEventJson(Claim().dump(), kNow);
  const auto again = ParseEventJson(EventJson(*event, 1 << 20), absl::UnixEpoch());
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->key, event->key);
  EXPECT_EQ(again->event_id, event->event_id);
  EXPECT_EQ(again->observed_at, event->observed_at);
  EXPECT_EQ(again->resource, event->resource);
}

TEST(EventJsonTest, WhatIsTooLargeIsLeftToMetadataAndStatusAndSaysSo) {
  json body = Claim();
  body["resource"]["spec"]["huge"] = std::string(10'000, 'x');
  const json cut = json::parse(EventJson(*ParseEventJson(body.dump(), kNow), 2'000));
  EXPECT_EQ(cut["truncated"], true);
  EXPECT_FALSE(cut["resource"].contains("spec"));
  EXPECT_EQ(cut["resource"]["status"]["phase"], "Bound");
  body["resource"]["metadata"]["annotations"]["huge"] = std::string(10'000, 'x');
  const std::string least = EventJson(*ParseEventJson(body.dump(), kNow), 2'000);
  EXPECT_LE(least.size(), 2'000u);
  EXPECT_EQ(json::parse(least)["resource"]["metadata"]["uid"], "u1");
}

}  // namespace
}  // namespace understudy::kube
