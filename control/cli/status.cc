#include "control/cli/command_line.h"
#include "control/cli/groups.h"
#include "control/commands/commands.h"

namespace understudy::control {

void AddStatus(CommandLine& line) {
  auto& options = line.Keep<StatusOptions>();
  CLI::App* const status =
      line.Add(line.top(), "status", "show all pairs and volumes", "drctl --config control.yaml status -o json");
  status->add_flag("!--no-objects", options.objects,
                   "don't compare the DR cluster's storage objects with what they should be");
  line.DoesWithConfig(status, [&line, &options](const auto& config) {
    return RunStatus(line.console(), line.format(), config, options);
  });
}

}  // namespace understudy::control
