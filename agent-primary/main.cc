#include "agent-primary/app.h"
#include "core/config/primary_config.h"
#include "core/daemon/agent_main.h"

int main(int argc, char** argv) {
  using understudy::config::LoadPrimaryConfig;
  understudy::daemon::AgentSpec spec;
  spec.program = "understudy-primary";
  spec.summary = "Replicates the volumes of this NFS host to understudy-dr on the DR site's.";
  spec.example = "understudy-primary --config /etc/understudy/primary.yaml";
  spec.default_config = understudy::config::kPrimaryConfigFile;
  spec.load = [](const std::string& file) -> absl::StatusOr<understudy::daemon::LoadedAgent> {
    ASSIGN_OR_RETURN(const understudy::config::PrimaryConfig config, LoadPrimaryConfig(file));
    return understudy::daemon::LoadedAgent{std::string(understudy::config::ToString(config.log_level)),
                                           config.state_dir,
                                           [config]() -> absl::StatusOr<std::unique_ptr<understudy::daemon::Agent>> {
                                             return understudy::primary::PrimaryAgent::Start(config);
                                           }};
  };
  return understudy::daemon::RunAgent(argc, argv, spec);
}
