// export_switch.h: what NFS clients may do with each volume of this host: the desired state, kept durably, and the
// server brought to it.
//
// The desired state is on disk before the server hears of it; what a crash, a server that was away, or somebody who
// edited by hand left otherwise is found and mended at the start and every so often. Thread-safe. Servers are called by
// one thread at a time, with bounds in time; List, Find and Usable never wait for them.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "core/base/clock.h"
#include "core/base/status.h"
#include "core/exports/export_backend.h"
#include "core/exports/export_store.h"
#include "core/model/exports.h"

namespace understudy::exports {

// What the configuration says of the paths below one folder.
struct ExportPlace {
  std::string path;     // absolute
  std::string backend;  // the name of one of the switch's backends
  ExportTerms terms;
};

struct ExportSwitchOptions {
  std::string database;  // its file; the folder exists
  std::vector<ExportPlace> places;
  // Between looks at the servers; infinite: only callers of Set, Forget and Reconcile look.
  absl::Duration interval = absl::Seconds(15);
  Clock* clock = &Clock::System();  // outlives the switch
};

class ExportSwitch {
 public:
  // Starts the looks at the servers on a thread of its own, the first one at once. Errors as of the database.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<ExportSwitch>> Start(
      ExportSwitchOptions options, std::vector<std::unique_ptr<ExportBackend>> backends);
  ~ExportSwitch();
  ExportSwitch(const ExportSwitch&) = delete;
  ExportSwitch& operator=(const ExportSwitch&) = delete;

  // Asked right before a change is written down, while no other change can be: whoever changes what it looks at (a
  // volume's state) and calls Set after that has the last word. Must not call the switch.
  using Admit = std::function<absl::Status()>;

  // The export of `path`, known by `name` (a volume's, or another tree's), is `mode` from now on. OK: the server was
  // read back to do so; with backend `none`, it is written down.
  // Nothing was changed: INVALID_ARGUMENT: no export of the configuration holds `path`, or it can't be expressed;
  // ALREADY_EXISTS: an export of another name overlaps it; what `admit` said.
  // The desired state stands: FAILED_PRECONDITION: this agent's part is done, but somebody else's export lets clients
  // do other things, or the folder is missing; ABORTED: the server couldn't be brought to it, and that is tried again
  // (for a name whose path changes: the earlier path's, and then the new one is to be asked for again).
  [[nodiscard]] absl::Status Set(const std::string& name, const std::string& path, model::ExportMode mode,
                                 const Admit& admit = nullptr);
  // What Set would say of `path` before it changes anything. UNAVAILABLE also: the server can't be asked.
  [[nodiscard]] absl::Status Check(const std::string& name, const std::string& path);
  // The name has no export any more, and is forgotten once the server has let go of it. A name that isn't known is
  // fine. Errors: the server couldn't be brought to it yet.
  [[nodiscard]] absl::Status Forget(const std::string& name);

  // Ascending by name; what was forgotten and isn't gone is among them.
  [[nodiscard]] std::vector<model::ExportState> List() const;
  // nullopt: nothing was ever desired for that name.
  [[nodiscard]] std::optional<model::ExportState> Find(const std::string& name) const;
  // What would be exported how, when it was asked for: the backend's name; empty: no export of the configuration holds
  // the path.
  [[nodiscard]] std::string BackendOf(const std::string& path) const;
  // The first export that isn't as desired, and why; OK: there is none. UNAVAILABLE until the first look is over.
  [[nodiscard]] absl::Status Usable() const;

  struct Counts {
    uint64_t changes = 0;   // of desired states
    uint64_t failures = 0;  // rounds of bringing a server to what is desired that failed for it as a whole
  };
  [[nodiscard]] Counts counts() const;

  // One look at the servers now, and what it takes to have them as desired; as the thread does it.
  void Reconcile();

 private:
  struct Export {
    StoredExport stored;
    std::optional<model::ExportMode> actual;
    bool settled = false;
    std::string problem;
    absl::Time since;
  };

  ExportSwitch(ExportSwitchOptions options, std::vector<std::unique_ptr<ExportBackend>> backends, ExportStore store);
  [[nodiscard]] const ExportPlace* PlaceOf(const std::string& path) const;
  [[nodiscard]] ExportBackend* BackendNamed(const std::string& name) const;
  model::ExportState StateOf(const Export& one) const;

  absl::Status SetLocked(const std::string& name, const std::string& path, model::ExportMode mode, bool forgotten,
                         const Admit& admit) ABSL_EXCLUSIVE_LOCKS_REQUIRED(applying_);
  absl::StatusOr<StoredExport> Planned(const std::string& name, const std::string& path)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(applying_);
  absl::Status WriteDown(const StoredExport& row) ABSL_EXCLUSIVE_LOCKS_REQUIRED(applying_);
  // The name's backend lets go of it. An error: not yet.
  absl::Status LetGo(const StoredExport& row) ABSL_EXCLUSIVE_LOCKS_REQUIRED(applying_);
  // Has the backend do what is desired of it: of that name, or of all.
  void Apply(ExportBackend& backend, const std::optional<std::string>& only) ABSL_EXCLUSIVE_LOCKS_REQUIRED(applying_);
  std::vector<WantedExport> WantedOf(const std::string& backend) const ABSL_LOCKS_EXCLUDED(mutex_);
  void TakeFound(const std::string& name, const FoundExport& found) ABSL_LOCKS_EXCLUDED(mutex_);
  // What was forgotten, and is let go of, goes.
  void DropForgotten() ABSL_EXCLUSIVE_LOCKS_REQUIRED(applying_);
  // What the configuration has given another backend, and is let go of by the earlier one, goes over to it.
  void MoveBetweenBackends() ABSL_EXCLUSIVE_LOCKS_REQUIRED(applying_);
  absl::Status ResultOf(const std::string& name) const ABSL_LOCKS_EXCLUDED(mutex_);
  void Work(std::stop_token stop);

  const ExportSwitchOptions options_;
  const std::vector<std::unique_ptr<ExportBackend>> backends_;

  absl::Mutex applying_;  // one caller of servers and writer of the store at a time; taken before mutex_
  ExportStore store_ ABSL_GUARDED_BY(applying_);
  std::map<std::string, std::string> told_ ABSL_GUARDED_BY(applying_);  // by backend: trouble that the log has already
  mutable absl::Mutex mutex_;
  std::map<std::string, Export> exports_ ABSL_GUARDED_BY(mutex_);
  Counts counts_ ABSL_GUARDED_BY(mutex_);
  bool looked_ ABSL_GUARDED_BY(mutex_) = false;
  std::jthread worker_;
};

}  // namespace understudy::exports
