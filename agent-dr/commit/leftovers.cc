#include "agent-dr/commit/leftovers.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <optional>
#include <span>
#include <system_error>
#include <utility>
#include <variant>

#include "core/base/log.h"
#include "core/delta/content_digest.h"
#include "core/model/path.h"
#include "core/os/file_io.h"
#include "core/os/stat.h"
#include "core/os/tree_walk.h"
#include "core/wire/limits.h"

namespace understudy::dr {
namespace {

constexpr std::string_view kWholeMagic = "USLEFT1\n";
constexpr std::string_view kOverBaseMagic = "USLEFB1\n";
constexpr size_t kHeaderBytes = 8 + 8 + 4;
constexpr uint64_t kMaxNumber = uint64_t{1} << 48;  // so that counting on never wraps
constexpr size_t kDigestBytes = sizeof(model::Digest);
constexpr size_t kMaxAboutBytes = kHeaderBytes + model::kMaxPathBytes + kDigestBytes;

void AppendLittleEndian(std::string& bytes, uint64_t value, int count) {
  for (int i = 0; i < count; ++i) bytes.push_back(static_cast<char>(value >> (8 * i)));
}

uint64_t LittleEndian(std::string_view bytes) {
  uint64_t value = 0;
  for (size_t i = bytes.size(); i > 0; --i) value = value << 8 | static_cast<uint8_t>(bytes[i - 1]);
  return value;
}

// The number in `name` after `prefix`, if it is written as this program writes it.
std::optional<uint64_t> NumberIn(std::string_view name, char prefix) {
  if (name.empty() || name.front() != prefix) return std::nullopt;
  const std::string_view digits = name.substr(1);
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
  if (error != std::errc() || end != digits.data() + digits.size()) return std::nullopt;
  return fmt::format("{}", number) == digits ? std::optional(number) : std::nullopt;
}

std::string ContentName(uint64_t number) {
  return fmt::format("c{}", number);
}
std::string AboutName(uint64_t number) {
  return fmt::format("a{}", number);
}

absl::StatusOr<LeftoverAbout> ReadAbout(const os::Root& folder, const std::string& name) {
  ASSIGN_OR_RETURN(const os::Fd file, folder.OpenPath(name, O_RDONLY | O_NONBLOCK));
  ASSIGN_OR_RETURN(const std::string bytes, os::ReadAt(file.get(), 0, kMaxAboutBytes + 1));
  return ParseLeftoverAbout(bytes);
}

absl::Status WriteAbout(const os::Root& folder, const std::string& name, const LeftoverAbout& about) {
  ASSIGN_OR_RETURN(const os::Fd file, folder.OpenPath(name, O_WRONLY | O_CREAT | O_TRUNC, 0600));
  return Annotate(os::WriteAt(file.get(), 0, EncodeLeftoverAbout(about)), "note what is staged");
}

// What can't be removed is found and removed by a later start.
void Unlink(const os::Root& folder, const std::string& name) {
  unlinkat(folder.fd(), name.c_str(), 0);
}

absl::Status Move(const os::Root& from, const std::string& name, const os::Root& to, const std::string& new_name) {
  if (renameat(from.fd(), name.c_str(), to.fd(), new_name.c_str()) == 0) return absl::OkStatus();
  return ErrnoStatus(errno, fmt::format("move '{}' in the work folder", name));
}

bool IsRegular(const absl::StatusOr<os::EntryStat>& stat) {
  return stat.ok() && stat->kind == model::FileKind::kRegular;
}

// Numbers of the sidecars in a folder, ascending.
absl::StatusOr<std::vector<uint64_t>> ListAbouts(const os::Root& folder) {
  std::vector<uint64_t> numbers;
  ASSIGN_OR_RETURN(os::TreeWalk walk, os::TreeWalk::Begin(folder, ""));
  while (true) {
    ASSIGN_OR_RETURN(const std::optional<os::WalkEntry> entry, walk.Next());
    if (!entry.has_value()) break;
    walk.SkipChildren();
    const std::optional<uint64_t> number = NumberIn(entry->name, 'a');
    if (number.has_value() && entry->stat.kind == model::FileKind::kRegular) numbers.push_back(*number);
  }
  std::sort(numbers.begin(), numbers.end());
  return numbers;
}

}  // namespace

std::string EncodeLeftoverAbout(const LeftoverAbout& about) {
  std::string bytes(about.over_base ? kOverBaseMagic : kWholeMagic);
  AppendLittleEndian(bytes, about.size, 8);
  AppendLittleEndian(bytes, about.path.size(), 4);
  bytes += about.path;
  bytes += delta::BytesOf(delta::DigestOf(bytes));
  return bytes;
}

absl::StatusOr<LeftoverAbout> ParseLeftoverAbout(std::string_view bytes) {
  const auto bad = [](std::string_view why) {
    return absl::DataLossError(fmt::format("a leftover's sidecar {}", why));
  };
  if (bytes.size() < kHeaderBytes + kDigestBytes || bytes.size() > kMaxAboutBytes) return bad("has a wrong size");
  const bool over_base = bytes.starts_with(kOverBaseMagic);
  if (!over_base && !bytes.starts_with(kWholeMagic)) return bad("is of another kind");
  const std::string_view told = bytes.substr(bytes.size() - kDigestBytes);
  if (delta::BytesOf(delta::DigestOf(bytes.substr(0, bytes.size() - kDigestBytes))) != told) return bad("is torn");
  LeftoverAbout about;
  about.over_base = over_base;
  about.size = LittleEndian(bytes.substr(8, 8));
  if (LittleEndian(bytes.substr(16, 4)) != bytes.size() - kHeaderBytes - kDigestBytes) return bad("has a wrong length");
  about.path = bytes.substr(kHeaderBytes, bytes.size() - kHeaderBytes - kDigestBytes);
  if (about.path.empty() || !model::ValidatePath(about.path).ok()) return bad("names no path of a volume");
  if (about.size < kMinLeftoverBytes || about.size > wire::kMaxFileBytes) return bad("has a size out of bounds");
  return about;
}

absl::Status Leftovers::Load(absl::Time now) {
  entries_.clear();
  described_.clear();
  next_number_ = 0;
  const os::Root& folder = work_.leftover();
  ASSIGN_OR_RETURN(const std::vector<uint64_t> numbers, ListAbouts(folder));
  std::set<std::string> sound;
  for (const uint64_t number : numbers) {
    absl::StatusOr<LeftoverAbout> about = ReadAbout(folder, AboutName(number));
    const absl::StatusOr<os::EntryStat> content = folder.Stat(ContentName(number));
    if (number > kMaxNumber || !about.ok() || !IsRegular(content)) continue;
    next_number_ = number + 1;
    sound.insert({AboutName(number), ContentName(number)});
    Add({number, std::move(about->path), about->over_base, content->ctime_nanoseconds}, now);
  }
  return work_.DiscardLeftoversBut(sound);
}

void Leftovers::Add(Entry entry, absl::Time now) {
  DropPath(entry.path);
  entries_.push_back(std::move(entry));
  DropExpired(now);
  if (entries_.size() > wire::kMaxLeftovers) DropOldest();
}

absl::Status Leftovers::Describe(model::Slot slot, const LeftoverAbout& about) {
  if (about.size < kMinLeftoverBytes) return absl::OkStatus();
  DropPath(about.path);
  described_.insert(slot);
  return WriteAbout(work_.staging(), WorkArea::StagedAbout(slot), about);
}

absl::StatusOr<os::Fd> Leftovers::TakeBack(model::Slot slot, const LeftoverAbout& about) {
  const std::string& path = about.path;
  const auto entry = std::find_if(entries_.begin(), entries_.end(), [&](const Entry& e) { return e.path == path; });
  if (entry == entries_.end() || entry->over_base != about.over_base) {
    return absl::NotFoundError(fmt::format("nothing was staged for '{}' before", Printable(path)));
  }
  const std::string content = ContentName(entry->number);
  absl::StatusOr<os::Fd> file = work_.leftover().OpenPath(content, O_RDWR | O_NONBLOCK);
  if (!file.ok()) {
    Drop(entry);
    return absl::NotFoundError(fmt::format("what was staged for '{}' can't be read", Printable(path)));
  }
  // The sidecar first: a crash in between finds the content with one of the two.
  described_.insert(slot);
  LeftoverAbout described = about;
  described.size = std::max(about.size, kMinLeftoverBytes);
  RETURN_IF_ERROR(WriteAbout(work_.staging(), WorkArea::StagedAbout(slot), described));
  RETURN_IF_ERROR(Move(work_.leftover(), content, work_.staging(), WorkArea::StagedContent(slot)));
  Unlink(work_.leftover(), AboutName(entry->number));
  entries_.erase(entry);
  return file;
}

void Leftovers::Undescribe(model::Slot slot) {
  if (described_.erase(slot) > 0) Unlink(work_.staging(), WorkArea::StagedAbout(slot));
}

absl::Status Leftovers::Keep(absl::Time now) {
  described_.clear();
  DropExpired(now);
  const os::Root& staging = work_.staging();
  ASSIGN_OR_RETURN(const std::vector<uint64_t> slots, ListAbouts(staging));
  for (const uint64_t slot : slots) {
    if (slot >= wire::kMaxSlots) continue;
    const std::string about_name = WorkArea::StagedAbout(static_cast<model::Slot>(slot));
    const std::string content_name = WorkArea::StagedContent(static_cast<model::Slot>(slot));
    absl::StatusOr<LeftoverAbout> about = ReadAbout(staging, about_name);
    if (!about.ok() || !IsRegular(staging.Stat(content_name))) continue;
    const uint64_t number = next_number_++;
    RETURN_IF_ERROR(Move(staging, about_name, work_.leftover(), AboutName(number)));
    RETURN_IF_ERROR(Move(staging, content_name, work_.leftover(), ContentName(number)));
    Add({number, std::move(about->path), about->over_base, absl::ToUnixNanos(now)}, now);
  }
  return absl::OkStatus();
}

void Leftovers::Committed(const model::Commit& commit) {
  while (!described_.empty()) Undescribe(*described_.begin());
  if (entries_.empty()) return;
  for (const model::Operation& operation : commit.operations) {
    if (std::holds_alternative<model::SetMetadata>(operation)) continue;
    DropPath(std::visit([](const auto& op) -> const std::string& { return op.path; }, operation));
  }
}

void Leftovers::Drop(std::vector<Entry>::iterator entry) {
  // The sidecar first: content without one is nothing.
  Unlink(work_.leftover(), AboutName(entry->number));
  Unlink(work_.leftover(), ContentName(entry->number));
  entries_.erase(entry);
}

void Leftovers::DropPath(std::string_view path) {
  const auto entry = std::find_if(entries_.begin(), entries_.end(), [&](const Entry& e) { return e.path == path; });
  if (entry != entries_.end()) Drop(entry);
}

void Leftovers::DropExpired(absl::Time now) {
  const int64_t oldest = absl::ToUnixNanos(now - kLeftoverLifetime);
  for (size_t i = entries_.size(); i-- > 0;) {
    if (entries_[i].left_at_nanoseconds < oldest) Drop(entries_.begin() + static_cast<ptrdiff_t>(i));
  }
}

bool Leftovers::DropOldest() {
  if (entries_.empty()) return false;
  Drop(entries_.begin());
  return true;
}

std::vector<std::string> Leftovers::Paths() const {
  std::vector<std::string> paths;
  paths.reserve(entries_.size());
  for (const Entry& entry : entries_) paths.push_back(entry.path);
  return paths;
}

}  // namespace understudy::dr
