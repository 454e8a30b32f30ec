// ledger.h: what each commit of a history was to make of the replica, and which of them were acknowledged: the oracle.
#pragma once

#include <map>
#include <optional>
#include <vector>

#include "core/base/status.h"
#include "core/model/volume.h"
#include "tests/sim/picture.h"

namespace understudy::sim {

class Ledger {
 public:
  // The volume at its capture; nullopt: it changed meanwhile, or the commit doesn't complete a capture, so the replica
  // may look like no moment of the volume.
  using Moment = std::optional<Picture>;

  // A commit is on its way; it may turn out to be durable whatever its sender is told.
  void Sent(model::Sequence sequence, Moment moment) { possible_[sequence].push_back(std::move(moment)); }
  // DR called it durable: from now on nothing else is the state of that sequence.
  void Acknowledged(model::Sequence sequence, Moment moment) {
    possible_[sequence] = {std::move(moment)};
    newest_acknowledged_ = std::max(newest_acknowledged_, sequence);
  }

  [[nodiscard]] model::Sequence newest_acknowledged() const { return newest_acknowledged_; }

  // DATA_LOSS: something acknowledged is gone, or the published replica `found` isn't the state of its `sequence`.
  [[nodiscard]] absl::Status Check(model::Sequence sequence, const Picture& found) const;

 private:
  std::map<model::Sequence, std::vector<Moment>> possible_;
  model::Sequence newest_acknowledged_ = 0;
};

}  // namespace understudy::sim
