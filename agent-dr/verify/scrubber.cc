#include "agent-dr/verify/scrubber.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/ioprio.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <set>
#include <utility>

#include "agent-dr/commit/inventory.h"
#include "agent-dr/verify/replica_tree.h"
#include "core/base/log.h"
#include "core/base/wait.h"
#include "core/model/path.h"
#include "core/os/tree_walk.h"

namespace understudy::dr {
namespace {

constexpr absl::Duration kLongestIdle = absl::Seconds(10);     // between looks for what is due
constexpr absl::Duration kRetry = absl::Minutes(10);           // of a replica that couldn't be read through
constexpr size_t kBatch = 256;                                 // files between two writes of the place
constexpr absl::Duration kMeetInterval = absl::Hours(7 * 24);  // between passes that read nothing
constexpr absl::Duration kWriteInterval = absl::Seconds(5);
constexpr absl::Duration kShortestWait = absl::Milliseconds(50);  // what is shorter is added to the next
constexpr uint64_t kFileCostBytes = 4096;                         // of opening and looking up, as far as the pace goes

}  // namespace

void Scrubber::Run(std::stop_token stop) {
  // Of this thread; where the I/O scheduler knows no priorities it changes nothing.
  (void)syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, IOPRIO_PRIO_VALUE(IOPRIO_CLASS_IDLE, 0));
  while (!stop.stop_requested()) {
    const absl::StatusOr<bool> done = ScrubNext(stop);
    if (absl::IsCancelled(done.status())) return;
    if (!done.ok()) spdlog::warn("scrub: {}", MessageOf(done.status()));
    if (done.ok() && !*done) (void)WaitUnlessStopped(stop, std::min(kLongestIdle, Interval()));
  }
}

absl::Duration Scrubber::Interval() const {
  return Reads() ? settings_.interval : kMeetInterval;
}

std::optional<model::VolumeName> Scrubber::NextDue() {
  const absl::Time now = clock_.Now();
  std::optional<model::VolumeName> next;
  absl::Time earliest = absl::InfiniteFuture();
  std::set<model::VolumeName> there;
  for (const model::ReplicaState& state : engine_.List()) {
    there.insert(state.volume);
    if (state.state != model::VolumeState::kStandby || !state.complete) continue;
    auto due = due_.find(state.volume);
    if (due == due_.end()) {
      const auto replica = engine_.FindReplica(state.volume);
      if (!replica.ok()) continue;
      ScrubPlace place;
      const absl::Status loaded = (*replica)->WithPublished([&](const Replica::Published& published) -> absl::Status {
        ContentTable contents = published.contents;
        ASSIGN_OR_RETURN(place, contents.LoadPlace());
        return absl::OkStatus();
      });
      // When there was a pass that read nothing isn't kept: the next one that reads is due all the same.
      const bool at_once = !Reads() || place.under_way || place.ended_nanoseconds == 0;
      const absl::Time when = !loaded.ok() ? now + kRetry
                              : at_once    ? absl::InfinitePast()
                                           : absl::FromUnixNanos(place.ended_nanoseconds) + settings_.interval;
      due = due_.emplace(state.volume, when).first;
    }
    if (due->second > now || due->second >= earliest) continue;
    earliest = due->second;
    next = state.volume;
  }
  std::erase_if(due_, [&](const auto& known) { return !there.contains(known.first); });
  return next;
}

absl::StatusOr<bool> Scrubber::ScrubNext(std::stop_token stop) {
  const std::optional<model::VolumeName> volume = NextDue();
  if (!volume.has_value()) return false;
  const auto replica = engine_.FindReplica(*volume);
  const absl::Status passed = replica.ok() ? Pass(*volume, **replica, stop) : replica.status();
  due_[*volume] = clock_.Now() + (passed.ok() ? Interval() : kRetry);
  if (passed.ok()) return true;
  return absl::IsCancelled(passed) ? passed : Annotate(passed, fmt::format("volume '{}'", *volume));
}

