#include "control/cli/command_line.h"
#include "control/cli/groups.h"
#include "control/commands/commands.h"

namespace understudy::control {

void AddEvents(CommandLine& line) {
  auto& options = line.Keep<EventsTailOptions>();
  CLI::App* const events = line.Add(
      line.top(), "events", "object events of the primary clusters, and what became of them", "drctl events tail");
  events->require_subcommand(1);

  CLI::App* const tail = line.Add(*events, "tail", "show the newest object events, oldest first",
                                  "drctl events tail --limit 20\n  drctl events tail --follow -o json");
  tail->add_flag("--follow", options.follow, "then show every event that comes, or whose outcome changes");
  tail->add_option("--limit", options.limit, "how many of those that are there")->capture_default_str();
  tail->add_option("--pair", options.pair, "only of this pair");
  line.DoesWithConfig(tail, [&line, &options](const auto& config) {
    return RunEventsTail(line.console(), line.format(), config, options);
  });
}

}  // namespace understudy::control
