// file_looks.h: how large files were captured, for whoever asks why one costs what it costs.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "agent-primary/capture/file_capture.h"
#include "agent-primary/index/index_row.h"

namespace understudy::primary {

// Of so many files of a volume, the largest, it is remembered.
inline constexpr size_t kMaxFileLooks = 100;

// What one capture did with a file of more than kMaxInlineContentBytes.
struct FileLook {
  std::string path;
  uint64_t inode = 0;
  uint64_t size = 0;
  std::string rung;             // that its content took; empty: DR had that content
  std::string why_not_extents;  // why that rung can't be used, the next time
  bool keeps_base = true;       // the base that it had is its base still
  std::optional<BaseRecord> base{};
  int64_t captured_at_nanoseconds = 0;  // Unix time; 0: not since the agent started
};

// Of `file`, which stands at `path`; nullopt: it is a small one.
[[nodiscard]] std::optional<FileLook> LookOf(const std::string& path, const CapturedFile& file);

// The newest look at each of the largest files. Not thread-safe.
class FileLooks {
 public:
  // A look without a rung leaves that of an earlier one.
  void Add(FileLook look);
  // nullptr: none is known.
  [[nodiscard]] const FileLook* Find(uint64_t inode) const;
  // Descending by size; at most `most`.
  [[nodiscard]] std::vector<FileLook> Largest(size_t most) const;

 private:
  std::map<uint64_t, FileLook> looks_;  // by inode
};

}  // namespace understudy::primary
