#include "agent-primary/verify/volume_verifier.h"

#include <fmt/format.h>

#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "agent-primary/capture/change_detector.h"
#include "agent-primary/capture/file_capture.h"
#include "core/base/log.h"
#include "core/model/path.h"
#include "core/os/tree_walk.h"
#include "core/wire/limits.h"

namespace understudy::primary {
namespace {

constexpr int kRounds = 3;
// Each may ask for another path, too.
constexpr size_t kDoubtfulAtOnce = wire::kMaxListedPaths / 2;

// Paths to be looked at again, each with another path that is the same file on one side only (empty: none).
using Doubtful = std::map<std::string, std::string>;

// DR's entries come one by one in key order; the tree here is walked along.
class TreeMerge {
 public:
  TreeMerge(const os::Root& root, os::TreeWalk walk, const VerifyTask& task, model::VerifyCounts& counts)
      : root_(root), walk_(std::move(walk)), task_(task), counts_(counts) {}

  absl::Status Begin() { return Advance(); }

  absl::Status Take(const model::ListedEntry& there) {
    ++counts_.entries;
    if (there.entry.digest.has_value()) {
      ++counts_.files_read;
      counts_.bytes_read += there.entry.size;
    }
    const std::string& path = there.entry.path;
    if (path.empty()) return Compare(path, there);
    if (!extra_folder_.empty() && model::IsWithin(path, extra_folder_)) return absl::OkStatus();
    const std::string key = model::Key(path);
    while (here_.has_value() && model::Key(here_->path) < key) RETURN_IF_ERROR(PassMissing());
    if (!here_.has_value() || here_->path != path) {
      if (there.entry.kind == model::FileKind::kDirectory) extra_folder_ = path;
      Doubt(path, "");
      return absl::OkStatus();
    }
    const bool other_kind = here_->stat.kind != there.entry.kind;
    if (other_kind && here_->stat.kind == model::FileKind::kDirectory) walk_.SkipChildren();
    if (other_kind && there.entry.kind == model::FileKind::kDirectory) extra_folder_ = path;
    const std::string partner = PartnerOf(*here_, there.entry.link_id);
    if (!partner.empty()) Doubt(path, partner);
    RETURN_IF_ERROR(Compare(path, there));
    return Advance();
  }

  absl::Status End() {
    while (here_.has_value()) RETURN_IF_ERROR(PassMissing());
    return absl::OkStatus();
  }

  Doubtful TakeDoubtful() { return std::move(doubtful_); }

 private:
  absl::Status Advance() {
    ASSIGN_OR_RETURN(here_, walk_.Next());
    return absl::OkStatus();
  }

  absl::Status PassMissing() {
    Doubt(here_->path, "");
    // A folder stands for all that is in it.
    if (here_->stat.kind == model::FileKind::kDirectory) walk_.SkipChildren();
    return Advance();
  }

  void Doubt(const std::string& path, const std::string& partner) {
    const auto known = doubtful_.find(path);
    if (known != doubtful_.end()) {
      if (!partner.empty()) known->second = partner;
    } else if (doubtful_.size() < kMaxDoubtful) {
      doubtful_.emplace(path, partner);
    } else {
      ++counts_.unchecked;
    }
  }

  absl::Status Compare(const std::string& path, const model::ListedEntry& there) {
    const bool with_digest = task_.with_digests && there.entry.digest.has_value();
    const absl::StatusOr<std::optional<LocalEntry>> here = ReadLocalEntry(root_, path, with_digest);
    const bool doubtful = !here.ok() || there.changing || !CompareEntries(path, *here, there).empty();
    if (doubtful) Doubt(path, "");
    return absl::OkStatus();
  }

  // A path that is the same file as this one on one side only; empty: none is known.
  std::string PartnerOf(const os::WalkEntry& here, uint64_t there_link) {
    if (here.stat.kind == model::FileKind::kDirectory) return {};
    const auto first_of = [&](absl::flat_hash_map<uint64_t, std::string>& first, uint64_t id) -> std::string {
      const auto known = first.find(id);
      if (known != first.end()) return known->second;
      if (first.size() < kMaxComparedLinks) first.emplace(id, here.path);
      return {};
    };
    const std::string partner_here = here.stat.link_count > 1 ? first_of(first_here_, here.stat.inode) : "";
    const std::string partner_there = there_link != 0 ? first_of(first_there_, there_link) : "";
    if (partner_here == partner_there) return {};
    return partner_here.empty() ? partner_there : partner_here;
  }

