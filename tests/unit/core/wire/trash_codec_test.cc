#include "core/wire/trash_codec.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "core/wire/limits.h"
#include "understudy/v1/replica.pb.h"
#include "understudy/v1/replication.pb.h"

namespace understudy::wire {
namespace {

v1::TrashEntry TrashMessage() {
  v1::TrashEntry entry;
  entry.set_id(std::string(32, 'a'));
  entry.set_volume("vol");
  entry.set_root("/srv/b/vol");
  entry.set_state("trashed");
  entry.set_deleted_at_nanoseconds(5);
  entry.set_expires_at_nanoseconds(6);
  return entry;
}

TEST(TrashCodecTest, ATrashEntryKeepsToItsBounds) {
  ASSERT_TRUE(Parse(TrashMessage()).ok()) << Parse(TrashMessage()).status();
  for (const auto& spoil : std::vector<void (*)(v1::TrashEntry&)>{
           [](v1::TrashEntry& entry) { entry.set_id("../../etc"); },
           [](v1::TrashEntry& entry) { entry.set_volume("a/b"); },
           [](v1::TrashEntry& entry) { entry.set_root("/srv/../etc"); },
           [](v1::TrashEntry& entry) { entry.set_state("lost"); },
           [](v1::TrashEntry& entry) { entry.set_reason(std::string(kMaxErrorMessageBytes + 1, 'x')); },
           [](v1::TrashEntry& entry) { entry.set_reason("\033[2J"); },
       }) {
    v1::TrashEntry entry = TrashMessage();
    spoil(entry);
    EXPECT_TRUE(absl::IsInvalidArgument(Parse(entry).status())) << entry.ShortDebugString();
  }
}

TEST(TrashCodecTest, ADiscardedVolumeNamesOneReplica) {
  const model::DiscardedVolume discarded{"vol", "/srv/b/vol", std::string(32, 'a'), 7};
  const auto parsed = Parse(ToProto(discarded));
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->volume, "vol");
  EXPECT_EQ(parsed->replica_root, "/srv/b/vol");
  EXPECT_EQ(parsed->replica_id, discarded.replica_id);
  EXPECT_EQ(parsed->epoch, 7u);
  for (const auto& spoil : std::vector<void (*)(v1::DiscardVolumeRequest&)>{
           [](v1::DiscardVolumeRequest& message) { message.set_volume("a/b"); },
           [](v1::DiscardVolumeRequest& message) { message.set_replica_root("srv/b"); },
           [](v1::DiscardVolumeRequest& message) { message.clear_replica_id(); },
       }) {
    v1::DiscardVolumeRequest message = ToProto(discarded);
    spoil(message);
    EXPECT_TRUE(absl::IsInvalidArgument(Parse(message).status())) << message.ShortDebugString();
  }
}

TEST(TrashCodecTest, APageThatWouldNeverEndIsRefused) {
  v1::ListTrashResponse page;
  page.set_more(true);
  EXPECT_FALSE(Parse(page).ok());
  *page.add_entries() = TrashMessage();
  EXPECT_TRUE(Parse(page).ok());
  *page.add_entries() = TrashMessage();
  EXPECT_FALSE(Parse(page).ok());
}

TEST(TrashCodecTest, ATrashEntryComesThroughTheWire) {
  const auto parsed = Parse(TrashMessage());
  ASSERT_TRUE(parsed.ok());
  EXPECT_EQ(ToProto(*parsed).SerializeAsString(), TrashMessage().SerializeAsString());
}

}  // namespace
}  // namespace understudy::wire
