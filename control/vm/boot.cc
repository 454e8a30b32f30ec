#include "control/vm/boot.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>
#include <set>

#include "core/base/wait.h"

namespace understudy::control {
namespace {

constexpr size_t kMaxNamed = 10;  // machines that a message names

// What may be otherwise at the next look: an answer that was too large may fit by then, too.
bool MayPassLater(const absl::Status& status) {
  return MayPass(status) || absl::IsResourceExhausted(status);
}

std::string Names(const std::vector<std::string>& lines) {
  const size_t shown = std::min(lines.size(), kMaxNamed);
  std::string text = fmt::format("{}", fmt::join(lines.begin(), lines.begin() + static_cast<ptrdiff_t>(shown), "; "));
  if (lines.size() > shown) text += fmt::format("; and {} more", lines.size() - shown);
  return text;
}

// Looks at some machines again and again, and tells what changes.
class Watcher {
 public:
  Watcher(VirtualMachines& machines, const OnVmChange& on_change) : machines_(machines), on_change_(on_change) {}

  // How they are now. One that is gone has no entry.
  absl::StatusOr<std::map<VmKey, VmStatus>> Look(const std::set<VmKey>& keys, std::stop_token stop) {
    std::set<std::string> namespaces;
    for (const VmKey& key : keys) namespaces.insert(key.namespace_name);
    std::map<VmKey, VmStatus> found;
    for (const std::string& namespace_name : namespaces) {
      ASSIGN_OR_RETURN(std::vector<VmStatus> listed, machines_.List(namespace_name, stop));
      for (VmStatus& status : listed) {
        if (keys.contains(status.key)) found.emplace(status.key, std::move(status));
      }
    }
    return found;
  }

  void Tell(const VmStatus& status, const VmVerdict& verdict) {
    VmVerdict& told = told_[status.key];
    const bool first = seen_.insert(status.key).second;
    if (!first && told == verdict) return;
    told = verdict;
    if (on_change_) on_change_(status, verdict);
  }

 private:
  VirtualMachines& machines_;
  const OnVmChange& on_change_;
  std::set<VmKey> seen_;
  std::map<VmKey, VmVerdict> told_;
};

// One group from its start to the verdict of each of its machines.
class GroupBoot {
 public:
  GroupBoot(VirtualMachines& machines, const BootGroup& group, const OnVmChange& on_change,
            const VmWaitOptions& options, Clock& clock)
      : machines_(machines),
        group_(group),
        watcher_(machines, on_change),
        options_(options),
        clock_(clock),
        began_(clock.Monotonic()) {}

  // `boots` point to the results, which are filled in.
  absl::Status Run(const std::vector<std::pair<const BootVm*, VmBoot*>>& boots, std::stop_token stop) {
    for (const auto& [vm, boot] : boots) {
      if (stop.stop_requested()) return absl::CancelledError("the boot was stopped");
      Start(*vm, *boot);
    }
    while (!waiting_.empty()) {
      RETURN_IF_ERROR(Look(stop));
      if (waiting_.empty()) break;
      const absl::Duration left = group_.timeout - Passed();
      if (left <= absl::ZeroDuration()) {
        TimeOut();
        break;
      }
      if (!WaitUnlessStopped(stop, std::min(left, options_.poll_interval))) {
        return absl::CancelledError("the boot was stopped");
      }
    }
    return absl::OkStatus();
  }

 private:
  struct Waiting {
    const BootVm* vm = nullptr;
    VmBoot* boot = nullptr;
    bool started = false;  // KubeVirt was asked
    std::string reason;    // of the last look
    std::optional<absl::Duration> bad_since;
  };

  absl::Duration Passed() const { return clock_.Monotonic() - began_; }

  void End(VmBoot& boot, BootOutcome outcome, std::string reason) {
    boot.outcome = outcome;
    boot.reason = std::move(reason);
    boot.took = Passed();
  }

  void Start(const BootVm& vm, VmBoot& boot) {
    if (vm.run_strategy == kRunHalted) {
      End(boot, BootOutcome::kLeftStopped, "it was stopped before, too");
      return;
    }
    Waiting waiting{.vm = &vm, .boot = &boot, .started = false, .reason = {}, .bad_since = {}};
    if (TryStart(waiting)) waiting_[vm.key] = std::move(waiting);
  }

