// A whole program on RunAgent that does nothing, for agent_main_test.cc to start as a process. Its configuration file
// is the path of its state folder; the text "bad" is a mistake, "unstartable" a start that fails.
#include <fstream>

#include "core/daemon/agent_main.h"

namespace understudy::daemon {
namespace {

class SampleAgent : public Agent {
 public:
  absl::Status Liveness() override { return absl::OkStatus(); }
  std::string StatusLine() override { return "idle"; }
  void Stop() override {}
};

absl::StatusOr<LoadedAgent> Load(const std::string& file) {
  std::string text;
  std::getline(std::ifstream(file), text);
  if (text.empty() || text == "bad") return absl::InvalidArgumentError(file + ":1: write the path of the state folder");
  return LoadedAgent{
      .log_level = "info", .state_dir = text, .start = [text]() -> absl::StatusOr<std::unique_ptr<Agent>> {
        if (text.ends_with("unstartable")) return absl::UnavailableError("can't reach anything");
        return std::make_unique<SampleAgent>();
      }};
}

}  // namespace
}  // namespace understudy::daemon

int main(int argc, char** argv) {
  return understudy::daemon::RunAgent(argc, argv,
                                      {.program = "sample-agent",
                                       .summary = "Does nothing.",
                                       .example = "sample-agent --config sample.yaml",
                                       .default_config = "/nonexistent/sample.yaml",
                                       .load = understudy::daemon::Load});
}
