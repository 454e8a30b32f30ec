// failover_report.h: what one failover run did, as a value, and as the JSON document of
// docs/formats/failover-report.md.
//
// The JSON is the report; text and HTML (failover_render.h) are renderings of it. Everything in it comes from the run's
// record; a record that lacks facts (the step wasn't reached, or says less) makes a report that says less. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/time/time.h"
#include "control/runs/run.h"
#include "core/base/status.h"
#include "nlohmann/json.hpp"

namespace understudy::control {

inline constexpr int kFailoverReportSchemaVersion = 1;

// A time within the run in which nothing of it was under way: a process that ended, or a run that waited for a person.
struct RunGap {
  absl::Time begin;    // the last thing recorded before it
  absl::Time end;      // the next thing recorded
  std::string after;   // step that was the last one at work; empty: none yet
  std::string before;  // step that goes on or begins afterwards; empty: none
  std::string reason;  // the note that ended it ("resumed by …"); empty: nothing is recorded
  [[nodiscard]] absl::Duration Length() const { return end - begin; }
};
// Shorter ones aren't told: starting a step takes a moment, too.
inline constexpr absl::Duration kShortestGap = absl::Seconds(2);

// Recovery time: from the begin of the run until the last virtual machine is well or, in a run without any, until the
// last volume is active.
enum class RecoveryBasis { kNone, kMachines, kVolumes };
// "machines", "volumes"; empty: there is nothing to recover.
[[nodiscard]] std::string_view ToString(RecoveryBasis basis);
struct RecoveryTime {
  RecoveryBasis basis = RecoveryBasis::kNone;
  size_t of = 0;                       // machines or volumes that are to be recovered
  size_t reached = 0;                  // those that are
  std::optional<absl::Time> last_at;   // when the last of these was
  std::optional<absl::Duration> took;  // from the run's begin to `last_at`; only when all are
};

// How old the data of the worst volume is; only when it is known of every volume.
struct RecoveryPoint {
  std::optional<absl::Duration> worst;
  size_t volumes = 0;
  size_t unknown = 0;
};

struct VolumeOutcome {
  std::string pair;
  std::string volume;
  std::string claim;  // "namespace/name"; empty: not known, or a volume without Kubernetes
  std::string storage_class;
  std::string replica_path;
  std::optional<ItemState> promotion;  // none: the run hasn't got that far, or promotes nothing
  std::string message;                 // of the promotion
  std::optional<absl::Time> active_at;
  std::optional<uint64_t> epoch;
  std::optional<uint64_t> sequence;
  std::optional<absl::Time> captured_at;
  std::string consistency;                 // of the state that was promoted or copied; empty: not told
  std::optional<absl::Duration> data_age;  // when it was promoted
  std::string data_age_by;                 // "confirmation", "newest-commit"; empty: not told
  std::optional<absl::Time> confirmed_at;  // when the primary last said that DR has everything
  std::optional<bool> complete;            // false: it was never across as a whole
  // What is lost, as time: nothing when its last sync passed after its export was fenced, else the age of its data.
  std::optional<absl::Duration> recovery_point;
  std::optional<ItemState> verification;
  std::string verified_depth;
  std::optional<uint64_t> differences;
};

struct ProbeOutcome {
  std::string probe;
  ItemState state = ItemState::kPending;
  std::string result;  // or why it failed
};

struct MachineOutcome {
  std::string namespace_name;
  std::string name;
  std::string run_strategy;       // that it is to have at DR
  std::optional<ItemState> stop;  // at the primary
  std::optional<ItemState> boot;  // at DR; none: the run hasn't got that far
  std::string outcome;            // of the boot, as its facts say
  std::string message;            // why it isn't well, or wasn't started
  std::optional<absl::Time> started_at;
  std::optional<absl::Time> well_at;
  std::vector<ProbeOutcome> probes;
};

struct RunWarning {
  std::string step;
  std::string item;  // empty: of the whole step
  std::string text;
};

// Something for a person to do, and how.
struct Advice {
  std::string text;
  std::string command;  // for a shell, quoted; empty: there is none
};

struct FailoverReport {
  RunRecord run;
  absl::Time written_at;  // what isn't over is told as it was then
  std::vector<RunGap> gaps;
  RecoveryTime recovery_time;
  RecoveryPoint recovery_point;
  std::vector<VolumeOutcome> volumes;    // by pair and name
  std::vector<MachineOutcome> machines;  // by namespace and name
  std::vector<RunWarning> warnings;      // in the order of the steps
  std::vector<Advice> next;              // in the order in which to do it
  // Of a run that was aborted or may be: what it did that stays, and how to take it back, the last thing first.
  std::vector<Advice> stays;
};

[[nodiscard]] FailoverReport BuildFailoverReport(const RunRecord& run, absl::Time now);

// When what the report tells ends: the end of the run, or when the report was written.
[[nodiscard]] absl::Time EndOf(const FailoverReport& report);
// Time within the run in which nothing was under way.
[[nodiscard]] absl::Duration WaitedIn(const FailoverReport& report);

[[nodiscard]] nlohmann::ordered_json ToJson(const FailoverReport& report);
// The report of the record and the time that the document holds. INVALID_ARGUMENT: not such a document.
// FAILED_PRECONDITION: of a newer schema version.
[[nodiscard]] absl::StatusOr<FailoverReport> ParseFailoverReport(std::string_view text);

}  // namespace understudy::control
