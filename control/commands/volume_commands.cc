#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <ostream>
#include <thread>

#include "control/commands/commands.h"
#include "control/commands/overview.h"
#include "control/commands/sync_wait.h"
#include "core/base/clock.h"
#include "core/base/log.h"

namespace understudy::control {
namespace {

ExitCode Fail(const Console& console, const absl::Status& status) {
  PrintError(console, status);
  return ExitCodeFor(status);
}

struct SyncResult {
  absl::StatusOr<PrimaryVolume> outcome = absl::UnknownError("not done");
  absl::Duration took;
};

std::vector<SyncResult> SyncAll(const Console& console, const config::ControlConfig& config, const SyncOptions& options,
                                const std::vector<SyncTask>& tasks) {
  const net::TlsFiles tls{config.tls.ca, config.tls.cert, config.tls.key};
  std::vector<SyncResult> results(tasks.size());
  std::atomic<size_t> next = 0;
  ProgressLine progress(console);
  const auto work = [&] {
    for (size_t i = next++; i < tasks.size(); i = next++) {
      const absl::Duration begin = Clock::System().Monotonic();
      results[i].outcome = SyncOne(tasks[i], tls, options.published, options.timeout, progress);
      results[i].took = Clock::System().Monotonic() - begin;
    }
  };
  std::vector<std::jthread> threads;
  for (size_t i = 0; i < std::min(kParallelSyncs, tasks.size()); ++i) threads.emplace_back(work);
  threads.clear();
  return results;
}

Document ToDocument(const SyncTask& task, const SyncResult& result) {
  Document document = {{"name", task.volume},
                       {"pair", task.pair.name},
                       {"result", result.outcome.ok() ? "synced" : "failed"},
                       {"error", nullptr},
                       {"seconds", absl::ToDoubleSeconds(result.took)},
                       {"sequence", nullptr},
                       {"published_sequence", nullptr}};
  if (result.outcome.ok()) {
    document["sequence"] = result.outcome->sequence;
    document["published_sequence"] = result.outcome->published_sequence;
  } else {
    document["error"] = Printable(MessageOf(result.outcome.status()));
  }
  return document;
}

ExitCode PrintSyncResults(const Console& console, OutputFormat format, const std::vector<SyncTask>& tasks,
                          const std::vector<SyncResult>& results) {
  Table table({"VOLUME", "PAIR", "RESULT", "SEQUENCE", "SECONDS"});
  Document volumes = Document::array();
  size_t failed = 0;
  absl::Status first_error;
  for (size_t i = 0; i < tasks.size(); ++i) {
    const absl::StatusOr<PrimaryVolume>& outcome = results[i].outcome;
    volumes.push_back(ToDocument(tasks[i], results[i]));
    table.Add({tasks[i].volume, tasks[i].pair.name, outcome.ok() ? "synced" : "failed",
               outcome.ok() ? fmt::format("{}", outcome->sequence) : "-",
               fmt::format("{:.3f}", absl::ToDoubleSeconds(results[i].took))});
    if (outcome.ok()) continue;
    ++failed;
    first_error.Update(outcome.status());
    PrintError(console, Annotate(outcome.status(), fmt::format("volume '{}'", tasks[i].volume)));
  }
  Print(console, format, {{"volumes", std::move(volumes)}}, table.Text());
  return failed > 0 && failed < tasks.size() ? ExitCode::kPartial : ExitCodeFor(first_error);
}

// What is to be synced; for --all, what the primaries that could be asked know.
absl::StatusOr<std::vector<SyncTask>> TasksFor(const Overview& overview, const config::ControlConfig& config,
                                               const SyncOptions& options) {
  const auto pair_of = [&](const std::string& name) {
    return &*std::find_if(config.pairs.begin(), config.pairs.end(),
                          [&](const config::PairConfig& pair) { return pair.name == name; });
  };
  std::vector<SyncTask> tasks;
  if (options.all) {
    for (const VolumeView& volume : overview.volumes) {
      if (volume.primary) tasks.push_back({volume.name, AgentsOf(*pair_of(volume.pair), volume)});
    }
    return tasks;
  }
  ASSIGN_OR_RETURN(const VolumeView volume, FindVolume(overview, options.selection.name, options.selection.pair));
  if (!volume.primary) {
    // Only the replica is known: its primary is away, or has given the volume up.
    for (const PairView& pair : overview.pairs) {
      if (pair.name == volume.pair) RETURN_IF_ERROR(pair.primary.status());
    }
    return absl::NotFoundError(
        fmt::format("volume {}: pair {} has a replica of it, but its primary doesn't know it (any more)", volume.name,
                    volume.pair));
  }
  tasks.push_back({volume.name, AgentsOf(*pair_of(volume.pair), volume)});
  return tasks;
}

}  // namespace

ExitCode RunVolumesShow(const Console& console, OutputFormat format, const config::ControlConfig& config,
                        const VolumeSelection& selection) {
  const absl::StatusOr<config::ControlConfig> narrowed = OnlyPair(config, selection.pair);
  if (!narrowed.ok()) return Fail(console, narrowed.status());
  absl::StatusOr<Overview> overview = GatherOverview(*narrowed);
  if (!overview.ok()) return Fail(console, overview.status());
  const absl::StatusOr<VolumeView> volume = FindVolume(*overview, selection.name, selection.pair);
  if (!volume.ok()) return Fail(console, volume.status());
  std::erase_if(overview->pairs, [&](const PairView& pair) { return pair.name != volume->pair; });
  Print(console, format, ToDocument(*volume), VolumeLines(*volume));
  PrintUnreachable(console, *overview);
  return ExitCodeFor(FirstUnreachable(*overview));
}

ExitCode RunVolumesSync(const Console& console, OutputFormat format, const config::ControlConfig& config,
                        const SyncOptions& options) {
  const absl::StatusOr<config::ControlConfig> narrowed = OnlyPair(config, options.selection.pair);
  if (!narrowed.ok()) return Fail(console, narrowed.status());
  const absl::StatusOr<Overview> overview = GatherOverview(*narrowed);
  if (!overview.ok()) return Fail(console, overview.status());
  const absl::StatusOr<std::vector<SyncTask>> tasks = TasksFor(*overview, *narrowed, options);
  if (!tasks.ok()) return Fail(console, tasks.status());
  const ExitCode code = PrintSyncResults(console, format, *tasks, SyncAll(console, *narrowed, options, *tasks));
  if (!options.all) return code;
  // A primary that can't be asked may have volumes that nobody synced.
  absl::Status unasked;
  for (const PairView& pair : overview->pairs) {
    if (pair.primary.ok()) continue;
    PrintError(console, Annotate(pair.primary.status(), fmt::format("pair {}", pair.name)));
    unasked.Update(pair.primary.status());
  }
  if (unasked.ok()) return code;
  return tasks->empty() ? ExitCodeFor(unasked) : code == ExitCode::kDone ? ExitCode::kPartial : code;
}

}  // namespace understudy::control
