#include "agent-dr/commit/undo_spool.h"

#include <fcntl.h>

#include <cstring>
#include <vector>

#include "agent-dr/commit/content_ranges.h"
#include "core/os/file_io.h"
#include "core/wire/replication_codec.h"

namespace understudy::dr {

// Of each record: sequence, length of the operations, number of kept contents, as host numbers of 8 bytes; the
// operations; of each content: the operation's index, length of the ranges, the ranges.
absl::StatusOr<UndoSpool> UndoSpool::Make(const os::Root& folder, const std::string& name) {
  ASSIGN_OR_RETURN(os::Fd file, folder.OpenPath(name, O_RDWR | O_CREAT | O_EXCL, 0600));
  return UndoSpool(std::move(file));
}

absl::Status UndoSpool::Write(std::string_view bytes) {
  RETURN_IF_ERROR(os::WriteAt(file_.get(), end_, bytes));
  end_ += bytes.size();
  return absl::OkStatus();
}

absl::Status UndoSpool::WriteNumber(uint64_t number) {
  char bytes[sizeof(number)];
  std::memcpy(bytes, &number, sizeof(number));
  return Write({bytes, sizeof(bytes)});
}

absl::Status UndoSpool::Append(const UndoRecord& undo) {
  model::Commit reverse;
  reverse.operations = undo.operations;
  const std::string operations = wire::SerializeCommit(reverse);
  RETURN_IF_ERROR(WriteNumber(undo.about.sequence));
  RETURN_IF_ERROR(WriteNumber(operations.size()));
  RETURN_IF_ERROR(WriteNumber(undo.kept_content.size()));
  RETURN_IF_ERROR(Write(operations));
  for (const auto& [index, ranges] : undo.kept_content) {
    const std::string bytes = SerializeRanges(ranges);
    RETURN_IF_ERROR(WriteNumber(index));
    RETURN_IF_ERROR(WriteNumber(bytes.size()));
    RETURN_IF_ERROR(Write(bytes));
  }
  ++count_;
  return absl::OkStatus();
}

absl::StatusOr<std::string> UndoSpool::Read(uint64_t length) {
  if (length > end_ - at_) return absl::DataLossError("a copy of undo records isn't what was written");
  ASSIGN_OR_RETURN(std::string bytes, os::ReadAt(file_.get(), at_, static_cast<size_t>(length)));
  if (bytes.size() != length) return absl::DataLossError("a copy of undo records isn't what was written");
  at_ += length;
  return bytes;
}

absl::StatusOr<uint64_t> UndoSpool::ReadNumber() {
  ASSIGN_OR_RETURN(const std::string bytes, Read(sizeof(uint64_t)));
  uint64_t number = 0;
  std::memcpy(&number, bytes.data(), sizeof(number));
  return number;
}

absl::StatusOr<UndoRecord> UndoSpool::Next() {
  UndoRecord undo;
  ASSIGN_OR_RETURN(undo.about.sequence, ReadNumber());
  ASSIGN_OR_RETURN(const uint64_t length, ReadNumber());
  ASSIGN_OR_RETURN(const uint64_t contents, ReadNumber());
  ASSIGN_OR_RETURN(const std::string operations, Read(length));
  ASSIGN_OR_RETURN(model::Commit reverse, wire::DeserializeCommit(operations));
  undo.operations = std::move(reverse.operations);
  for (uint64_t i = 0; i < contents; ++i) {
    ASSIGN_OR_RETURN(const uint64_t index, ReadNumber());
    ASSIGN_OR_RETURN(const uint64_t bytes, ReadNumber());
    ASSIGN_OR_RETURN(const std::string ranges, Read(bytes));
    ASSIGN_OR_RETURN(undo.kept_content[static_cast<size_t>(index)], ParseRanges(ranges));
  }
  return undo;
}

}  // namespace understudy::dr
