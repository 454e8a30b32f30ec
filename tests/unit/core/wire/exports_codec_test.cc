// The messages about exports: what a peer may say, and what it may not.
#include "core/wire/exports_codec.h"

#include <gtest/gtest.h>

#include "core/wire/limits.h"
#include "understudy/v1/exports.pb.h"

namespace understudy::wire {
namespace {

model::ExportState State(const std::string& name) {
  return {.name = name,
          .path = "/srv/\xf6",
          .backend = "knfsd",
          .desired = model::ExportMode::kReadOnly,
          .actual = model::ExportMode::kReadWrite,
          .problem = "not so",
          .since = absl::FromUnixSeconds(1'700'000'000)};
}

TEST(ExportsCodecTest, AStateSurvivesTheWire) {
  const auto parsed = Parse(ToProto(State("web")));
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->name, "web");
  EXPECT_EQ(parsed->path, "/srv/\xf6");
  EXPECT_EQ(parsed->backend, "knfsd");
  EXPECT_EQ(parsed->desired, model::ExportMode::kReadOnly);
  EXPECT_EQ(parsed->actual, model::ExportMode::kReadWrite);
  EXPECT_EQ(parsed->problem, "not so");
  EXPECT_EQ(parsed->since, absl::FromUnixSeconds(1'700'000'000));
  model::ExportState unknown = State("web");
  unknown.actual.reset();
  EXPECT_FALSE(Parse(ToProto(unknown))->actual.has_value());
}

TEST(ExportsCodecTest, WhatIsNoExportIsRefused) {
  const auto refused = [](auto&& change) {
    v1::Export message = ToProto(State("web"));
    change(message);
    return absl::IsInvalidArgument(Parse(message).status());
  };
  EXPECT_TRUE(refused([](v1::Export& message) { message.set_volume("../web"); }));
  EXPECT_TRUE(refused([](v1::Export& message) { message.set_path("srv"); }));
  EXPECT_TRUE(refused([](v1::Export& message) { message.set_desired(""); }));
  EXPECT_TRUE(refused([](v1::Export& message) { message.set_actual("yes"); }));
  EXPECT_TRUE(refused([](v1::Export& message) { message.set_backend(std::string(kMaxExportBackendBytes + 1, 'x')); }));
  EXPECT_TRUE(refused([](v1::Export& message) { message.set_problem(std::string(kMaxErrorMessageBytes + 1, 'x')); }));
}

TEST(ExportsCodecTest, AnOrderNamesAVolumeAndAMode) {
  v1::SetExportRequest request;
  request.set_volume("web");
  request.set_mode("none");
  EXPECT_EQ(Parse(request)->mode, model::ExportMode::kNone);
  request.set_mode("RW");
  EXPECT_TRUE(absl::IsInvalidArgument(Parse(request).status()));
  request.set_mode("rw");
  request.set_volume("");
  EXPECT_TRUE(absl::IsInvalidArgument(Parse(request).status()));
}

TEST(ExportsCodecTest, PagesFollowOneAnotherAndEnd) {
  std::vector<model::ExportState> states;
  for (size_t i = 0; i < kMaxPageEntries + 3; ++i) states.push_back(State("v" + std::to_string(10'000 + i)));
  const auto first = Parse(ToProto(states, ""));
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_EQ(first->exports.size(), kMaxPageEntries);
  EXPECT_TRUE(first->more);
  const auto second = Parse(ToProto(states, first->exports.back().name));
  EXPECT_EQ(second->exports.size(), 3u);
  EXPECT_FALSE(second->more);
  v1::ListExportsResponse circle = ToProto(states, first->exports.back().name);
  *circle.add_exports() = circle.exports(0);
  EXPECT_TRUE(absl::IsInvalidArgument(Parse(circle).status()));
  v1::ListExportsResponse endless;
  endless.set_more(true);
  EXPECT_TRUE(absl::IsInvalidArgument(Parse(endless).status()));
}

}  // namespace
}  // namespace understudy::wire
