// temp_dir.h: a folder of a test's own, gone when the test is.
#pragma once

#include <string>
#include <string_view>

namespace understudy::tests {

// Made below $TEST_TMPDIR, else $TMPDIR, else /var/tmp (not /tmp, which is a tmpfs on many machines: change events and
// reflinks behave differently there). Mode 0755, so that a receiver or an NFS server under another user can look
// inside. Aborts when it can't be made: no test can go on without. Not thread-safe.
class TempDir {
 public:
  TempDir();
  // Removes everything below; with UNDERSTUDY_KEEP_TEMP set in the environment, says where it is and leaves it.
  ~TempDir();
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;

  // Absolute, without a slash at the end.
  [[nodiscard]] const std::string& Path() const { return path_; }
  // Path() + "/" + name.
  [[nodiscard]] std::string File(std::string_view name) const;

 private:
  std::string path_;
};

}  // namespace understudy::tests