  const os::Root& root_;
  os::TreeWalk walk_;
  const VerifyTask& task_;
  model::VerifyCounts& counts_;
  std::optional<os::WalkEntry> here_;  // the next one that DR hasn't come to
  std::string extra_folder_;           // at DR only: what is in it goes with it
  Doubtful doubtful_;
  absl::flat_hash_map<uint64_t, std::string> first_here_;   // first name met, by inode
  absl::flat_hash_map<uint64_t, std::string> first_there_;  // by link_id
};

// Looks at a few doubtful paths before and after DR does.
class Confirmation {
 public:
  Confirmation(const os::Root& root, const ReplicaLister& lister, const VerifyTask& task, Doubtful doubtful)
      : root_(root), lister_(lister), task_(task), doubtful_(std::move(doubtful)) {}

  absl::Status Look(const std::function<absl::Status()>& on_wait) {
    std::set<std::string> paths;
    for (const auto& [path, partner] : doubtful_) {
      paths.insert(path);
      if (!partner.empty()) paths.insert(partner);
    }
    for (const std::string& path : paths) {
      RETURN_IF_ERROR(on_wait());
      // First, so that what comes and goes while the entry is looked at shows in it.
      anchors_.emplace(path, AnchorOf(path));
      before_.emplace(path, ReadLocalEntry(root_, path, task_.with_digests));
    }
    RETURN_IF_ERROR(task_.barrier());
    RETURN_IF_ERROR(lister_.List(
        task_.volume, task_.with_digests, {paths.begin(), paths.end()},
        [&](const model::ListedEntry& entry) {
          there_.emplace(entry.entry.path, entry);
          return absl::OkStatus();
        },
        on_wait));
    for (const std::string& path : paths) {
      if (IsStable(path)) stable_.insert(path);
    }
    return absl::OkStatus();
  }

  struct Findings {
    std::vector<model::Difference> differences;
    Doubtful unstable;                 // to be looked at once more
    std::set<std::string> damaged;     // of them: DR's own records say so
    std::set<std::string> held_right;  // of them: DR has what was committed, as its own records say
  };
  [[nodiscard]] Findings Judge() const {
    Findings findings;
    for (const auto& [path, partner] : doubtful_) {
      const std::optional<model::ListedEntry> there = There(path);
      if (!stable_.contains(path) || (!partner.empty() && !stable_.contains(partner))) {
        findings.unstable.emplace(path, partner);
        if (there.has_value() && there->damaged) findings.damaged.insert(path);
        if (there.has_value() && there->entry.digest.has_value() && !there->damaged) findings.held_right.insert(path);
        continue;
      }
      for (model::Difference& difference : CompareEntries(path, *before_.at(path), there)) {
        findings.differences.push_back(std::move(difference));
      }
      if (!partner.empty()) CompareNames(path, partner, findings);
    }
    return findings;
  }

 private:
  [[nodiscard]] std::optional<model::ListedEntry> There(const std::string& path) const {
    const auto found = there_.find(path);
    return found == there_.end() ? std::nullopt : std::optional(found->second);
  }

  // What tells that an entry, or the lack of one, is as it was: the entry itself, or the innermost folder above it, in
  // which something that comes or goes leaves its time.
  struct Anchor {
    std::string path;
    std::optional<os::EntryStat> stat;  // nullopt: it can't be looked at
    bool racy = false;                  // it changed a moment ago: another change in the same tick wouldn't show
  };
  [[nodiscard]] Anchor AnchorOf(std::string path) const {
    while (true) {
      const absl::StatusOr<os::EntryStat> stat = root_.Stat(path);
      if (stat.ok()) return {std::move(path), *stat, IsRacilyClean(stat->ctime_nanoseconds)};
      if (!absl::IsNotFound(stat.status()) || path.empty()) return {std::move(path), std::nullopt};
      path = std::string(model::Parent(path));
    }
  }

  // Whether it is as it was before the barrier.
  [[nodiscard]] bool IsStable(const std::string& path) const {
    const std::optional<model::ListedEntry> there = There(path);
    if (!before_.at(path).ok() || (there.has_value() && there->changing)) return false;
    const Anchor& before = anchors_.at(path);
    const Anchor now = AnchorOf(path);
    return before.stat.has_value() && !before.racy && now.path == before.path && now.stat == before.stat;
  }

