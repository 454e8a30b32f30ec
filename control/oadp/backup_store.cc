#include "control/oadp/backup_store.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <thread>

#include "core/base/log.h"
#include "core/net/s3_credentials.h"

namespace understudy::control {
namespace {

constexpr uint64_t kMaxSummaryBytes = uint64_t{4} << 20;
constexpr size_t kMaxNameBytes = 253;  // of a Kubernetes object
// Descriptions read at a time: each is a request of its own.
constexpr size_t kParallelReads = 8;

// As the API server lets a Backup be named.
bool IsBackupName(const std::string& name) {
  return !name.empty() && name.size() <= kMaxNameBytes && std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.';
  });
}

// "nightly" of "velero/backups/nightly/". Empty: no backup has such a name.
std::string NameOf(const std::string& common_prefix, const std::string& prefix) {
  if (!common_prefix.starts_with(prefix) || !common_prefix.ends_with('/')) return "";
  const std::string name = common_prefix.substr(prefix.size(), common_prefix.size() - prefix.size() - 1);
  return IsBackupName(name) ? name : "";
}

std::string EndpointOf(const config::S3Config& s3) {
  return s3.endpoint.empty() ? fmt::format("https://s3.{}.amazonaws.com", s3.region) : s3.endpoint;
}

}  // namespace

S3BackupStore::S3BackupStore(std::unique_ptr<net::S3Client> s3, std::string prefix, uint64_t max_archive_bytes,
                             Clock& clock)
    : s3_(std::move(s3)),
      prefix_(prefix.empty() ? "backups/" : fmt::format("{}/backups/", prefix)),
      max_archive_bytes_(max_archive_bytes),
      clock_(clock) {}

std::string S3BackupStore::KeyOf(const std::string& backup, std::string_view object) const {
  return fmt::format("{}{}/{}", prefix_, backup, object);
}

absl::StatusOr<BackupSummary> S3BackupStore::ReadSummary(const std::string& name, std::stop_token stop) {
  const absl::StatusOr<std::string> text =
      s3_->Get(KeyOf(name, "velero-backup.json"), kMaxSummaryBytes, std::move(stop));
  BackupSummary broken{.name = name};
  if (absl::IsNotFound(text.status())) {
    broken.problem = "it has no velero-backup.json: it is still being made, or was deleted in part";
    return broken;
  }
  if (absl::IsResourceExhausted(text.status())) {
    broken.problem = "its velero-backup.json is too large";
    return broken;
  }
  if (!text.ok()) return text.status();
  absl::StatusOr<BackupSummary> summary = ParseBackupSummary(name, *text);
  if (summary.ok()) return summary;
  broken.problem = MessageOf(summary.status());
  return broken;
}

absl::StatusOr<std::vector<BackupSummary>> S3BackupStore::List(std::stop_token stop) {
  ASSIGN_OR_RETURN(const net::S3Listing listing, s3_->List(prefix_, "/", stop));
  std::vector<std::string> names;
  for (const std::string& common_prefix : listing.common_prefixes) {
    if (std::string name = NameOf(common_prefix, prefix_); !name.empty()) names.push_back(std::move(name));
  }
  std::vector<absl::StatusOr<BackupSummary>> read(names.size(), absl::UnknownError("not read"));
  std::atomic<size_t> next = 0;
  {
    std::vector<std::jthread> threads;
    for (size_t i = 0; i < std::min(kParallelReads, names.size()); ++i) {
      threads.emplace_back([&] {
        for (size_t mine = next++; mine < names.size(); mine = next++) read[mine] = ReadSummary(names[mine], stop);
      });
    }
  }
  std::vector<BackupSummary> backups;
  for (absl::StatusOr<BackupSummary>& summary : read) {
    if (!summary.ok()) return summary.status();
    backups.push_back(*std::move(summary));
  }
  SortNewestFirst(backups);
  return backups;
}

absl::StatusOr<BackupSummary> S3BackupStore::Find(const BackupChoice& choice, std::stop_token stop) {
  if (!choice.name) {
    ASSIGN_OR_RETURN(std::vector<BackupSummary> backups, List(std::move(stop)));
    return ChooseBackup(std::move(backups), choice, clock_.Now());
  }
  std::vector<BackupSummary> backups;
  // The list tells a bucket that isn't there from a backup that isn't.
  if (IsBackupName(*choice.name)) {
    ASSIGN_OR_RETURN(const net::S3Listing listing, s3_->List(KeyOf(*choice.name, ""), "/", stop));
    if (!listing.objects.empty()) {
      ASSIGN_OR_RETURN(BackupSummary named, ReadSummary(*choice.name, std::move(stop)));
      backups.push_back(std::move(named));
    }
  }
  return ChooseBackup(std::move(backups), choice, clock_.Now());
}

absl::StatusOr<FetchedBackup> S3BackupStore::Fetch(const BackupSummary& backup, const std::filesystem::path& folder,
                                                   std::stop_token stop) {
  const std::string what = fmt::format("archive of backup {}", backup.name);
  absl::StatusOr<net::S3Download> download = s3_->Download(KeyOf(backup.name, fmt::format("{}.tar.gz", backup.name)),
                                                           folder, max_archive_bytes_, std::move(stop));
  if (absl::IsResourceExhausted(download.status())) {
    return Annotate(download.status(), fmt::format("{} (oadp.max_archive_bytes)", what));
  }
  if (!download.ok()) return Annotate(download.status(), what);
  return FetchedBackup{.summary = backup, .archive = download->file, .archive_bytes = download->size};
}

absl::StatusOr<std::unique_ptr<BackupStore>> OpenBackupStore(const config::OadpConfig& oadp, Clock& clock) {
  const config::S3Config& s3 = oadp.s3;
  auto credentials =
      std::make_shared<net::S3Credentials>(net::S3CredentialFiles{.access_key_file = s3.access_key_file,
                                                                  .secret_key_file = s3.secret_key_file,
                                                                  .session_token_file = s3.session_token_file,
                                                                  .credentials_file = s3.credentials_file,
                                                                  .profile = s3.profile});
  // A key that can't be read is said now, and not after a wait for the store.
  RETURN_IF_ERROR(credentials->Read().status());
  net::S3Options options;
  options.endpoint = EndpointOf(s3);
  options.region = s3.region;
  options.bucket = s3.bucket;
  options.path_style = s3.path_style;
  options.tls.ca_file = s3.ca.native();
  auto client = std::make_unique<net::S3Client>(
      std::move(options), [credentials] { return credentials->Read(); }, clock);
  return std::make_unique<S3BackupStore>(std::move(client), s3.prefix, oadp.max_archive_bytes, clock);
}

}  // namespace understudy::control
