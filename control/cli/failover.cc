#include <fmt/format.h>

#include <map>

#include "control/cli/command_line.h"
#include "control/cli/groups.h"
#include "control/commands/commands.h"

namespace understudy::control {
namespace {

void AddRun(CommandLine& line, CLI::App& failover) {
  auto& options = line.Keep<FailoverOptions>();
  CLI::App* const run = line.Add(failover, "run", "fail a plan over to DR", "drctl failover run shop --unplanned");
  run->add_option("plan", options.plan, "the plan (the only one)");
  auto& unplanned = line.Keep<bool>(false);
  run->add_flag("--unplanned", unplanned, "the primary site is gone: do without it");
  run->add_flag("--primary-is-down", options.primary_is_down,
                "with --unplanned: go on although the primary answers, for nobody writes there any more")
      ->needs("--unplanned");
  run->add_option("--backup", options.backup, "name of the backup (the latest that can be used)");
  run->add_flag("--incomplete", options.incomplete,
                "promote also volumes that were never across as a whole, or are in the midst of a capture");
  run->add_flag("--dry-run", options.dry_run, "say what would be done; change nothing");
  run->add_flag("-y,--yes", options.yes, "don't ask");
  line.DoesWithConfig(run, [&line, &options, &unplanned](const auto& config) {
    options.mode = unplanned ? RunMode::kUnplanned : RunMode::kPlanned;
    return RunFailover(line.console(), line.format(), config, options);
  });
}

void AddTest(CommandLine& line, CLI::App& failover) {
  auto& options = line.Keep<FailoverOptions>();
  options.mode = RunMode::kTest;
  CLI::App* const test =
      line.Add(failover, "test", "rehearse a failover on copies, in other namespaces, and remove them afterwards",
               "drctl failover test shop");
  test->add_option("plan", options.plan, "the plan (the only one)");
  test->add_option("--backup", options.backup, "name of the backup (the latest that can be used)");
  test->add_flag("--keep", options.keep, "leave the copies running until `drctl failover clean`");
  test->add_flag("--dry-run", options.dry_run, "say what would be done; change nothing");
  line.DoesWithConfig(test, [&line, &options](const auto& config) {
    return RunFailover(line.console(), line.format(), config, options);
  });
}

void AddReport(CommandLine& line, CLI::App& failover) {
  auto& options = line.Keep<RunReportOptions>();
  CLI::App* const report = line.Add(failover, "report", "what a run did: times, data age, warnings, what to do next",
                                    "drctl failover report --format html > report.html");
  report->add_option("run", options.run, "the run (the newest)");
  const std::map<std::string, ReportFormat> formats = {
      {"text", ReportFormat::kText}, {"json", ReportFormat::kJson}, {"html", ReportFormat::kHtml}};
  report->add_option("--format", options.format, "text, json or html")
      ->transform(CLI::CheckedTransformer(formats).description(""));
  line.DoesWithConfig(report, [&line, &options](const auto& config) {
    return RunFailoverReport(line.console(), line.format(), config, options);
  });
}

}  // namespace

void AddFailover(CommandLine& line) {
  CLI::App* const failover = line.Add(line.top(), "failover", "fail over to DR, rehearse it, and see how runs went",
                                      "drctl failover test shop");
  failover->require_subcommand(1);
  AddRun(line, *failover);
  AddTest(line, *failover);

  auto& resumed = line.Keep<std::string>();
  CLI::App* const resume = line.Add(*failover, "resume", "go on with a run that failed or was interrupted",
                                    "drctl failover resume 20260102T030405Z-1f2e");
  resume->add_option("run", resumed, "the run (the newest)");
  line.DoesWithConfig(resume, [&line, &resumed](const auto& config) {
    return RunFailoverResume(line.console(), line.format(), config, resumed);
  });

  auto& cleaned = line.Keep<std::string>();
  CLI::App* const clean = line.Add(*failover, "clean", "remove what a test failover made, and end it",
                                   "drctl failover clean 20260102T030405Z-1f2e");
  clean->add_option("run", cleaned, "the run (the newest)");
  line.DoesWithConfig(clean, [&line, &cleaned](const auto& config) {
    return RunFailoverClean(line.console(), line.format(), config, cleaned);
  });

  struct AbortOptions {
    std::string run;
    bool yes = false;
  };
  auto& aborted = line.Keep<AbortOptions>();
  CLI::App* const abort = line.Add(*failover, "abort", "give a run up; says what stays as it is",
                                   "drctl failover abort 20260102T030405Z-1f2e");
  abort->add_option("run", aborted.run, "the run")->required();
  abort->add_flag("-y,--yes", aborted.yes, "don't ask");
  line.DoesWithConfig(abort, [&line, &aborted](const auto& config) {
    return RunFailoverAbort(line.console(), line.format(), config, aborted.run, aborted.yes);
  });

  AddReport(line, *failover);
  AddFailoverBackup(line, *failover);
  CLI::App* const list = line.Add(*failover, "list", "the runs, the newest first", "drctl failover list -o json");
  line.DoesWithConfig(list,
                      [&line](const auto& config) { return RunFailoverList(line.console(), line.format(), config); });
}

namespace {

// A run of another mode, as a command of its own.
void AddMode(CommandLine& line, RunMode mode, const std::string& name, const std::string& description) {
  auto& options = line.Keep<FailoverOptions>();
  options.mode = mode;
  CLI::App* const command = line.Add(line.top(), name, description, fmt::format("drctl {} shop", name));
  command->add_option("plan", options.plan, "the plan (the only one)");
  command->add_flag("--dry-run", options.dry_run, "say what would be done; change nothing");
  command->add_flag("-y,--yes", options.yes, "don't ask");
  line.DoesWithConfig(command, [&line, &options](const auto& config) {
    return RunFailover(line.console(), line.format(), config, options);
  });
}

}  // namespace

void AddReprotect(CommandLine& line) {
  AddMode(line, RunMode::kReprotect, "reprotect",
          "after a failover: replicate the live copies to the other site; only differences travel");
}

void AddFailback(CommandLine& line) {
  AddMode(line, RunMode::kFailback, "failback", "a planned failover the other way, after a reprotect");
}

}  // namespace understudy::control
