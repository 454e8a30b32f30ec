// probe.h: what the scrub counts, for understudy-dr's metrics. Thread-safe.
#pragma once

#include <atomic>
#include <cstdint>

namespace understudy::dr {

// Counters since the start of the program; the agent exports them (agent-dr/service/metrics.cc).
struct ScrubProbe {
  std::atomic<uint64_t> files{0};    // read
  std::atomic<uint64_t> bytes{0};    // likewise
  std::atomic<uint64_t> passes{0};   // through a whole replica
  std::atomic<uint64_t> damaged{0};  // files that were found to be damaged
  std::atomic<uint64_t> healed{0};   // that were found to be right again
};

}  // namespace understudy::dr
