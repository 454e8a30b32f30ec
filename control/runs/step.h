// step.h: one step of a failover run: what has to be so, how to find out whether it is, and how to bring it about.
#pragma once

#include <functional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "control/runs/run.h"
#include "core/base/status.h"
#include "nlohmann/json.hpp"

namespace understudy::control {

struct Item {
  std::string key;   // unique in its step: "pair/volume", "namespace/name"; empty when the step is one piece
  std::string what;  // would be done, for people: "promote volume web of pair east"
  int wave = 0;      // all items of a wave end before the next wave begins
};

// What a step has of the run while it works on one item. Its calls are thread-safe; `run` doesn't change meanwhile.
class ItemContext {
 public:
  using Tell = std::function<void(const std::string& text)>;
  using Record = std::function<absl::Status(const nlohmann::ordered_json& facts)>;

  ItemContext(const RunRecord& the_run, const ItemRecord& as_recorded, std::stop_token stop_token, Tell on_progress,
              Record record)
      : run(the_run),
        before(as_recorded),
        stop(std::move(stop_token)),
        on_progress_(std::move(on_progress)),
        record_(std::move(record)),
        facts_(as_recorded.facts) {}

  const RunRecord& run;      // with everything that the steps before left behind
  const ItemRecord& before;  // attempts > 0: an earlier one was begun, and may have had any part of its effect
  const std::stop_token stop;

  // What is being done or waited for just now.
  void Progress(const std::string& text) const { on_progress_(text); }
  // Something that stops nothing, and that the report has to say.
  void Warn(std::string text) { warnings_.push_back(std::move(text)); }
  // Kept with the item when it ends; later steps and the report read it. Until set, what an earlier attempt left.
  void SetFacts(nlohmann::ordered_json facts) { facts_ = std::move(facts); }
  // Durable when it returns: for what has to be known after a crash in the midst of Do, such as how things were before.
  [[nodiscard]] absl::Status RecordFacts(nlohmann::ordered_json facts) {
    facts_ = std::move(facts);
    return record_(facts_);
  }

  [[nodiscard]] const std::vector<std::string>& warnings() const { return warnings_; }
  [[nodiscard]] const nlohmann::ordered_json& facts() const { return facts_; }

 private:
  const Tell on_progress_;
  const Record record_;
  std::vector<std::string> warnings_;
  nlohmann::ordered_json facts_;
};

// Steps are called by several threads, each with another item. A call that waits ends with CANCELLED after a stop.
// Check and Confirm are called again, for a while, when they end with UNAVAILABLE or DEADLINE_EXCEEDED; Do isn't.
class Step {
 public:
  virtual ~Step() = default;

  [[nodiscard]] virtual std::string_view name() const = 0;
  // One line, for people: "stop the virtual machines at the primary".
  [[nodiscard]] virtual std::string_view purpose() const = 0;

  // The pieces, from what the steps before left in `run`; each key once. A piece that isn't listed any more when the
  // run goes on, because the configuration lost it, is left out.
  [[nodiscard]] virtual absl::StatusOr<std::vector<Item>> Items(const RunRecord& run, std::stop_token stop) = 0;
  // Whether what the item is for is so already, whoever brought it about. Changes nothing.
  [[nodiscard]] virtual absl::StatusOr<bool> Check(const Item& item, ItemContext& context) = 0;
  // Brings it about. Called only after a Check that said no; done again after a crash, which must do no harm.
  [[nodiscard]] virtual absl::Status Do(const Item& item, ItemContext& context) = 0;
  // Called after Do, and after a Check that said yes: waits for what Do began, sees that it is so, and leaves the
  // facts.
  [[nodiscard]] virtual absl::Status Confirm(const Item& item, ItemContext& context) = 0;

  // Asked of a step that has ended, when its run is taken up again: whether what later steps go by is so still. If not,
  // it is made again, and what was made after it. An error: it can't be told, and the run doesn't go on. Changes
  // nothing.
  [[nodiscard]] virtual absl::StatusOr<bool> StillSo(const RunRecord& /*run*/, std::stop_token /*stop*/) {
    return true;
  }
  // Whether it can't be taken back: once it was begun, the run goes on whatever became of what was made before it.
  [[nodiscard]] virtual bool IsPointOfNoReturn() const { return false; }

  // Whether the run goes on without an item that failed like that, and ends as partial. Asked only about verdicts
  // (attempt.h): where nobody answered, or not to us, the run stops and can be resumed.
  [[nodiscard]] virtual bool Tolerates(const absl::Status& /*failure*/) const { return false; }
  // Whether it is made also when the run failed before it: what takes away what a rehearsal made.
  [[nodiscard]] virtual bool RunsAfterFailure() const { return false; }
  // Whether it changes nothing at either site and takes no time to speak of, so that a dry run makes it, too.
  [[nodiscard]] virtual bool OnlyLooks() const { return false; }
};

}  // namespace understudy::control
