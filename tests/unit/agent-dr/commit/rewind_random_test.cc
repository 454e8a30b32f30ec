// Random commits are undone and done again.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "agent-dr/points/point_trees.h"
#include "core/model/path.h"
#include "tests/support/tree_compare.h"
#include "tests/unit/agent-dr/commit/rewind_fixture.h"

namespace understudy::tests {
namespace {

using model::FileKind;

// Random commits of all kinds of operations over a small tree with many names of few files.
class RandomCommits {
 public:
  explicit RandomCommits(uint64_t seed) : random_(seed) {}
  uint64_t Below(uint64_t bound) { return random_() % bound; }

  // Of the replica as it is now.
  void Look(dr::CommitEngine& engine) {
    entries_.clear();
    const absl::Status listed = engine.Inventory("vol", false, [&](model::InventoryEntry entry) {
      entries_.push_back(std::move(entry));
      return absl::OkStatus();
    });
    ASSERT_TRUE(listed.ok()) << listed;
  }

  // `stage` stages content for a patch. Many a commit doesn't fit.
  template <class StageContent>
  std::vector<model::Operation> Next(const StageContent& stage) {
    std::map<std::pair<int, std::string>, model::Operation> operations;  // each path once in a pass
    const auto add = [&](int pass, model::Operation operation) {
      const std::string path = std::visit([](const auto& op) { return op.path; }, operation);
      operations.emplace(std::pair(pass, path), std::move(operation));
    };
    model::Slot slot = 0;
    for (uint64_t count = 1 + Below(5); count > 0; --count) {
      const model::Metadata meta = Meta(0700 + Below(8), static_cast<int64_t>(Below(1000)));
      const model::InventoryEntry* const some = Any();
      const bool takes_xattrs =
          some != nullptr && (some->kind == FileKind::kRegular || some->kind == FileKind::kDirectory);
      switch (Below(some == nullptr ? 3 : 10)) {
        case 0:
          add(2, model::MakeDirectory{AnyPath(), meta});
          break;
        case 1:
        case 2:
          add(2, PutOf(AnyPath()));
          break;
        case 3:
          add(2, model::MakeSymlink{AnyPath(), "x", meta});
          break;
        case 4:
          add(1, model::Remove{some->path, some->kind});
          break;
        case 5:
        case 6: {
          const std::string to = AnyPath();
          if (operations.contains({1, some->path}) || operations.contains({2, to})) break;
          add(1, model::Detach{some->path, slot});
          add(2, model::Attach{slot++, to});
          break;
        }
        case 7:
          add(3, model::Link{AnyPath(), some->path});
          break;
        case 8: {
          const uint64_t size = Below(60'000);
          if (some->kind != FileKind::kRegular || !stage(slot, *some, size)) break;
          add(3, model::Patch{some->path, meta, size, {}, slot++});
          break;
        }
        default:
          add(4, model::SetMetadata{some->path, some->kind, takes_xattrs ? WithXattr(meta, "x") : meta});
          break;
      }
    }
    std::vector<model::Operation> all;
    for (auto& [place, operation] : operations) all.push_back(std::move(operation));
    return all;
  }

  std::vector<Piece> PiecesBelow(uint64_t size) {
    std::vector<Piece> pieces;
    for (uint64_t at = Below(9'000); at + 5'000 < size; at += 5'000 + Below(20'000)) {
      const bool hole = Below(4) == 0;
      pieces.push_back({at, hole ? "" : std::string(1 + Below(5'000), static_cast<char>('a' + Below(26))), 4'000});
    }
    return pieces;
  }

 private:
  const model::InventoryEntry* Any() { return entries_.empty() ? nullptr : &entries_[Below(entries_.size())]; }
  std::string AnyPath() {
    const model::InventoryEntry* const some = Any();
    if (some != nullptr && Below(2) == 0) return some->path;
    const std::string name = fmt::format("n{}", Below(12));
    return some != nullptr && some->kind == FileKind::kDirectory ? model::Join(some->path, name) : name;
  }
  model::Put PutOf(const std::string& path) {
    return InlinePut(path, std::string(Below(40'000), static_cast<char>('A' + Below(26))));
  }

  std::mt19937_64 random_;
  std::vector<model::InventoryEntry> entries_;
};

class RewindRandomTest : public RewindTest {
 protected:
  // What the replica's folder is, its own times included.
  std::string ShowAll() {
    struct stat root {};
    EXPECT_EQ(::stat(Root().c_str(), &root), 0);
    return fmt::format("{:o} {}.{}\n{}", root.st_mode, root.st_mtim.tv_sec, root.st_mtim.tv_nsec,
                       Show(*engine_, "vol"));
  }
  void TakeRandomCommit(RandomCommits& random) {
    Open();
    random.Look(*engine_);
    const auto stage = [&](model::Slot slot, const model::InventoryEntry& entry, uint64_t size) {
      const absl::Status staged = StagePieces(slot, entry.path, size, random.PiecesBelow(size));
      EXPECT_TRUE(staged.ok()) << staged;
      return staged.ok();
    };
    const absl::Status done = TryCommit(random.Next(stage));
    if (done.ok()) {
      shown_[Now()] = ShowAll();
    } else {
      ASSERT_TRUE(absl::IsDataLoss(done) || absl::IsInvalidArgument(done)) << done;
      ASSERT_TRUE(shown_.contains(engine_->NewestPoint("vol")->sequence)) << "taken, and not published: " << done;
    }
  }
  void GoBackTo(model::Sequence to) {
    const absl::Status rewound = engine_->Rewind("vol", to);
    ASSERT_TRUE(rewound.ok()) << rewound;
    ASSERT_EQ(ShowAll(), shown_.at(to)) << "back at " << to;
  }
  void GoBackToAll() {
    const auto points = engine_->Points("vol");
    for (const dr::Point& point : *points) GoBackTo(point.sequence);
  }

  std::map<model::Sequence, std::string> shown_;
};

uint64_t Seed() {
  const char* const given = std::getenv("UNDERSTUDY_SEED");
  return given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device()();
}

TEST_F(RewindRandomTest, AnyCommitIsUndoneAndDoneAgain) {
  const uint64_t seed = Seed();
  SCOPED_TRACE(fmt::format("UNDERSTUDY_SEED={}", seed));
  RandomCommits random(seed);
  shown_[0] = ShowAll();
  for (int round = 0; round < 600; ++round) {
    SCOPED_TRACE(fmt::format("round {}", round));
    ASSERT_NO_FATAL_FAILURE(TakeRandomCommit(random));
    if (random.Below(4) != 0) continue;
    const auto points = engine_->Points("vol");
    if (points->empty()) continue;
    const model::Sequence to = (*points)[random.Below(std::min<size_t>(points->size(), 12))].sequence;
    ASSERT_NO_FATAL_FAILURE(GoBackTo(to));
    // A reverse names every folder that it changes, so replaying it doesn't even change a time.
    if (random.Below(10) == 0) Restart();
    ASSERT_EQ(ShowAll(), shown_.at(to)) << "back at " << to << " and started anew";
  }
  EXPECT_GT(shown_.size(), 100u);
  GoBackToAll();
}

// States that nobody labelled are left out, whatever the commits between the others did.
TEST_F(RewindRandomTest, MergedRecordsLeadToTheSameStates) {
  const uint64_t seed = Seed();
  SCOPED_TRACE(fmt::format("UNDERSTUDY_SEED={}", seed));
  RandomCommits random(seed);
  dr::PointBounds bounds;
  bounds.keep_all_for = absl::ZeroDuration();
  Restart(bounds);
  shown_[0] = ShowAll();
  size_t merged = 0;
  for (int round = 0; round < 600; ++round) {
    SCOPED_TRACE(fmt::format("round {}", round));
    ASSERT_NO_FATAL_FAILURE(TakeRandomCommit(random));
    const model::Sequence newest = engine_->NewestPoint("vol")->sequence;
    if (random.Below(4) == 0) {
      ASSERT_TRUE(engine_->SetLabel("vol", {newest, fmt::format("l{}", newest), false}).ok());
    }
    host_->AdvanceClock(absl::Minutes(1));
    if (random.Below(8) == 0) {
      while (true) {
        const auto some = engine_->Thin("vol");
        ASSERT_TRUE(some.ok()) << some.status();
        if (*some == 0) break;
        merged += *some;
      }
    }
    if (random.Below(6) != 0) continue;
    const auto points = engine_->Points("vol");
    if (points->empty()) continue;
    const model::Sequence to = (*points)[random.Below(std::min<size_t>(points->size(), 12))].sequence;
    ASSERT_NO_FATAL_FAILURE(GoBackTo(to));
    if (random.Below(10) == 0) Restart(bounds);
    ASSERT_EQ(ShowAll(), shown_.at(to)) << "back at " << to << " and started anew";
  }
  EXPECT_GT(merged, 30u);
  GoBackToAll();

  // The same states as trees of their own.
  auto trees = dr::PointTrees::Open(host_->State(), *engine_, Clock::System());
  ASSERT_TRUE(trees.ok()) << trees.status();
  const std::vector<dr::Point> points = *engine_->Points("vol");
  for (int i = 0; i < 5 && !points.empty(); ++i) {
    const model::Sequence sequence = points[random.Below(points.size())].sequence;
    const auto tree = (*trees)->Make({"vol", sequence, "", false});
    ASSERT_TRUE(tree.ok()) << tree.status();
    ASSERT_NO_FATAL_FAILURE(GoBackTo(sequence));
    const auto differences = CompareTrees(Root(), tree->path);
    ASSERT_TRUE(differences.ok()) << differences.status();
    ASSERT_THAT(*differences, testing::IsEmpty()) << "the state after commit " << sequence;
    ASSERT_TRUE((*trees)->Remove(tree->id).ok());
  }
}

}  // namespace
}  // namespace understudy::tests
