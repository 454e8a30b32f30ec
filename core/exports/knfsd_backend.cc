#include "core/exports/knfsd_backend.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <iterator>
#include <system_error>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/time/clock.h"
#include "core/base/clock.h"
#include "core/base/log.h"
#include "core/exports/own_file.h"
#include "core/os/fd.h"

namespace understudy::exports {
namespace {

// One that can't be looked at counts as the same: then more is said, not less.
bool SameFilesystem(const std::string& a, const std::string& b) {
  struct stat one {};
  struct stat other {};
  if (stat(a.c_str(), &one) != 0 || stat(b.c_str(), &other) != 0) return true;
  return one.st_dev == other.st_dev;
}

std::set<std::string> PathsOf(std::span<const WantedExport> wanted) {
  std::set<std::string> paths;
  for (const WantedExport& one : wanted) paths.insert(one.path);
  return paths;
}

std::vector<EtabEntry> OfWantedPaths(std::span<const WantedExport> wanted, const std::vector<EtabEntry>& etab) {
  const std::set<std::string> paths = PathsOf(wanted);
  std::vector<EtabEntry> kept;
  std::copy_if(etab.begin(), etab.end(), std::back_inserter(kept),
               [&](const EtabEntry& entry) { return paths.contains(entry.path); });
  // etab has no order of its own.
  std::sort(kept.begin(), kept.end(), [](const EtabEntry& a, const EtabEntry& b) {
    return std::pair(a.path, a.client) < std::pair(b.path, b.client);
  });
  return kept;
}

bool Holds(const std::vector<EtabEntry>& etab, const EtabEntry& wanted) {
  return std::any_of(etab.begin(), etab.end(), [&](const EtabEntry& entry) {
    return entry.path == wanted.path && entry.client == wanted.client;
  });
}

// One line for people.
std::string Shortened(std::string_view output) {
  constexpr size_t kMaxShownBytes = 500;
  std::string text(output.substr(0, kMaxShownBytes));
  std::replace(text.begin(), text.end(), '\n', ' ');
  absl::StripAsciiWhitespace(&text);
  absl::RemoveExtraAsciiWhitespace(&text);
  return Printable(text);
}

// Both agents of a host may change exports at the same moment; each sees to the other's exports while it does. The lock
// goes with the descriptor.
absl::StatusOr<os::Fd> LockExports(const std::string& folder, absl::Duration patience) {
  constexpr absl::Duration kStep = absl::Milliseconds(5);
  const std::string path = folder + "/.understudy.lock";
  os::Fd file(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!file.valid()) return ErrnoStatus(errno, fmt::format("make '{}'", Printable(path)));
  const absl::Duration deadline = Clock::System().Monotonic() + patience;
  while (flock(file.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK && errno != EINTR) return ErrnoStatus(errno, fmt::format("lock '{}'", Printable(path)));
    if (Clock::System().Monotonic() >= deadline) {
      return absl::UnavailableError(fmt::format("another agent of this host holds '{}'", Printable(path)));
    }
    absl::SleepFor(kStep);
  }
  return file;
}

// The files of the agents of this host in the folder.
absl::StatusOr<std::vector<std::string>> AgentsFiles(const std::string& folder) {
  std::vector<std::string> files;
  std::error_code failed;
  for (auto file = std::filesystem::directory_iterator(folder, failed);
       !failed && file != std::filesystem::directory_iterator(); file.increment(failed)) {
    const std::string name = file->path().filename().string();
    if (name.starts_with("understudy-") && name.ends_with(".exports")) files.push_back(file->path().string());
  }
  if (!failed) return files;
  return ErrnoStatus(failed.value(), fmt::format("list '{}'", Printable(folder)));
}

ExportBackend::Found Judge(std::span<const WantedExport> wanted, const std::vector<EtabEntry>& etab) {
  ExportBackend::Found found;
  for (const WantedExport& one : wanted) {
    FoundExport& judged = found[one.name] = JudgeEtab(one, etab, {.same_filesystem = SameFilesystem});
    struct stat raw {};
    if (one.mode == model::ExportMode::kNone || (stat(one.path.c_str(), &raw) == 0 && S_ISDIR(raw.st_mode))) continue;
    // exportfs writes it into etab all the same.
    judged.actual = model::ExportMode::kNone;
    judged.problem = fmt::format("its folder '{}' isn't there, so no client can use it", Printable(one.path));
  }
  return found;
}

}  // namespace

KnfsdBackend::KnfsdBackend(KnfsdOptions options)
    : options_(std::move(options)),
      file_(fmt::format("{}/{}.exports", options_.exports_dir, options_.program)),
      by_hand_(options_.exports_dir) {}

absl::StatusOr<std::vector<EtabEntry>> KnfsdBackend::ReadEtab() const {
  ASSIGN_OR_RETURN(const std::optional<std::string> text, ReadServerFile(options_.etab));
  if (!text) return std::vector<EtabEntry>();
  absl::StatusOr<std::vector<EtabEntry>> entries = ParseEtab(*text);
  if (!entries.ok()) return Annotate(entries.status(), fmt::format("{} (knfsd.etab)", options_.etab));
  return entries;
}

absl::StatusOr<os::CommandResult> KnfsdBackend::RunExportfs(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), options_.exportfs);
  absl::StatusOr<os::CommandResult> result = runner_.Run(arguments, options_.timeout);
  if (absl::IsNotFound(result.status())) {
    return absl::UnavailableError(
        fmt::format("{}: install the NFS server's tools, or set knfsd.exportfs", MessageOf(result.status())));
  }
  return result;
}