  // False: it can't be started, and that is told.
  bool TryStart(Waiting& waiting) {
    const absl::Status started = machines_.Start(waiting.vm->key, waiting.vm->run_strategy);
    waiting.started = started.ok();
    if (started.ok()) return true;
    waiting.reason = fmt::format("couldn't be started: {}", MessageOf(started));
    if (MayPassLater(started)) return true;
    End(*waiting.boot, BootOutcome::kBad, waiting.reason);
    return false;
  }

  absl::Status Look(std::stop_token stop) {
    std::set<VmKey> keys;
    for (auto next = waiting_.begin(); next != waiting_.end();) {
      const auto current = next++;
      if (!current->second.started && !TryStart(current->second)) {
        waiting_.erase(current);
        continue;
      }
      keys.insert(current->first);
    }
    const absl::StatusOr<std::map<VmKey, VmStatus>> found = watcher_.Look(keys, stop);
    if (stop.stop_requested()) return absl::CancelledError("the boot was stopped");
    if (!found.ok()) {
      for (auto& [key, waiting] : waiting_) waiting.reason = MessageOf(found.status());
      return MayPassLater(found.status()) ? absl::OkStatus() : found.status();
    }
    for (const VmKey& key : keys) {
      const auto status = found->find(key);
      if (status != found->end()) {
        Take(status->second);
      } else {
        waiting_.at(key).reason = "the machine isn't there";
      }
    }
    return absl::OkStatus();
  }

  void Take(const VmStatus& status) {
    Waiting& waiting = waiting_.at(status.key);
    const VmVerdict verdict = Judge(status, {.agent = group_.expect_agent});
    watcher_.Tell(status, verdict);
    waiting.reason = verdict.reason;
    if (verdict.state == Wellbeing::kWell) {
      End(*waiting.boot, BootOutcome::kWell, {});
      waiting_.erase(status.key);
      return;
    }
    if (verdict.state == Wellbeing::kStopped) {
      waiting.reason = "it stays stopped although it was started";
      // Somebody stopped it again, or the request was lost.
      waiting.started = false;
    }
    if (verdict.state != Wellbeing::kBad) {
      waiting.bad_since.reset();
      return;
    }
    if (!waiting.bad_since) waiting.bad_since = clock_.Monotonic();
    if (clock_.Monotonic() - *waiting.bad_since < options_.bad_after) return;
    End(*waiting.boot, BootOutcome::kBad, verdict.reason);
    waiting_.erase(status.key);
  }

  void TimeOut() {
    for (auto& [key, waiting] : waiting_) {
      const BootOutcome outcome = waiting.bad_since ? BootOutcome::kBad : BootOutcome::kTimedOut;
      End(*waiting.boot, outcome, waiting.reason);
    }
    waiting_.clear();
  }

