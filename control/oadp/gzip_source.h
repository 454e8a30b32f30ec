// gzip_source.h: the uncompressed bytes of a gzip file, piece by piece, verified to its last byte.
//
// libarchive's own gzip filter doesn't verify the checksum, and takes a file that ends early for one that ends.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string_view>
#include <vector>

#include "core/base/status.h"
#include "core/os/fd.h"

struct z_stream_s;

namespace understudy::control {

// Not thread-safe.
class ByteSource {
 public:
  virtual ~ByteSource() = default;
  // The next piece, which stays until the next call; empty: the end.
  [[nodiscard]] virtual absl::StatusOr<std::string_view> Next() = 0;
};

struct GzipLimits {
  uint64_t compressed_bytes;
  uint64_t uncompressed_bytes;
};

class GzipSource final : public ByteSource {
 public:
  // RESOURCE_EXHAUSTED: the file is larger than the limit; else as the system says.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<GzipSource>> Open(const std::filesystem::path& file,
                                                                        const GzipLimits& limits);
  ~GzipSource() override;

  // DATA_LOSS: it isn't gzip, is damaged, or ends early. RESOURCE_EXHAUSTED: more comes out than the limit.
  [[nodiscard]] absl::StatusOr<std::string_view> Next() override;

 private:
  GzipSource(os::Fd fd, uint64_t max_uncompressed_bytes);
  // Has input, unless the file has ended.
  [[nodiscard]] absl::Status Refill();

  const os::Fd fd_;
  const uint64_t max_uncompressed_bytes_;
  const std::unique_ptr<z_stream_s> stream_;
  std::vector<char> in_;
  std::vector<char> out_;
  uint64_t read_bytes_ = 0;
  uint64_t uncompressed_bytes_ = 0;
  bool file_ended_ = false;
  bool between_members_ = true;  // a file may hold several, one after the other
};

}  // namespace understudy::control
