// staged_files.h: small files that are staged as wholes, many at a time, ahead of the commit that puts them.
//
// Of a folder that the commit makes they are made in it, so that it is published with all that it holds by one rename
// (new_places.h). One thread at a time.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <string>
#include <thread>
#include <unordered_map>

#include "agent-dr/commit/work_area.h"
#include "core/base/status.h"
#include "core/model/replica_sink.h"
#include "core/os/fd.h"

namespace understudy::dr {

// Its content is what its digest says, and it has the metadata that it was staged with.
struct SmallFile {
  std::string path;   // that it was staged for
  std::string place;  // its path below the staging folder
  uint64_t size = 0;
  model::Digest digest{};
  bool has_xattrs = false;
};

// Has the disk write what was staged while more of it comes, so that the commit waits for the rest only. What fails
// here is told by the sync that the commit waits for.
class SyncAhead {
 public:
  SyncAhead() = default;
  ~SyncAhead();
  SyncAhead(const SyncAhead&) = delete;
  SyncAhead& operator=(const SyncAhead&) = delete;
  void Note(int folder_fd, uint64_t bytes);

 private:
  uint64_t bytes_ = 0;  // since the last one began
  std::atomic<bool> under_way_{false};
  std::thread thread_;
};

class StagedFiles {
 public:
  // `work` outlives it.
  explicit StagedFiles(const WorkArea& work) : work_(work) {}

  // `batch` is valid by wire::ValidateStagedBatch, and its slots are free. DATA_LOSS about a path: content that isn't
  // what its digest says. INVALID_ARGUMENT: a folder that was named before, or more than a commit can make.
  // ALREADY_EXISTS: two files of one path. FAILED_PRECONDITION: as of ApplyMetadataOf.
  [[nodiscard]] absl::Status Add(const model::StagedBatch& batch);

  // nullptr: nothing was staged under that slot.
  [[nodiscard]] const SmallFile* Find(model::Slot slot) const;
  // Where what is to be in the folder `path` was made, below the staging folder; nullptr: nowhere.
  [[nodiscard]] const std::string* FindFolder(const std::string& path) const;
  [[nodiscard]] size_t files() const { return files_.size(); }
  [[nodiscard]] size_t folders() const { return folders_.size(); }
  void Clear();

 private:
  // That one commit's message could name all of it.
  [[nodiscard]] absl::Status CountPath(const std::string& path);
  [[nodiscard]] absl::Status AddFolder(const std::string& path);
  [[nodiscard]] absl::Status AddFile(const model::StagedFile& file);
  // A descriptor of the folder at `place`, valid until the next call.
  [[nodiscard]] absl::StatusOr<int> FolderAt(const std::string& place);

  const WorkArea& work_;
  std::unordered_map<model::Slot, SmallFile> files_;
  std::map<std::string, std::string, std::less<>> folders_;  // places, by path
  uint64_t path_bytes_ = 0;                                  // of all that was staged
  uint64_t next_folder_ = 0;
  std::string open_place_;  // of `open_`
  os::Fd open_;             // the folder that was asked for last; invalid: none
  SyncAhead sync_ahead_;
};

}  // namespace understudy::dr