absl::StatusOr<std::vector<EtabEntry>> KnfsdBackend::ByHand(const std::set<std::string>& our_paths) const {
  std::set<std::string> agents_paths = our_paths;
  ASSIGN_OR_RETURN(const std::vector<std::string> files, AgentsFiles(options_.exports_dir));
  for (const std::string& file : files) {
    ASSIGN_OR_RETURN(const std::optional<std::string> text, ReadServerFile(file));
    agents_paths.merge(PathsOfExportsFile(text.value_or("")));
  }
  ASSIGN_OR_RETURN(std::vector<EtabEntry> entries, ReadEtab());
  std::erase_if(entries, [&](const EtabEntry& entry) { return agents_paths.contains(entry.path); });
  return entries;
}

absl::StatusOr<bool> KnfsdBackend::PutBack(const EtabEntry& entry) {
  const bool is_address = entry.client.find(':') != std::string::npos;
  const std::string client = is_address ? fmt::format("[{}]", entry.client) : entry.client;
  ASSIGN_OR_RETURN(const os::CommandResult result,
                   RunExportfs({"-i", "-o", entry.options, fmt::format("{}:{}", client, entry.path)}));
  if (result.exit_code == 0) return true;
  spdlog::warn("an export that isn't ours was dropped by exportfs -r: exportfs -o for '{}' to {}: {}",
               Printable(entry.path), Printable(entry.client), Shortened(result.output));
  return false;
}

absl::Status KnfsdBackend::PutBackKept() {
  ASSIGN_OR_RETURN(const std::vector<EtabEntry> kept, by_hand_.Load());
  if (!kept.empty()) {
    ASSIGN_OR_RETURN(const std::vector<EtabEntry> present, ReadEtab());
    for (const EtabEntry& entry : kept) {
      if (!Holds(present, entry)) RETURN_IF_ERROR(PutBack(entry).status());
    }
  }
  return by_hand_.Drop();
}

absl::Status KnfsdBackend::Apply(const std::set<std::string>& our_paths, std::string& said) {
  RETURN_IF_ERROR(PutBackKept());
  // Either made by hand, or of a file that changed and nobody ran exportfs yet: in both cases not ours to take away.
  ASSIGN_OR_RETURN(const std::vector<EtabEntry> by_hand, ByHand(our_paths));
  RETURN_IF_ERROR(by_hand_.Keep(by_hand));
  const absl::StatusOr<os::CommandResult> reexported = RunExportfs({"-r"});
  const absl::Status put_back = PutBackKept();
  RETURN_IF_ERROR(reexported.status());
  RETURN_IF_ERROR(put_back);
  if (reexported->exit_code != 0) said = Shortened(reexported->output);
  // What the kernel knows already goes, so that the next request asks anew.
  ASSIGN_OR_RETURN(const os::CommandResult flushed, RunExportfs({"-f"}));
  if (flushed.exit_code == 0) return absl::OkStatus();
  return absl::UnavailableError(
      fmt::format("exportfs -f failed, so the kernel may go by what was before: {}", Shortened(flushed.output)));
}

absl::StatusOr<ExportBackend::Found> KnfsdBackend::Reconcile(std::span<const WantedExport> wanted,
                                                             const std::optional<std::string>& only) {
  ASSIGN_OR_RETURN(const std::optional<std::string> present, ReadServerFile(file_));
  if (!present && wanted.empty()) return Found();
  const std::string content = RenderExportsFile(options_.program, wanted);
  const bool nothing_to_export = std::all_of(
      wanted.begin(), wanted.end(), [](const WantedExport& one) { return one.mode == model::ExportMode::kNone; });
  std::vector<WantedExport> judged;
  std::copy_if(wanted.begin(), wanted.end(), std::back_inserter(judged),
               [&](const WantedExport& one) { return !only || one.name == *only; });
  ASSIGN_OR_RETURN(const std::vector<EtabEntry> before, ReadEtab());
  Found found = Judge(judged, before);
  // Whoever never exported anything with this server leaves it alone.
  if (!present && nothing_to_export) return found;
  const bool settled = std::all_of(found.begin(), found.end(), [](const auto& one) { return one.second.ours_settled; });
  if (applied_ && settled && present == content && OfWantedPaths(wanted, before) == left_behind_) return found;

  applied_ = false;
  RETURN_IF_ERROR(MakeServerFolder(options_.exports_dir));
  ASSIGN_OR_RETURN(const os::Fd lock, LockExports(options_.exports_dir, options_.timeout));
  std::set<std::string> our_paths = PathsOf(wanted);
  our_paths.merge(PathsOfExportsFile(present.value_or("")));
  if (present != content) RETURN_IF_ERROR(ReplaceOwnFile(file_, content));
  std::string said;
  RETURN_IF_ERROR(Apply(our_paths, said));
  ASSIGN_OR_RETURN(const std::vector<EtabEntry> after, ReadEtab());
  left_behind_ = OfWantedPaths(wanted, after);
  found = Judge(judged, after);
  applied_ = true;
  for (const WantedExport& one : judged) {
    FoundExport& result = found[one.name];
    // What is still there may be ours, if exportfs didn't do all that it should.
    const bool left = one.mode == model::ExportMode::kNone && result.actual != model::ExportMode::kNone;
    if (said.empty() || (result.ours_settled && !left)) continue;
    result.ours_settled = false;
    result.problem += fmt::format(" (exportfs says: {})", said);
    applied_ = false;
  }
  return found;
}

}  // namespace understudy::exports
