// The part of VolumeReplicator that keeps bases of large files, and gives them up.
#include <utility>

#include "agent-primary/ship/volume_replicator.h"
#include "core/base/log.h"

namespace understudy::primary {
namespace {

// What kept bases away is tried again after so long.
constexpr absl::Duration kBasesRetry = absl::Minutes(1);

}  // namespace

std::shared_ptr<BaseStore> VolumeReplicator::OpenBases(const os::Root& root) {
  absl::MutexLock lock(&bases_mutex_);
  if (options_.export_path.empty()) return nullptr;
  if (bases_ != nullptr && (bases_->broken() || !bases_->IsOf(root.fd()))) bases_ = nullptr;
  const absl::Duration now = clock_.Monotonic();
  if (bases_ != nullptr || now < next_bases_try_) return bases_;
  next_bases_try_ = now + kBasesRetry;
  if (options_.strategy != Strategy::kAuto) {
    GiveUpBases("capture.strategy says so");
    return nullptr;
  }
  auto opened = BaseStore::Open(options_.export_path, name_, root.fd(), options_.least_frozen_bytes, clock_);
  if (!opened.ok()) {
    TellWhyNotExtents({"", UINT64_MAX, std::string(MessageOf(opened.status()))});
    return nullptr;
  }
  bases_ = *std::move(opened);
  bases_discarded_ = false;
  {
    absl::MutexLock status_lock(&mutex_);
    if (largest_look_.size == UINT64_MAX) largest_look_ = {};
  }
  CollectBases(*bases_);
  return bases_;
}

void VolumeReplicator::CollectBases(BaseStore& bases) {
  const absl::StatusOr<std::set<std::string>> named = index_->CollectBases();
  const absl::Status collected = named.ok() ? bases.KeepOnly(*named) : named.status();
  if (!collected.ok()) spdlog::warn("volume={} clones that aren't needed stay: {}", name_, MessageOf(collected));
}

void VolumeReplicator::TellWhyNotExtents(const LargeFileLook& look) {
  absl::MutexLock lock(&mutex_);
  // The largest file speaks for all: else two of them would take turns.
  if (look.size < largest_look_.size && look.path != largest_look_.path) return;
  largest_look_ = look;
  if (status_.strategy_reason == look.why_not_extents) return;
  status_.strategy_reason = look.why_not_extents;
  if (look.why_not_extents.empty()) {
    spdlog::info("volume={} what changed in large files is told by their extents again", name_);
  } else {
    spdlog::info("volume={} large files are read as a whole when they changed: {}", name_, look.why_not_extents);
  }
}

std::optional<std::string> VolumeReplicator::WhyNoBases() const {
  absl::MutexLock lock(&mutex_);
  if (paused()) return "it is paused";
  if (promoted_.has_value()) return "its live copy is at DR";
  if (running_ || clock_.Monotonic() < stalled_since_ + kBasesPatience) return std::nullopt;
  return "nothing has been replicated for some minutes";
}

void VolumeReplicator::TendBases() {
  if (options_.export_path.empty()) return;
  absl::MutexLock lock(&bases_mutex_);
  if (std::optional<std::string> why = WhyNoBases()) return GiveUpBases(*why);
  if (bases_ != nullptr) {
    if (bases_->GiveUpForRoom()) spdlog::warn("volume={} bases were given up: its filesystem fills up", name_);
    return;
  }
  const absl::Status room = BaseStore::CheckRoom(options_.export_path);
  if (absl::IsResourceExhausted(room)) GiveUpBases(std::string(MessageOf(room)));
}

void VolumeReplicator::GiveUpBases(const std::string& why) {
  if (bases_ == nullptr && std::exchange(bases_discarded_, true)) return;
  const absl::StatusOr<size_t> given_up =
      bases_ != nullptr ? bases_->GiveUpBases() : BaseStore::Discard(options_.export_path, name_);
  if (!given_up.ok()) {
    spdlog::warn("volume={} bases that aren't needed stay: {}", name_, MessageOf(given_up.status()));
  } else if (*given_up > 0) {
    spdlog::info("volume={} bases were given up: {}", name_, why);
  }
}

}  // namespace understudy::primary
