// file_io.h: whole reads and writes at an offset, holes, and what makes them durable.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/status.h"
#include "core/model/commit.h"

namespace understudy::os {

// Reads until `length` bytes or the end of the file; the string is as long as what was read.
[[nodiscard]] absl::StatusOr<std::string> ReadAt(int fd, uint64_t offset, size_t length);
// The same into the caller's buffer; returns how many bytes there were.
[[nodiscard]] absl::StatusOr<size_t> ReadInto(int fd, uint64_t offset, std::span<char> buffer);
[[nodiscard]] absl::Status WriteAt(int fd, uint64_t offset, std::string_view data);

struct DataRange {
  uint64_t begin;
  uint64_t end;
  friend bool operator==(const DataRange&, const DataRange&) = default;
};
// The first range at or after `offset` that isn't a hole; nullopt when only a hole is left. Where the filesystem can't
// tell (no SEEK_DATA), everything up to the end of the file is data.
[[nodiscard]] absl::StatusOr<std::optional<DataRange>> NextData(int fd, uint64_t offset);

// Asked again and again by what can take long; its error ends that. nullptr: nothing does.
using GoOn = std::function<absl::Status()>;

struct DigestOptions {
  GoOn go_on = nullptr;                                   // asked before each segment
  std::vector<model::SegmentDigest>* segments = nullptr;  // gets that of every segment that isn't all zeros, ascending
};

// The content digest (docs/formats/content-digest.md) of the first `size` bytes; holes cost nothing.
[[nodiscard]] absl::StatusOr<model::Digest> DigestOfFile(int fd, uint64_t size, const DigestOptions& options = {});

// Everything written to the filesystem of `fd` before the call is durable when it returns OK.
[[nodiscard]] absl::Status SyncFilesystem(int fd);
// One file, or one folder's entries.
[[nodiscard]] absl::Status SyncFile(int fd);

}  // namespace understudy::os
