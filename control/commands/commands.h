// commands.h: drctl's commands. Each is a function of its options that prints to a console and returns the exit code of
// design page 9: see ExitCode in core/base/status.h.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "control/commands/output.h"
#include "control/runs/run.h"
#include "core/base/status.h"
#include "core/config/control_config.h"
#include "core/model/sync_demand.h"
#include "core/model/verify.h"

namespace understudy::control {

struct StatusOptions {
  bool objects = true;  // compare DR's storage objects with the catalogs, when a DR cluster is configured
};
// Everything that is known, also when an agent can't be reached; kUnreachable then. That the DR cluster can't be
// reached is shown, and is no failure.
[[nodiscard]] ExitCode RunStatus(const Console& console, OutputFormat format, const config::ControlConfig& config,
                                 const StatusOptions& options);

[[nodiscard]] ExitCode RunVolumesList(const Console& console, OutputFormat format, const config::ControlConfig& config);

struct VolumeSelection {
  std::string name;
  std::string pair;  // empty: whichever has the volume
};
struct ShowOptions {
  VolumeSelection selection;
  std::string file;  // in the volume, or absolute at the primary; empty: the volume itself
};
// Of a file what its primary knows of it: kUnreachable without it.
[[nodiscard]] ExitCode RunVolumesShow(const Console& console, OutputFormat format, const config::ControlConfig& config,
                                      const ShowOptions& options);

inline constexpr size_t kParallelSyncs = 8;

struct SyncOptions {
  VolumeSelection selection;
  bool all = false;  // every volume of every pair, or of `selection.pair`
  model::SyncDemand demand;
  absl::Duration timeout = absl::InfiniteDuration();
};
// kPartial when some volumes were synced and some not; kFailed after the timeout when the primary says what the volume
// waits for, kUnreachable when it doesn't or can't reach DR.
[[nodiscard]] ExitCode RunVolumesSync(const Console& console, OutputFormat format, const config::ControlConfig& config,
                                      const SyncOptions& options);

// The kept states of a volume's replica, and the trees that were made of some.
[[nodiscard]] ExitCode RunPointsList(const Console& console, OutputFormat format, const config::ControlConfig& config,
                                     const VolumeSelection& selection);
// The trees of all volumes, also of those whose replica is gone, of all pairs or of `pair`. Everything that is known,
// also when a pair can't be reached; kUnreachable then.
[[nodiscard]] ExitCode RunPointsListTrees(const Console& console, OutputFormat format,
                                          const config::ControlConfig& config, const std::string& pair);

struct PointsCreateOptions {
  VolumeSelection selection;
  std::string label;
  std::string state;  // as in PointSelection; empty: the newest
  bool pin = false;
  bool sync = true;  // of the newest: first wait until DR has everything written before
  absl::Duration timeout = absl::InfiniteDuration();  // of that
};
// kRefused when the state, or all that is kept, is the midst of a capture, or when the replica is held and so no sync
// comes to an end; after the timeout as RunVolumesSync.
[[nodiscard]] ExitCode RunPointsCreate(const Console& console, OutputFormat format, const config::ControlConfig& config,
                                       const PointsCreateOptions& options);

struct PointSelection {
  VolumeSelection volume;
  std::string state;  // a sequence, a label, or an RFC 3339 time: the newest whole state from before it
};
// Takes a state's label away, so that it may be thinned out.
[[nodiscard]] ExitCode RunPointsForget(const Console& console, OutputFormat format, const config::ControlConfig& config,
                                       const PointSelection& selection);

struct PointsRewindOptions {
  PointSelection selection;
  bool yes = false;  // without asking; where nobody can be asked, only says what would be done
};
// kRefused when the answer was no, or nobody could be asked.
[[nodiscard]] ExitCode RunPointsRewind(const Console& console, OutputFormat format, const config::ControlConfig& config,
                                       const PointsRewindOptions& options);

struct PointsMaterialiseOptions {
  PointSelection selection;
  std::string path;  // at DR; empty: beside the replica's folder
  bool writable = false;
};
[[nodiscard]] ExitCode RunPointsMaterialise(const Console& console, OutputFormat format,
                                            const config::ControlConfig& config,
                                            const PointsMaterialiseOptions& options);

struct PointsRemoveOptions {
  std::string id;    // of a tree
  std::string pair;  // empty: whichever has it
  bool yes = false;  // without asking; where nobody can be asked, only says what would be done
};
// kRefused when the answer was no, or nobody could be asked.
[[nodiscard]] ExitCode RunPointsRemove(const Console& console, OutputFormat format, const config::ControlConfig& config,
                                       const PointsRemoveOptions& options);

struct VerifyOptions {
  VolumeSelection selection;
  bool all = false;  // every volume of every pair, or of `selection.pair`
  model::VerifyDepth depth = model::VerifyDepth::kMetadata;
};
// kDifference when there is one, whatever else happened; kUnreachable when the agent that the depth needs can't be
// reached, kPartial when that holds for some of the volumes.
[[nodiscard]] ExitCode RunVolumesVerify(const Console& console, OutputFormat format,
                                        const config::ControlConfig& config, const VerifyOptions& options);

struct PromotionOptions {
  VolumeSelection selection;
  bool yes = false;         // without asking
  bool incomplete = false;  // of a promotion: also what was never across as a whole
};
// Makes the replica at DR the live copy, or a replica again; says on stderr how far it is. The volume's name has to be
// typed at a terminal first, unless `yes`, or what was begun before goes on. kRefused: the state doesn't allow it, the
// answer was another one, or nobody could be asked; kFailed: a hook failed.
[[nodiscard]] ExitCode RunVolumesPromote(const Console& console, OutputFormat format,
                                         const config::ControlConfig& config, const PromotionOptions& options);
[[nodiscard]] ExitCode RunVolumesDemote(const Console& console, OutputFormat format,
                                        const config::ControlConfig& config, const PromotionOptions& options);

struct ReprotectOptions {
  VolumeSelection selection;
  bool yes = false;  // without asking
  bool wait = true;  // until what differs is across
};
// Turns the replication of a promoted volume round, from the live copy to the host where it was before; says on stderr
// how far it is. The volume's name has to be typed first, as for a promotion. kRefused also: the pair has no `reverse`
// agents.
[[nodiscard]] ExitCode RunVolumesReprotect(const Console& console, OutputFormat format,
                                           const config::ControlConfig& config, const ReprotectOptions& options);

// Nothing of the volume is replicated between the two, whatever restarts. The second also ends the hold of a replica
// that was taken back; kPartial when that was done, and the primary couldn't be told to go on.
[[nodiscard]] ExitCode RunVolumesPause(const Console& console, OutputFormat format, const config::ControlConfig& config,
                                       const VolumeSelection& selection);
[[nodiscard]] ExitCode RunVolumesResume(const Console& console, OutputFormat format,
                                        const config::ControlConfig& config, const VolumeSelection& selection);

// The deleted volumes that DR still keeps, of all pairs or of `pair`.
[[nodiscard]] ExitCode RunTrashList(const Console& console, OutputFormat format, const config::ControlConfig& config,
                                    const std::string& pair);
[[nodiscard]] ExitCode RunTrashRestore(const Console& console, OutputFormat format, const config::ControlConfig& config,
                                       const std::string& id, const std::string& pair);

struct TrashPurgeOptions {
  std::string id;  // this or `everything`
  bool everything = false;
  std::string pair;  // empty: all
  bool yes = false;  // without it, only says what would be purged, and ends as refused
};
[[nodiscard]] ExitCode RunTrashPurge(const Console& console, OutputFormat format, const config::ControlConfig& config,
                                     const TrashPurgeOptions& options);

enum class Site { kPrimary, kDr };
struct ExportsListOptions {
  std::string pair;          // empty: all
  std::optional<Site> site;  // nullopt: both
};
// What NFS clients may do with the volumes. Everything that is known, also when an agent can't be reached;
// kUnreachable then.
[[nodiscard]] ExitCode RunExportsList(const Console& console, OutputFormat format, const config::ControlConfig& config,
                                      const ExportsListOptions& options);

struct ExportsSetOptions {
  VolumeSelection selection;
  std::string mode;  // ro, rw or none
  Site site = Site::kDr;
};
// kDone when the NFS server was read back to do so; kFailed when it couldn't be brought to it now and the agent goes on
// trying; kRefused when the volume's state forbids it, or somebody else's export is in the way.
[[nodiscard]] ExitCode RunExportsSet(const Console& console, OutputFormat format, const config::ControlConfig& config,
                                     const ExportsSetOptions& options);

[[nodiscard]] ExitCode RunGuardList(const Console& console, OutputFormat format, const config::ControlConfig& config,
                                    const std::string& pair);

struct ApproveOptions {
  VolumeSelection selection;
  bool yes = false;  // without asking; where nobody can be asked, only says what would be approved without it
};
// Lets what was held back happen, as it was shown: when more would go by now, kRefused. Also kRefused when no guard
// holds the volume back, the answer was no, or nobody could be asked.
[[nodiscard]] ExitCode RunGuardApprove(const Console& console, OutputFormat format, const config::ControlConfig& config,
                                       const ApproveOptions& options);

inline constexpr uint32_t kDefaultListedEvents = 50;

struct EventsTailOptions {
  std::string pair;  // empty: all
  uint32_t limit = kDefaultListedEvents;
  bool follow = false;
};
// The newest object events of each primary, and what became of them. With `follow`, until every primary has ended the
// call, which is an error then.
[[nodiscard]] ExitCode RunEventsTail(const Console& console, OutputFormat format, const config::ControlConfig& config,
                                     const EventsTailOptions& options);

[[nodiscard]] ExitCode RunPkiInit(const Console& console, OutputFormat format, const std::filesystem::path& folder,
                                  bool force);

struct PkiIssueOptions {
  std::filesystem::path folder;
  std::vector<std::string> roles;
  std::vector<std::string> hosts;
  std::string name;  // of the files; empty: the first role
  int days = 0;
  bool force = false;
};
[[nodiscard]] ExitCode RunPkiIssue(const Console& console, OutputFormat format, const PkiIssueOptions& options);

// `kind` is primary, dr or control; empty: told from the file's name.
[[nodiscard]] ExitCode RunConfigCheck(const Console& console, const std::string& file, const std::string& kind);

// A rules file.
[[nodiscard]] ExitCode RunRulesCheck(const Console& console, const std::string& file);

// Writes the reference pages of all configuration files into `folder`.
[[nodiscard]] ExitCode RunConfigReference(const Console& console, const std::filesystem::path& folder);

struct SyncRunOptions {
  bool dry_run = false;
  std::vector<std::string> namespaces;  // empty: all that are configured
  bool accept_cluster = false;          // the primary cluster is another one than before, and that is right
};
// One run of the scheduled sync; its report is printed, kept and sent. The report's exit code; kRefused while another
// run is under way.
[[nodiscard]] ExitCode RunSyncRun(const Console& console, OutputFormat format, const config::ControlConfig& config,
                                  const SyncRunOptions& options);

[[nodiscard]] ExitCode RunSyncList(const Console& console, OutputFormat format, const config::ControlConfig& config);

enum class ReportFormat { kText, kJson, kHtml };
struct SyncReportOptions {
  std::string run;  // empty: the newest
  ReportFormat format = ReportFormat::kText;
};
[[nodiscard]] ExitCode RunSyncReport(const Console& console, OutputFormat format, const config::ControlConfig& config,
                                     const SyncReportOptions& options);

struct FailoverOptions {
  std::string plan;  // empty: the only one
  RunMode mode = RunMode::kPlanned;
  std::string backup;  // empty: the latest
  bool incomplete = false;
  bool primary_is_down = false;  // of an unplanned one: whatever answers there
  bool keep = false;             // of a test: what was made stays
  bool dry_run = false;
  bool yes = false;  // without asking
};
// One run of a plan, from its beginning to its end or to where it fails; says on stderr how far it is, and prints the
// report. kPartial when it came to its end and something isn't well; kRefused while another run of the plan is open, or
// when nobody said yes. A dry run says what would be done, and changes nothing.
[[nodiscard]] ExitCode RunFailover(const Console& console, OutputFormat format, const config::ControlConfig& config,
                                   const FailoverOptions& options);
// Goes on with a run that failed or was interrupted; an empty `run` is the newest one that is open.
[[nodiscard]] ExitCode RunFailoverResume(const Console& console, OutputFormat format,
                                         const config::ControlConfig& config, const std::string& run);
// Removes what a test failover made, and ends it.
[[nodiscard]] ExitCode RunFailoverClean(const Console& console, OutputFormat format,
                                        const config::ControlConfig& config, const std::string& run);
// Gives a run up. What was done stays; says what that is, and how it is taken back.
[[nodiscard]] ExitCode RunFailoverAbort(const Console& console, OutputFormat format,
                                        const config::ControlConfig& config, const std::string& run, bool yes);
[[nodiscard]] ExitCode RunFailoverList(const Console& console, OutputFormat format,
                                       const config::ControlConfig& config);

struct RunReportOptions {
  std::string run;  // empty: the newest
  ReportFormat format = ReportFormat::kText;
};
[[nodiscard]] ExitCode RunFailoverReport(const Console& console, OutputFormat format,
                                         const config::ControlConfig& config, const RunReportOptions& options);

struct BackupListOptions {
  std::vector<std::string> namespaces;  // that a usable backup holds; empty: those that are configured
  bool accept_partially_failed = false;
};
// The OADP backups in the bucket of `oadp`, and whether a failover can use each.
[[nodiscard]] ExitCode RunFailoverBackupList(const Console& console, OutputFormat format,
                                             const config::ControlConfig& config, const BackupListOptions& options);

struct BackupShowOptions {
  std::string name;                     // empty: the latest that is usable
  std::vector<std::string> namespaces;  // as above
  bool accept_partially_failed = false;
};
// What a backup holds of those namespaces: fetches its archive. kRefused: a failover couldn't use it.
[[nodiscard]] ExitCode RunFailoverBackupShow(const Console& console, OutputFormat format,
                                             const config::ControlConfig& config, const BackupShowOptions& options);

struct ApplyOptions {
  bool dry_run = false;
  bool diff = false;  // of each object that would change; with dry_run only
  std::string pair;   // empty: all
};
// Brings what the catalogs hold to the DR cluster once. kPartial when some objects couldn't be.
[[nodiscard]] ExitCode RunApply(const Console& console, OutputFormat format, const config::ControlConfig& config,
                                const ApplyOptions& options);

// Serves until a signal stops it: follows each pair's catalog, keeps the DR cluster's storage objects ready, and runs
// the scheduled sync.
[[nodiscard]] ExitCode RunServe(const Console& console, const config::ControlConfig& config);

}  // namespace understudy::control
