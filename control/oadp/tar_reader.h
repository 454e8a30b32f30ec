// tar_reader.h: the entries of a tar stream, one after the other, over libarchive. Writes nothing to disk.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "control/oadp/gzip_source.h"
#include "core/base/status.h"

struct archive;
struct archive_entry;

namespace understudy::control {

struct TarEntry {
  std::string path = {};  // bytes, as they stand in the archive
  bool is_regular = false;
  bool is_folder = false;
  uint64_t size = 0;  // bytes
};

// Not thread-safe. Errors of both: those of the source; DATA_LOSS: it isn't tar, is damaged, or ends early.
class TarReader {
 public:
  // `source` outlives it.
  explicit TarReader(ByteSource& source);
  ~TarReader();
  TarReader(const TarReader&) = delete;
  TarReader& operator=(const TarReader&) = delete;

  // nullopt: the end, which was verified: nothing is missing, nothing follows.
  [[nodiscard]] absl::StatusOr<std::optional<TarEntry>> Next();
  // Of the entry that Next gave last, whose size was checked by the caller.
  [[nodiscard]] absl::StatusOr<std::string> Content(const TarEntry& entry);

 private:
  struct Free {
    void operator()(archive* reader) const;
  };

  static ssize_t OnRead(archive* reader, void* self, const void** piece);
  [[nodiscard]] absl::StatusOr<std::string_view> ReadPiece();
  // Of a call that didn't succeed.
  [[nodiscard]] absl::Status Failure() const;
  [[nodiscard]] absl::Status VerifyEnd();

  ByteSource& source_;
  absl::Status source_status_;
  uint64_t trailing_zeros_ = 0;  // at the end of what was read so far
  std::unique_ptr<archive, Free> reader_;
};

}  // namespace understudy::control
