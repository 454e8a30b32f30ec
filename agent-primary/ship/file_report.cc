// The part of VolumeReplicator and DataPlane that tells of single files.
#include "agent-primary/ship/file_report.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <utility>

#include "agent-primary/ship/data_plane.h"
#include "agent-primary/ship/volume_replicator.h"
#include "core/base/log.h"
#include "core/model/path.h"
#include "core/os/extents.h"

namespace understudy::primary {
namespace {

// Of a volume's files, so many are told of with it.
constexpr size_t kToldFiles = 10;

// Why a file isn't told by its extents. `look`: nullptr: nothing is known.
std::string WhyNotBetter(const os::EntryStat& stat, const FileLook* look, uint64_t least_frozen_bytes,
                         const std::string& of_volume) {
  if (stat.kind != model::FileKind::kRegular) return "";
  if (stat.size <= kMaxInlineContentBytes) return "files of up to 256 KiB travel inside their commit";
  if (look == nullptr || look->captured_at_nanoseconds == 0) return "it wasn't captured since the agent started";
  if (!look->why_not_extents.empty()) return look->why_not_extents;
  if (look->rung == "extents") return "";
  if (stat.size < least_frozen_bytes) {
    return fmt::format("of files of less than {} MiB no clones are made: reading them costs little",
                       least_frozen_bytes / (1024 * 1024));
  }
  if (!of_volume.empty()) return of_volume;
  return look->rung.empty() ? "" : "it had no base then";
}

std::optional<uint64_t> CountIfTold(const absl::StatusOr<os::Fd>& file) {
  if (!file.ok()) return std::nullopt;
  const absl::StatusOr<uint64_t> count = os::CountExtents(file->get());
  return count.ok() ? std::optional(*count) : std::nullopt;
}

}  // namespace

absl::Status VolumeReplicator::LoadLooks() {
  ASSIGN_OR_RETURN(std::vector<BaseTable::Known> known, index_->ListLargestBases(kMaxFileLooks));
  absl::MutexLock lock(&mutex_);
  for (BaseTable::Known& file : known) {
    FileLook look;
    look.path = std::move(file.path);
    look.inode = file.inode;
    look.size = file.base.size;
    look.keeps_base = false;
    look.base = std::move(file.base);
    looks_.Add(std::move(look));
  }
  return absl::OkStatus();
}

void VolumeReplicator::NoteLooks(const CaptureResult& result) {
  const int64_t now = absl::ToUnixNanos(clock_.Now());
  for (FileLook& look : result.looks.Largest(kMaxFileLooks)) {
    look.captured_at_nanoseconds = now;
    looks_.Add(std::move(look));
  }
}

absl::StatusOr<FileReport> VolumeReplicator::DescribeFile(const std::string& path) {
  RETURN_IF_ERROR(model::ValidatePath(path));
  ASSIGN_OR_RETURN(const os::Root root, os::Root::Open(path_));
  const absl::StatusOr<os::EntryStat> stat = root.Stat(path);
  if (!stat.ok()) {
    return absl::NotFoundError(fmt::format("volume '{}': its folder '{}' has no '{}': {}", name_, Printable(path_),
                                           Printable(path), MessageOf(stat.status())));
  }
  std::shared_ptr<BaseStore> bases;
  {
    absl::MutexLock lock(&bases_mutex_);
    bases = bases_;
  }
  FileReport report;
  report.path = path;
  report.kind = stat->kind;
  report.size = stat->size;
  std::optional<BaseRecord> base;
  {
    absl::MutexLock lock(&mutex_);
    const FileLook* const look = looks_.Find(stat->inode);
    report.reason = WhyNotBetter(*stat, look, options_.least_frozen_bytes, status_.strategy_reason);
    report.dirty = dirty_.Contains(path);
    report.damaged = damaged_.contains(path);
    if (look != nullptr) {
      report.rung = look->rung;
      report.captured_at_nanoseconds = look->captured_at_nanoseconds;
      base = look->base;
    }
  }
  if (stat->kind != model::FileKind::kRegular) return report;
  if (stat->size <= kMaxInlineContentBytes) report.rung = "whole";
  report.extents = CountIfTold(root.OpenPath(path, O_RDONLY | O_NONBLOCK | O_NOATIME));
  if (bases == nullptr) return report;
  if (base.has_value()) {
    const absl::StatusOr<os::Fd> clone = bases->OpenBase(*base);
    if (clone.ok()) report.base = {base->clone_ctime_nanoseconds, base->size, CountIfTold(clone)};
  }
  const absl::Duration rest = bases->RestsUntil(stat->inode) - clock_.Monotonic();
  if (rest > absl::ZeroDuration()) report.rests_until_nanoseconds = absl::ToUnixNanos(clock_.Now() + rest);
  return report;
}

std::vector<FileReport> VolumeReplicator::DescribeLargest() {
  std::vector<FileLook> largest;
  {
    absl::MutexLock lock(&mutex_);
    largest = looks_.Largest(kMaxFileLooks);
  }
  std::vector<FileReport> reports;
  for (const FileLook& look : largest) {
    if (reports.size() == kToldFiles) break;
    absl::StatusOr<FileReport> report = DescribeFile(look.path);
    if (report.ok()) reports.push_back(*std::move(report));  // else it is gone, or elsewhere
  }
  return reports;
}

absl::StatusOr<std::vector<FileReport>> DataPlane::DescribeFiles(const model::VolumeName& name,
                                                                 const std::string& path) const {
  ASSIGN_OR_RETURN(const Volume volume, Find(name));
  if (path.empty()) return volume.replicator->DescribeLargest();
  std::string inside = path;
  if (path.front() == '/') {
    const std::string& folder = volume.replicator->path();
    if (!model::IsWithin(path, folder) || path.size() <= folder.size() + 1) {
      return absl::NotFoundError(
          fmt::format("'{}' doesn't lie in the folder of volume '{}', '{}'", Printable(path), name, Printable(folder)));
    }
    inside = path.substr(folder.size() + 1);
  }
  ASSIGN_OR_RETURN(FileReport report, volume.replicator->DescribeFile(inside));
  return std::vector<FileReport>{std::move(report)};
}

}  // namespace understudy::primary
