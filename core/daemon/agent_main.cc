#include "core/daemon/agent_main.h"

#include <fmt/format.h>
#include <malloc.h>
#include <sys/resource.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>
#include <utility>

#include "core/base/log.h"
#include "core/daemon/service_loop.h"
#include "core/daemon/service_manager.h"
#include "core/daemon/signals.h"
#include "core/daemon/state_dir.h"
#include "core/daemon/version.h"

namespace understudy::daemon {
namespace {

struct CommandLine {
  std::string config_file;
  bool check = false;
};

// An exit code when the command line ends the program: help, version, a mistake.
std::optional<int> ParseCommandLine(int argc, char** argv, const AgentSpec& spec, CommandLine& line) {
  line.config_file = spec.default_config;
  CLI::App app(spec.summary, spec.program);
  app.add_option("--config", line.config_file, "configuration file")->capture_default_str();
  app.add_flag("--check", line.check, "check the configuration file and exit");
  app.set_version_flag("--version", fmt::format("{} {}", spec.program, SoftwareVersion()));
  app.footer(fmt::format("Example:\n  {}", spec.example));
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const int code = app.exit(error);
    return code == 0 ? 0 : static_cast<int>(ExitCode::kUsage);
  }
  return std::nullopt;
}

int Fail(const AgentSpec& spec, const absl::Status& status) {
  fmt::print(stderr, "{}: {}\n", spec.program, MessageOf(status));
  return static_cast<int>(ExitCodeFor(status));
}

// Watches, staged files and databases each hold descriptors; the default of 1024 is for programs that use select(2).
void RaiseOpenFileLimit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == limit.rlim_max) return;
  limit.rlim_cur = limit.rlim_max;
  if (setrlimit(RLIMIT_NOFILE, &limit) != 0) spdlog::warn("can't raise the limit of open files to {}", limit.rlim_max);
}

// glibc's default is eight heaps a processor, each of which keeps what its busiest moment took.
void ShareHeaps() {
  constexpr int kHeaps = 2;
  if (mallopt(M_ARENA_MAX, kHeaps) != 1) spdlog::warn("can't bound the number of heaps: more memory is kept");
}

absl::Status Serve(const AgentSpec& spec, const LoadedAgent& loaded) {
  SignalGate signals;
  ServiceManager manager;
  ASSIGN_OR_RETURN(const StateDir state_dir, StateDir::Acquire(loaded.state_dir));
  RaiseOpenFileLimit();
  manager.Status("starting");
  ASSIGN_OR_RETURN(const std::unique_ptr<Agent> agent, loaded.start());
  spdlog::info("{} {} is ready", spec.program, SoftwareVersion());
  RunUntilStopped(signals, manager,
                  {.liveness = [&] { return agent->Liveness(); }, .status_line = [&] { return agent->StatusLine(); }});
  spdlog::info("stopping");
  agent->Stop();
  return absl::OkStatus();
}

}  // namespace

int RunAgent(int argc, char** argv, const AgentSpec& spec) {
  ShareHeaps();  // before anything starts a thread
  CommandLine line;
  if (const std::optional<int> code = ParseCommandLine(argc, argv, spec, line)) return *code;
  const absl::StatusOr<LoadedAgent> loaded = spec.load(line.config_file);
  if (!loaded.ok()) {
    Fail(spec, loaded.status());
    // Whatever kept the file from being read, the remedy lies in the configuration.
    return static_cast<int>(ExitCode::kUsage);
  }
  if (line.check) {
    fmt::print("{}: good\n", line.config_file);
    return static_cast<int>(ExitCode::kDone);
  }
  if (const absl::Status status = SetUpLog(loaded->log_level); !status.ok()) return Fail(spec, status);
  const absl::Status status = Serve(spec, *loaded);
  return status.ok() ? static_cast<int>(ExitCode::kDone) : Fail(spec, status);
}

}  // namespace understudy::daemon
