// The contract suite over the memory sink and the commit engine called in the same process.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent-dr/commit/commit_engine.h"
#include "tests/contract/replica_sink_contract.h"
#include "tests/support/memory_sink.h"
#include "tests/support/temp_dir.h"

namespace understudy::tests {
namespace {

class MemoryBed : public SinkBed {
 public:
  std::unique_ptr<model::ReplicaSink> Connect() override { return std::make_unique<MemorySink>(replicas_); }
  std::string RootFor(const std::string& name) override { return "/export/" + name; }
  bool KeepsLeftovers() const override { return false; }

 private:
  MemoryReplicas replicas_{"/export"};
};

class EngineBed : public SinkBed {
 public:
  EngineBed() {
    mkdir(folder_.File("state").c_str(), 0700);
    mkdir(folder_.File("export").c_str(), 0755);
    auto engine = dr::CommitEngine::Start({.state_dir = folder_.File("state"), .exports = {folder_.File("export")}});
    EXPECT_TRUE(engine.ok()) << engine.status();
    engine_ = *std::move(engine);
  }
  std::unique_ptr<model::ReplicaSink> Connect() override { return std::make_unique<dr::LocalSink>(*engine_); }
  std::string RootFor(const std::string& name) override { return folder_.File("export") + "/" + name; }

 private:
  TempDir folder_;
  std::unique_ptr<dr::CommitEngine> engine_;
};

const MakeSinkBed kMemory = [] { return std::make_unique<MemoryBed>(); };
// Owners are part of the contract, and only root can give files away.
const MakeSinkBed kEngine = [] { return std::make_unique<EngineBed>(); };

INSTANTIATE_TEST_SUITE_P(Memory, ReplicaSinkContract, testing::Values(kMemory));
INSTANTIATE_TEST_SUITE_P(Memory, DeltaContract, testing::Values(kMemory));
INSTANTIATE_TEST_SUITE_P(Engine, ReplicaSinkContract, testing::Values(kEngine));
INSTANTIATE_TEST_SUITE_P(Engine, DeltaContract, testing::Values(kEngine));

}  // namespace
}  // namespace understudy::tests
