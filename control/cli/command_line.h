// command_line.h: what every group of drctl's commands is added to: the parser, the options that all share, and the
// command that the arguments choose.
//
// A group is one file of this folder, and one function of control/cli/groups.h: it adds its commands with `Add`, has
// their options in a struct of its own that `Keep` holds, and says with `DoesWithConfig` what each does. Not
// thread-safe; made for one command line.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "control/commands/output.h"
#include "core/base/status.h"
#include "core/config/control_config.h"

namespace understudy::control {

class CommandLine {
 public:
  using Command = std::function<ExitCode()>;
  using CommandWithConfig = std::function<ExitCode(const config::ControlConfig&)>;

  // `console` outlives it.
  explicit CommandLine(const Console& console);
  CommandLine(const CommandLine&) = delete;
  CommandLine& operator=(const CommandLine&) = delete;

  // Parses the arguments (without the program's name) and runs what they chose; returns the process's exit code.
  [[nodiscard]] int Run(std::vector<std::string> arguments);

  // The top, to which groups are added.
  [[nodiscard]] CLI::App& top() { return app_; }
  CLI::App* Add(CLI::App& parent, const std::string& name, const std::string& description, const std::string& example);
  // What a command does once all arguments are parsed.
  void Does(CLI::App* command, Command action);
  // The same, with the configuration that --config names; kUsage when that can't be used.
  void DoesWithConfig(CLI::App* command, CommandWithConfig action);

  // What a group's options are written to; lives as long as the parser.
  template <class Options>
  Options& Keep(Options options = {}) {
    auto kept = std::make_shared<Options>(std::move(options));
    Options& reference = *kept;
    kept_.push_back(std::move(kept));
    return reference;
  }

  // For the actions: the console, and how to print.
  [[nodiscard]] const Console& console() const { return console_; }
  [[nodiscard]] OutputFormat format() const { return format_; }
  // Empty text: leaves the duration as it is. False: the text is none, and that was said.
  [[nodiscard]] bool TakeTimeout(const std::string& text, absl::Duration& timeout) const;
  // kUsage, with `message` on the console.
  [[nodiscard]] ExitCode RefuseUsage(const std::string& message) const;

 private:
  // Help and version count as errors to CLI11.
  int Refuse(const CLI::ParseError& error);

  const Console& console_;
  CLI::App app_;
  std::string config_file_ = config::kControlConfigFile;
  OutputFormat format_ = OutputFormat::kTable;
  std::vector<std::shared_ptr<void>> kept_;
  Command command_;
};

}  // namespace understudy::control
