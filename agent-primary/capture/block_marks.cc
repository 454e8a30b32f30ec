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

bool LooksMoved(const std::vector<os::DataRange>& changed, uint64_t length) {
  if (changed.empty()) return false;
  const uint64_t after = length - changed.front().begin;
  uint64_t bytes = 0;
  for (const os::DataRange& run : changed) bytes += run.end - run.begin;
  return after >= kLeastMovedBytes && bytes >= after / 4 * 3;
}

}  // namespace understudy::primary