absl::Status Scrubber::Pass(const model::VolumeName& volume, Replica& replica, std::stop_token stop) {
  ScrubPlace place;
  RETURN_IF_ERROR(replica.WithPublished([&](const Replica::Published& published) -> absl::Status {
    ContentTable contents = published.contents;
    ASSIGN_OR_RETURN(place, contents.LoadPlace());
    if (place.under_way && Reads()) return absl::OkStatus();
    ++place.pass;
    place.under_way = Reads();
    place.path.clear();
    return contents.SavePlace(place, {});
  }));
  ASSIGN_OR_RETURN(const std::set<std::string> unreadable, ScrubTree(volume, replica, place, stop));
  ASSIGN_OR_RETURN(const bool met_all, MeetKept(volume, replica, place, stop));
  damage_.EndPass(volume, unreadable);
  // What lies where nobody can look is only out of sight.
  if (unreadable.empty() && met_all) RETURN_IF_ERROR(Collect(replica, place.pass, stop));
  place.under_way = false;
  place.path.clear();
  if (Reads()) place.ended_nanoseconds = absl::ToUnixNanos(clock_.Now());
  RETURN_IF_ERROR(replica.WithPublished([&](const Replica::Published& published) {
    ContentTable contents = published.contents;
    return contents.SavePlace(place, {});
  }));
  if (!Reads()) return absl::OkStatus();
  ++probe_.passes;
  spdlog::info("volume={} scrub pass {} is through", volume, place.pass);
  return absl::OkStatus();
}

