#include "agent-primary/ship/range_batch.h"

#include <utility>

#include "core/wire/limits.h"

namespace understudy::primary {
namespace {

template <typename Message>
void SetRange(uint64_t offset, uint64_t length, std::string_view data, Message& message) {
  message.set_offset(offset);
  message.set_length(length);
  message.set_data(data.data(), data.size());
}

}  // namespace

bool RangeBatch::Add(const model::VolumeName& volume, model::Slot slot, uint64_t offset, uint64_t length,
                     std::string_view data) {
  if (!empty() && (full() || message_.slot() != slot || bytes_ + data.size() > wire::kMaxStageBytes)) return false;
  if (empty()) {
    message_.set_volume(volume);
    message_.set_slot(slot);
    SetRange(offset, length, data, message_);
  } else {
    SetRange(offset, length, data, *message_.add_more());
  }
  ++ranges_;
  bytes_ += data.size();
  return true;
}

bool RangeBatch::full() const {
  return bytes_ >= kFullBytes || ranges_ == wire::kMaxStageRanges;
}

v1::StageData RangeBatch::Take() {
  ranges_ = 0;
  bytes_ = 0;
  return std::exchange(message_, {});
}

}  // namespace understudy::primary
