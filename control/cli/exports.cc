#include <map>

#include "control/cli/command_line.h"
#include "control/cli/groups.h"
#include "control/commands/commands.h"

namespace understudy::control {
namespace {

struct ExportsOptions {
  ExportsListOptions list;
  ExportsSetOptions set;
};

}  // namespace

void AddExports(CommandLine& line) {
  auto& options = line.Keep<ExportsOptions>();
  const std::map<std::string, Site> sites = {{"primary", Site::kPrimary}, {"dr", Site::kDr}};
  CLI::App* const exports =
      line.Add(line.top(), "exports", "what NFS clients may do with the volumes", "drctl exports list");
  exports->require_subcommand(1);

  CLI::App* const list =
      line.Add(*exports, "list", "list the volumes' exports at both sites", "drctl exports list --site dr -o json");
  list->add_option("--pair", options.list.pair, "only of this pair");
  list->add_option_function<std::string>(
          "--site", [&options, sites](const std::string& site) { options.list.site = sites.at(site); },
          "only at this site: primary or dr")
      ->check(CLI::IsMember({"primary", "dr"}));
  line.DoesWithConfig(list, [&line, &options](const auto& config) {
    return RunExportsList(line.console(), line.format(), config, options.list);
  });

  CLI::App* const set =
      line.Add(*exports, "set", "have the NFS server export a volume read-only, read-write or not at all",
               "drctl exports set web ro\n  drctl exports set web ro --site primary");
  set->add_option("VOLUME", options.set.selection.name, "the volume's name")->required();
  set->add_option("MODE", options.set.mode, "ro, rw or none")->required()->check(CLI::IsMember({"ro", "rw", "none"}));
  set->add_option_function<std::string>(
         "--site", [&options, sites](const std::string& site) { options.set.site = sites.at(site); },
         "primary or dr (default: dr)")
      ->check(CLI::IsMember({"primary", "dr"}));
  set->add_option("--pair", options.set.selection.pair, "only in this pair");
  line.DoesWithConfig(set, [&line, &options](const auto& config) {
    return RunExportsSet(line.console(), line.format(), config, options.set);
  });
}

}  // namespace understudy::control
