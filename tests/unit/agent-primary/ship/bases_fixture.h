// bases_fixture.h: a volume on XFS with a replicator that keeps bases.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "core/model/path.h"
#include "core/os/file_io.h"
#include "tests/unit/agent-primary/ship/extents_fixture.h"

namespace understudy::primary {

class BasesTest : public ExtentsFixture {
 protected:
  void SetUp() override { SetUpOn("xfs"); }
  void Write(const std::string& path, uint64_t at, size_t length = kBlock) {
    ASSERT_TRUE(os::WriteAt(OpenFile(path).get(), at, Noise(length)).ok());
  }
  std::string AtDr(const std::string& path) const { return replicas_.TreeOf("web").at(model::Key(path)).content; }
  std::string Here(const std::string& path) const {
    return os::ReadAt(OpenFile(path).get(), 0, static_cast<size_t>(std::filesystem::file_size(At(path)))).value();
  }
  void Hint(const std::string& path) { replicator_->OnHint(path, HintKind::kPath, /*at_once=*/true); }
  void RunABit() {
    for (int i = 0; i < 4; ++i) {
      ASSERT_TRUE(replicator_->Run(sink_, {}).ok());
      absl::SleepFor(absl::Milliseconds(30));  // what changed a moment ago is looked at again
    }
  }
};

}  // namespace understudy::primary
