// agent_main.h: the whole of an agent's main function, so that each agent's main.cc only says what the agent is.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "absl/time/time.h"
#include "core/base/status.h"

namespace understudy::daemon {

// A started agent. All calls come from the main thread; destruction follows Stop.
class Agent {
 public:
  virtual ~Agent() = default;
  // As ServiceCallbacks::liveness and status_line.
  [[nodiscard]] virtual absl::Status Liveness() = 0;
  [[nodiscard]] virtual std::string StatusLine() = 0;
  // Ends all work in order; nothing of it may be lost, since nothing unacknowledged was promised. Blocks until it has
  // ended.
  virtual void Stop() = 0;
};

// What a checked configuration file asks for.
struct LoadedAgent {
  std::string log_level;
  std::filesystem::path state_dir;
  std::function<absl::StatusOr<std::unique_ptr<Agent>>()> start;  // called once, with the state folder held
};

struct AgentSpec {
  std::string program;         // "understudy-primary"
  std::string summary;         // one sentence for --help
  std::string example;         // one command line for --help
  std::string default_config;  // "/etc/understudy/primary.yaml"
  // Reads and checks the file and has no other effect.
  std::function<absl::StatusOr<LoadedAgent>(const std::string& config_file)> load;
};

// Parses the command line (--config, --check, --version, --help) and runs the agent until a signal stops it. Returns
// the process's exit code (core/base/status.h); every error is one line on stderr. To be called first in main, once.
[[nodiscard]] int RunAgent(int argc, char** argv, const AgentSpec& spec);

}  // namespace understudy::daemon
