#include "control/oadp/gzip_source.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <zlib.h>

#include <cerrno>

#include "core/base/log.h"
#include "core/os/file_io.h"

namespace understudy::control {
namespace {

constexpr size_t kPieceBytes = size_t{256} << 10;
constexpr int kGzipOnly = 16 + MAX_WBITS;

}  // namespace

GzipSource::GzipSource(os::Fd fd, uint64_t max_uncompressed_bytes)
    : fd_(std::move(fd)),
      max_uncompressed_bytes_(max_uncompressed_bytes),
      stream_(std::make_unique<z_stream_s>()),
      in_(kPieceBytes),
      out_(kPieceBytes) {
  UNDERSTUDY_CHECK(inflateInit2(stream_.get(), kGzipOnly) == Z_OK);
}

GzipSource::~GzipSource() {
  inflateEnd(stream_.get());
}

absl::StatusOr<std::unique_ptr<GzipSource>> GzipSource::Open(const std::filesystem::path& file,
                                                             const GzipLimits& limits) {
  const std::string what = fmt::format("can't read {}", Printable(file.native()));
  os::Fd fd(open(file.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return ErrnoStatus(errno, what);
  struct stat status {};
  if (fstat(fd.get(), &status) != 0) return ErrnoStatus(errno, what);
  if (!S_ISREG(status.st_mode)) return absl::InvalidArgumentError(fmt::format("{}: it isn't a regular file", what));
  if (static_cast<uint64_t>(status.st_size) > limits.compressed_bytes) {
    return absl::ResourceExhaustedError(
        fmt::format("it has {} bytes, which is more than the limit of {}", status.st_size, limits.compressed_bytes));
  }
  return std::unique_ptr<GzipSource>(new GzipSource(std::move(fd), limits.uncompressed_bytes));
}

absl::Status GzipSource::Refill() {
  if (stream_->avail_in > 0 || file_ended_) return absl::OkStatus();
  ASSIGN_OR_RETURN(const size_t got, os::ReadInto(fd_.get(), read_bytes_, in_));
  read_bytes_ += got;
  file_ended_ = got == 0;
  stream_->next_in = reinterpret_cast<Bytef*>(in_.data());
  stream_->avail_in = static_cast<uInt>(got);
  return absl::OkStatus();
}

absl::StatusOr<std::string_view> GzipSource::Next() {
  stream_->next_out = reinterpret_cast<Bytef*>(out_.data());
  stream_->avail_out = static_cast<uInt>(out_.size());
  while (stream_->avail_out == out_.size()) {
    RETURN_IF_ERROR(Refill());
    if (stream_->avail_in == 0) {
      if (between_members_ && read_bytes_ > 0) return std::string_view();
      return absl::DataLossError("it ends early");
    }
    if (between_members_) {
      UNDERSTUDY_CHECK(inflateReset(stream_.get()) == Z_OK);
      between_members_ = false;
    }
    const int result = inflate(stream_.get(), Z_NO_FLUSH);
    between_members_ = result == Z_STREAM_END;
    if (result != Z_OK && result != Z_STREAM_END && result != Z_BUF_ERROR) {
      return absl::DataLossError(fmt::format("it isn't whole gzip data, near byte {}: {}",
                                             read_bytes_ - stream_->avail_in,
                                             stream_->msg == nullptr ? zError(result) : stream_->msg));
    }
  }
  const size_t size = out_.size() - stream_->avail_out;
  uncompressed_bytes_ += size;
  if (uncompressed_bytes_ > max_uncompressed_bytes_) {
    return absl::ResourceExhaustedError(
        fmt::format("more than {} bytes come out of it: is it what it seems?", max_uncompressed_bytes_));
  }
  return std::string_view(out_.data(), size);
}

}  // namespace understudy::control
