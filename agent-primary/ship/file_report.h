// file_report.h: what is known of one file of a volume, as drctl volumes show tells it. Values.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "core/model/commit.h"

namespace understudy::primary {

struct FileReport {
  std::string path;  // in the volume
  model::FileKind kind = model::FileKind::kRegular;
  uint64_t size = 0;
  std::optional<uint64_t> extents;  // where the filesystem tells
  // How its content was captured last, and why not by a better rung; empty: not known, or there is none better.
  std::string rung;
  std::string reason;
  int64_t captured_at_nanoseconds = 0;  // Unix time; 0: not since the agent started
  struct Base {
    int64_t made_at_nanoseconds = 0;  // Unix time
    uint64_t size = 0;
    std::optional<uint64_t> extents;
  };
  std::optional<Base> base;
  int64_t rests_until_nanoseconds = 0;  // Unix time; 0: it doesn't rest
  bool dirty = false;                   // it waits to be captured
  bool damaged = false;                 // DR said so of its copy, and it wasn't sent again yet
};

}  // namespace understudy::primary
