// scratch_folder.h: a folder for what is fetched and soon done with: only the program's user can look into it, and it
// goes with the object.
#pragma once

#include <filesystem>
#include <utility>

#include "core/base/status.h"

namespace understudy::control {

// Move-only.
class ScratchFolder {
 public:
  // Below `parent`, which exists. `parent` empty: $TMPDIR, else /tmp.
  [[nodiscard]] static absl::StatusOr<ScratchFolder> Create(const std::filesystem::path& parent = {});
  ~ScratchFolder();
  ScratchFolder(ScratchFolder&& other) noexcept : path_(std::exchange(other.path_, {})) {}
  ScratchFolder& operator=(ScratchFolder&&) = delete;

  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

 private:
  explicit ScratchFolder(std::filesystem::path path) : path_(std::move(path)) {}

  std::filesystem::path path_;  // empty: moved from
};

}  // namespace understudy::control
