#include "control/cli/command_line.h"
#include "control/cli/groups.h"
#include "control/commands/commands.h"

namespace understudy::control {
namespace {

struct GuardOptions {
  std::string pair;
  ApproveOptions approve;
};

}  // namespace

void AddGuard(CommandLine& line) {
  auto& options = line.Keep<GuardOptions>();
  CLI::App* const guard =
      line.Add(line.top(), "guard", "what is held back because a mistake at the primary is likely", "drctl guard list");
  guard->require_subcommand(1);

  CLI::App* const list = line.Add(*guard, "list", "list what is held back, and why", "drctl guard list -o json");
  list->add_option("--pair", options.pair, "only in this pair");
  line.DoesWithConfig(list, [&line, &options](const auto& config) {
    return RunGuardList(line.console(), line.format(), config, options.pair);
  });

  CLI::App* const approve = line.Add(*guard, "approve", "let what is held back happen at DR: no more than was shown",
                                     "drctl guard approve web\n  drctl guard approve objects:PersistentVolume --yes");
  approve->add_option("NAME", options.approve.selection.name, "as guard list shows it: a volume, or a guard on objects")
      ->required();
  approve->add_option("--pair", options.approve.selection.pair, "only in this pair");
  approve->add_flag("--yes", options.approve.yes,
                    "don't ask; without this and without a terminal, only what would be approved is shown");
  line.DoesWithConfig(approve, [&line, &options](const auto& config) {
    return RunGuardApprove(line.console(), line.format(), config, options.approve);
  });
}

}  // namespace understudy::control
