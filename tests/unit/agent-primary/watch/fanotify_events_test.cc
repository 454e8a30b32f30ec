#include "agent-primary/watch/fanotify_events.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/fanotify.h>

#include <cstring>
#include <vector>

namespace understudy::primary {
namespace {

void Append(std::string& buffer, const void* bytes, size_t length) {
  buffer.append(static_cast<const char*>(bytes), length);
}

// As the kernel writes them: padded to 4 bytes.
std::string Info(uint8_t type, uint64_t filesystem, const std::string& handle, const std::string& name) {
  std::string body;
  Append(body, &filesystem, sizeof(filesystem));
  const auto length = static_cast<uint32_t>(handle.size());
  const int32_t handle_type = 7;
  Append(body, &length, sizeof(length));
  Append(body, &handle_type, sizeof(handle_type));
  body += handle;
  if (type == FAN_EVENT_INFO_TYPE_DFID_NAME) body += name + '\0';
  while (body.size() % 4 != 0) body += '\0';
  const fanotify_event_info_header header{type, 0, static_cast<uint16_t>(sizeof(header) + body.size())};
  std::string info;
  Append(info, &header, sizeof(header));
  return info + body;
}

std::string Event(uint64_t mask, const std::string& infos) {
  fanotify_event_metadata metadata{};
  metadata.event_len = static_cast<uint32_t>(sizeof(metadata) + infos.size());
  metadata.vers = FANOTIFY_METADATA_VERSION;
  metadata.metadata_len = sizeof(metadata);
  metadata.mask = mask;
  metadata.fd = FAN_NOFD;
  std::string event;
  Append(event, &metadata, sizeof(metadata));
  return event + infos;
}

struct Seen {
  uint64_t mask;
  std::optional<os::FileHandle> folder;
  std::string name;
  std::optional<os::FileHandle> object;
};

absl::Status Parse(const std::string& bytes, std::vector<Seen>& seen) {
  // A block of its own, so that a sanitizer sees a read past its end.
  const std::vector<char> exact(bytes.begin(), bytes.end());
  return ForEachFanotifyEvent({exact.data(), exact.size()}, [&](const FanotifyEvent& event) {
    seen.push_back({event.mask, event.folder, std::string(event.name), event.object});
  });
}

std::string TwoEvents() {
  return Event(FAN_MODIFY, Info(FAN_EVENT_INFO_TYPE_DFID_NAME, 5, "folder", "na") +
                               Info(FAN_EVENT_INFO_TYPE_FID, 5, "objectxx", "")) +
         Event(FAN_ATTRIB, Info(FAN_EVENT_INFO_TYPE_FID, 6, "abcd", ""));
}

TEST(FanotifyEventsTest, NamedAndNamelessOnes) {
  std::vector<Seen> seen;
  ASSERT_EQ(Parse(TwoEvents(), seen), absl::OkStatus());
  ASSERT_EQ(seen.size(), 2u);
  EXPECT_EQ(seen[0].mask, uint64_t{FAN_MODIFY});
  EXPECT_EQ(seen[0].folder, (os::FileHandle{5, 7, "folder"}));
  EXPECT_EQ(seen[0].name, "na");
  EXPECT_EQ(seen[0].object, (os::FileHandle{5, 7, "objectxx"}));
  EXPECT_EQ(seen[1].folder, std::nullopt);
  EXPECT_EQ(seen[1].object, (os::FileHandle{6, 7, "abcd"}));
}

TEST(FanotifyEventsTest, ARecordOfAKindThatIsntKnownIsPassedOver) {
  std::vector<Seen> seen;
  ASSERT_EQ(Parse(Event(FAN_MODIFY, Info(99, 5, "pidfd", "") + Info(FAN_EVENT_INFO_TYPE_FID, 6, "abcd", "")), seen),
            absl::OkStatus());
  ASSERT_EQ(seen.size(), 1u);
  EXPECT_EQ(seen[0].object, (os::FileHandle{6, 7, "abcd"}));
}

TEST(FanotifyEventsTest, WhatIsCutOffIsAnError) {
  const std::string whole = TwoEvents();
  const size_t first = Event(FAN_MODIFY, Info(FAN_EVENT_INFO_TYPE_DFID_NAME, 5, "folder", "na") +
                                             Info(FAN_EVENT_INFO_TYPE_FID, 5, "objectxx", ""))
                           .size();
  for (size_t length = 1; length < whole.size(); ++length) {
    std::vector<Seen> seen;
    const absl::Status status = Parse(whole.substr(0, length), seen);
    EXPECT_EQ(status.ok(), length == first) << length;
  }
}

TEST(FanotifyEventsTest, LengthsThatLieAreAnError) {
  const std::string whole = TwoEvents();
  for (size_t at = 0; at < whole.size(); ++at) {
    for (const char byte : {'\0', '\x01', '\x7f', '\xff'}) {
      std::string bent = whole;
      bent[at] = byte;
      std::vector<Seen> seen;
      (void)Parse(bent, seen);  // whatever it says, it reads nothing outside
    }
  }
  std::string other_version = whole;
  other_version[offsetof(fanotify_event_metadata, vers)] = 9;
  std::vector<Seen> seen;
  EXPECT_TRUE(absl::IsInternal(Parse(other_version, seen)));
}

}  // namespace
}  // namespace understudy::primary
