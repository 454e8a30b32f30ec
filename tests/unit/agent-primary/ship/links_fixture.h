// links_fixture.h: a volume that is replicated into memory, and the two compared: content, metadata, and which names
// are one file's.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <string>

#include "agent-primary/ship/volume_replicator.h"
#include "tests/support/memory_sink.h"
#include "tests/support/temp_dir.h"

namespace understudy::primary {

class LinksTest : public ::testing::Test {
 protected:
  void SetUp() override;

  [[nodiscard]] std::string Volume() const { return dir_.File("web"); }
  [[nodiscard]] std::string At(const std::string& path) const { return Volume() + "/" + path; }
  void Write(const std::string& path, const std::string& content) const;
  void Link(const std::string& target, const std::string& path) const;

  // A new one over the index that is there.
  void StartReplicator();
  void RunBarrier();
  void ExpectEqual(const std::string& when) const;
  void ScanAndExpectEqual(const std::string& when);
  [[nodiscard]] uint64_t Sent() const { return replicator_->Status().content_bytes_sent; }

  tests::TempDir dir_;
  tests::MemoryReplicas replicas_{"/dr"};
  tests::MemorySink sink_{replicas_};
  std::unique_ptr<VolumeReplicator> replicator_;
};

inline const std::string kLarge(2'000'000, 'x');

}  // namespace understudy::primary
