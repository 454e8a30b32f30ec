// state_dir.h: a program's folder for its own state, held by one process at a time.
#pragma once

#include <filesystem>

#include "core/base/status.h"

namespace understudy::daemon {

// Makes the folder, and those above it, when it is missing; it itself with mode 0700.
[[nodiscard]] absl::Status MakeStateFolder(const std::filesystem::path& path);

// Holds the lock on `state_dir`/lock until it is destroyed or the process ends, however it ends.
class StateDir {
 public:
  // Makes the folder as MakeStateFolder. FAILED_PRECONDITION, naming the process: another one holds it.
  [[nodiscard]] static absl::StatusOr<StateDir> Acquire(const std::filesystem::path& path);

  StateDir(StateDir&& other) noexcept;
  StateDir& operator=(StateDir&&) = delete;
  ~StateDir();

 private:
  explicit StateDir(int lock_fd) : lock_fd_(lock_fd) {}

  int lock_fd_;  // -1: moved from
};

}  // namespace understudy::daemon
