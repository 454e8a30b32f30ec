// undo_spool.h: undo records in a file, to be run one after the other: all of them together may be more than fits into
// memory, and commits that go on meanwhile may drop or merge the ones that they are copies of.
//
// For as long as its process lives: nothing is durable, and the file is thrown away with the folder that it lies in.
// One thread at a time.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "agent-dr/commit/volume_store.h"
#include "core/base/status.h"
#include "core/os/root.h"

namespace understudy::dr {

class UndoSpool {
 public:
  // Makes the file `name` in `folder`, which has none.
  [[nodiscard]] static absl::StatusOr<UndoSpool> Make(const os::Root& folder, const std::string& name);

  // What running a record takes: about.sequence, operations and kept_content.
  [[nodiscard]] absl::Status Append(const UndoRecord& undo);
  [[nodiscard]] size_t size() const { return count_; }
  // The next one, in the order in which they were appended; each once, `size()` in all.
  [[nodiscard]] absl::StatusOr<UndoRecord> Next();

 private:
  explicit UndoSpool(os::Fd file) : file_(std::move(file)) {}
  [[nodiscard]] absl::Status Write(std::string_view bytes);
  [[nodiscard]] absl::Status WriteNumber(uint64_t number);
  [[nodiscard]] absl::StatusOr<std::string> Read(uint64_t length);
  [[nodiscard]] absl::StatusOr<uint64_t> ReadNumber();

  os::Fd file_;
  size_t count_ = 0;
  uint64_t end_ = 0;  // of what is written
  uint64_t at_ = 0;   // of what is read
};

}  // namespace understudy::dr
