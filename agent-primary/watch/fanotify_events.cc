#include "agent-primary/watch/fanotify_events.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/fanotify.h>

#include <cstring>
#include <string>
#include <utility>

namespace understudy::primary {
namespace {

template <typename T>
std::optional<T> ReadAt(std::string_view bytes, size_t at) {
  static_assert(std::is_trivially_copyable_v<T>);
  if (at > bytes.size() || bytes.size() - at < sizeof(T)) return std::nullopt;
  T value;
  std::memcpy(&value, bytes.data() + at, sizeof(value));
  return value;
}

absl::Status Malformed(std::string_view what) {
  return absl::InternalError(fmt::format("fanotify: {} doesn't fit into what was read", what));
}

// What struct file_handle begins with.
struct HandleHead {
  uint32_t bytes;
  int32_t type;
};
constexpr size_t kFsidAt = sizeof(fanotify_event_info_header);
constexpr size_t kHandleAt = sizeof(fanotify_event_info_fid);

// One info record: a handle, and a name behind it where the record's type has one.
absl::Status ReadInfo(std::string_view record, uint8_t type, FanotifyEvent& event) {
  const bool named = type == FAN_EVENT_INFO_TYPE_DFID_NAME;
  if (!named && type != FAN_EVENT_INFO_TYPE_FID && type != FAN_EVENT_INFO_TYPE_DFID) return absl::OkStatus();
  const auto fsid = ReadAt<uint64_t>(record, kFsidAt);
  const auto head = ReadAt<HandleHead>(record, kHandleAt);
  constexpr size_t kBytesAt = kHandleAt + sizeof(HandleHead);
  if (!fsid.has_value() || !head.has_value() || head->bytes > record.size() - kBytesAt) return Malformed("a handle");
  os::FileHandle handle{*fsid, head->type, std::string(record.substr(kBytesAt, head->bytes))};
  if (type == FAN_EVENT_INFO_TYPE_FID) {
    event.object = std::move(handle);
    return absl::OkStatus();
  }
  event.folder = std::move(handle);
  event.name = ".";
  if (named) {
    const std::string_view rest = record.substr(kBytesAt + head->bytes);
    const size_t end = rest.find('\0');
    if (end == std::string_view::npos) return Malformed("a name");
    event.name = rest.substr(0, end);
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ForEachFanotifyEvent(std::string_view buffer, const std::function<void(const FanotifyEvent&)>& visit) {
  while (!buffer.empty()) {
    const auto metadata = ReadAt<fanotify_event_metadata>(buffer, 0);
    if (!metadata.has_value() || metadata->event_len < sizeof(*metadata) || metadata->event_len > buffer.size() ||
        metadata->metadata_len < sizeof(*metadata) || metadata->metadata_len > metadata->event_len) {
      return Malformed("an event");
    }
    if (metadata->vers != FANOTIFY_METADATA_VERSION) {
      return absl::InternalError(fmt::format("fanotify: the kernel's events are of version {}, not {}", metadata->vers,
                                             FANOTIFY_METADATA_VERSION));
    }
    FanotifyEvent event{.mask = metadata->mask, .folder = {}, .name = {}, .object = {}};
    std::string_view infos = buffer.substr(metadata->metadata_len, metadata->event_len - metadata->metadata_len);
    while (!infos.empty()) {
      const auto header = ReadAt<fanotify_event_info_header>(infos, 0);
      if (!header.has_value() || header->len < sizeof(*header) || header->len > infos.size())
        return Malformed("a record");
      RETURN_IF_ERROR(ReadInfo(infos.substr(0, header->len), header->info_type, event));
      infos.remove_prefix(header->len);
    }
    visit(event);
    buffer.remove_prefix(metadata->event_len);
  }
  return absl::OkStatus();
}

}  // namespace understudy::primary