  void CompareNames(const std::string& path, const std::string& partner, Findings& findings) const {
    const std::optional<LocalEntry>& here = *before_.at(path);
    const std::optional<LocalEntry>& here_partner = *before_.at(partner);
    const std::optional<model::ListedEntry> there = There(path);
    const std::optional<model::ListedEntry> there_partner = There(partner);
    if (!here.has_value() || !here_partner.has_value() || !there.has_value() || !there_partner.has_value()) return;
    const bool one_here = here->stat.inode == here_partner->stat.inode;
    const bool one_there = there->entry.link_id != 0 && there->entry.link_id == there_partner->entry.link_id;
    if (one_here == one_there) return;
    findings.differences.push_back(
        {path, model::DifferenceKind::kLinks,
         fmt::format("the same file as '{}' only {}", Printable(partner), one_here ? "here" : "at DR")});
  }

  const os::Root& root_;
  const ReplicaLister& lister_;
  const VerifyTask& task_;
  const Doubtful doubtful_;
  std::map<std::string, absl::StatusOr<std::optional<LocalEntry>>> before_;
  std::map<std::string, model::ListedEntry> there_;
  std::map<std::string, Anchor> anchors_;
  std::set<std::string> stable_;
};

class Verifier {
 public:
  Verifier(const ReplicaLister& lister, const VerifyTask& task, const VerifyListener& listener)
      : lister_(lister), task_(task), listener_(listener) {}

  absl::StatusOr<model::VerifyCounts> Run() {
    RETURN_IF_ERROR(task_.barrier());
    ASSIGN_OR_RETURN(const os::Root root, os::Root::Open(task_.path));
    ASSIGN_OR_RETURN(Doubtful doubtful, CompareTrees(root));
    for (int round = 0; round < kRounds && !doubtful.empty(); ++round) {
      ASSIGN_OR_RETURN(doubtful, Confirm(root, std::move(doubtful), /*last=*/round + 1 == kRounds));
    }
    RETURN_IF_ERROR(listener_.on_progress(counts_));
    return counts_;
  }

 private:
  absl::StatusOr<Doubtful> CompareTrees(const os::Root& root) {
    ASSIGN_OR_RETURN(os::TreeWalk walk, os::TreeWalk::Begin(root, "", os::kWorkFolderName));
    TreeMerge merge(root, std::move(walk), task_, counts_);
    RETURN_IF_ERROR(merge.Begin());
    const auto on_wait = [this] { return listener_.on_progress(counts_); };
    const auto take = [&](const model::ListedEntry& there) -> absl::Status {
      RETURN_IF_ERROR(on_wait());
      return merge.Take(there);
    };
    RETURN_IF_ERROR(lister_.List(task_.volume, task_.with_digests, {}, take, on_wait));
    RETURN_IF_ERROR(merge.End());
    return merge.TakeDoubtful();
  }

  absl::StatusOr<Doubtful> Confirm(const os::Root& root, Doubtful doubtful, bool last) {
    Doubtful left;
    while (!doubtful.empty()) {
      Doubtful some;
      while (!doubtful.empty() && some.size() < kDoubtfulAtOnce) some.insert(doubtful.extract(doubtful.begin()));
      Confirmation confirmation(root, lister_, task_, std::move(some));
      RETURN_IF_ERROR(confirmation.Look([this] { return listener_.on_progress(counts_); }));
      Confirmation::Findings findings = confirmation.Judge();
      for (model::Difference& difference : findings.differences) Add(std::move(difference));
      if (!last) {
        left.merge(findings.unstable);
        continue;
      }
      for (const auto& [path, partner] : findings.unstable) {
        if (findings.damaged.contains(path)) {
          Add({path, model::DifferenceKind::kContent, "DR hasn't what was committed, by its own records"});
        } else if (!findings.held_right.contains(path)) {
          ++counts_.unchecked;
        }
      }
    }
    return left;
  }

  void Add(model::Difference difference) {
    ++counts_.differences;
    listener_.on_difference(std::move(difference));
  }

  const ReplicaLister& lister_;
  const VerifyTask& task_;
  const VerifyListener& listener_;
  model::VerifyCounts counts_;
};

}  // namespace

absl::StatusOr<model::VerifyCounts> VerifyVolume(const ReplicaLister& lister, const VerifyTask& task,
                                                 const VerifyListener& listener) {
  return Verifier(lister, task, listener).Run();
}

}  // namespace understudy::primary
