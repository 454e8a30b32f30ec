#include "agent-dr/hooks/hook_files.h"

#include <dirent.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <memory>
#include <string_view>

#include "core/base/log.h"

namespace understudy::dr {
namespace {

constexpr std::string_view kSpareCopies[] = {"~",          ".bak",      ".orig",     ".rej",      ".swp",
                                             ".rpmnew",    ".rpmsave",  ".rpmorig",  ".dpkg-old", ".dpkg-new",
                                             ".dpkg-dist", ".dpkg-tmp", ".ucf-dist", ".ucf-old"};

bool IsSpareCopy(std::string_view name) {
  return std::any_of(std::begin(kSpareCopies), std::end(kSpareCopies),
                     [&](std::string_view ending) { return name.ends_with(ending); });
}

absl::Status CheckOwner(const struct stat& raw, std::string_view path) {
  if (raw.st_uid != 0 && raw.st_uid != geteuid()) {
    return absl::PermissionDeniedError(
        fmt::format("'{}' belongs to user {}, so its hooks aren't run: it has to be root's, or this agent's own",
                    Printable(path), raw.st_uid));
  }
  return absl::OkStatus();
}

absl::Status CheckUnwritable(const struct stat& raw, std::string_view path) {
  if ((raw.st_mode & (S_IWGRP | S_IWOTH)) == 0) return absl::OkStatus();
  return absl::PermissionDeniedError(
      fmt::format("'{0}' can be written to by others (mode {1:o}), so no hook of it is run: chmod go-w '{0}'",
                  Printable(path), raw.st_mode & 07777));
}

// `path` and all folders above it: whoever can rename one of these chooses what is run. A sticky folder above (/tmp)
// lets nobody rename what isn't theirs. With no symbolic link among them, what is looked at here is what is run later.
// NOT_FOUND: there is no such folder, and no link that should lead to one.
absl::Status CheckFolders(std::string path) {
  absl::Status missing;
  for (bool is_ours = true;; is_ours = false) {
    struct stat raw {};
    const absl::Status looked = lstat(path.c_str(), &raw) == 0
                                    ? absl::OkStatus()
                                    : ErrnoStatus(errno, fmt::format("look at '{}'", Printable(path)));
    if (!looked.ok() && !absl::IsNotFound(looked)) return looked;
    missing.Update(looked);
    if (S_ISLNK(raw.st_mode)) {
      return absl::PermissionDeniedError(
          fmt::format("'{}' is a symbolic link, and could lead elsewhere when a hook is run: have hooks.dir name the "
                      "folder itself",
                      Printable(path)));
    }
    if (missing.ok()) {
      RETURN_IF_ERROR(CheckOwner(raw, path));
      const bool sticky = !is_ours && (raw.st_mode & S_ISVTX) != 0;
      if (!sticky) RETURN_IF_ERROR(CheckUnwritable(raw, path));
    }
    if (path == "/") return missing;
    path.resize(std::max<size_t>(1, path.rfind('/')));
  }
}

// False: it is no hook at all.
absl::StatusOr<bool> LookAt(HookFile& hook) {
  struct stat raw {};
  if (lstat(hook.path.c_str(), &raw) != 0) {
    if (errno == ENOENT) return false;
    return ErrnoStatus(errno, fmt::format("look at '{}'", Printable(hook.path)));
  }
  if (S_ISLNK(raw.st_mode)) {
    hook.usable = absl::PermissionDeniedError(fmt::format(
        "'{}' is a symbolic link: who may change what it leads to can't be told; copy the file", Printable(hook.path)));
    return true;
  }
  if (!S_ISREG(raw.st_mode) || (raw.st_mode & (S_IXUSR | S_IXGRP | S_IXOTH)) == 0) return false;
  hook.usable = CheckOwner(raw, hook.path);
  if (hook.usable.ok()) hook.usable = CheckUnwritable(raw, hook.path);
  return true;
}

}  // namespace

bool IsOptionalHook(std::string_view name) {
  constexpr std::string_view kMark = ".optional";
  return name.ends_with(kMark) || name.find(".optional.") != std::string_view::npos;
}

absl::StatusOr<std::vector<HookFile>> ListHooks(const std::string& dir, model::HookPhase phase) {
  // Without "..", which a name alone doesn't tell the meaning of.
  const std::string folder = (std::filesystem::path(dir) / model::ToString(phase)).lexically_normal().string();
  const absl::Status safe = CheckFolders(folder);
  if (absl::IsNotFound(safe)) return std::vector<HookFile>();
  RETURN_IF_ERROR(safe);
  const std::unique_ptr<DIR, int (*)(DIR*)> listing(opendir(folder.c_str()), closedir);
  if (listing == nullptr) return ErrnoStatus(errno, fmt::format("list the hooks in '{}'", Printable(folder)));
  std::vector<HookFile> hooks;
  while (true) {
    errno = 0;
    const dirent* const entry = readdir(listing.get());
    if (entry == nullptr && errno != 0) return ErrnoStatus(errno, fmt::format("list '{}'", Printable(folder)));
    if (entry == nullptr) break;
    HookFile hook{.name = entry->d_name, .path = "", .optional = false, .usable = {}};
    if (hook.name.starts_with('.') || IsSpareCopy(hook.name)) continue;
    hook.path = fmt::format("{}/{}", folder, hook.name);
    hook.optional = IsOptionalHook(hook.name);
    ASSIGN_OR_RETURN(const bool is_hook, LookAt(hook));
    if (is_hook) hooks.push_back(std::move(hook));
    if (hooks.size() > kMaxHooksOfPhase) {
      return absl::ResourceExhaustedError(
          fmt::format("more than {} hooks in '{}'", kMaxHooksOfPhase, Printable(folder)));
    }
  }
  std::sort(hooks.begin(), hooks.end(), [](const HookFile& a, const HookFile& b) { return a.name < b.name; });
  return hooks;
}

}  // namespace understudy::dr
