#include "control/cli/command_line.h"
#include "control/cli/groups.h"
#include "control/commands/commands.h"

namespace understudy::control {
namespace {

struct TrashOptions {
  std::string id;
  std::string pair;
  TrashPurgeOptions purge;
};

void AddTrashPurge(CommandLine& line, CLI::App& trash, TrashOptions& options) {
  CLI::App* const purge = line.Add(trash, "purge", "delete the data of deleted volumes for good",
                                   "drctl trash purge 0123456789abcdef0123456789abcdef --yes");
  CLI::Option* const id = purge->add_option("ID", options.purge.id, "as trash list shows it");
  purge->add_flag("--all", options.purge.everything, "everything in the trash")->excludes(id);
  purge->add_option("--pair", options.purge.pair, "only of this pair");
  purge->add_flag("--yes", options.purge.yes, "do it; without this, only what would be purged is shown");
  line.DoesWithConfig(purge, [&line, &options](const auto& config) {
    if (options.purge.id.empty() && !options.purge.everything) {
      return line.RefuseUsage("name an entry, or use --all");
    }
    return RunTrashPurge(line.console(), line.format(), config, options.purge);
  });
}

}  // namespace

void AddTrash(CommandLine& line) {
  auto& options = line.Keep<TrashOptions>();
  CLI::App* const trash =
      line.Add(line.top(), "trash", "deleted volumes whose data DR still keeps", "drctl trash list");
  trash->require_subcommand(1);

  CLI::App* const list = line.Add(*trash, "list", "list the deleted volumes of all pairs", "drctl trash list -o json");
  list->add_option("--pair", options.pair, "only of this pair");
  line.DoesWithConfig(list, [&line, &options](const auto& config) {
    return RunTrashList(line.console(), line.format(), config, options.pair);
  });

  CLI::App* const restore = line.Add(*trash, "restore", "make a deleted volume a replica again, in its old place",
                                     "drctl trash restore 0123456789abcdef0123456789abcdef");
  restore->add_option("ID", options.id, "as trash list shows it")->required();
  restore->add_option("--pair", options.pair, "only in this pair");
  line.DoesWithConfig(restore, [&line, &options](const auto& config) {
    return RunTrashRestore(line.console(), line.format(), config, options.id, options.pair);
  });
  AddTrashPurge(line, *trash, options);
}

}  // namespace understudy::control
