#include <filesystem>

#include "control/cli/command_line.h"
#include "control/cli/groups.h"
#include "control/commands/commands.h"

namespace understudy::control {
namespace {

struct ConfigOptions {
  std::string file;
  std::string kind;
  std::string rules_file;
  std::filesystem::path reference_folder;
};

}  // namespace

void AddConfig(CommandLine& line) {
  auto& options = line.Keep<ConfigOptions>();
  CLI::App* const config =
      line.Add(line.top(), "config", "check configuration files", "drctl config check /etc/understudy/dr.yaml");
  config->require_subcommand(1);

  CLI::App* const check =
      line.Add(*config, "check", "check a configuration file, with the rules file that it names, or a rules file alone",
               "drctl config check --kind primary nfs1.yaml\n  drctl config check --rules rules.yaml");
  CLI::Option* const file = check->add_option("FILE", options.file, "the file");
  check->add_option("--rules", options.rules_file, "a rules file")->excludes(file);
  check->add_option("--kind", options.kind, "primary, dr or control (default: told from the file's name)")
      ->check(CLI::IsMember({"primary", "dr", "control"}));
  line.Does(check, [&line, &options] {
    if (!options.rules_file.empty()) return RunRulesCheck(line.console(), options.rules_file);
    if (!options.file.empty()) {
      return RunConfigCheck(line.console(), options.file, options.kind);
    }
    return line.RefuseUsage("name a file, or use --rules FILE");
  });

  CLI::App* const reference = line.Add(*config, "reference", "write the reference pages of all settings",
                                       "drctl config reference --dir docs/reference");
  reference->add_option("--dir", options.reference_folder, "folder to write to")->required();
  line.Does(reference, [&line, &options] { return RunConfigReference(line.console(), options.reference_folder); });
}

}  // namespace understudy::control
