#include "core/wire/freshness_codec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/wire/limits.h"
#include "understudy/v1/freshness.pb.h"

namespace understudy::wire {
namespace {

model::Confirmation Of(const std::string& volume) {
  return {.volume = volume, .epoch = 2, .sequence = 7, .as_of = absl::FromUnixSeconds(1'700'000'000)};
}

TEST(FreshnessCodec, WhatIsConfirmedArrives) {
  const std::vector<model::Confirmation> confirmed = {Of("a"), Of("b")};
  EXPECT_EQ(*Parse(ToProto(confirmed)), confirmed);
  const auto page = Parse(ToProto(ConfirmationPage{.confirmations = confirmed, .more = true}));
  ASSERT_TRUE(page.ok()) << page.status();
  EXPECT_EQ(page->confirmations, confirmed);
  EXPECT_TRUE(page->more);
}

TEST(FreshnessCodec, KeepsToItsBounds) {
  const auto refused = [](const v1::ConfirmUpToDateRequest& message) {
    return absl::IsInvalidArgument(Parse(message).status());
  };
  v1::ConfirmUpToDateRequest bad = ToProto(std::vector{Of("a")});
  bad.mutable_volumes(0)->set_volume("a/b");
  EXPECT_TRUE(refused(bad));
  bad = ToProto(std::vector{Of("a")});
  bad.mutable_volumes(0)->set_as_of_nanoseconds(0);
  EXPECT_TRUE(refused(bad));
  const std::vector<model::Confirmation> too_many(kMaxPageEntries + 1, Of("a"));
  EXPECT_TRUE(refused(ToProto(too_many)));
  v1::ListConfirmationsRequest request;
  request.set_after_volume("../x");
  EXPECT_TRUE(absl::IsInvalidArgument(Parse(request).status()));
}

TEST(FreshnessCodec, APageThatLeadsNowhereIsRefused) {
  const auto refused = [](const ConfirmationPage& page) {
    return absl::IsInvalidArgument(Parse(ToProto(page)).status());
  };
  EXPECT_TRUE(refused({.confirmations = {Of("b"), Of("a")}, .more = false}));
  EXPECT_TRUE(refused({.confirmations = {}, .more = true}));
}

}  // namespace
}  // namespace understudy::wire