absl::Status Scrubber::Collect(Replica& replica, uint64_t pass, std::stop_token stop) {
  for (ContentTable::CollectPlace place; !place.at_end;) {
    if (stop.stop_requested()) return absl::CancelledError("the agent stops");
    RETURN_IF_ERROR(replica.WithPublished([&](const Replica::Published& published) -> absl::Status {
      ContentTable contents = published.contents;
      ASSIGN_OR_RETURN(place, contents.Collect(pass, place));
      return absl::OkStatus();
    }));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::set<std::string>> Scrubber::ScrubTree(const model::VolumeName& volume, Replica& replica,
                                                          ScrubPlace& place, std::stop_token stop) {
  ASSIGN_OR_RETURN(const ReplicaTree tree, OpenTree(replica));
  ASSIGN_OR_RETURN(os::TreeWalk walk, os::TreeWalk::Begin(tree.root, "", tree.excluded_name));
  const std::string from = place.path;
  const std::string from_key = model::Key(from);
  Batch batch;
  absl::Duration written_at = clock_.Monotonic();
  while (true) {
    const absl::StatusOr<std::optional<os::WalkEntry>> next = walk.Next();
    if (absl::IsDataLoss(next.status())) {
      damage_.NoteUnreadable(volume, walk.failed_path(), MessageOf(next.status()));
      if (batch.unreadable.size() < kMaxDamage) batch.unreadable.insert(walk.failed_path());
      continue;
    }
    RETURN_IF_ERROR(next.status());
    const std::optional<os::WalkEntry>& entry = *next;
    if (!entry.has_value()) break;
    if (!from.empty() && model::Key(entry->path) <= from_key) {
      if (!model::IsWithin(from, entry->path)) walk.SkipChildren();
      continue;
    }
    if (entry->stat.kind != model::FileKind::kRegular) continue;
    const absl::Status scrubbed = ScrubEntry(volume, replica, *entry, batch, stop);
    if (absl::IsCancelled(scrubbed)) RETURN_IF_ERROR(Write(replica, place, batch));
    RETURN_IF_ERROR(scrubbed);
    place.path = entry->path;
    const absl::Duration now = clock_.Monotonic();
    if (batch.met.size() + batch.learned.size() < kBatch && now < written_at + kWriteInterval) continue;
    RETURN_IF_ERROR(Write(replica, place, batch));
    written_at = now;
    if (replica.State().state != model::VolumeState::kStandby) {
      return absl::FailedPreconditionError("it is no standby any more");
    }
  }
  RETURN_IF_ERROR(Write(replica, place, batch));
  return std::move(batch.unreadable);
}

absl::Status Scrubber::ScrubEntry(const model::VolumeName& volume, Replica& replica, const os::WalkEntry& entry,
                                  Batch& batch, std::stop_token stop) {
  if (!Reads()) {
    batch.met.push_back(IdentityOf(entry.stat));
    return stop.stop_requested() ? absl::CancelledError("the agent stops") : absl::OkStatus();
  }
  const bool several_names = entry.stat.link_count > 1;
  if (several_names && batch.linked.contains({entry.stat.inode, entry.stat.btime_nanoseconds})) return absl::OkStatus();
  batch.several_names = several_names;
  return ScrubFile(volume, replica, entry.path, batch, stop);
}

absl::Status Scrubber::ScrubFile(const model::VolumeName& volume, Replica& replica, const std::string& path,
                                 Batch& batch, std::stop_token stop) {
  const OnBytes on_bytes = [&](uint64_t bytes) {
    probe_.bytes += bytes;
    return KeepPace(bytes, stop);
  };
  RETURN_IF_ERROR(KeepPace(kFileCostBytes, stop));
  ASSIGN_OR_RETURN(const ContentCheck check, CheckContent(replica, path, on_bytes));
  ++probe_.files;
  const Identity identity = IdentityOf(check.stat);
  switch (check.verdict) {
    case Verdict::kSame:
      batch.met.push_back(identity);
      if (batch.several_names && batch.linked.size() < kMaxTrackedLinks) {
        batch.linked.insert({identity.inode, identity.btime_nanoseconds});
      }
      damage_.Passed(volume, replica, path);
      break;
    case Verdict::kUnknown:
      batch.learned.push_back(
          {.identity = identity, .size = check.found.size, .digest = check.found.digest, .sequence = check.sequence});
      break;
    case Verdict::kDamaged:
    case Verdict::kUnreadable:
      damage_.Note(volume, replica, path, check);
      batch.met.push_back(identity);
      break;
    case Verdict::kChanging:
      batch.met.push_back(identity);
      break;
    case Verdict::kGone:
      break;
  }
  return absl::OkStatus();
}

absl::StatusOr<bool> Scrubber::MeetKept(const model::VolumeName& volume, Replica& replica, const ScrubPlace& place,
                                        std::stop_token stop) {
  std::optional<os::Root> undo;
  RETURN_IF_ERROR(replica.WithPublished([&](const Replica::Published& published) -> absl::Status {
    ASSIGN_OR_RETURN(os::Fd folder, published.work.undo().OpenPath("", O_RDONLY | O_DIRECTORY));
    undo = os::Root(std::move(folder));
    return absl::OkStatus();
  }));
  ASSIGN_OR_RETURN(os::TreeWalk walk, os::TreeWalk::Begin(*undo, ""));
  Batch batch;
  bool met_all = true;
  while (!stop.stop_requested()) {
    const absl::StatusOr<std::optional<os::WalkEntry>> next = walk.Next();
    if (absl::IsDataLoss(next.status())) {
      // No file of the volume: who wants to go back there is told.
      if (met_all) {
        spdlog::error("volume={} what recovery points keep can't be read: {}", volume, MessageOf(next.status()));
      }
      met_all = false;
      continue;
    }
    RETURN_IF_ERROR(next.status());
    const std::optional<os::WalkEntry>& entry = *next;
    if (!entry.has_value()) {
      RETURN_IF_ERROR(Write(replica, place, batch));
      return met_all;
    }
    if (entry->stat.kind != model::FileKind::kRegular) continue;
    batch.met.push_back(IdentityOf(entry->stat));
    if (batch.met.size() >= kBatch) RETURN_IF_ERROR(Write(replica, place, batch));
  }
  return absl::CancelledError("the agent stops");
}

absl::Status Scrubber::Write(Replica& replica, const ScrubPlace& place, Batch& batch) {
  const absl::Status written = replica.WithPublished([&](const Replica::Published& published) {
    ContentTable contents = published.contents;
    // A replica that isn't a standby any more is its clients'.
    if (published.state.state == model::VolumeState::kStandby) RETURN_IF_ERROR(contents.Learn(batch.learned));
    return contents.SavePlace(place, batch.met);
  });
  batch.met.clear();
  batch.learned.clear();
  return written;
}

absl::Status Scrubber::KeepPace(uint64_t bytes, std::stop_token stop) {
  const absl::Duration now = clock_.Monotonic();
  const absl::Duration cost =
      absl::Seconds(static_cast<double>(bytes) / static_cast<double>(settings_.bytes_per_second));
  paid_until_ = std::max(paid_until_, now) + cost;
  if (stop.stop_requested()) return absl::CancelledError("the agent stops");
  if (paid_until_ - now < kShortestWait || WaitUnlessStopped(stop, paid_until_ - now)) return absl::OkStatus();
  return absl::CancelledError("the agent stops");
}

}  // namespace understudy::dr
