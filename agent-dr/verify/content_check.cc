#include "agent-dr/verify/content_check.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <utility>

#include "core/base/log.h"
#include "core/os/clone_file.h"
#include "core/os/fd.h"
#include "core/os/file_io.h"

namespace understudy::dr {
namespace {

constexpr int kFreeTries = 2;  // after so many reads that a commit came between, the file is held still
constexpr int kMaxTries = 4;
constexpr absl::string_view kOfCaller = "understudy/of-caller";

bool SameContent(const std::optional<KeptContent>& a, const std::optional<KeptContent>& b) {
  if (a.has_value() != b.has_value()) return false;
  return !a.has_value() || (a->sequence == b->sequence && a->digest == b->digest && a->size == b->size);
}

// A copy of the file's content that no commit reaches, in no time; nullopt where the filesystem has no reflinks.
std::optional<os::Fd> Freeze(const WorkArea& work, int fd) {
  os::Fd clone(openat(work.staging().fd(), ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  if (!clone.valid() || os::CloneFile(fd, clone.get()) != 0) return std::nullopt;
  return clone;
}

class Checker {
 public:
  Checker(Replica& replica, const std::string& path, const OnBytes& on_bytes)
      : replica_(replica), path_(path), on_bytes_([&on_bytes](uint64_t bytes) {
          absl::Status status = on_bytes(bytes);
          if (!status.ok()) status.SetPayload(kOfCaller, absl::Cord("1"));
          return status;
        }) {}

  absl::StatusOr<ContentCheck> Run() {
    for (int tries = 0; tries < kMaxTries;) {
      hold_still_ = tries >= kFreeTries;
      RETURN_IF_ERROR(replica_.WithPublished([&](const Replica::Published& published) { return Look(published); }));
      if (done_) return check_;
      // Which segments it has counts only of what is damaged.
      if (!read_.has_value()) read_ = ReadFromDisk(file_.get(), on_bytes_, suspected_);
      if (read_->status().GetPayload(kOfCaller).has_value()) return read_->status();
      // No memory, no descriptors: that says nothing about the disk.
      const bool of_disk = read_->ok() || absl::IsAborted(read_->status()) || absl::IsDataLoss(read_->status());
      if (!of_disk) return Annotate(read_->status(), fmt::format("read '{}'", Printable(path_)));
      bool still = still_;
      if (!still) RETURN_IF_ERROR(CompareAgain(still));
      if (!still || absl::IsAborted(read_->status())) {
        ++tries;
        continue;
      }
      Judge();
      const bool bad = check_.verdict == Verdict::kDamaged || check_.verdict == Verdict::kUnreadable;
      // What is bad is read a second time: memory and cables have their moments, too.
      if (!bad || std::exchange(suspected_, true)) return check_;
    }
    check_.verdict = Verdict::kChanging;
    return check_;
  }

 private:
  // Under the replica's lock: opens the file, and holds it still if that was asked for.
  absl::Status Look(const Replica::Published& published) {
    read_.reset();
    still_ = false;
    check_ = {};
    check_.sequence = published.state.sequence;
    absl::StatusOr<os::Fd> file = published.root.OpenPath(path_, O_RDONLY | O_NONBLOCK | O_NOATIME);
    // Only the owner, and who may act as one, may leave the access time alone.
    if (absl::IsPermissionDenied(file.status())) file = published.root.OpenPath(path_, O_RDONLY | O_NONBLOCK);
    if (absl::IsNotFound(file.status())) return Done(Verdict::kGone);
    done_ = false;
    if (absl::IsDataLoss(file.status())) {
      // As what can't be read: it is tried a second time.
      read_ = file.status();
      still_ = true;
      return absl::OkStatus();
    }
    if (absl::IsPermissionDenied(file.status())) return Done(Verdict::kChanging);
    if (!file.ok()) return Annotate(file.status(), fmt::format("open '{}'", Printable(path_)));
    file_ = *std::move(file);
    ASSIGN_OR_RETURN(check_.stat, os::StatAt(file_.get(), ""));
    if (check_.stat.kind != model::FileKind::kRegular) return Done(Verdict::kGone);
    ContentTable contents = published.contents;
    ASSIGN_OR_RETURN(check_.kept, contents.Find(IdentityOf(check_.stat)));
    if (!hold_still_) return absl::OkStatus();
    if (std::optional<os::Fd> frozen = Freeze(published.work, file_.get())) {
      file_ = *std::move(frozen);
      still_ = true;
      return absl::OkStatus();
    }
    if (check_.stat.size > kReadWhileCommitsWait) return Done(Verdict::kChanging);
    // Without the caller's pace, which may be a long one.
    read_ = ReadFromDisk(
        file_.get(), [](uint64_t) { return absl::OkStatus(); }, suspected_);
    still_ = true;
    return absl::OkStatus();
  }

  absl::Status Done(Verdict verdict) {
    check_.verdict = verdict;
    done_ = true;
    return absl::OkStatus();
  }

  // `same`: no commit came to the file since Look.
  absl::Status CompareAgain(bool& same) {
    return replica_.WithPublished([&](const Replica::Published& published) -> absl::Status {
      ContentTable contents = published.contents;
      ASSIGN_OR_RETURN(const std::optional<KeptContent> now, contents.Find(IdentityOf(check_.stat)));
      same = SameContent(check_.kept, now);
      return absl::OkStatus();
    });
  }

  void Judge() {
    if (!read_->ok()) {
      check_.verdict = Verdict::kUnreadable;
      check_.why = std::string(MessageOf(read_->status()));
      return;
    }
    check_.found = **std::move(read_);
    check_.verdict = Verdict::kUnknown;
    if (!check_.kept.has_value() || !check_.kept->digest.has_value()) return;
    check_.verdict = Verdict::kSame;
    if (check_.found.size != check_.kept->size) {
      check_.verdict = Verdict::kDamaged;
      check_.why = fmt::format("{} bytes instead of {}", check_.found.size, check_.kept->size);
    } else if (check_.found.digest != *check_.kept->digest) {
      check_.verdict = Verdict::kDamaged;
      check_.why = check_.kept->learned ? "other content than at the first look" : "other content than was committed";
    }
  }

  Replica& replica_;
  const std::string& path_;
  const OnBytes on_bytes_;
  bool suspected_ = false;  // the content was bad once
  bool hold_still_ = false;
  ContentCheck check_;
  os::Fd file_;
  std::optional<absl::StatusOr<ReadContent>> read_;
  bool still_ = false;  // what is read, or was, can't change meanwhile
  bool done_ = false;
};

}  // namespace

absl::StatusOr<ContentCheck> CheckContent(Replica& replica, const std::string& path, const OnBytes& on_bytes) {
  return Checker(replica, path, on_bytes).Run();
}

}  // namespace understudy::dr
