#include <map>

#include "control/cli/command_line.h"
#include "control/cli/groups.h"
#include "control/commands/commands.h"

namespace understudy::control {
namespace {

struct ScheduledSyncOptions {
  SyncRunOptions run;
  SyncReportOptions report;
};

}  // namespace

void AddSync(CommandLine& line) {
  auto& options = line.Keep<ScheduledSyncOptions>();
  CLI::App* const sync = line.Add(
      line.top(), "sync", "the scheduled sync: data and storage objects of whole namespaces, to DR", "drctl sync run");
  sync->require_subcommand(1);

  CLI::App* const run =
      line.Add(*sync, "run", "make a run now, and print its report",
               "drctl sync run --dry-run\n  drctl sync run --namespace shop --namespace bank -o json");
  run->add_flag("--dry-run", options.run.dry_run, "show what would be brought across and deleted; change nothing");
  run->add_option("--namespace", options.run.namespaces,
                  "only this one of the configured namespaces; may be given several times")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  run->add_flag("--accept-cluster", options.run.accept_cluster,
                "the primary cluster is another one than before, and that is right: what only DR has may be deleted");
  line.DoesWithConfig(run, [&line, &options](const auto& config) {
    return RunSyncRun(line.console(), line.format(), config, options.run);
  });

  CLI::App* const list = line.Add(*sync, "list", "list the newest runs", "drctl sync list -o json");
  line.DoesWithConfig(list, [&line](const auto& config) { return RunSyncList(line.console(), line.format(), config); });

  CLI::App* const report =
      line.Add(*sync, "report", "print the report of a run", "drctl sync report --format html > report.html");
  report->add_option("RUN", options.report.run, "as sync list shows it (default: the newest that has ended)");
  const std::map<std::string, ReportFormat> formats = {
      {"text", ReportFormat::kText}, {"json", ReportFormat::kJson}, {"html", ReportFormat::kHtml}};
  report->add_option("--format", options.report.format, "text, json or html")
      ->transform(CLI::CheckedTransformer(formats).description(""));
  line.DoesWithConfig(report, [&line, &options](const auto& config) {
    return RunSyncReport(line.console(), line.format(), config, options.report);
  });
}

}  // namespace understudy::control
