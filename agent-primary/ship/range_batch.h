// range_batch.h: ranges of staged content that travel in one message: a message for each changed block of a disk image
// would cost more than the blocks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "core/model/commit.h"
#include "core/model/volume.h"
#include "understudy/v1/replication.pb.h"

namespace understudy::primary {

// Of one volume; not thread-safe.
class RangeBatch {
 public:
  // Of data, from which on a message isn't filled up any more.
  static constexpr size_t kFullBytes = 128 * 1024;

  // `data` is empty for a hole. False: what is there has to be taken first.
  [[nodiscard]] bool Add(const model::VolumeName& volume, model::Slot slot, uint64_t offset, uint64_t length,
                         std::string_view data);
  [[nodiscard]] bool empty() const { return ranges_ == 0; }
  [[nodiscard]] bool full() const;
  [[nodiscard]] v1::StageData Take();

 private:
  v1::StageData message_;
  size_t ranges_ = 0;
  size_t bytes_ = 0;
};

}  // namespace understudy::primary
