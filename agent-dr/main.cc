#include "agent-dr/app.h"
#include "core/config/dr_config.h"
#include "core/daemon/agent_main.h"

int main(int argc, char** argv) {
  using understudy::config::LoadDrConfig;
  understudy::daemon::AgentSpec spec;
  spec.program = "understudy-dr";
  spec.summary =
      "Keeps the replicas of the primary site's volumes on this NFS host, and its catalog of storage objects.";
  spec.example = "understudy-dr --config /etc/understudy/dr.yaml";
  spec.default_config = understudy::config::kDrConfigFile;
  spec.load = [](const std::string& file) -> absl::StatusOr<understudy::daemon::LoadedAgent> {
    ASSIGN_OR_RETURN(const understudy::config::DrConfig config, LoadDrConfig(file));
    return understudy::daemon::LoadedAgent{std::string(understudy::config::ToString(config.log_level)),
                                           config.state_dir,
                                           [config]() -> absl::StatusOr<std::unique_ptr<understudy::daemon::Agent>> {
                                             return understudy::dr::DrAgent::Start(config);
                                           }};
  };
  return understudy::daemon::RunAgent(argc, argv, spec);
}
