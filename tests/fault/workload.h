// workload.h: what the NFS clients of a volume do to it, the same again for the same seed: files and folders that come,
// go and move (tests/support/churn.h), and a sparse disk image that is written in place and never renamed.
#pragma once

#include <cstdint>
#include <random>
#include <string>

#include "tests/support/churn.h"

namespace understudy::tests {

// Not thread-safe.
class Workload {
 public:
  // `volume` is an existing, empty folder.
  Workload(const std::string& volume, uint64_t seed);

  // One change.
  void Step();
  // Takes the largest files away until the rest holds less than a bound, so that a long run doesn't fill its disk.
  void KeepSmall();

 private:
  const std::string tree_;
  const std::string image_;
  std::mt19937_64 random_;
  Churn churn_;
};

}  // namespace understudy::tests
