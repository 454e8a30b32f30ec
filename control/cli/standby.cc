#include "control/cli/command_line.h"
#include "control/cli/groups.h"
#include "control/commands/commands.h"

namespace understudy::control {

void AddApply(CommandLine& line) {
  auto& options = line.Keep<ApplyOptions>();
  CLI::App* const apply = line.Add(line.top(), "apply", "bring what the catalogs hold to the DR cluster, once",
                                   "drctl apply --dry-run --diff");
  CLI::Option* const dry_run =
      apply->add_flag("--dry-run", options.dry_run, "ask the DR cluster what would become of it; change nothing");
  apply->add_flag("--diff", options.diff, "show each change as a diff")->needs(dry_run);
  apply->add_option("--pair", options.pair, "only of this pair");
  line.DoesWithConfig(apply, [&line, &options](const auto& config) {
    return RunApply(line.console(), line.format(), config, options);
  });
}

void AddServe(CommandLine& line) {
  CLI::App* const serve =
      line.Add(line.top(), "serve", "keep the DR cluster's storage objects ready, and run the scheduled sync",
               "drctl --config /etc/understudy/control.yaml serve");
  line.DoesWithConfig(serve, [&line](const auto& config) { return RunServe(line.console(), config); });
}

}  // namespace understudy::control
