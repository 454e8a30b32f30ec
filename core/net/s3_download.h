// s3_download.h: one object on its way into a file, over as many transfers as it takes; S3Client::Download drives it.
//
// Not thread-safe. The file is removed with the object unless Keep was called.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "core/base/status.h"
#include "core/net/http_client.h"
#include "core/net/object_digests.h"
#include "core/net/s3_error.h"
#include "core/net/sigv4.h"
#include "core/os/fd.h"

namespace understudy::net {

class S3DownloadFile {
 public:
  // A new file of `folder`, mode 0600.
  [[nodiscard]] static absl::StatusOr<S3DownloadFile> Create(const std::filesystem::path& folder, uint64_t max_bytes);
  ~S3DownloadFile();
  S3DownloadFile(S3DownloadFile&& other) noexcept;
  S3DownloadFile& operator=(S3DownloadFile&&) = delete;

  // What the next request says of the part that is there already; empty at the beginning.
  [[nodiscard]] HttpHeaders ResumeHeaders() const;
  // To be called before each transfer, and with each piece of its answer, as HttpClient::Stream has them. ABORTED: the
  // rest that was asked for isn't this object's rest: Restart. RESOURCE_EXHAUSTED: larger than the limit.
  void BeginTransfer() { answer_seen_ = false; }
  [[nodiscard]] absl::Status Take(const HttpResponse& head, std::string_view chunk);
  // OK: the answer was one of success. Else the status of the error document.
  [[nodiscard]] absl::Status TransferStatus(const HttpResponse& response, const S3ErrorContext& context) const;

  // Empties the file.
  [[nodiscard]] absl::Status Restart();
  // Whether all of it is there, and is what the server said. DATA_LOSS: it isn't.
  [[nodiscard]] absl::Status Verify();

  [[nodiscard]] uint64_t size() const { return size_; }  // bytes, so far
  // The file is the caller's from here on.
  [[nodiscard]] std::filesystem::path Keep();

 private:
  S3DownloadFile(std::filesystem::path path, os::Fd fd, uint64_t max_bytes);

  [[nodiscard]] absl::Status TakeHead(const HttpResponse& head);
  [[nodiscard]] absl::Status TakeWholeHead(const HttpResponse& head);
  [[nodiscard]] absl::Status TakeRestHead(const HttpResponse& head);

  std::filesystem::path path_;  // empty: kept, or moved from
  os::Fd fd_;
  uint64_t max_bytes_;
  uint64_t size_ = 0;
  std::unique_ptr<ObjectDigests> digests_;
  // Of the object that the part in the file belongs to.
  std::string etag_;
  std::optional<uint64_t> whole_size_;
  ClaimedDigests claimed_;
  // Of the transfer under way.
  bool answer_seen_ = false;
  std::string error_body_;
};

}  // namespace understudy::net
