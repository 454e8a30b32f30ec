#include "core/net/s3_download.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "core/base/log.h"
#include "core/os/file_io.h"

namespace understudy::net {
namespace {

constexpr size_t kMaxErrorBytes = 64 * 1024;
constexpr int kOk = 200;
constexpr int kPartialContent = 206;
constexpr int kRangeNotSatisfiable = 416;

std::string ValueOf(const HttpResponse& head, const std::string& name) {
  const auto it = head.headers.find(name);
  return it == head.headers.end() ? "" : it->second;
}

// "bytes 5-99/100".
struct ContentRange {
  uint64_t begin = 0;
  uint64_t whole_size = 0;
};
std::optional<ContentRange> ParseContentRange(absl::string_view text) {
  if (!absl::ConsumePrefix(&text, "bytes ")) return std::nullopt;
  const std::pair<absl::string_view, absl::string_view> halves = absl::StrSplit(text, absl::MaxSplits('/', 1));
  const std::pair<absl::string_view, absl::string_view> ends = absl::StrSplit(halves.first, absl::MaxSplits('-', 1));
  ContentRange range;
  if (!absl::SimpleAtoi(ends.first, &range.begin) || !absl::SimpleAtoi(halves.second, &range.whole_size)) {
    return std::nullopt;
  }
  return range;
}

}  // namespace

S3DownloadFile::S3DownloadFile(std::filesystem::path path, os::Fd fd, uint64_t max_bytes)
    : path_(std::move(path)), fd_(std::move(fd)), max_bytes_(max_bytes), digests_(std::make_unique<ObjectDigests>()) {}

S3DownloadFile::S3DownloadFile(S3DownloadFile&& other) noexcept
    : path_(std::move(other.path_)),
      fd_(std::move(other.fd_)),
      max_bytes_(other.max_bytes_),
      size_(other.size_),
      digests_(std::move(other.digests_)),
      etag_(std::move(other.etag_)),
      whole_size_(other.whole_size_),
      claimed_(std::move(other.claimed_)) {
  other.path_.clear();
}

absl::StatusOr<S3DownloadFile> S3DownloadFile::Create(const std::filesystem::path& folder, uint64_t max_bytes) {
  std::string path = (folder / "download-XXXXXX").native();
  os::Fd fd(mkostemp(path.data(), O_CLOEXEC));  // makes it with mode 0600
  if (!fd.valid()) {
    return ErrnoStatus(errno, fmt::format("can't make a file in {}", Printable(folder.native())));
  }
  return S3DownloadFile(path, std::move(fd), max_bytes);
}

S3DownloadFile::~S3DownloadFile() {
  if (!path_.empty()) unlink(path_.c_str());
}

HttpHeaders S3DownloadFile::ResumeHeaders() const {
  if (size_ == 0) return {};
  HttpHeaders headers = {{"range", fmt::format("bytes={}-", size_)}};
  if (!etag_.empty()) headers.emplace_back("if-match", etag_);
  return headers;
}

absl::Status S3DownloadFile::Take(const HttpResponse& head, std::string_view chunk) {
  if (head.status != kOk && head.status != kPartialContent) {
    // What an error document has past this isn't needed to understand it.
    error_body_.append(chunk.substr(0, kMaxErrorBytes - std::min(kMaxErrorBytes, error_body_.size())));
    return absl::OkStatus();
  }
  if (!answer_seen_) RETURN_IF_ERROR(TakeHead(head));
  if (size_ + chunk.size() > max_bytes_) {
    return absl::ResourceExhaustedError(fmt::format("it is larger than the limit of {} bytes", max_bytes_));
  }
  RETURN_IF_ERROR(os::WriteAt(fd_.get(), size_, chunk));
  digests_->Add(chunk);
  size_ += chunk.size();
  return absl::OkStatus();
}

absl::Status S3DownloadFile::TakeHead(const HttpResponse& head) {
  answer_seen_ = true;
  error_body_.clear();
  return head.status == kPartialContent ? TakeRestHead(head) : TakeWholeHead(head);
}

// The whole object, also when only the rest was asked for.
absl::Status S3DownloadFile::TakeWholeHead(const HttpResponse& head) {
  if (size_ > 0) RETURN_IF_ERROR(Restart());
  etag_ = ValueOf(head, "etag");
  claimed_ = ClaimedDigestsOf(head.headers);
  uint64_t length = 0;
  if (!absl::SimpleAtoi(ValueOf(head, "content-length"), &length)) return absl::OkStatus();
  whole_size_ = length;
  if (length <= max_bytes_) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      fmt::format("it has {} bytes, which is more than the limit of {}", length, max_bytes_));
}

absl::Status S3DownloadFile::TakeRestHead(const HttpResponse& head) {
  const std::optional<ContentRange> range = ParseContentRange(ValueOf(head, "content-range"));
  const bool same_object = ValueOf(head, "etag") == etag_;
  const bool same_size = range && (!whole_size_ || *whole_size_ == range->whole_size);
  if (range && range->begin == size_ && same_object && same_size) {
    whole_size_ = range->whole_size;
    return absl::OkStatus();
  }
  return absl::AbortedError("the server sent another part than the rest");
}

absl::Status S3DownloadFile::TransferStatus(const HttpResponse& response, const S3ErrorContext& context) const {
  if (response.status == kOk || response.status == kPartialContent) return absl::OkStatus();
  if (response.status == kRangeNotSatisfiable && size_ > 0) {
    return absl::AbortedError("the object is shorter than what came of it");
  }
  HttpResponse with_body = response;
  with_body.body = error_body_;
  return StatusOfS3Error(with_body, context);
}

absl::Status S3DownloadFile::Restart() {
  if (ftruncate(fd_.get(), 0) != 0) return ErrnoStatus(errno, fmt::format("can't empty {}", Printable(path_.native())));
  size_ = 0;
  digests_->Restart();
  etag_.clear();
  whole_size_.reset();
  claimed_ = {};
  return absl::OkStatus();
}

absl::Status S3DownloadFile::Verify() {
  if (whole_size_ && size_ != *whole_size_) {
    return absl::DataLossError(fmt::format("{} bytes came, and the server said {}", size_, *whole_size_));
  }
  return digests_->Check(claimed_);
}

std::filesystem::path S3DownloadFile::Keep() {
  std::filesystem::path kept = std::move(path_);
  path_.clear();
  return kept;
}

}  // namespace understudy::net
