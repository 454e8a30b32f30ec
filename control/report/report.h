// report.h: what one run of the scheduled sync did, as a value, and as the JSON document of docs/formats/report.md.
//
// The JSON is the report; HTML and text (render.h) are renderings of it.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/time/time.h"
#include "core/base/status.h"
#include "core/model/object.h"
#include "nlohmann/json.hpp"

namespace understudy::control {

inline constexpr int kReportSchemaVersion = 1;

enum class Outcome {
  kSynced,      // brought across: data, catalog and object at DR
  kUnchanged,   // was already so
  kFailed,      // `reason` says why; the next run tries again
  kSkipped,     // nothing to be done for it, for `reason`
  kCleaned,     // was only at DR, and was deleted there
  kWouldSync,   // in a dry run
  kWouldClean,  // in a dry run
};
// "synced", "unchanged", "failed", "skipped", "cleaned", "would-sync", "would-clean".
[[nodiscard]] std::string_view ToString(Outcome outcome);
[[nodiscard]] absl::StatusOr<Outcome> ParseOutcome(std::string_view text);
inline constexpr Outcome kAllOutcomes[] = {Outcome::kSynced,    Outcome::kUnchanged, Outcome::kFailed,
                                           Outcome::kSkipped,   Outcome::kCleaned,   Outcome::kWouldSync,
                                           Outcome::kWouldClean};

struct ObjectResult {
  model::ObjectKey key;
  Outcome outcome = Outcome::kSkipped;
  std::string reason = {};  // printable; empty when there is nothing to say
  std::string pair = {};    // that holds its data; empty when none
  std::string volume = {};
  std::optional<uint64_t> sequence = {};  // of the volume's commit that DR has
  absl::Duration took = absl::ZeroDuration();
  bool to_primary = false;  // the other way round: DR has the live copy of its volume
};

// One list that was read from a cluster.
struct ListResult {
  std::string cluster;  // "primary" or "dr"
  model::ObjectKind kind = model::ObjectKind::kPersistentVolume;
  std::string namespace_name = {};  // empty: of the whole cluster
  bool served = true;               // false: the cluster doesn't know the kind
  size_t items = 0;
  std::string error = {};  // empty: the list is complete
};

enum class CleaningState {
  kNothing,  // nothing exists only at DR
  kDone,
  kPartly,  // some deletions failed
  kWould,   // dry run
  kHeld,    // a guard held it back, for `reason`
  kOff,     // stale.enabled is false
};
[[nodiscard]] std::string_view ToString(CleaningState state);
[[nodiscard]] absl::StatusOr<CleaningState> ParseCleaningState(std::string_view text);

struct Cleaning {
  CleaningState state = CleaningState::kNothing;
  std::string reason = {};
  size_t stale = 0;  // objects that exist only at DR, as the lists say
  size_t at_dr = 0;  // of so many that Understudy made, in the run's namespaces
};

enum class Trigger { kManual, kSchedule };
[[nodiscard]] std::string_view ToString(Trigger trigger);
[[nodiscard]] absl::StatusOr<Trigger> ParseTrigger(std::string_view text);

struct Report {
  std::string run;  // its id
  Trigger trigger = Trigger::kManual;
  bool made_up = false;  // the run was due while nothing served
  bool dry_run = false;
  absl::Time started_at;
  absl::Time ended_at;
  std::vector<std::string> namespaces = {};  // empty: all
  // The uid of the primary cluster; empty: it couldn't be told, or isn't the one that DR's objects are from.
  std::string primary_cluster = {};
  ExitCode exit_code = ExitCode::kDone;
  std::string error = {};                // what ended the whole run early
  std::vector<std::string> alerts = {};  // what somebody should look at, apart from single objects
  Cleaning cleaning = {};
  std::vector<ListResult> lists = {};
  std::vector<ObjectResult> objects = {};  // by kind, namespace and name
};

// Number of objects by outcome; every outcome is there.
[[nodiscard]] std::map<Outcome, size_t> CountOutcomes(const Report& report);
// "done", "partial", "failed", "unreachable" or "refused": the exit code in a word.
[[nodiscard]] std::string_view ResultOf(const Report& report);
// Whether somebody should look at it: anything but a run that is done without alerts.
[[nodiscard]] bool HasProblems(const Report& report);

// The exit code that lists, outcomes and cleaning stand for. Pure.
//   4: no object was brought across and the primary cluster or an agent couldn't be reached; 1: everything failed, or
//   the run couldn't be made; 3: some failed; 5: a guard held cleaning back.
[[nodiscard]] ExitCode ExitCodeOf(const Report& report, bool unreachable);

[[nodiscard]] nlohmann::ordered_json ToJson(const Report& report);
// INVALID_ARGUMENT: not such a document. FAILED_PRECONDITION: of a newer schema version.
[[nodiscard]] absl::StatusOr<Report> ParseReport(std::string_view text);

}  // namespace understudy::control
