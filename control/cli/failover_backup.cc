#include "control/cli/command_line.h"
#include "control/cli/groups.h"
#include "control/commands/commands.h"

namespace understudy::control {
namespace {

struct BackupOptions {
  BackupListOptions list;
  BackupShowOptions show;
};

}  // namespace

void AddFailoverBackup(CommandLine& line, CLI::App& failover) {
  auto& options = line.Keep<BackupOptions>();
  CLI::App* const backup =
      line.Add(failover, "backup", "the OADP backups of the primary cluster, as the bucket has them",
               "drctl failover backup show");
  backup->require_subcommand(1);
  const auto add_choice = [](CLI::App& command, std::vector<std::string>& namespaces, bool& accept) {
    command
        .add_option("--namespace", namespaces,
                    "that the backup has to hold; may be given several times (default: as configured)")
        ->expected(1)
        ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
    command.add_flag("--accept-partially-failed", accept, "one that is PartiallyFailed will do");
  };

  CLI::App* const list =
      line.Add(*backup, "list", "list all backups, the newest first, and whether a failover can use them",
               "drctl failover backup list -o json");
  add_choice(*list, options.list.namespaces, options.list.accept_partially_failed);
  line.DoesWithConfig(list, [&line, &options](const auto& config) {
    return RunFailoverBackupList(line.console(), line.format(), config, options.list);
  });

  CLI::App* const show =
      line.Add(*backup, "show", "show what a backup holds; the latest that can be used, without a name",
               "drctl failover backup show nightly-20261129 -o json");
  show->add_option("NAME", options.show.name, "the backup's name");
  add_choice(*show, options.show.namespaces, options.show.accept_partially_failed);
  line.DoesWithConfig(show, [&line, &options](const auto& config) {
    return RunFailoverBackupShow(line.console(), line.format(), config, options.show);
  });
}

}  // namespace understudy::control
