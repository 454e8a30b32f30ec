#include "control/cli/command_line.h"
#include "control/cli/groups.h"
#include "control/commands/commands.h"

namespace understudy::control {
namespace {

struct AllPointsOptions {
  VolumeSelection list;
  PointsCreateOptions create;
  std::string create_timeout;
  PointSelection forget;
  PointsRewindOptions rewind;
  PointsMaterialiseOptions materialise;
  PointsRemoveOptions remove;
};

void AddVolume(CLI::App& command, VolumeSelection& selection) {
  command.add_option("VOLUME", selection.name, "the volume's name")->required();
  command.add_option("--pair", selection.pair, "only in this pair");
}

void AddState(CLI::App& command, PointSelection& selection) {
  AddVolume(command, selection.volume);
  command
      .add_option("STATE", selection.state,
                  "its number, its label, or a time with its zone: the newest whole state from before it")
      ->required();
}

void AddPointsRewind(CommandLine& line, CLI::App& points, AllPointsOptions& options) {
  CLI::App* const rewind =
      line.Add(points, "rewind",
               "take a volume's replica to an earlier state, and hold it there; what it was before stays a state",
               "drctl points rewind web 2026-11-29T03:00:00Z --yes\n  drctl points rewind web before-upgrade");
  AddState(*rewind, options.rewind.selection);
  rewind->add_flag("--yes", options.rewind.yes,
                   "don't ask; without this and without a terminal, only what would be done is shown");
  line.DoesWithConfig(rewind, [&line, &options](const auto& config) {
    return RunPointsRewind(line.console(), line.format(), config, options.rewind);
  });
}

void AddPointsTrees(CommandLine& line, CLI::App& points, AllPointsOptions& options) {
  CLI::App* const materialise =
      line.Add(points, "materialise", "make a state a folder tree of its own, beside the replica",
               "drctl points materialise web before-upgrade --path /srv/dr/web-test --writable");
  AddState(*materialise, options.materialise.selection);
  materialise->add_option("--path", options.materialise.path,
                          "at DR, in the export that holds the replica (default: beside it)");
  materialise->add_flag("--writable", options.materialise.writable, "clients may write to it");
  line.DoesWithConfig(materialise, [&line, &options](const auto& config) {
    return RunPointsMaterialise(line.console(), line.format(), config, options.materialise);
  });

  CLI::App* const remove = line.Add(points, "remove", "delete such a tree, with what was written to it",
                                    "drctl points remove 0123456789abcdef0123456789abcdef --yes");
  remove->add_option("TREE", options.remove.id, "as points list shows it, also without a volume")->required();
  remove->add_option("--pair", options.remove.pair, "only in this pair");
  remove->add_flag("--yes", options.remove.yes,
                   "don't ask; without this and without a terminal, only what would be deleted is shown");
  line.DoesWithConfig(remove, [&line, &options](const auto& config) {
    return RunPointsRemove(line.console(), line.format(), config, options.remove);
  });
}

}  // namespace

void AddPoints(CommandLine& line) {
  auto& options = line.Keep<AllPointsOptions>();
  CLI::App* const points =
      line.Add(line.top(), "points", "recovery points: earlier states of a volume, at DR", "drctl points list web");
  points->require_subcommand(1);

  CLI::App* const list = line.Add(
      *points, "list", "list a volume's states, and the trees that were made of some; without a volume, all trees",
      "drctl points list web -o json\n  drctl points list");
  list->add_option("VOLUME", options.list.name, "the volume's name (default: the trees of all volumes)");
  list->add_option("--pair", options.list.pair, "only in this pair");
  line.DoesWithConfig(list, [&line, &options](const auto& config) {
    const VolumeSelection& of = options.list;
    if (of.name.empty()) return RunPointsListTrees(line.console(), line.format(), config, of.pair);
    return RunPointsList(line.console(), line.format(), config, options.list);
  });

  CLI::App* const create =
      line.Add(*points, "create", "give a state a label, by which it stays kept; the newest one after a sync",
               "drctl points create web --label before-upgrade --pin");
  AddVolume(*create, options.create.selection);
  create->add_option("--label", options.create.label, "letters, digits, dots, underscores and dashes")->required();
  create->add_flag("--pin", options.create.pin, "also keep it past points.keep_for, as long as there is room");
  create->add_option("--state", options.create.state, "this state instead: its number, or a time");
  create->add_flag("!--no-sync", options.create.sync, "take what DR has, without asking the primary");
  create->add_option("--timeout", options.create_timeout,
                     "give up the sync after this long, as in 90s or 10m (default: never)");
  line.DoesWithConfig(create, [&line, &options](const auto& config) {
    if (!line.TakeTimeout(options.create_timeout, options.create.timeout)) return ExitCode::kUsage;
    return RunPointsCreate(line.console(), line.format(), config, options.create);
  });

  CLI::App* const forget = line.Add(*points, "forget", "take a state's label away, so that it may be thinned out",
                                    "drctl points forget web before-upgrade");
  AddState(*forget, options.forget);
  line.DoesWithConfig(forget, [&line, &options](const auto& config) {
    return RunPointsForget(line.console(), line.format(), config, options.forget);
  });
  AddPointsRewind(line, *points, options);
  AddPointsTrees(line, *points, options);
}

}  // namespace understudy::control
