#include "tests/unit/agent-dr/commit/trash_fixture.h"

#include <fstream>
#include <iterator>

namespace understudy::tests {

absl::Status Discard(dr::CommitEngine& engine, const std::string& volume, const std::string& root) {
  const auto state = engine.State(volume);
  const std::string id = state.ok() ? state->replica_id : std::string(32, '0');
  return engine.MoveToTrash({volume, root, id, state.ok() ? state->epoch : 1}, "deleted");
}

std::unique_ptr<dr::CommitEngine> TrashTest::Start(dr::FaultPoints& faults) {
  auto engine =
      dr::CommitEngine::Start({.state_dir = host_.State(),
                               .exports = {host_.Export()},
                               .faults = &faults,
                               .trash_retain = absl::Hours(24),
                               .clock = &clock_,
                               .before_trash = [this](const std::string& volume) { told_.push_back(volume); }});
  EXPECT_TRUE(engine.ok()) << engine.status();
  return *std::move(engine);
}

model::ReplicaState TrashTest::MakeVolume(dr::CommitEngine& engine, const std::string& content) {
  auto session = engine.Open({"vol", Root(), 0});
  EXPECT_TRUE(session.ok()) << session.status();
  const absl::Status submitted = session->SubmitDurable(
      NextCommit(session->State(), {model::MakeDirectory{"d", Meta(0555)}, InlinePut("d/f", content)}));
  EXPECT_TRUE(submitted.ok()) << submitted;
  return session->State();
}

std::vector<model::TrashEntry> TrashTest::List(const dr::CommitEngine& engine) {
  const auto entries = engine.trash().List("", 100);
  EXPECT_TRUE(entries.ok()) << entries.status();
  return *entries;
}

std::string TrashTest::Read(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

}  // namespace understudy::tests
