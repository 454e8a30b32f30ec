#include "control/oadp/backup_archive.h"

#include <fmt/format.h>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/ascii.h"
#include "control/oadp/backup_contents.h"
#include "control/oadp/gzip_source.h"
#include "control/oadp/tar_reader.h"
#include "core/base/log.h"

namespace understudy::control {
namespace {

constexpr uint64_t kMaxVersionBytes = 64;

// "1.1.0", and "1" of the first Velero.
bool IsKnownVersion(const std::string& version) {
  return version == "1" || version.starts_with("1.");
}

// One pass over the entries.
class ArchivePass {
 public:
  ArchivePass(ByteSource& source, const ArchiveRequest& request)
      : limits_(request.limits), tar_(source), builder_(request.namespaces) {}

  absl::StatusOr<BackupContents> Run(const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      ASSIGN_OR_RETURN(const std::optional<TarEntry> entry, tar_.Next());
      if (!entry) return Finish();
      const absl::Status taken = Take(*entry);
      if (!taken.ok()) return Annotate(taken, fmt::format("entry '{}'", Printable(entry->path)));
    }
    return absl::CancelledError("stopped");
  }

 private:
  absl::Status Take(const TarEntry& entry) {
    if (++entries_ > limits_.entries) {
      return absl::ResourceExhaustedError(fmt::format("it is past the limit of {} entries", limits_.entries));
    }
    if (entry.path.size() > limits_.path_bytes) {
      return absl::ResourceExhaustedError(fmt::format("its path is longer than {} bytes", limits_.path_bytes));
    }
    ASSIGN_OR_RETURN(const ArchivePath path, ParseArchivePath(entry.path));
    if (entry.is_folder) return absl::OkStatus();
    if (!entry.is_regular) return absl::InvalidArgumentError("it is a link, a device or the like");
    if (!seen_.insert(entry.path).second) return absl::InvalidArgumentError("it comes a second time");
    if (path.kind == ArchivePath::Kind::kVersion) return TakeVersion(entry);
    if (path.kind != ArchivePath::Kind::kObject || !builder_.Count(path)) return absl::OkStatus();
    if (entry.size > limits_.entry_bytes) return TooLarge(entry.size, limits_.entry_bytes);
    kept_bytes_ += entry.size;
    if (kept_bytes_ > limits_.kept_bytes) {
      return absl::ResourceExhaustedError(
          fmt::format("the storage definitions and virtual machines have more than {} bytes; fewer namespaces would do",
                      limits_.kept_bytes));
    }
    ASSIGN_OR_RETURN(const std::string text, tar_.Content(entry));
    return builder_.AddObject(path, text);
  }

  absl::Status TakeVersion(const TarEntry& entry) {
    if (entry.size > kMaxVersionBytes) return TooLarge(entry.size, kMaxVersionBytes);
    ASSIGN_OR_RETURN(const std::string text, tar_.Content(entry));
    version_ = std::string(absl::StripAsciiWhitespace(text));
    if (IsKnownVersion(version_)) return absl::OkStatus();
    return absl::UnimplementedError(
        fmt::format("the backup has format version '{}', and 1.x is what is known: it was made by a later Velero",
                    Printable(version_)));
  }

  static absl::Status TooLarge(uint64_t size, uint64_t limit) {
    return absl::ResourceExhaustedError(
        fmt::format("it has {} bytes, which is more than the limit of {}", size, limit));
  }

  absl::StatusOr<BackupContents> Finish() {
    if (version_.empty()) return absl::DataLossError("it has no metadata/version: it isn't a Velero backup");
    BackupContents contents = std::move(builder_).Finish();
    contents.format_version = version_;
    return contents;
  }

  const ArchiveLimits& limits_;
  TarReader tar_;
  ContentsBuilder builder_;
  absl::flat_hash_set<std::string> seen_;
  std::string version_;
  uint64_t entries_ = 0;
  uint64_t kept_bytes_ = 0;
};

}  // namespace

absl::StatusOr<BackupContents> ReadBackupTar(ByteSource& tar, const ArchiveRequest& request, std::stop_token stop) {
  absl::StatusOr<BackupContents> contents = ArchivePass(tar, request).Run(stop);
  if (contents.ok()) return contents;
  const std::string advice = absl::IsCancelled(contents.status()) ? "" : "; choose another backup with --backup";
  return absl::Status(contents.status().code(), fmt::format("archive of backup {}: {}{}", Printable(request.backup),
                                                            MessageOf(contents.status()), advice));
}

absl::StatusOr<BackupContents> ReadBackupArchive(const std::filesystem::path& archive, const ArchiveRequest& request,
                                                 std::stop_token stop) {
  absl::StatusOr<std::unique_ptr<GzipSource>> source = GzipSource::Open(
      archive,
      {.compressed_bytes = request.limits.archive_bytes, .uncompressed_bytes = request.limits.uncompressed_bytes});
  if (!source.ok()) {
    return Annotate(source.status(), fmt::format("archive of backup {}", Printable(request.backup)));
  }
  return ReadBackupTar(**source, request, std::move(stop));
}

}  // namespace understudy::control
