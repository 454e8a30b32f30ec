#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <ostream>
#include <thread>

#include "control/commands/commands.h"
#include "control/commands/file_view.h"
#include "control/commands/files_client.h"
#include "control/commands/overview.h"
#include "control/commands/sync_wait.h"
#include "control/commands/verify_client.h"
#include "core/base/clock.h"
#include "core/base/log.h"
#include "core/base/time_text.h"

namespace understudy::control {
namespace {

ExitCode Fail(const Console& console, const absl::Status& status) {
  PrintError(console, status);
  return ExitCodeFor(status);
}

net::TlsFiles TlsOf(const config::ControlConfig& config) {
  return {config.tls.ca, config.tls.cert, config.tls.key};
}

const config::PairConfig& PairOf(const config::ControlConfig& config, const std::string& name) {
  return *std::find_if(config.pairs.begin(), config.pairs.end(),
                       [&](const config::PairConfig& pair) { return pair.name == name; });
}

ExitCode ShowFile(const Console& console, OutputFormat format, const config::ControlConfig& config,
                  const VolumeView& volume, const std::string& path) {
  const config::PairConfig agents = AgentsOf(PairOf(config, volume.pair), volume);
  const auto files = AskForFiles(agents.primary, TlsOf(config), volume.name, path);
  if (!files.ok()) return Fail(console, files.status());
  const FileView& file = files->front();
  Document document = {{"volume", volume.name}, {"pair", volume.pair}};
  document.update(ToDocument(file));
  document["damage"] = nullptr;
  std::string text = FileLines(file);
  // What DR found on its disk; one that can't be asked leaves the rest.
  const auto damage = ListDamage(agents.dr, TlsOf(config));
  if (damage.ok()) {
    for (const DamagedReplicaView& replica : *damage) {
      if (replica.volume != volume.name) continue;
      for (const DamagedFileView& damaged : replica.first) {
        if (damaged.path != file.path) continue;
        document["damage"] = {{"reason", Printable(damaged.why)}, {"found", Rfc3339(damaged.found)}};
        text += fmt::format("{:<28}{}\n", "damage", Printable(damaged.why));
      }
    }
  }
  Print(console, format, document, text);
  return ExitCode::kDone;
}

struct SyncResult {
  absl::StatusOr<PrimaryVolume> outcome = absl::UnknownError("not done");
  absl::Duration took;
};

std::vector<SyncResult> SyncAll(const Console& console, const config::ControlConfig& config, const SyncOptions& options,
                                const std::vector<SyncTask>& tasks) {
  const net::TlsFiles tls = TlsOf(config);
  std::vector<SyncResult> results(tasks.size());
  std::atomic<size_t> next = 0;
  ProgressLine progress(console);
  const auto work = [&] {
    for (size_t i = next++; i < tasks.size(); i = next++) {
      const absl::Duration begin = Clock::System().Monotonic();
      results[i].outcome = SyncOne(tasks[i], tls, options.demand, options.timeout, progress);
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
  std::vector<SyncTask> tasks;
  if (options.all) {
    for (const VolumeView& volume : overview.volumes) {
      if (volume.primary) tasks.push_back({volume.name, AgentsOf(PairOf(config, volume.pair), volume)});
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
  tasks.push_back({volume.name, AgentsOf(PairOf(config, volume.pair), volume)});
  return tasks;
}

}  // namespace

ExitCode RunVolumesShow(const Console& console, OutputFormat format, const config::ControlConfig& config,
                        const ShowOptions& options) {
  const VolumeSelection& selection = options.selection;
  const absl::StatusOr<config::ControlConfig> narrowed = OnlyPair(config, selection.pair);
  if (!narrowed.ok()) return Fail(console, narrowed.status());
  absl::StatusOr<Overview> overview = GatherOverview(*narrowed);
  if (!overview.ok()) return Fail(console, overview.status());
  const absl::StatusOr<VolumeView> volume = FindVolume(*overview, selection.name, selection.pair);
  if (!volume.ok()) return Fail(console, volume.status());
  std::erase_if(overview->pairs, [&](const PairView& pair) { return pair.name != volume->pair; });
  if (!options.file.empty()) return ShowFile(console, format, *narrowed, *volume, options.file);
  Document document = ToDocument(*volume);
  document["large_files"] = nullptr;
  std::string text = VolumeLines(*volume);
  if (volume->primary) {
    const config::PairConfig agents = AgentsOf(PairOf(*narrowed, volume->pair), *volume);
    // An agent that can't tell of files tells of the volume.
    const auto files = AskForFiles(agents.primary, TlsOf(*narrowed), volume->name, /*file=*/"");
    if (files.ok()) {
      document["large_files"] = Document::array();
      for (const FileView& file : *files) document["large_files"].push_back(ToDocument(file));
      if (!files->empty()) text += "\n" + FilesTable(*files);
    }
  }
  Print(console, format, document, text);
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
