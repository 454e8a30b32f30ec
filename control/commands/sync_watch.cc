#include "control/commands/sync_watch.h"

#include <fmt/format.h>

#include "core/base/log.h"

namespace understudy::control {
namespace {

constexpr char kConnecting[] = "connecting";
constexpr char kError[] = "error";

bool IsTrouble(const PrimaryVolume& volume) {
  return !volume.error.empty() && (volume.state == kConnecting || volume.state == kError);
}

// While the primary tries again, there is no error; whether the try helped shows in what DR acknowledged.
bool IsOver(const PrimaryVolume& trouble, const PrimaryVolume& report) {
  return trouble.state == kConnecting || report.sequence > trouble.sequence;
}

}  // namespace

std::optional<std::string> SyncWatch::OnReport(const PrimaryVolume& report, absl::Duration now) {
  last_report_ = report;
  last_report_at_ = now;
  if (!IsTrouble(report)) {
    if (trouble_ && IsOver(*trouble_, report)) trouble_.reset();
    return std::nullopt;
  }
  trouble_ = report;
  const std::string error = Printable(report.error);
  if (error == returned_) return std::nullopt;
  returned_ = error;
  return error;
}

absl::Status SyncWatch::Explain(const absl::Status& status, absl::Duration timeout, absl::Duration now) const {
  const bool answers = last_report_ && now - last_report_at_ < kLongestSilence;
  if (!absl::IsDeadlineExceeded(status) || !answers) return status;
  const PrimaryVolume& volume = trouble_ ? *trouble_ : *last_report_;
  const std::string why =
      trouble_ ? Printable(volume.error)
               : fmt::format("it is {}, with {} changed paths to go", Printable(volume.state), volume.dirty_paths);
  const std::string message = fmt::format("no barrier within {}s: {}", absl::ToDoubleSeconds(timeout), why);
  return volume.state == kConnecting ? absl::UnavailableError(message) : absl::AbortedError(message);
}

}  // namespace understudy::control
