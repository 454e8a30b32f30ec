// work_area.h: the private folder of one replica, on its filesystem and outside what NFS clients see, where content is
// staged, renamed entries rest on their way, and what was displaced is kept.
//
//   <work folder>/replica-<replica id>/staging/   s<slot>: content staged by the primary; a<slot>: what it is about, if
//                                                 it is worth keeping; d<number>: a new folder with small files
//                                                 that were staged for it; o<sequence>-<index>: what operation <index>
//                                                 of commit <sequence> places; v<sequence>: pass 1 of that commit isn't
//                                                 over; t: metadata is tried on it
//   <work folder>/replica-<replica id>/leftover/  c<number>, a<number>: such content of sessions that ended
//   <work folder>/replica-<replica id>/detached/  <slot>: entries between their Detach and their Attach
//   <work folder>/replica-<replica id>/removed/   <sequence>-<index>: folders that were removed with all they hold;
//                                                 undo-<sequence>, undo-<sequence>.<n>: what was kept for an
//                                                 undo record
//   <work folder>/replica-<replica id>/undo/      <sequence>/<index>: what operation <index> of commit <sequence>
//                                                 displaced, or the old content of what it patches
//
// The work folder is core/os/work_folder.h's.
#pragma once

#include <cstdint>
#include <set>
#include <stop_token>
#include <string>

#include "agent-dr/commit/identity.h"
#include "agent-dr/commit/points.h"
#include "core/base/status.h"
#include "core/model/commit.h"
#include "core/os/file_io.h"
#include "core/os/root.h"
#include "core/os/work_folder.h"

namespace understudy::dr {

// What all that lies in `folder` takes; a file with several names counts with each for its share. `go_on` is asked
// before each entry.
[[nodiscard]] absl::StatusOr<uint64_t> BytesOnDisk(const os::Root& folder, const os::GoOn& go_on = nullptr);

// Owns descriptors; const calls are thread-safe. The effects belong to the one thread that commits.
class WorkArea {
 public:
  // Makes what is missing. PERMISSION_DENIED when somebody else's folder stands there.
  [[nodiscard]] static absl::StatusOr<WorkArea> Open(const std::string& export_path, const std::string& replica_id);

  // The same in the folder `own`, which is ours alone.
  [[nodiscard]] static absl::StatusOr<WorkArea> In(os::Root own, const os::RenameDomain& domain, bool inside_export);

  [[nodiscard]] const os::Root& staging() const { return staging_; }
  [[nodiscard]] const os::Root& leftover() const { return leftover_; }
  [[nodiscard]] const os::Root& detached() const { return detached_; }
  [[nodiscard]] const os::Root& removed() const { return removed_; }
  [[nodiscard]] const os::Root& undo() const { return undo_; }
  // Of replica-<replica id>: another one holds nothing of what was staged in this one.
  [[nodiscard]] const Identity& identity() const { return identity_; }
  [[nodiscard]] const os::RenameDomain& domain() const { return domain_; }
  // Whether the work folder lies in the export's folder, so that a walk of that folder has to leave it out.
  [[nodiscard]] bool inside_export() const { return inside_export_; }

  static constexpr char kTrialEntry[] = "t";
  // Of the replica's own folder in the work folder.
  [[nodiscard]] static std::string FolderName(const std::string& replica_id);
  [[nodiscard]] static std::string StagedContent(model::Slot slot);
  [[nodiscard]] static std::string StagedAbout(model::Slot slot);
  [[nodiscard]] static std::string StagedFolder(uint64_t number);
  // Named by the commit: the one before may have to be replayed while this one's entries are there already.
  [[nodiscard]] static std::string StagedEntry(model::Sequence sequence, size_t operation_index);
  [[nodiscard]] static std::string VacatingMark(model::Sequence sequence);
  [[nodiscard]] static std::string DetachedEntry(model::Slot slot);

  [[nodiscard]] static std::string RemovedEntry(model::Sequence sequence, size_t operation_index);

  // Takes away everything that is staged, but for what commit `kept` places (0: keeps nothing). Not to be called with
  // less than the unsettled record may still need.
  [[nodiscard]] absl::Status DiscardStaging(model::Sequence kept) const;
  // One entry of the staging folder; none is fine.
  [[nodiscard]] absl::Status DiscardStaged(const std::string& name) const;
  // Takes away everything in the leftover folder but the entries named `kept`.
  [[nodiscard]] absl::Status DiscardLeftoversBut(const std::set<std::string>& kept) const;
  // The folder of what commit `sequence` displaces, empty; what an attempt that failed left there goes.
  [[nodiscard]] absl::StatusOr<os::Root> MakeUndoFolder(model::Sequence sequence) const;
  // NOT_FOUND: nothing is kept of that commit.
  [[nodiscard]] absl::StatusOr<os::Root> OpenUndoFolder(model::Sequence sequence) const;
  // What is kept there. NOT_FOUND: nothing.
  [[nodiscard]] absl::StatusOr<os::Fd> OpenKept(const KeptPlace& place, int flags) const;
  // Puts it among the removed folders; none is fine.
  [[nodiscard]] absl::Status DropUndoFolder(model::Sequence sequence) const;
  // The same with all but those of `kept`.
  [[nodiscard]] absl::Status DropUndoFoldersBut(const std::set<model::Sequence>& kept) const;
  // Bytes on disk of what is kept of that commit; a file with more names counts for its share. `go_on` is
  // asked before each entry.
  [[nodiscard]] absl::StatusOr<uint64_t> MeasureUndoFolder(model::Sequence sequence, const os::GoOn& go_on) const;

  // Takes away removed folders for good. At any time. `go_on` is asked before each entry.
  [[nodiscard]] absl::Status DiscardRemoved(const os::GoOn& go_on = nullptr) const;
  // The same of a replica whose work folder is known to be there, by whoever; no thread has to wait for it. CANCELLED:
  // `stop`.
  [[nodiscard]] static absl::Status DiscardRemovedOf(const std::string& export_path, const std::string& replica_id,
                                                     std::stop_token stop);

 private:
  WorkArea(os::Root staging, os::Root leftover, os::Root detached, os::Root removed, os::Root undo, Identity identity,
           os::RenameDomain domain, bool inside_export)
      : staging_(std::move(staging)),
        leftover_(std::move(leftover)),
        detached_(std::move(detached)),
        removed_(std::move(removed)),
        undo_(std::move(undo)),
        identity_(identity),
        domain_(domain),
        inside_export_(inside_export) {}

  os::Root staging_;
  os::Root leftover_;
  os::Root detached_;
  os::Root removed_;
  os::Root undo_;
  Identity identity_;
  os::RenameDomain domain_;
  bool inside_export_;
};

}  // namespace understudy::dr
