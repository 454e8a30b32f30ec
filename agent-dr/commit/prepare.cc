#include "agent-dr/commit/prepare.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <utility>
#include <variant>

#include "core/base/log.h"
#include "core/delta/content_digest.h"
#include "core/os/file_io.h"
#include "core/os/metadata.h"
#include "core/wire/status_path.h"

namespace understudy::dr {
namespace {

using model::FileKind;

uint32_t TypeBits(FileKind kind) {
  switch (kind) {
    case FileKind::kFifo:
      return S_IFIFO;
    case FileKind::kSocket:
      return S_IFSOCK;
    case FileKind::kCharacterDevice:
      return S_IFCHR;
    case FileKind::kBlockDevice:
      return S_IFBLK;
    default:
      AbortOnBrokenInvariant("a kind of node", __FILE__, __LINE__);
  }
}

absl::Status ContentMismatch(const std::string& path, std::string_view why) {
  return wire::WithPath(
      absl::DataLossError(fmt::format("the content sent for '{}' {}: send it again", Printable(path), why)), path);
}

class Preparer {
 public:
  Preparer(const WorkArea& work, const Staging& staging, const CommitPlan& plan, model::Sequence sequence)
      : work_(work), staging_(staging), plan_(plan), sequence_(sequence) {}

  void set_index(size_t index) { index_ = index; }

  absl::Status operator()(model::Remove&) { return absl::OkStatus(); }
  absl::Status operator()(model::Detach&) { return absl::OkStatus(); }
  absl::Status operator()(model::Attach&) { return absl::OkStatus(); }
  absl::Status operator()(model::SetMetadata&) { return absl::OkStatus(); }
  absl::Status operator()(model::Link&) { return absl::OkStatus(); }
  absl::Status operator()(model::Patch&) { return absl::OkStatus(); }

  absl::Status operator()(model::MakeDirectory&) {
    if (plan_.existing_directories.contains(index_)) return absl::OkStatus();
    // Its metadata comes with the fourth pass, after what is put into it.
    return mkdirat(folder(), Name().c_str(), 0700) == 0 ? absl::OkStatus() : Failed("make folder");
  }
  absl::Status operator()(model::Put& op) {
    return std::holds_alternative<std::string>(op.content) ? PutInline(op) : PutStaged(op);
  }
  absl::Status operator()(model::MakeSymlink& op) {
    if (symlinkat(op.target.c_str(), folder(), Name().c_str()) != 0) return Failed("make symlink");
    return SetMetadata(Name(), FileKind::kSymlink, op.metadata);
  }
  absl::Status operator()(model::MakeNode& op) {
    if (mknodat(folder(), Name().c_str(), TypeBits(op.kind) | 0600, op.device) != 0) return Failed("make node");
    return SetMetadata(Name(), op.kind, op.metadata);
  }

 private:
  [[nodiscard]] int folder() const { return work_.staging().fd(); }
  [[nodiscard]] std::string Name() const { return WorkArea::StagedEntry(sequence_, index_); }
  static absl::Status Failed(std::string_view what) { return ErrnoStatus(errno, fmt::format("stage: {}", what)); }

  absl::Status SetMetadata(const std::string& name, FileKind kind, const model::Metadata& metadata) {
    ASSIGN_OR_RETURN(const os::Fd entry, work_.staging().OpenPath(name, O_PATH));
    return os::ApplyMetadata(entry.get(), kind, metadata);
  }

  absl::Status PutInline(model::Put& op) {
    std::string& content = std::get<std::string>(op.content);
    if (delta::DigestOfContent(content) != op.digest) return ContentMismatch(op.path, "doesn't match its digest");
    ASSIGN_OR_RETURN(const os::Fd file, work_.staging().OpenPath(Name(), O_WRONLY | O_CREAT | O_EXCL, 0600));
    RETURN_IF_ERROR(os::WriteAt(file.get(), 0, content));
    content = std::string();
    return os::ApplyMetadata(file.get(), FileKind::kRegular, op.metadata);
  }

  absl::Status PutStaged(const model::Put& op) {
    const model::Slot slot = std::get<model::Slot>(op.content);
    const StagedContent* const content = staging_.Find(slot);
    if (content == nullptr) return absl::InvalidArgumentError(fmt::format("slot {} wasn't staged to its end", slot));
    if (content->size != op.size) return ContentMismatch(op.path, "has another size than announced");
    const std::string staged = WorkArea::StagedContent(slot);
    if (renameat(folder(), staged.c_str(), folder(), Name().c_str()) != 0) return Failed("name content");
    ASSIGN_OR_RETURN(const os::Fd file, work_.staging().OpenPath(Name(), O_RDONLY));
    // With a base, each delta's range was checked as it came; the rest is the base's, which isn't read again.
    if (!content->has_base) {
      ASSIGN_OR_RETURN(const model::Digest digest, os::DigestOfFile(file.get(), op.size));
      if (digest != op.digest) return ContentMismatch(op.path, "doesn't match its digest");
    }
    return os::ApplyMetadata(file.get(), FileKind::kRegular, op.metadata);
  }

  const WorkArea& work_;
  const Staging& staging_;
  const CommitPlan& plan_;
  const model::Sequence sequence_;
  size_t index_ = 0;
};

// A new name of a file may come to where an old one went away. As long as the mark is there, none has come.
absl::Status MarkVacating(const WorkArea& work, const CommitPlan& plan, model::Sequence sequence) {
  const bool needed =
      std::any_of(plan.sources.begin(), plan.sources.end(), [](const auto& at) { return at.second.several_names; });
  if (!needed) return absl::OkStatus();
  return work.staging().OpenPath(WorkArea::VacatingMark(sequence), O_WRONLY | O_CREAT, 0600).status();
}

}  // namespace

bool PlacesStagedEntry(const model::Operation& operation) {
  return std::holds_alternative<model::Put>(operation) || std::holds_alternative<model::MakeDirectory>(operation) ||
         std::holds_alternative<model::MakeSymlink>(operation) || std::holds_alternative<model::MakeNode>(operation);
}

absl::Status PrepareCommit(const WorkArea& work, const Staging& staging, const CommitPlan& plan, FaultPoints& faults,
                           model::Commit& commit) {
  Preparer preparer(work, staging, plan, commit.sequence);
  for (size_t index = 0; index < commit.operations.size(); ++index) {
    RETURN_IF_ERROR(faults.Reach(Step::kStage, index));
    preparer.set_index(index);
    RETURN_IF_ERROR(std::visit(preparer, commit.operations[index]));
  }
  return MarkVacating(work, plan, commit.sequence);
}

}  // namespace understudy::dr
