// The event log: what is on disk, what is a repeat, what is told again, and what goes when it grows.
#include "agent-primary/intake/event_log.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "nlohmann/json.hpp"
#include "tests/support/temp_dir.h"

namespace understudy::primary {
namespace {

using model::EventType;
using model::ObjectKind;
using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

model::ObjectEvent VolumeEvent(EventType type, const std::string& name, int version, const std::string& uid = "u1",
                               size_t padding = 0) {
  const json object = {{"metadata", {{"name", name}, {"uid", uid}, {"resourceVersion", std::to_string(version)}}},
                       {"padding", std::string(padding, 'x')}};
  return {.type = type,
          .key = {ObjectKind::kPersistentVolume, "", name},
          .resource = object.dump(),
          .event_id = fmt::format("{}-{}-{}", model::ToString(type), uid, version),
          .observed_at = absl::FromUnixSeconds(1'700'000'000 + version)};
}

class EventLogTest : public ::testing::Test {
 protected:
  void Open(const EventLogOptions& options = {}) {
    log_.reset();
    auto log = EventLog::Open(dir_.File("events.db"), options);
    ASSERT_TRUE(log.ok()) << log.status();
    log_ = *std::move(log);
  }
  EventLog::Appended Append(const model::ObjectEvent& event, EventSource source = EventSource::kWebhook) {
    const auto appended = log_->Append(event, source);
    EXPECT_TRUE(appended.ok()) << appended.status();
    return appended.value_or(EventLog::Appended{});
  }
  // The rules were asked, and what they wanted is done.
  void Finish(const std::string& event_id) {
    ASSERT_TRUE(log_->SetRule(Logged(event_id).id, "all", Forwarding::kNone).ok());
    ASSERT_TRUE(log_->SetOutcome(event_id, EventOutcome::kDone, "").ok());
  }
  std::vector<std::string> ToTell(uint64_t after = 0) {
    std::vector<std::string> ids;
    const auto next = log_->NextToTell(after, 100);
    EXPECT_TRUE(next.ok()) << next.status();
    for (const LoggedEvent& logged : *next) ids.push_back(logged.event.event_id);
    return ids;
  }
  LoggedEvent Logged(const std::string& event_id) {
    const auto newest = log_->Newest(1000);
    EXPECT_TRUE(newest.ok()) << newest.status();
    for (const LoggedEvent& logged : newest->events) {
      if (logged.event.event_id == event_id) return logged;
    }
    ADD_FAILURE() << "no event " << event_id;
    return {};
  }

  tests::TempDir dir_;
  std::unique_ptr<EventLog> log_;
};

TEST_F(EventLogTest, WhatWasAcceptedIsThereAfterReopeningAndIsToldInOrder) {
  Open();
  const model::ObjectEvent first = VolumeEvent(EventType::kAdded, "a", 1, "u1", 1000);
  Append(first);
  Append(VolumeEvent(EventType::kAdded, "b", 2, "u2"));
  Append(VolumeEvent(EventType::kAdded, "c", 3, "u3"));
  Finish("ADDED-u2-2");
  Open();
  EXPECT_THAT(ToTell(), ElementsAre("ADDED-u1-1", "ADDED-u3-3"));
  const LoggedEvent told = log_->NextToTell(0, 1)->at(0);
  EXPECT_EQ(told.event.key, first.key);
  EXPECT_EQ(told.event.type, first.type);
  EXPECT_EQ(told.event.resource, first.resource);
  EXPECT_EQ(told.event.observed_at, first.observed_at);
  EXPECT_EQ(log_->opened_at(), 3u);
}

TEST_F(EventLogTest, ARepeatIsKnownAlsoAfterReopening) {
  Open();
  const EventLog::Appended first = Append(VolumeEvent(EventType::kAdded, "a", 1));
  EXPECT_FALSE(first.repeated);
  Open();
  const EventLog::Appended again = Append(VolumeEvent(EventType::kAdded, "a", 1));
  EXPECT_TRUE(again.repeated);
  EXPECT_EQ(again.id, first.id);
  EXPECT_FALSE(again.matched);
  ASSERT_TRUE(log_->SetRule(first.id, "volumes", Forwarding::kQueued).ok());
  EXPECT_TRUE(Append(VolumeEvent(EventType::kAdded, "a", 1), EventSource::kWatch).matched);
  EXPECT_THAT(log_->Newest(10)->events, SizeIs(1));
}

TEST_F(EventLogTest, AWatchsEventsArentToldAgainForItsListDoes) {
  Open();
  Append(VolumeEvent(EventType::kAdded, "a", 1), EventSource::kWatch);
  Open();
  EXPECT_THAT(ToTell(), IsEmpty());
  EXPECT_EQ(Logged("ADDED-u1-1").outcome, EventOutcome::kIgnored);
  ASSERT_TRUE(log_->SetOutcome("ADDED-u1-1", EventOutcome::kDone, "").ok());
  EXPECT_EQ(Logged("ADDED-u1-1").outcome, EventOutcome::kDone);
}

TEST_F(EventLogTest, WhereNothingElseTellsWhatStandsIsToldAgain) {
  Open({.retell = true});
  Append(VolumeEvent(EventType::kAdded, "a", 1, "ua"));
  Append(VolumeEvent(EventType::kModified, "a", 2, "ua"));
  Append(VolumeEvent(EventType::kAdded, "b", 3, "ub"));
  Append(VolumeEvent(EventType::kDeleted, "b", 4, "ub"));
  for (const char* const id : {"ADDED-ua-1", "MODIFIED-ua-2", "ADDED-ub-3", "DELETED-ub-4"}) {
    Finish(id);
  }
  Open({.retell = true});
  EXPECT_THAT(ToTell(), ElementsAre("MODIFIED-ua-2"));
  Open({.retell = false});
  EXPECT_THAT(ToTell(), IsEmpty());
}

TEST_F(EventLogTest, WhatIsFinishedIsBoundedOldestFirstAndWhatIsPendingNeverGoes) {
  Open({.max_finished = 50});
  Append(VolumeEvent(EventType::kAdded, "pending", 0, "p"));
  for (int i = 1; i <= 500; ++i) {
    Append(VolumeEvent(EventType::kModified, "a", i, "ua"));
    Finish(fmt::format("MODIFIED-ua-{}", i));
  }
  Open({.max_finished = 50});
  const auto events = log_->Newest(1000)->events;
  ASSERT_THAT(events, SizeIs(51));
  EXPECT_EQ(events.front().event.event_id, "ADDED-p-0");
  EXPECT_EQ(events[1].event.event_id, "MODIFIED-ua-451");
}

TEST_F(EventLogTest, BytesAndAgeAreBoundsToo) {
  Open({.max_finished_bytes = 100'000});
  for (int i = 1; i <= 100; ++i) {
    Append(VolumeEvent(EventType::kModified, "a", i, "ua", 10'000));
    Finish(fmt::format("MODIFIED-ua-{}", i));
  }
  Open({.max_finished_bytes = 100'000});
  EXPECT_LE(log_->Measure()->bytes, 100'000u);
  EXPECT_GE(log_->Measure()->events, 5u);
  Open({.max_age = absl::Nanoseconds(1)});
  EXPECT_EQ(log_->Measure()->events, 0u);
}

TEST_F(EventLogTest, TheWebhookIsRefusedWhenTooMuchIsPendingAndTheWatchIsNot) {
  Open({.max_pending = 2});
  for (int i = 0; i < 5; ++i) Append(VolumeEvent(EventType::kAdded, "w", i, "w"), EventSource::kWatch);
  Append(VolumeEvent(EventType::kAdded, "a", 1, "ua"));
  Append(VolumeEvent(EventType::kAdded, "b", 2, "ub"));
  const model::ObjectEvent third = VolumeEvent(EventType::kAdded, "c", 3, "uc");
  EXPECT_TRUE(absl::IsResourceExhausted(log_->Append(third, EventSource::kWebhook).status()));
  Finish("ADDED-ua-1");
  EXPECT_TRUE(log_->Append(third, EventSource::kWebhook).ok());
}

TEST_F(EventLogTest, WhatStandsNeverKeepsTheWebhookFromTellingMoreOfIt) {
  Open({.retell = true, .max_pending = 2, .max_standing = 2});
  for (const char* const name : {"a", "b"}) {
    const model::ObjectEvent event = VolumeEvent(EventType::kAdded, name, 1, name);
    Append(event);
    Finish(event.event_id);
  }
  const model::ObjectEvent another = VolumeEvent(EventType::kAdded, "c", 2, "c");
  EXPECT_TRUE(absl::IsResourceExhausted(log_->Append(another, EventSource::kWebhook).status()));
  Append(VolumeEvent(EventType::kModified, "a", 3, "a"));
  Append(VolumeEvent(EventType::kDeleted, "b", 4, "b"));
  Finish("MODIFIED-a-3");
  Finish("DELETED-b-4");
  Append(another);
}

TEST_F(EventLogTest, AWatchsRepeatIsKnownByTheObjectsStateForAsLongAsTheObjectIsThere) {
  Open({.max_finished = 0});
  const model::ObjectEvent changed = VolumeEvent(EventType::kModified, "a", 2);
  const EventLog::Appended first = Append(changed, EventSource::kWatch);
  ASSERT_TRUE(log_->SetRule(first.id, "forward", Forwarding::kQueued).ok());
  ASSERT_TRUE(log_->SetOutcome(changed.event_id, EventOutcome::kDone, "").ok());
  Open({.max_finished = 0});
  EXPECT_EQ(log_->Measure()->events, 0u);
  const model::ObjectEvent listed = VolumeEvent(EventType::kAdded, "a", 2);
  EXPECT_TRUE(Append(listed, EventSource::kWatch).matched) << "what a list says after a restart";
  EXPECT_FALSE(Append(VolumeEvent(EventType::kAdded, "a", 3), EventSource::kWatch).repeated);
  const EventLog::Appended gone = Append(VolumeEvent(EventType::kDeleted, "a", 2), EventSource::kWatch);
  ASSERT_TRUE(log_->SetRule(gone.id, "forward", Forwarding::kQueued).ok());
  EXPECT_FALSE(Append(listed, EventSource::kWatch).repeated);
}

TEST_F(EventLogTest, WhatTheWebhookTellsOutOfOrderIsNotDone) {
  Open();
  Append(VolumeEvent(EventType::kAdded, "a", 1, "old"));
  Append(VolumeEvent(EventType::kDeleted, "a", 2, "old"));
  Append(VolumeEvent(EventType::kModified, "a", 3, "old"));
  EXPECT_EQ(Logged("MODIFIED-old-3").outcome, EventOutcome::kIgnored) << "it was deleted before";
  Append(VolumeEvent(EventType::kModified, "a", 7, "old"));
  EXPECT_EQ(Logged("MODIFIED-old-7").outcome, EventOutcome::kIgnored) << "the one before says nothing";
  Append(VolumeEvent(EventType::kAdded, "b", 4, "new"));
  Append(VolumeEvent(EventType::kDeleted, "b", 5, "older"));
  EXPECT_EQ(Logged("DELETED-older-5").outcome, EventOutcome::kIgnored) << "another one stands";
  EXPECT_THAT(ToTell(), ElementsAre("ADDED-old-1", "DELETED-old-2", "ADDED-new-4"));
  Append(VolumeEvent(EventType::kAdded, "a", 6, "next"));
  EXPECT_EQ(Logged("ADDED-next-6").outcome, EventOutcome::kPending) << "a new object of that name";
  Append(VolumeEvent(EventType::kModified, "a", 8, "old"));
  EXPECT_EQ(Logged("MODIFIED-old-8").outcome, EventOutcome::kIgnored) << "another one stands";
  Append(VolumeEvent(EventType::kDeleted, "a", 9, "next"));
  EXPECT_EQ(Logged("DELETED-next-9").outcome, EventOutcome::kPending);
}

TEST_F(EventLogTest, AFollowerHearsOfNewEventsAndOfOutcomes) {
  Open();
  Append(VolumeEvent(EventType::kAdded, "a", 1, "ua"));
  EventLog::Listing listing = *log_->Newest(10);
  EXPECT_THAT(listing.events, SizeIs(1));
  EXPECT_FALSE(log_->WaitForChange(listing.revision, absl::ZeroDuration()));
  const std::jthread other([this] {
    Append(VolumeEvent(EventType::kAdded, "b", 2, "ub"));
    EXPECT_TRUE(log_->SetForwarding("ADDED-ua-1", Forwarding::kFailed, "eda: no").ok());
    EXPECT_TRUE(log_->SetForwarding("ADDED-ua-1", Forwarding::kDelivered, "").ok());
  });
  std::vector<std::string> heard;
  while (heard.size() < 2 && log_->WaitForChange(listing.revision, absl::Seconds(30))) {
    listing = *log_->ChangedSince(listing.revision, 10);
    for (const LoggedEvent& logged : listing.events) heard.push_back(logged.event.event_id);
  }
  EXPECT_THAT(heard, ElementsAre("ADDED-ub-2", "ADDED-ua-1"));
  EXPECT_EQ(Logged("ADDED-ua-1").forwarding, Forwarding::kFailed) << "a failure stays";
}

}  // namespace
}  // namespace understudy::primary
