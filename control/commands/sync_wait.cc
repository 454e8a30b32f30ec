#include "control/commands/sync_wait.h"

#include <fmt/format.h>

#include <ostream>

#include "control/commands/sync_watch.h"
#include "core/base/clock.h"
#include "core/base/log.h"

namespace understudy::control {

ProgressLine::~ProgressLine() {
  const absl::MutexLock lock(&mutex_);
  Clear();
}

void ProgressLine::Show(const PrimaryVolume& volume) {
  if (!console_.err_is_terminal) return;
  const absl::MutexLock lock(&mutex_);
  console_.err << fmt::format("\r\033[K{}: {}, {} changed paths to go, {:.1f} s behind, {} bytes sent", volume.name,
                              Printable(volume.state), volume.dirty_paths, volume.lag_seconds,
                              volume.content_bytes_sent)
               << std::flush;
  shown_ = true;
}

void ProgressLine::ShowTrouble(const std::string& volume, const std::string& error) {
  const absl::MutexLock lock(&mutex_);
  Clear();
  PrintError(console_, absl::AbortedError(fmt::format("volume '{}': still waiting: {}", volume, error)));
}

void ProgressLine::Clear() {
  if (shown_) console_.err << "\r\033[K" << std::flush;
  shown_ = false;
}

absl::StatusOr<PrimaryVolume> SyncOne(const SyncTask& task, const net::TlsFiles& tls, model::SyncDemand demand,
                                      absl::Duration timeout, ProgressLine& progress) {
  ASSIGN_OR_RETURN(const PrimaryClient client, PrimaryClient::Create(task.pair.primary, tls));
  const Clock& clock = Clock::System();
  SyncWatch watch;
  absl::StatusOr<PrimaryVolume> outcome = client.Sync(task.volume, demand, timeout, [&](const PrimaryVolume& volume) {
    if (const auto error = watch.OnReport(volume, clock.Monotonic())) progress.ShowTrouble(task.volume, *error);
    progress.Show(volume);
  });
  if (outcome.ok()) return outcome;
  return watch.Explain(outcome.status(), timeout, clock.Monotonic());
}

}  // namespace understudy::control
