// run.h: one execution of a failover plan, as it is recorded, shown and taken up again. Values; pure.
//
// A run is a row of steps; a step has items (a volume, a virtual machine, a claim; or one item for the whole step) that
// are worked on side by side. All items of a step end before the next step begins: nothing is promoted before
// everything was verified. The JSON that an item leaves behind (`facts`) is what later steps and the report read.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "core/base/status.h"
#include "nlohmann/json.hpp"

namespace understudy::control {

enum class RunMode {
  kPlanned,    // both sites are there; nothing is lost
  kUnplanned,  // the primary site isn't: what needs it is left out
  kTest,       // on copies, in other namespaces; removed afterwards
  kReprotect,  // replication is turned round
  kFailback,   // planned, the other way
};
// "planned", "unplanned", "test", "reprotect", "failback".
[[nodiscard]] std::string_view ToString(RunMode mode);
[[nodiscard]] absl::StatusOr<RunMode> ParseRunMode(std::string_view text);

enum class RunState {
  kRunning,      // by a process that may be dead: then it is shown as interrupted
  kInterrupted,  // never stored: running, and nobody runs it
  kFailed,       // a step failed; it can be resumed or aborted
  kDone,
  kPartial,  // it came to its end, and some items failed that don't stop a run (a virtual machine of many)
  kAborted,  // a person said so; what was done stays as it is
};
[[nodiscard]] std::string_view ToString(RunState state);
[[nodiscard]] absl::StatusOr<RunState> ParseRunState(std::string_view text);
enum class ItemState {
  kPending,
  kRunning,  // begun; whether it had an effect is found out by looking
  kDone,
  kAlready,  // it was so before, and nothing was done
  kFailed,   // the run can't go on before it is done
  kBroken,   // failed for good, for the reason in `message`; the run goes on without it and ends as partial
  kLeftOut,  // on purpose, for the reason in `message`
};
[[nodiscard]] std::string_view ToString(ItemState state);
[[nodiscard]] absl::StatusOr<ItemState> ParseItemState(std::string_view text);
// Whether nothing more is done for it in this run.
[[nodiscard]] bool HasEnded(ItemState state);

// What the run was begun with; what it goes on with after a crash, whatever the configuration says by then.
struct RunSpec {
  std::string id{};
  std::string plan{};
  RunMode mode = RunMode::kPlanned;
  std::vector<std::string> namespaces{};
  std::vector<std::string> volumes{};  // listed by hand: "pair/volume"
  std::string backup{};                // by name; empty: the latest
  bool allow_incomplete = false;       // volumes that were never across as a whole are promoted, too
  bool primary_is_down = false;        // of an unplanned one: whatever answers there
  bool keep = false;                   // of a test: what was made stays until `drctl failover clean`
  std::string started_by{};            // user@host
  absl::Time started_at{};
};

// An item's key "pair/volume" or "namespace/name" in its two parts; the first is empty when there is no slash. None of
// these names holds one.
[[nodiscard]] std::pair<std::string, std::string> SplitKey(std::string_view key);

struct ItemRecord {
  std::string key{};  // unique in its step; empty for a step without items of its own
  ItemState state = ItemState::kPending;
  std::optional<absl::Time> begun_at{};
  std::optional<absl::Time> ended_at{};
  uint32_t attempts = 0;
  std::string message{};                // why it failed or was left out, or what is being waited for
  std::vector<std::string> warnings{};  // that stop nothing
  nlohmann::ordered_json facts{};       // null: none
};

struct StepRecord {
  std::string name{};
  std::optional<absl::Time> begun_at{};
  std::optional<absl::Time> ended_at{};
  std::vector<ItemRecord> items{};  // by key

  // Failed if one of its items did, done when all have ended, running when one has begun.
  [[nodiscard]] ItemState State() const;
  [[nodiscard]] const ItemRecord* Find(std::string_view key) const;
};

// What a person did to the run: begun, resumed, aborted.
struct RunNote {
  absl::Time at{};
  std::string text{};
};

struct RunRecord {
  RunSpec spec{};
  RunState state = RunState::kRunning;
  bool over = false;  // nothing more comes of it: it can't be resumed, and another one of its plan may begin
  std::optional<absl::Time> ended_at{};
  std::string error{};              // why it isn't going on
  std::vector<StepRecord> steps{};  // in their order
  std::vector<RunNote> notes{};     // by time

  // nullptr: the run has no such step.
  [[nodiscard]] const StepRecord* Find(std::string_view step) const;
};

[[nodiscard]] nlohmann::ordered_json ToJson(const RunSpec& spec);
// INVALID_ARGUMENT: not such a document.
[[nodiscard]] absl::StatusOr<RunSpec> ParseRunSpec(std::string_view text);

// 0 done, 3 partial, 1 failed or aborted or still under way.
[[nodiscard]] ExitCode ExitCodeOf(const RunRecord& run);

}  // namespace understudy::control
