#include <fmt/format.h>

#include <algorithm>
#include <ostream>

#include "control/commands/commands.h"
#include "control/commands/overview.h"
#include "control/commands/verify_client.h"
#include "core/base/clock.h"
#include "core/base/log.h"

namespace understudy::control {
namespace {

ExitCode Fail(const Console& console, const absl::Status& status) {
  PrintError(console, status);
  return ExitCodeFor(status);
}

struct VerifyTask {
  std::string volume;
  std::string pair;
  absl::StatusOr<std::string> address;  // of the agent that is asked
};

struct VerifyResult {
  absl::StatusOr<VerifyOutcome> outcome = absl::UnknownError("not done");
  double seconds = 0;
};

bool AsksDr(model::VerifyDepth depth) {
  return depth == model::VerifyDepth::kExists || depth == model::VerifyDepth::kKept;
}

// Why the primary can't be asked about a volume of which only the replica is known.
absl::Status NoPrimary(const PairView& pair, const VolumeView& volume) {
  RETURN_IF_ERROR(volume.turned ? pair.reverse_primary.status() : pair.primary.status());
  return absl::NotFoundError(fmt::format(
      "volume {}: pair {} has a replica of it, but its primary doesn't know it (any more): try --depth kept",
      volume.name, pair.name));
}

VerifyTask TaskFor(const Overview& overview, const VolumeView& volume, model::VerifyDepth depth) {
  const PairView& pair = *std::find_if(overview.pairs.begin(), overview.pairs.end(),
                                       [&](const PairView& candidate) { return candidate.name == volume.pair; });
  if (AsksDr(depth)) return {volume.name, volume.pair, volume.turned ? pair.reverse_dr_address : pair.dr_address};
  if (!volume.primary) return {volume.name, volume.pair, NoPrimary(pair, volume)};
  return {volume.name, volume.pair, volume.turned ? pair.reverse_primary_address : pair.primary_address};
}

absl::StatusOr<std::vector<VerifyTask>> TasksFor(const Overview& overview, const VerifyOptions& options) {
  std::vector<VerifyTask> tasks;
  if (!options.all) {
    ASSIGN_OR_RETURN(const VolumeView volume, FindVolume(overview, options.selection.name, options.selection.pair));
    tasks.push_back(TaskFor(overview, volume, options.depth));
    return tasks;
  }
  for (const VolumeView& volume : overview.volumes) tasks.push_back(TaskFor(overview, volume, options.depth));
  return tasks;
}

class ProgressLine {
 public:
  explicit ProgressLine(const Console& console) : console_(console) {}
  ~ProgressLine() {
    if (shown_) console_.err << "\r\033[K" << std::flush;
  }
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;

  void Show(const std::string& volume, const model::VerifyCounts& counts) {
    if (!console_.err_is_terminal) return;
    console_.err << fmt::format("\r\033[K{}: {} entries, {} bytes read at DR, {} differences", volume, counts.entries,
                                counts.bytes_read, counts.differences)
                 << std::flush;
    shown_ = true;
  }

