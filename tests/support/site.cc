#include "tests/support/site.h"

#include <fmt/format.h>

#include <filesystem>
#include <fstream>
#include <utility>

#include "tests/support/wait.h"

namespace understudy::tests {
namespace {

absl::Status MustSucceed(const absl::StatusOr<ProcessResult>& result, std::string_view what) {
  RETURN_IF_ERROR(result.status());
  if (result->exit_code == 0) return absl::OkStatus();
  return absl::InternalError(fmt::format("{}: exit code {}: {}", what, result->exit_code, result->err));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Site>> Site::Make(const SiteOptions& options) {
  std::unique_ptr<Site> site(new Site);
  if (!options.primary_folder.empty()) site->primary_folder_ = options.primary_folder;
  if (!options.dr_folder.empty()) site->dr_folder_ = options.dr_folder;
  for (const std::string& volume : options.volumes) std::filesystem::create_directories(site->Volume(volume));
  std::filesystem::create_directories(site->dr_folder_ + "/b");
  site->primary_port_ = FreePort();
  site->dr_port_ = FreePort();
  site->primary_metrics_port_ = FreePort();
  site->dr_metrics_port_ = FreePort();
  const std::string pki = site->File("pki");
  RETURN_IF_ERROR(MustSucceed(RunProcess({.program = ProgramPath("drctl"), .arguments = {"pki", "init", "--dir", pki}}),
                              "drctl pki init"));
  for (const char* role : {"primary", "dr", "control"}) {
    RETURN_IF_ERROR(
        MustSucceed(RunProcess({.program = ProgramPath("drctl"),
                                .arguments = {"pki", "issue", "--dir", pki, "--role", role, "--host", "127.0.0.1"}}),
                    "drctl pki issue"));
  }
  RETURN_IF_ERROR(site->WriteConfiguration(options));
  return site;
}

absl::Status Site::WriteConfiguration(const SiteOptions& options) {
  std::string volumes;
  for (const std::string& volume : options.volumes)
    volumes += fmt::format("  - {{name: {}, path: {}}}\n", volume, Volume(volume));
  std::ofstream(File("primary.yaml")) << fmt::format(
      "listen: 127.0.0.1:{}\nmetrics_listen: 127.0.0.1:{}\nstate_dir: state-primary\n"
      "tls: {{ca: pki/ca.crt, cert: pki/primary.crt, key: pki/primary.key}}\n"
      "peer: {{address: 127.0.0.1:{}}}\nexports: [{{path: {}/a, dr_path: {}/b}}]\nvolumes:\n{}{}",
      primary_port_, primary_metrics_port_, dr_port_, primary_folder_, dr_folder_, volumes,
      options.more_primary_settings);
  std::ofstream(File("dr.yaml")) << fmt::format(
      "listen: 127.0.0.1:{0}\nmetrics_listen: 127.0.0.1:{1}\nstate_dir: {2}/state-dr\n"
      "tls: {{ca: pki/ca.crt, cert: pki/dr.crt, key: pki/dr.key}}\nexports: [{{path: {2}/b, backend: none}}]\n",
      dr_port_, dr_metrics_port_, dr_folder_);
  std::ofstream(File("control.yaml")) << fmt::format(
      "tls: {{ca: pki/ca.crt, cert: pki/control.crt, key: pki/control.key}}\n"
      "pairs: [{{name: local, primary: \"127.0.0.1:{}\", dr: \"127.0.0.1:{}\"}}]\n",
      primary_port_, dr_port_);
  return absl::OkStatus();
}

absl::Status Site::StartPrimary() {
  primary_.reset();
  ASSIGN_OR_RETURN(primary_, Process::Start({.program = ProgramPath("understudy-primary"),
                                             .arguments = {"--config", File("primary.yaml")}}));
  return absl::OkStatus();
}

absl::Status Site::StartDr() {
  dr_.reset();
  ASSIGN_OR_RETURN(
      dr_, Process::Start({.program = ProgramPath("understudy-dr"), .arguments = {"--config", File("dr.yaml")}}));
  return absl::OkStatus();
}

ProcessResult Site::Drctl(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), {"--config", File("control.yaml")});
  absl::StatusOr<ProcessResult> result =
      RunProcess({.program = ProgramPath("drctl"), .arguments = std::move(arguments)}, absl::Minutes(5));
  if (result.ok()) return *std::move(result);
  return {.exit_code = -1, .err = std::string(MessageOf(result.status()))};
}

absl::Status Site::Sync(const std::string& volume, absl::Duration timeout) {
  return WaitForOk("volume '" + volume + "' to be in sync", timeout, [&] {
    const ProcessResult result = Drctl({"volumes", "sync", volume, "--published"});
    return result.exit_code == 0 ? absl::OkStatus() : absl::UnavailableError(result.err);
  });
}

}  // namespace understudy::tests
