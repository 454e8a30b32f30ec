// replica_sink_contract.h: the promises of model::ReplicaSink, as tests that every implementation has to pass.
//
// A test program compiles the *_contract.cc files, one for each subject, and says what it is about:
//
//   const MakeSinkBed kMemory = [] { return std::make_unique<MemoryBed>(); };
//   INSTANTIATE_TEST_SUITE_P(Memory, ReplicaSinkContract, testing::Values(kMemory));
//   INSTANTIATE_TEST_SUITE_P(Memory, DeltaContract, testing::Values(kMemory));
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>

#include "core/model/replica_sink.h"

namespace understudy::tests {

// One DR host, and access to it.
class SinkBed {
 public:
  virtual ~SinkBed() = default;
  // A new primary's access. The bed outlives it.
  virtual std::unique_ptr<model::ReplicaSink> Connect() = 0;
  // An absolute path at DR, below its export.
  virtual std::string RootFor(const std::string& name) = 0;
  // Whether content that a session left unfinished is there for the next one.
  [[nodiscard]] virtual bool KeepsLeftovers() const { return true; }
};

using MakeSinkBed = std::function<std::unique_ptr<SinkBed>()>;

// The words of the tests: entries as commits bring them, and their lines in ReplicaSinkContract::Listing.
inline constexpr char kVolume[] = "vol";
[[nodiscard]] model::Metadata Meta(uint32_t mode, int64_t mtime = 1'700'000'000, uint32_t nanoseconds = 123'456'789);
[[nodiscard]] model::Put InlinePut(const std::string& path, const std::string& content, uint32_t mode = 0644);
[[nodiscard]] model::Put StagedPut(const std::string& path, const std::string& content, model::Slot slot);
[[nodiscard]] std::string DigestText(const model::Digest& digest);
[[nodiscard]] std::string FileLine(const std::string& path, const std::string& content, uint32_t mode = 0644);
[[nodiscard]] std::string FolderLine(const std::string& path, uint32_t mode = 0755);
// Bytes that don't compress into one another by chance: each block says where it is.
[[nodiscard]] std::string Pattern(size_t size, uint32_t seed);

class ReplicaSinkContract : public testing::TestWithParam<MakeSinkBed> {
 protected:
  void SetUp() override {
    bed_ = GetParam()();
    sink_ = bed_->Connect();
  }

  // Opens kVolume and begins a commit on top of what it has.
  model::Commit Begin();
  // Submits it and waits until it is published.
  void MustSubmit(const model::Commit& commit);
  // One line for each entry: "path kind mode uid:gid mtime size digest|target|device xattrs", in key order.
  std::string Listing();
  // Stages the whole content under the slot, for no particular path.
  void StageWhole(model::Slot slot, const std::string& content);

  std::unique_ptr<SinkBed> bed_;
  std::unique_ptr<model::ReplicaSink> sink_;
};

// The same over a replica whose volume holds one large file.
class DeltaContract : public ReplicaSinkContract {
 protected:
  void PutBase(const std::string& path);
  // What makes the segment of `next` at `offset` of the base's one.
  static model::SegmentDelta DeltaOf(std::string_view base, std::string_view next, uint64_t offset);

  std::string base_;
};

}  // namespace understudy::tests
