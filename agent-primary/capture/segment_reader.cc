#include "agent-primary/capture/segment_reader.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <span>
#include <system_error>
#include <utility>

namespace understudy::primary {
namespace {

using delta::kBlockBytes;
using delta::kSegmentBytes;

absl::StatusOr<bool> EndsBefore(int fd, uint64_t size) {
  struct stat raw {};
  if (fstat(fd, &raw) != 0) return ErrnoStatus(errno, "stat");
  return static_cast<uint64_t>(raw.st_size) < size;
}

}  // namespace

SegmentReader::SegmentReader(int fd, uint64_t size)
    : fd_(fd), size_(size), count_((size + kSegmentBytes - 1) / kSegmentBytes) {
  for (Slot& slot : slots_) free_.push_back(&slot);
  if (count_ <= kFewSegments) return;
  const size_t threads = std::clamp<size_t>(std::thread::hardware_concurrency(), 1, kSegmentBuffers - 1);
  try {
    for (size_t i = 0; i < threads; ++i) threads_.emplace_back([this] { ReadAhead(); });
  } catch (const std::system_error&) {
    // No more threads to be had: those that there are do it, or the caller.
  }
}

SegmentReader::~SegmentReader() {
  {
    absl::MutexLock lock(&mutex_);
    ends_ = true;
  }
  for (std::thread& thread : threads_) thread.join();
}

absl::StatusOr<ReadSegment> SegmentReader::Next() {
  UNDERSTUDY_CHECK(next_ < count_);
  const uint64_t number = next_++;
  Release();
  if (threads_.empty()) ReadUpTo(number);
  absl::MutexLock lock(&mutex_);
  const auto told = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (!status_.ok()) return true;
    if (claimed_.empty()) return claimed_to_ > number;
    return claimed_.front()->ready || claimed_.front()->segment.number > number;
  };
  mutex_.Await(absl::Condition(&told));
  RETURN_IF_ERROR(status_);
  if (claimed_.empty() || claimed_.front()->segment.number > number) {
    const uint64_t offset = number * kSegmentBytes;
    return ReadSegment{.number = number, .offset = offset, .length = std::min(kSegmentBytes, size_ - offset)};
  }
  held_ = claimed_.front();
  claimed_.pop_front();
  RETURN_IF_ERROR(held_->status);
  return held_->segment;
}

void SegmentReader::Release() {
  absl::MutexLock lock(&mutex_);
  if (held_ != nullptr) free_.push_back(std::exchange(held_, nullptr));
}

void SegmentReader::ReadUpTo(uint64_t number) {
  const auto is_due = [&] {
    absl::MutexLock lock(&mutex_);
    return claimed_.empty() && claimed_to_ <= number;
  };
  while (is_due()) {
    Slot* const slot = Claim();
    if (slot == nullptr) return;
    Read(*slot);
  }
}

absl::Status SegmentReader::FindNextData() {
  const uint64_t offset = claimed_to_ * kSegmentBytes;
  if (data_.has_value() && data_->end > offset) return absl::OkStatus();
  ASSIGN_OR_RETURN(data_, os::NextData(fd_, offset));
  if (!data_.has_value()) data_ = os::DataRange{UINT64_MAX, UINT64_MAX};
  return absl::OkStatus();
}

SegmentReader::Slot* SegmentReader::Claim() {
  absl::MutexLock lock(&mutex_);
  const auto can_go_on = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return ends_ || !free_.empty(); };
  mutex_.Await(absl::Condition(&can_go_on));
  if (ends_ || !status_.ok() || claimed_to_ == count_) return nullptr;
  if (status_ = FindNextData(); !status_.ok()) return nullptr;
  const uint64_t number = std::max(claimed_to_, data_->begin / kSegmentBytes);
  claimed_to_ = std::min(number, count_);
  if (claimed_to_ == count_) return nullptr;
  ++claimed_to_;
  Slot* const slot = free_.back();
  free_.pop_back();
  slot->ready = false;
  slot->segment = ReadSegment{.number = number};
  slot->data = *data_;
  claimed_.push_back(slot);
  return slot;
}

void SegmentReader::Read(Slot& slot) {
  slot.status = ReadInto(slot);
  absl::MutexLock lock(&mutex_);
  slot.ready = true;
}

absl::StatusOr<uint64_t> SegmentReader::ReadZeroFilled(uint64_t begin, uint64_t end, std::span<char> buffer) const {
  const std::span<char> part = buffer.first(static_cast<size_t>(end - begin));
  ASSIGN_OR_RETURN(const size_t got, os::ReadInto(fd_, begin, part));
  std::fill(part.begin() + static_cast<ptrdiff_t>(got), part.end(), '\0');
  return end;
}

absl::Status SegmentReader::ReadInto(Slot& slot) const {
  ReadSegment& segment = slot.segment;
  segment.offset = segment.number * kSegmentBytes;
  segment.length = std::min(kSegmentBytes, size_ - segment.offset);
  const uint64_t begin = segment.offset - std::min(segment.offset, kBlockBytes);
  const uint64_t end = std::min(segment.offset + segment.length + kBlockBytes, size_);
  slot.buffer.resize(static_cast<size_t>(std::min(size_, kSegmentBytes + 2 * kBlockBytes)));
  const std::span<char> buffer = std::span(slot.buffer).first(static_cast<size_t>(end - begin));
  os::DataRange data = slot.data;
  uint64_t at = begin;
  if (data.begin <= segment.offset) {
    data.begin = begin;  // nobody has looked for the data of the block before it
  } else {
    ASSIGN_OR_RETURN(at, ReadZeroFilled(begin, segment.offset, buffer));
  }
  while (at < end) {
    // What is in a hole isn't read: that would fill the page cache with zeros.
    const uint64_t from = std::clamp(data.begin, at, end);
    const uint64_t to = std::clamp(data.end, from, end);
    const std::span<char> gap = buffer.subspan(static_cast<size_t>(at - begin), static_cast<size_t>(from - at));
    std::fill(gap.begin(), gap.end(), '\0');
    ASSIGN_OR_RETURN(at, ReadZeroFilled(from, to, buffer.subspan(static_cast<size_t>(from - begin))));
    if (at == end) break;
    ASSIGN_OR_RETURN(const std::optional<os::DataRange> next, os::NextData(fd_, at));
    data = next.value_or(os::DataRange{UINT64_MAX, UINT64_MAX});
  }
  ASSIGN_OR_RETURN(segment.cut, EndsBefore(fd_, segment.offset + segment.length));
  const std::string_view around(buffer.data(), buffer.size());
  const std::string_view bytes = around.substr(segment.offset - begin, segment.length);
  if (delta::IsAllZeros(bytes)) return absl::OkStatus();
  segment.bytes = bytes;
  segment.around = around;
  segment.around_offset = begin;
  segment.digest = delta::DigestOfSegment(segment.number, bytes, &segment.marks);
  return absl::OkStatus();
}

void SegmentReader::ReadAhead() {
  while (Slot* const slot = Claim()) Read(*slot);
}

}  // namespace understudy::primary
