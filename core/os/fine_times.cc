#include "core/os/fine_times.h"

#include <fcntl.h>
#include <unistd.h>

#include <utility>

#include "core/os/fd.h"
#include "core/os/stat.h"

namespace understudy::os {
namespace {

// A tick may end between two of them, hardly between all.
constexpr int kChanges = 8;

}  // namespace

bool HasFineTimes(int folder) {
  const Fd file(openat(folder, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  if (!file.valid()) return false;
  absl::StatusOr<EntryStat> before = StatAt(file.get(), "");
  for (int i = 0; i < kChanges && before.ok(); ++i) {
    if (pwrite(file.get(), "x", 1, 0) != 1) return false;
    absl::StatusOr<EntryStat> after = StatAt(file.get(), "");
    if (!after.ok() || after->ctime_nanoseconds == before->ctime_nanoseconds) return false;
    before = std::move(after);
  }
  return before.ok();
}

}  // namespace understudy::os
