#include "core/net/pki.h"

#include <filesystem>

#include "control/cli/command_line.h"
#include "control/cli/groups.h"
#include "control/commands/commands.h"

namespace understudy::control {
namespace {

struct PkiOptions {
  std::filesystem::path folder;
  bool force = false;
  PkiIssueOptions issue{.folder = {}, .roles = {}, .hosts = {}, .name = "", .days = net::kDefaultCertificateDays};
};

}  // namespace

void AddPki(CommandLine& line) {
  auto& options = line.Keep<PkiOptions>();
  CLI::App* const pki =
      line.Add(line.top(), "pki", "a small certificate authority for the three roles", "drctl pki init --dir pki");
  pki->require_subcommand(1);

  CLI::App* const init = line.Add(*pki, "init", "make the authority: ca.crt and ca.key", "drctl pki init --dir pki");
  init->add_option("--dir", options.folder, "folder of the authority; made when missing")->required();
  init->add_flag("--force", options.force, "replace an authority: all its certificates become worthless");
  line.Does(init,
            [&line, &options] { return RunPkiInit(line.console(), line.format(), options.folder, options.force); });

  CLI::App* const issue = line.Add(*pki, "issue", "issue a certificate and its key",
                                   "drctl pki issue --dir pki --role primary --host nfs1.example.com --host 192.0.2.1");
  issue->add_option("--dir", options.issue.folder, "folder of the authority")->required();
  issue->add_option("--role", options.issue.roles, "primary, dr or control; may be given several times")
      ->required()
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  issue
      ->add_option("--host", options.issue.hosts,
                   "name or address under which it is reached; may be given several times")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  issue->add_option("--name", options.issue.name, "name of the files (default: the first role)");
  issue->add_option("--days", options.issue.days, "how long it is valid")->capture_default_str();
  issue->add_flag("--force", options.issue.force, "replace files that are there");
  line.Does(issue, [&line, &options] { return RunPkiIssue(line.console(), line.format(), options.issue); });
}

}  // namespace understudy::control
