#include "tests/sim/sim_link.h"

#include <fmt/format.h>

#include "core/base/log.h"
#include "tests/sim/faulty_system.h"

namespace understudy::sim {
namespace {

std::string Describe(const model::Operation& operation) {
  struct Visitor {
    std::string operator()(const model::Remove& op) const { return fmt::format("remove '{}'", Printable(op.path)); }
    std::string operator()(const model::Detach& op) const {
      return fmt::format("detach '{}' as {}", Printable(op.path), op.slot);
    }
    std::string operator()(const model::Attach& op) const {
      return fmt::format("attach {} at '{}'", op.slot, Printable(op.path));
    }
    std::string operator()(const model::MakeDirectory& op) const {
      return fmt::format("make folder '{}'", Printable(op.path));
    }
    std::string operator()(const model::Put& op) const {
      return fmt::format("put {} bytes at '{}'", op.size, Printable(op.path));
    }
    std::string operator()(const model::MakeSymlink& op) const {
      return fmt::format("make symlink '{}'", Printable(op.path));
    }
    std::string operator()(const model::MakeNode& op) const {
      return fmt::format("make node '{}'", Printable(op.path));
    }
    std::string operator()(const model::Link& op) const {
      return fmt::format("link '{}' to '{}'", Printable(op.path), Printable(op.target));
    }
    std::string operator()(const model::Patch& op) const {
      return fmt::format("patch '{}', {} bytes", Printable(op.path), op.size);
    }
    std::string operator()(const model::SetMetadata& op) const {
      return fmt::format("set metadata of '{}'", Printable(op.path));
    }
  };
  return std::visit(Visitor{}, operation);
}

}  // namespace

void SimLink::Connect(dr::CommitEngine* engine) {
  session_.reset();
  late_ = nullptr;
  engine_ = engine;
}

void SimLink::Violate(const std::string& what) {
  if (violation_.ok()) violation_ = absl::InternalError(what);
}

absl::Status SimLink::Cut(std::string_view what) {
  story_.push_back(fmt::format("the link is cut {}", what));
  session_.reset();
  return absl::UnavailableError("the link was cut");
}

absl::Status SimLink::Carry(std::string_view what, const std::function<absl::Status(dr::LocalSink&)>& message,
                            bool may_be_late) {
  // Nobody is left to send it, or to take it.
  const bool crashed = FaultySystem::Crashed(Half::kPrimary) || FaultySystem::Crashed(Half::kDr);
  if (crashed || engine_ == nullptr || session_ == nullptr) return absl::UnavailableError("no connection");
  const bool cut = Happens(weather_.cut_percent);
  if (cut && random_() % 2 == 0) {
    if (may_be_late && Happens(weather_.late_percent))
      late_ = [message, session = session_] { return message(*session); };
    return Cut(fmt::format("before {}", what));
  }
  const Session session = session_;
  absl::Status status;
  {
    const FaultySystem::In in(Half::kDr);
    status = message(*session);
  }
  // The answer may have left just before the end.
  if (FaultySystem::Crashed(Half::kDr) && (!status.ok() || random_() % 2 == 0)) {
    return Cut(fmt::format("by DR's crash during {}", what));
  }
  if (cut) return Cut(fmt::format("after {}", what));
  if (!status.ok()) story_.push_back(fmt::format("{} is answered {}", what, MessageOf(status)));
  return status;
}

absl::Status SimLink::CarryStaged(std::string_view what, const std::function<absl::Status(dr::LocalSink&)>& message) {
  if (Happens(weather_.disturb_percent)) {
    const FaultySystem::In in(Half::kNone);
    story_.push_back(fmt::format("the volume changes during {}", what));
    moment_counts_ = false;
    disturb_();
  }
  return Carry(what, message, /*may_be_late=*/true);
}

void SimLink::DeliverLate(bool must_be_refused) {
  const FaultySystem::In in(Half::kDr);
  const absl::Status status = std::exchange(late_, nullptr)();
  story_.push_back(fmt::format("a message of the old session arrives {} the opening: {}",
                               must_be_refused ? "after" : "before", status.ok() ? "taken" : MessageOf(status)));
  if (must_be_refused && status.ok()) Violate("a message of an older session was taken");
}

absl::StatusOr<model::ReplicaState> SimLink::Open(const model::VolumeSpec& spec) {
  const bool crashed = FaultySystem::Crashed(Half::kPrimary) || FaultySystem::Crashed(Half::kDr);
  if (crashed || engine_ == nullptr) return absl::UnavailableError("no connection");
  if (late_ != nullptr && random_() % 2 == 0) DeliverLate(/*must_be_refused=*/false);
  session_ = std::make_shared<dr::LocalSink>(*engine_);
  absl::StatusOr<model::ReplicaState> state;
  RETURN_IF_ERROR(Carry("an opening", [&](dr::LocalSink& session) {
    state = session.Open(spec);
    return state.status();
  }));
  if (state->sequence < ledger_.newest_acknowledged()) {
    Violate(
        fmt::format("an opening says {}, though {} was acknowledged", state->sequence, ledger_.newest_acknowledged()));
  }
  if (late_ != nullptr && !FaultySystem::Crashed(Half::kDr)) DeliverLate(/*must_be_refused=*/true);
  return state;
}

absl::Status SimLink::StageBegin(const model::VolumeName& volume, model::Slot slot, const std::string& path,
                                 uint64_t size, const std::string& base_path) {
  return CarryStaged(fmt::format("StageBegin of '{}'", Printable(path)),
                     [=](dr::LocalSink& session) { return session.StageBegin(volume, slot, path, size, base_path); });
}

absl::StatusOr<std::vector<model::SegmentDigest>> SimLink::StageResume(const model::VolumeName& volume,
                                                                       model::Slot slot, const std::string& path,
                                                                       uint64_t size, const std::string& base_path) {
  absl::StatusOr<std::vector<model::SegmentDigest>> segments;
  RETURN_IF_ERROR(Carry("StageResume", [&](dr::LocalSink& session) {
    segments = session.StageResume(volume, slot, path, size, base_path);
    return segments.status();
  }));
  return segments;
}

absl::Status SimLink::StageData(const model::VolumeName& volume, model::Slot slot, uint64_t offset,
                                std::string_view data) {
  return CarryStaged("StageData", [=, kept = std::string(data)](dr::LocalSink& session) {
    return session.StageData(volume, slot, offset, kept);
  });
}

absl::Status SimLink::StageHole(const model::VolumeName& volume, model::Slot slot, uint64_t offset, uint64_t length) {
  return CarryStaged("StageHole",
                     [=](dr::LocalSink& session) { return session.StageHole(volume, slot, offset, length); });
}

absl::Status SimLink::StageDelta(const model::VolumeName& volume, model::Slot slot, const model::SegmentDelta& delta) {
  return CarryStaged("StageDelta", [=](dr::LocalSink& session) { return session.StageDelta(volume, slot, delta); });
}

absl::Status SimLink::StageFiles(const model::VolumeName& volume, const model::StagedBatch& batch) {
  return CarryStaged("StageFiles", [=](dr::LocalSink& session) { return session.StageFiles(volume, batch); });
}

absl::Status SimLink::StageEnd(const model::VolumeName& volume, model::Slot slot) {
  return CarryStaged("StageEnd", [=](dr::LocalSink& session) { return session.StageEnd(volume, slot); });
}

Ledger::Moment SimLink::MomentOf(const model::Commit& commit) const {
  if (!moment_counts_ || !commit.completes_capture) return std::nullopt;
  const FaultySystem::In in(Half::kNone);
  absl::StatusOr<Picture> picture = TakePicture(volume_path_);
  UNDERSTUDY_CHECK(picture.ok());
  return *std::move(picture);
}

absl::Status SimLink::DeliverCommit(dr::LocalSink& session, const model::Commit& commit, const Ledger::Moment& moment) {
  const absl::Status status = session.Submit(commit);
  if (status.ok()) ledger_.Acknowledged(commit.sequence, moment);
  return status;
}

absl::Status SimLink::Submit(const model::Commit& commit) {
  const Ledger::Moment moment = MomentOf(commit);
  story_.push_back(fmt::format("commit {}{}", commit.sequence, commit.completes_capture ? "" : ", of several"));
  for (const model::Operation& operation : commit.operations) story_.push_back("  " + Describe(operation));
  if (engine_ != nullptr && session_ != nullptr && !FaultySystem::Crashed(Half::kPrimary)) {
    ledger_.Sent(commit.sequence, moment);
  }
  return Carry(
      fmt::format("commit {}", commit.sequence),
      [=, this](dr::LocalSink& session) { return DeliverCommit(session, commit, moment); }, /*may_be_late=*/true);
}

model::Sequence SimLink::Published(const model::VolumeName& volume) {
  return session_ == nullptr ? 0 : session_->Published(volume);
}

absl::Status SimLink::Inventory(const model::VolumeName& volume, bool with_digests,
                                const std::function<absl::Status(model::InventoryEntry)>& visit) {
  if (!inventory_expected_) Violate("the primary asks what DR holds, though it has to know");
  return Carry("the inventory", [&](dr::LocalSink& session) {
    return session.Inventory(volume, with_digests, [&](const model::InventoryEntry& entry) {
      const FaultySystem::In in(Half::kPrimary);
      return visit(entry);
    });
  });
}

absl::StatusOr<std::string> SimLink::SegmentSignature(const model::VolumeName& volume, const std::string& path,
                                                      uint64_t number) {
  absl::StatusOr<std::string> signature;
  RETURN_IF_ERROR(Carry("a signature", [&](dr::LocalSink& session) {
    signature = session.SegmentSignature(volume, path, number);
    return absl::IsNotFound(signature.status()) ? absl::OkStatus() : signature.status();
  }));
  return signature;
}

}  // namespace understudy::sim
