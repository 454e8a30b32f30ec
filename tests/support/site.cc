#include "tests/support/site.h"

#include <fmt/format.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <utility>

#include "tests/support/wait.h"

namespace understudy::tests {
namespace {

absl::Status MustSucceed(const absl::StatusOr<ProcessResult>& result, std::string_view what) {
  RETURN_IF_ERROR(result.status());
  if (result->exit_code == 0) return absl::OkStatus();
  return absl::InternalError(fmt::format("{}: exit code {}: {}", what, result->exit_code, result->err));
}

// What to start for one of the project's programs after `prefix`.
ProcessOptions Command(std::vector<std::string> prefix, std::string_view program, std::vector<std::string> arguments) {
  prefix.push_back(ProgramPath(program));
  prefix.insert(prefix.end(), std::make_move_iterator(arguments.begin()), std::make_move_iterator(arguments.end()));
  ProcessOptions options{.program = prefix.front()};
  options.arguments.assign(prefix.begin() + 1, prefix.end());
  return options;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Site>> Site::Make(const SiteOptions& options) {
  std::unique_ptr<Site> site(new Site(options));
  for (const std::string& volume : options.volumes) std::filesystem::create_directories(site->Volume(volume));
  std::filesystem::create_directories(site->dr_folder_ + "/b");
  site->primary_port_ = FreePort();
  site->dr_port_ = FreePort();
  site->reverse_primary_port_ = FreePort();
  site->reverse_dr_port_ = FreePort();
  site->primary_metrics_port_ = FreePort();
  site->dr_metrics_port_ = FreePort();
  site->control_metrics_port_ = FreePort();
  std::filesystem::create_directories(site->primary_folder_ + "/a");
  RETURN_IF_ERROR(site->MakeCertificates());
  RETURN_IF_ERROR(site->WriteConfiguration());
  return site;
}

absl::Status Site::MakeCertificates() const {
  const std::string pki = File("pki");
  RETURN_IF_ERROR(MustSucceed(RunProcess(Command({}, "drctl", {"pki", "init", "--dir", pki})), "drctl pki init"));
  for (const auto& [role, host] : {std::pair("primary", options_.primary_host), std::pair("dr", options_.dr_host),
                                   std::pair("control", options_.primary_host)}) {
    RETURN_IF_ERROR(
        MustSucceed(RunProcess(Command({}, "drctl", {"pki", "issue", "--dir", pki, "--role", role, "--host", host})),
                    "drctl pki issue"));
  }
  return absl::OkStatus();
}

absl::Status Site::WriteConfiguration() const {
  std::string volumes = options_.volumes.empty() ? "volumes: []\n" : "volumes:\n";
  for (const std::string& volume : options_.volumes)
    volumes += fmt::format("  - {{name: {}, path: {}}}\n", volume, Volume(volume));
  std::ofstream(File("primary.yaml")) << fmt::format(
      "listen: {}:{}\nmetrics_listen: 127.0.0.1:{}\nstate_dir: state-primary\n"
      "tls: {{ca: pki/ca.crt, cert: pki/primary.crt, key: pki/primary.key}}\n"
      "peer: {{address: {}:{}}}\nexports: [{{path: {}/a, dr_path: {}/b, server_names: [{}]{}{}}}]\n{}{}",
      options_.primary_host, primary_port_, primary_metrics_port_, options_.dr_host, dr_port_, primary_folder_,
      dr_folder_, fmt::join(options_.server_names, ", "), options_.more_export_settings.empty() ? "" : ", ",
      options_.more_export_settings, volumes, options_.more_primary_settings);
  std::ofstream(File("dr.yaml")) << fmt::format(
      "listen: {3}:{0}\nmetrics_listen: 127.0.0.1:{1}\nstate_dir: {2}/state-dr\n"
      "tls: {{ca: pki/ca.crt, cert: pki/dr.crt, key: pki/dr.key}}\nexports: [{{path: {2}/b, {5}}}]\n{4}",
      dr_port_, dr_metrics_port_, dr_folder_, options_.dr_host, options_.more_dr_settings, options_.dr_export_settings);
  const std::string reverse = options_.both_ways
                                  ? fmt::format(
                                        ", server_names: [{}], dr_server: nfs2, reverse: {{primary: \"{}:{}\", dr: "
                                        "\"{}:{}\"}}",
                                        fmt::join(options_.server_names, ", "), options_.dr_host, reverse_primary_port_,
                                        options_.primary_host, reverse_dr_port_)
                                  : std::string();
  std::ofstream(File("control.yaml")) << fmt::format(
      "tls: {{ca: pki/ca.crt, cert: pki/control.crt, key: pki/control.key}}\n"
      "pairs: [{{name: local, primary: \"{}:{}\", dr: \"{}:{}\"{}}}]\nmetrics_listen: 127.0.0.1:{}\n{}",
      options_.primary_host, primary_port_, options_.dr_host, dr_port_, reverse, control_metrics_port_,
      options_.more_control_settings);
  if (options_.both_ways) WriteReverseConfiguration();
  return absl::OkStatus();
}

void Site::WriteReverseConfiguration() const {
  std::ofstream(File("reverse-primary.yaml")) << fmt::format(
      "listen: {}:{}\nmetrics_listen: 127.0.0.1:{}\nstate_dir: {}/state-reverse-primary\n"
      "tls: {{ca: pki/ca.crt, cert: pki/primary.crt, key: pki/primary.key}}\n"
      "peer: {{address: {}:{}}}\n"
      "exports: [{{path: {}/b, dr_path: {}/a, server_names: [nfs2]}}]\nvolumes: []\n",
      options_.dr_host, reverse_primary_port_, FreePort(), dr_folder_, options_.primary_host, reverse_dr_port_,
      dr_folder_, primary_folder_);
  std::ofstream(File("reverse-dr.yaml")) << fmt::format(
      "listen: {}:{}\nmetrics_listen: 127.0.0.1:{}\nstate_dir: state-reverse-dr\n"
      "tls: {{ca: pki/ca.crt, cert: pki/dr.crt, key: pki/dr.key}}\nexports: [{{path: {}/a, backend: none}}]\n",
      options_.primary_host, reverse_dr_port_, FreePort(), primary_folder_);
}

absl::Status Site::StartPrimary() {
  primary_.reset();
  ASSIGN_OR_RETURN(primary_, Process::Start(Command(options_.primary_prefix, "understudy-primary",
                                                    {"--config", File("primary.yaml")})));
  return absl::OkStatus();
}

absl::Status Site::StartDr() {
  dr_.reset();
  ASSIGN_OR_RETURN(dr_, Process::Start(Command(options_.dr_prefix, "understudy-dr", {"--config", File("dr.yaml")})));
  return absl::OkStatus();
}

absl::Status Site::StartReverse() {
  reverse_primary_.reset();
  reverse_dr_.reset();
  if (!options_.both_ways) return absl::OkStatus();
  ASSIGN_OR_RETURN(reverse_dr_, Process::Start(Command(options_.primary_prefix, "understudy-dr",
                                                       {"--config", File("reverse-dr.yaml")})));
  ASSIGN_OR_RETURN(reverse_primary_, Process::Start(Command(options_.dr_prefix, "understudy-primary",
                                                            {"--config", File("reverse-primary.yaml")})));
  return absl::OkStatus();
}

absl::Status Site::StartServe() {
  serve_.reset();
  ASSIGN_OR_RETURN(serve_, Process::Start(Command({}, "drctl", {"--config", File("control.yaml"), "serve"})));
  return absl::OkStatus();
}

ProcessResult Site::Drctl(std::vector<std::string> arguments) {
  return RunDrctl(options_.primary_prefix, std::move(arguments));
}

ProcessResult Site::DrctlAtDr(std::vector<std::string> arguments) {
  return RunDrctl(options_.dr_prefix, std::move(arguments));
}

ProcessResult Site::RunDrctl(const std::vector<std::string>& prefix, std::vector<std::string> arguments) const {
  arguments.insert(arguments.begin(), {"--config", File("control.yaml")});
  absl::StatusOr<ProcessResult> result = RunProcess(Command(prefix, "drctl", std::move(arguments)), absl::Minutes(5));
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
