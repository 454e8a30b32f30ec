#include "control/cli/command_line.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "core/base/log.h"
#include "core/config/visitor.h"
#include "core/daemon/version.h"

namespace understudy::control {

CommandLine::CommandLine(const Console& console) : console_(console) {
  app_.name("drctl");
  app_.description(
      "Understudy's control: state, synchronisation, certificates, and the warm standby of storage objects.");
  app_.footer(
      "Example:\n  drctl --config control.yaml status -o json\n\n"
      "Exit codes: 0 done, 1 failed, 2 usage or configuration, 3 done in part, 4 can't reach, 5 refused,\n"
      "6 verification found a difference.");
  app_.set_version_flag("--version", fmt::format("drctl {}", daemon::SoftwareVersion()));
  app_.add_option("--config", config_file_, "configuration file")->capture_default_str();
  const std::map<std::string, OutputFormat> formats = {
      {"table", OutputFormat::kTable}, {"json", OutputFormat::kJson}, {"yaml", OutputFormat::kYaml}};
  app_.add_option("-o,--output", format_, "table, json or yaml")
      ->transform(CLI::CheckedTransformer(formats).description(""));
  app_.require_subcommand(1);
  app_.fallthrough();
}

int CommandLine::Run(std::vector<std::string> arguments) {
  std::reverse(arguments.begin(), arguments.end());  // as CLI11 takes them
  try {
    app_.parse(arguments);
  } catch (const CLI::RequiredError& error) {
    const std::vector<std::string> left_over = app_.remaining(true);
    if (left_over.empty()) return Refuse(error);
    return static_cast<int>(
        RefuseUsage(fmt::format("there is no command {}: drctl --help lists them", Printable(left_over[0]))));
  } catch (const CLI::ParseError& error) {
    return Refuse(error);
  }
  return static_cast<int>(command_());
}

CLI::App* CommandLine::Add(CLI::App& parent, const std::string& name, const std::string& description,
                           const std::string& example) {
  CLI::App* const command = parent.add_subcommand(name, description);
  command->footer("Example:\n  " + example);
  command->fallthrough();
  return command;
}

void CommandLine::Does(CLI::App* command, Command action) {
  command->callback([this, action = std::move(action)] { command_ = action; });
}

void CommandLine::DoesWithConfig(CLI::App* command, CommandWithConfig action) {
  Does(command, [this, action = std::move(action)] {
    const absl::StatusOr<config::ControlConfig> config = config::LoadControlConfig(config_file_);
    if (config.ok()) return action(*config);
    PrintError(console_, config.status());
    return ExitCode::kUsage;
  });
}

bool CommandLine::TakeTimeout(const std::string& text, absl::Duration& timeout) const {
  if (text.empty()) return true;
  const absl::StatusOr<absl::Duration> parsed = config::ParseDuration(text);
  if (!parsed.ok()) {
    PrintError(console_, Annotate(parsed.status(), "--timeout"));
    return false;
  }
  timeout = *parsed;
  return true;
}

ExitCode CommandLine::RefuseUsage(const std::string& message) const {
  PrintError(console_, absl::InvalidArgumentError(message));
  return ExitCode::kUsage;
}

int CommandLine::Refuse(const CLI::ParseError& error) {
  const int code = app_.exit(error, console_.out, console_.err);
  return code == 0 ? 0 : static_cast<int>(ExitCode::kUsage);
}

}  // namespace understudy::control