 private:
  const Console& console_;
  bool shown_ = false;
};

std::string ResultOf(const VerifyResult& result) {
  if (!result.outcome.ok()) return "failed";
  if (result.outcome->counts.differences > 0) return "different";
  return result.outcome->counts.unchecked > 0 ? "partial" : "same";
}

Document ToDocument(const VerifyTask& task, const VerifyResult& result, model::VerifyDepth depth) {
  Document document = {
      {"name", task.volume},        {"pair", task.pair}, {"depth", std::string(model::ToString(depth))},
      {"result", ResultOf(result)}, {"error", nullptr},  {"seconds", result.seconds}};
  const model::VerifyCounts counts = result.outcome.ok() ? result.outcome->counts : model::VerifyCounts();
  const auto number = [&](uint64_t value) { return result.outcome.ok() ? Document(value) : Document(nullptr); };
  document["entries"] = number(counts.entries);
  document["files_read"] = number(counts.files_read);
  document["bytes_read"] = number(counts.bytes_read);
  document["learned"] = number(counts.learned);
  document["unchecked"] = number(counts.unchecked);
  document["differences_found"] = number(counts.differences);
  document["differences"] = Document::array();
  if (!result.outcome.ok()) {
    document["error"] = Printable(MessageOf(result.outcome.status()));
    return document;
  }
  for (const model::Difference& difference : result.outcome->differences) {
    document["differences"].push_back({{"path", Printable(difference.path)},
                                       {"kind", std::string(model::ToString(difference.kind))},
                                       {"detail", Printable(difference.detail)}});
  }
  return document;
}

void PrintNotes(const Console& console, const VerifyTask& task, const VerifyOutcome& outcome) {
  const model::VerifyCounts& counts = outcome.counts;
  if (counts.differences > outcome.differences.size()) {
    console.err << fmt::format("drctl: volume '{}': {} of {} differences are listed\n", task.volume,
                               outcome.differences.size(), counts.differences);
  }
  if (counts.unchecked > 0) {
    console.err << fmt::format(
        "drctl: volume '{}': {} entries changed all the time, or can't be read at the primary, "
        "and weren't compared\n",
        task.volume, counts.unchecked);
  }
  if (counts.learned > 0) {
    console.err << fmt::format(
        "drctl: volume '{}': of {} files DR was never told the digest; they are taken for right "
        "as they are now\n",
        task.volume, counts.learned);
  }
}

ExitCode PrintResults(const Console& console, OutputFormat format, model::VerifyDepth depth,
                      const std::vector<VerifyTask>& tasks, const std::vector<VerifyResult>& results) {
  Table table({"VOLUME", "PAIR", "DEPTH", "RESULT", "ENTRIES", "BYTES READ", "DIFFERENCES"});
  Table found({"VOLUME", "PAIR", "KIND", "PATH", "DETAIL"});
  Document volumes = Document::array();
  size_t failed = 0;
  bool different = false;
  bool unchecked = false;
  absl::Status first_error;
  for (size_t i = 0; i < tasks.size(); ++i) {
    const absl::StatusOr<VerifyOutcome>& outcome = results[i].outcome;
    volumes.push_back(ToDocument(tasks[i], results[i], depth));
    const auto number = [&](uint64_t value) { return outcome.ok() ? fmt::format("{}", value) : "-"; };
    const model::VerifyCounts counts = outcome.ok() ? outcome->counts : model::VerifyCounts();
    table.Add({tasks[i].volume, tasks[i].pair, std::string(model::ToString(depth)), ResultOf(results[i]),
               number(counts.entries), number(counts.bytes_read), number(counts.differences)});
    if (!outcome.ok()) {
      ++failed;
      first_error.Update(outcome.status());
      PrintError(console, Annotate(outcome.status(), fmt::format("volume '{}'", tasks[i].volume)));
      continue;
    }
    different |= counts.differences > 0;
    unchecked |= counts.unchecked > 0;
    for (const model::Difference& difference : outcome->differences) {
      found.Add({tasks[i].volume, tasks[i].pair, std::string(model::ToString(difference.kind)),
                 difference.path.empty() ? "." : Printable(difference.path), Printable(difference.detail)});
    }
    PrintNotes(console, tasks[i], *outcome);
  }
  const std::string differences = found.Text();
  Print(console, format, {{"volumes", std::move(volumes)}},
        differences.empty() ? table.Text() : table.Text() + "\n" + differences);
  if (different) return ExitCode::kDifference;
  const bool some_failed = failed > 0 && failed < tasks.size();
  // What wasn't looked at is no success, or nobody would look again.
  return some_failed || (failed == 0 && unchecked) ? ExitCode::kPartial : ExitCodeFor(first_error);
}

}  // namespace

ExitCode RunVolumesVerify(const Console& console, OutputFormat format, const config::ControlConfig& config,
                          const VerifyOptions& options) {
  const absl::StatusOr<config::ControlConfig> narrowed = OnlyPair(config, options.selection.pair);
  if (!narrowed.ok()) return Fail(console, narrowed.status());
  const absl::StatusOr<Overview> overview = GatherOverview(*narrowed);
  if (!overview.ok()) return Fail(console, overview.status());
  const absl::StatusOr<std::vector<VerifyTask>> tasks = TasksFor(*overview, options);
  if (!tasks.ok()) return Fail(console, tasks.status());
  const net::TlsFiles tls{narrowed->tls.ca, narrowed->tls.cert, narrowed->tls.key};
  std::vector<VerifyResult> results;
  for (const VerifyTask& task : *tasks) {
    VerifyResult& result = results.emplace_back();
    if (!task.address.ok()) {
      result.outcome = task.address.status();
      continue;
    }
    ProgressLine progress(console);
    const absl::Duration begin = Clock::System().Monotonic();
    result.outcome = AskToVerify(*task.address, tls, task.volume, options.depth,
                                 [&](const model::VerifyCounts& counts) { progress.Show(task.volume, counts); });
    result.seconds = absl::ToDoubleSeconds(Clock::System().Monotonic() - begin);
  }
  const ExitCode code = PrintResults(console, format, options.depth, *tasks, results);
  if (!options.all) return code;
  // An agent that can't be asked may have volumes that nobody verified.
  absl::Status unasked;
  for (const PairView& pair : overview->pairs) {
    const absl::Status status = AsksDr(options.depth) ? pair.dr.status() : pair.primary.status();
    if (!status.ok()) PrintError(console, Annotate(status, fmt::format("pair {}", pair.name)));
    unasked.Update(status);
  }
  if (unasked.ok()) return code;
  return tasks->empty() ? ExitCodeFor(unasked) : code == ExitCode::kDone ? ExitCode::kPartial : code;
}

}  // namespace understudy::control