  VirtualMachines& machines_;
  const BootGroup& group_;
  Watcher watcher_;
  const VmWaitOptions& options_;
  Clock& clock_;
  const absl::Duration began_;
  std::map<VmKey, Waiting> waiting_;
};

bool IsBroken(const VmBoot& boot) {
  return boot.outcome == BootOutcome::kBad || boot.outcome == BootOutcome::kTimedOut;
}

}  // namespace

std::string_view ToString(BootOutcome outcome) {
  switch (outcome) {
    case BootOutcome::kWell:
      return "well";
    case BootOutcome::kBad:
      return "bad";
    case BootOutcome::kTimedOut:
      return "timed out";
    case BootOutcome::kNotStarted:
      return "not started";
    case BootOutcome::kLeftStopped:
      return "left stopped";
  }
  AbortOnBrokenInvariant("known BootOutcome", __FILE__, __LINE__);
}

bool MatchesVm(std::string_view glob, const VmKey& key) {
  const std::string name = ToString(key);
  // Greedy with one place to go back to, the newest star: linear for names as short as these.
  size_t at = 0;
  size_t in_glob = 0;
  size_t star = std::string_view::npos;
  size_t after_star = 0;
  while (at < name.size()) {
    if (in_glob < glob.size() && glob[in_glob] == '*') {
      star = in_glob++;
      after_star = at;
    } else if (in_glob < glob.size() && (glob[in_glob] == '?' || glob[in_glob] == name[at])) {
      ++in_glob;
      ++at;
    } else if (star != std::string_view::npos) {
      in_glob = star + 1;
      at = ++after_star;
    } else {
      return false;
    }
  }
  return glob.find_first_not_of('*', in_glob) == std::string_view::npos;
}

std::vector<size_t> GroupsOf(const BootOrder& order, const std::vector<BootVm>& vms) {
  std::vector<size_t> groups;
  groups.reserve(vms.size());
  for (const BootVm& vm : vms) {
    const auto fits = [&](const BootGroup& group) {
      return std::any_of(group.vms.begin(), group.vms.end(),
                         [&](const std::string& glob) { return MatchesVm(glob, vm.key); });
    };
    const auto found = std::find_if(order.groups.begin(), order.groups.end(), fits);
    groups.push_back(static_cast<size_t>(found - order.groups.begin()));
  }
  return groups;
}

absl::Status WaitStopped(VirtualMachines& machines, const std::vector<VmKey>& keys, absl::Duration timeout,
                         std::stop_token stop, const OnVmChange& on_change, const VmWaitOptions& options,
                         Clock& clock) {
  const absl::Duration began = clock.Monotonic();
  Watcher watcher(machines, on_change);
  const std::set<VmKey> wanted(keys.begin(), keys.end());
  while (true) {
    const absl::StatusOr<std::map<VmKey, VmStatus>> found = watcher.Look(wanted, stop);
    if (stop.stop_requested()) return absl::CancelledError("waiting for machines to stop was stopped");
    if (!found.ok() && !MayPassLater(found.status())) return found.status();
    std::vector<std::string> left;
    if (!found.ok()) left.push_back(fmt::format("the cluster can't be asked: {}", MessageOf(found.status())));
    if (found.ok()) {
      for (const auto& [key, status] : *found) {
        const VmVerdict verdict = Judge(status, {});
        watcher.Tell(status, verdict);
        if (verdict.state == Wellbeing::kStopped) continue;
        left.push_back(
            fmt::format("{}: {}", ToString(key), status.wants_running ? "is wanted to run again" : verdict.reason));
      }
    }
    if (left.empty()) return absl::OkStatus();
    const absl::Duration remaining = timeout - (clock.Monotonic() - began);
    if (remaining <= absl::ZeroDuration()) {
      return absl::DeadlineExceededError(
          fmt::format("not all machines are stopped after {}: {}", absl::FormatDuration(timeout), Names(left)));
    }
    WaitUnlessStopped(stop, std::min(remaining, options.poll_interval));
  }
}

absl::StatusOr<std::vector<VmBoot>> Boot(VirtualMachines& machines, const std::vector<BootVm>& vms,
                                         const BootOrder& order, std::stop_token stop, const OnVmChange& on_change,
                                         const VmWaitOptions& options, Clock& clock) {
  const std::vector<size_t> groups = GroupsOf(order, vms);
  std::vector<VmBoot> boots(vms.size());
  for (size_t i = 0; i < vms.size(); ++i) boots[i] = {.key = vms[i].key, .group = groups[i], .reason = {}};
  std::optional<std::string> broken;
  for (size_t group = 0; group <= order.groups.size(); ++group) {
    std::vector<std::pair<const BootVm*, VmBoot*>> members;
    for (size_t i = 0; i < vms.size(); ++i) {
      if (groups[i] != group) continue;
      if (broken) boots[i].reason = fmt::format("{} didn't get well before", *broken);
      members.emplace_back(&vms[i], &boots[i]);
    }
    if (broken || members.empty()) continue;
    const BootGroup& settings = group < order.groups.size() ? order.groups[group] : order.rest;
    RETURN_IF_ERROR(GroupBoot(machines, settings, on_change, options, clock).Run(members, stop));
    const auto bad =
        std::find_if(members.begin(), members.end(), [](const auto& member) { return IsBroken(*member.second); });
    if (bad != members.end() && order.on_broken == OnBroken::kStop) broken = ToString(bad->second->key);
    const bool is_last = std::none_of(groups.begin(), groups.end(), [&](size_t other) { return other > group; });
    if (!broken && !is_last && !WaitUnlessStopped(stop, settings.pause_after)) {
      return absl::CancelledError("the boot was stopped");
    }
  }
  return boots;
}

}  // namespace understudy::control
