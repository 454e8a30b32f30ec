#include "agent-primary/capture/block_marks.h"

#include <algorithm>
#include <string>

#include "core/delta/content_digest.h"

namespace understudy::primary {
namespace {

using delta::kBlockBytes;
using delta::kBlockMarkBytes;

// Fewer bytes are sent sooner than their new place is found.
constexpr uint64_t kLeastMovedBytes = 128 * 1024;

std::string_view MarkAt(std::string_view marks, uint64_t block) {
  static constexpr char kZeros[kBlockMarkBytes] = {};
  const uint64_t at = block * kBlockMarkBytes;
  return at < marks.size() ? marks.substr(at, kBlockMarkBytes) : std::string_view(kZeros, kBlockMarkBytes);
}

}  // namespace

std::vector<os::DataRange> ChangedBlocks(std::string_view before, std::string_view now, uint64_t length) {
  std::vector<os::DataRange> changed;
  for (uint64_t block = 0; block * kBlockBytes < length; ++block) {
    if (MarkAt(before, block) == MarkAt(now, block)) continue;
    const uint64_t begin = block * kBlockBytes;
    const uint64_t end = std::min(begin + kBlockBytes, length);
    if (!changed.empty() && changed.back().end == begin) {
      changed.back().end = end;
    } else {
      changed.push_back({begin, end});
    }
  }
  return changed;
}

std::vector<os::DataRange> ShiftedBlocks(uint64_t number, std::string_view marks, uint64_t old_size, int64_t shift,
                                         std::string_view now, uint64_t now_offset) {
  const auto old_begin = static_cast<int64_t>(number * delta::kSegmentBytes);
  const auto old_end = static_cast<int64_t>(std::min((number + 1) * delta::kSegmentBytes, old_size));
  constexpr auto kBlock = static_cast<int64_t>(kBlockBytes);
  const int64_t now_begin = static_cast<int64_t>(now_offset) - shift;
  int64_t begin = std::max(old_begin, now_begin);
  const int64_t end = std::min(old_end, now_begin + static_cast<int64_t>(now.size()));
  begin = (begin + kBlock - 1) / kBlock * kBlock;
  if (begin >= end) return {};
  const auto length = static_cast<size_t>(end - begin);
  std::string marks_now;
  (void)delta::DigestOfBlocks(static_cast<uint64_t>(begin), now.substr(static_cast<size_t>(begin - now_begin), length),
                              &marks_now);
  const auto first = static_cast<size_t>((begin - old_begin) / kBlock) * kBlockMarkBytes;
  std::vector<os::DataRange> shifted;
  const auto add = [&](uint64_t from, uint64_t to) {
    const int64_t moved = begin + shift;
    if (from < to) shifted.push_back({static_cast<uint64_t>(moved) + from, static_cast<uint64_t>(moved) + to});
  };
  uint64_t same_from = 0;
  for (const os::DataRange& other : ChangedBlocks(marks.substr(std::min(first, marks.size())), marks_now, length)) {
    add(same_from, other.begin);
    same_from = other.end;
  }
  add(same_from, length);
  return shifted;
}

bool LooksMoved(const std::vector<os::DataRange>& changed, uint64_t length) {
  if (changed.empty()) return false;
  const uint64_t after = length - changed.front().begin;
  uint64_t bytes = 0;
  for (const os::DataRange& run : changed) bytes += run.end - run.begin;
  return after >= kLeastMovedBytes && bytes >= after / 4 * 3;
}

}  // namespace understudy::primary
