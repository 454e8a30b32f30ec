// fanotify_events.h: the records that a fanotify group with FAN_REPORT_FID and FAN_REPORT_DFID_NAME is read in
// (fanotify(7), linux/fanotify.h).
//
// Pure: it reads a buffer and asks the kernel nothing.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string_view>

#include "core/base/status.h"
#include "core/os/file_handle.h"

namespace understudy::primary {

// Of an entry `name` of `folder`; "." for the folder itself. Without a folder: of `object`, and the kernel doesn't know
// by which name (an NFS server opened it by its handle).
struct FanotifyEvent {
  uint64_t mask = 0;
  std::optional<os::FileHandle> folder;
  std::string_view name;  // in the buffer
  std::optional<os::FileHandle> object;
};

// All events of a buffer that read(2) filled. INTERNAL: the kernel speaks another version, or a record doesn't fit in.
[[nodiscard]] absl::Status ForEachFanotifyEvent(std::string_view buffer,
                                                const std::function<void(const FanotifyEvent&)>& visit);

}  // namespace understudy::primary
