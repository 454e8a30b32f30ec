#include "agent-dr/commit/merge_undo.h"

#include <algorithm>
#include <functional>
#include <utility>
#include <variant>

#include "agent-dr/commit/preflight.h"
#include "core/model/path.h"

namespace understudy::dr {
namespace {

// Kept entries that come into the folder of a merged record get numbers from here on: no commit has as many operations.
constexpr size_t kFirstMovedEntry = size_t{1} << 24;

// `path`, which is `from` or lies below it, with `to` instead.
std::string Rebase(const std::string& path, const std::string& from, const std::string& to) {
  return path.size() == from.size() ? to : model::Join(to, std::string_view(path).substr(from.size() + 1));
}

// What `newer` has below `size` and `older` hasn't: both ascending.
std::vector<ContentRange> OnlyIn(const std::vector<ContentRange>& newer, const std::vector<ContentRange>& older,
                                 uint64_t size) {
  std::vector<ContentRange> only;
  auto next = older.begin();
  for (const ContentRange& range : newer) {
    const uint64_t end = std::min(range.offset + range.length, size);
    for (uint64_t at = range.offset; at < end;) {
      while (next != older.end() && next->offset + next->length <= at) ++next;
      const uint64_t until = next == older.end() ? end : std::min(end, next->offset);
      if (until > at) only.push_back({.offset = at, .length = until - at, .hole = range.hole});
      at = next == older.end() ? end : std::max(until, std::min(end, next->offset + next->length));
    }
  }
  return only;
}

std::vector<ContentRange> Joined(const std::vector<ContentRange>& one, const std::vector<ContentRange>& two) {
  std::vector<ContentRange> sorted;
  sorted.reserve(one.size() + two.size());
  std::merge(one.begin(), one.end(), two.begin(), two.end(), std::back_inserter(sorted),
             [](const ContentRange& a, const ContentRange& b) { return a.offset < b.offset; });
  std::vector<ContentRange> joined;
  for (const ContentRange& range : sorted) AppendRange(joined, range);
  return joined;
}

// The innermost of `path` and the folders above it that `names` has; names.end(): none.
template <class Map>
auto Innermost(const Map& names, const std::string& path, std::string& found) {
  for (std::string_view at = path; !at.empty(); at = model::Parent(at)) {
    const auto entry = names.find(model::Key(at));
    if (entry == names.end()) continue;
    found = std::string(at);
    return entry;
  }
  return names.end();
}

}  // namespace

std::optional<UndoMerger::Parts> UndoMerger::TakeApart(const UndoRecord& record) {
  if (!record.about.knows_several_names) return std::nullopt;
  Parts parts;
  parts.several_names = record.several_names;
  std::map<model::Slot, std::string> detached;
  const auto kept = [&](model::Slot slot) { return KeptPlace{record.about.sequence, slot - kFirstKeptSlot}; };
  for (const model::Operation& operation : record.operations) {
    if (const auto* remove = std::get_if<model::Remove>(&operation)) {
      parts.names.vacated[model::Key(remove->path)] = {remove->kind, std::nullopt};
    } else if (const auto* detach = std::get_if<model::Detach>(&operation)) {
      detached[detach->slot] = detach->path;
    } else if (const auto* attach = std::get_if<model::Attach>(&operation)) {
      if (IsKeptSlot(attach->slot)) {
        parts.names.placed[model::Key(attach->path)] = {kept(attach->slot), "",
                                                        record.kept_several_names.contains(attach->path)};
        parts.brings_back = true;
        continue;
      }
      const auto from = detached.find(attach->slot);
      if (from == detached.end()) return std::nullopt;
      parts.names.placed[model::Key(attach->path)] = {std::nullopt, from->second, false};
      parts.names.vacated[model::Key(from->second)] = {model::FileKind::kRegular, attach->path};
    } else if (const auto* patch = std::get_if<model::Patch>(&operation)) {
      const auto ranges = record.kept_content.find(patch->slot - kFirstKeptSlot);
      if (!IsKeptSlot(patch->slot) || ranges == record.kept_content.end()) return std::nullopt;
      parts.patches[model::Key(patch->path)] = {*patch, kept(patch->slot), ranges->second};
    } else if (const auto* set = std::get_if<model::SetMetadata>(&operation)) {
      parts.metadata[model::Key(set->path)] = *set;
    } else {
      return std::nullopt;
    }
  }
  return parts;
}

std::optional<UndoMerger> UndoMerger::Begin(const UndoRecord& oldest) {
  std::optional<Parts> parts = TakeApart(oldest);
  if (!parts.has_value()) return std::nullopt;
  UndoMerger merger(oldest.about);
  merger.parts_ = *std::move(parts);
  merger.replaces_.push_back(oldest.about.sequence);
  return merger;
}

// Where what is at `path` before is afterwards; nullopt: it is gone.
std::optional<std::string> UndoMerger::Follow(const Names& names, const std::string& path) {
  std::string vacated;
  const auto found = Innermost(names.vacated, path, vacated);
  if (found == names.vacated.end()) return path;
  if (!found->second.to.has_value()) return std::nullopt;
  return Rebase(path, vacated, *found->second.to);
}

UndoMerger::Origin UndoMerger::OriginOf(const Names& names, const std::string& path) {
  std::string placed;
  const auto found = Innermost(names.placed, path, placed);
  if (found == names.placed.end()) return {nullptr, path};
  const Placed& of = found->second;
  return {of.kept.has_value() ? &of : nullptr, Rebase(path, placed, of.kept.has_value() ? "" : of.from)};
}

// `first` is run first. nullopt: `second` takes something out of a folder that `first` brings back, or a folder away
// into which `first` moves something.
std::optional<UndoMerger::Names> UndoMerger::Compose(const Names& first, const Names& second) {
  Names both;
  std::set<std::string> done;  // keys of what `first` places and `second` takes away by its own name
  for (const auto& [key, vacated] : second.vacated) {
    const Origin origin = OriginOf(first, model::PathOfKey(key));
    if (first.placed.contains(key)) done.insert(key);
    if (origin.kept != nullptr) {
      if (!origin.path.empty()) return std::nullopt;
      // What came back and is taken away again is left out.
      if (vacated.to.has_value()) both.placed[model::Key(*vacated.to)] = *origin.kept;
      continue;
    }
    both.vacated[model::Key(origin.path)] = vacated;
    if (vacated.to.has_value()) both.placed[model::Key(*vacated.to)] = {std::nullopt, origin.path, false};
  }
  for (const auto& [key, vacated] : first.vacated) {
    if (!vacated.to.has_value()) {
      both.vacated[key] = vacated;
      continue;
    }
    if (done.contains(model::Key(*vacated.to))) continue;
    const std::optional<std::string> to = Follow(second, *vacated.to);
    if (!to.has_value()) return std::nullopt;  // of which kind it is isn't known
    both.vacated[key] = {vacated.kind, to};
    both.placed[model::Key(*to)] = {std::nullopt, model::PathOfKey(key), false};
  }
  for (const auto& [key, placed] : first.placed) {
    if (!placed.kept.has_value() || done.contains(key)) continue;
    const std::optional<std::string> to = Follow(second, model::PathOfKey(key));
    if (to.has_value()) both.placed[model::Key(*to)] = placed;
  }
  for (const auto& [key, placed] : second.placed) {
    if (placed.kept.has_value()) both.placed[key] = placed;
  }
  return both;
}

// Whether what is there so far changes something that `first` brings back: the protocol patches nothing that comes with
// the same commit, and what sets the metadata of a file that comes back doesn't set it back for the file's other names.
bool UndoMerger::ChangesWhatComesBack(const Parts& first) const {
  if (!first.brings_back) return false;
  const auto comes_back = [&](const std::string& path) {
    const Origin origin = OriginOf(parts_.names, path);
    return origin.kept == nullptr ? OriginOf(first.names, origin.path) : Origin{};
  };
  for (const auto& [key, content] : parts_.patches) {
    if (comes_back(content.patch.path).kept != nullptr) return true;
  }
  for (const auto& [key, set] : parts_.metadata) {
    if (set.kind == model::FileKind::kDirectory) continue;
    const Origin origin = comes_back(set.path);
    // What is in a folder that comes back may have other names, too.
    if (origin.kept != nullptr && (origin.kept->several_names || !origin.path.empty())) return true;
  }
  return false;
}

// The files with several names that either changes. nullopt: the two may change one file by two of its names, and then
// it is open which old content or metadata is the older one.
std::optional<std::set<std::string>> UndoMerger::SeveralNamesAfter(const Parts& first) const {
  std::set<std::string> both = parts_.several_names;
  for (const std::string& path : first.several_names) {
    const std::optional<std::string> now = Follow(parts_.names, path);
    if (!now.has_value()) return std::nullopt;  // other names may stay
    both.insert(*now);
  }
  const bool apart = first.several_names.empty() || parts_.several_names.empty();
  if (!apart && both.size() > 1) return std::nullopt;
  return both;
}

void UndoMerger::AddContent(OldContent content, const std::string& path) {
  content.patch.path = path;
  const auto [older, added] = parts_.patches.try_emplace(model::Key(path), content);
  if (added) return;
  OldContent& into = older->second;
  const std::vector<ContentRange> missing = OnlyIn(content.ranges, into.ranges, into.patch.size);
  into.ranges = Joined(into.ranges, missing);
  KeptCopy copy{content.kept, into.kept, {}};
  std::copy_if(missing.begin(), missing.end(), std::back_inserter(copy.ranges),
               [](const ContentRange& range) { return !range.hole; });
  if (!copy.ranges.empty()) copies_.push_back(std::move(copy));
}

void UndoMerger::AddMetadata(const Parts& first) {
  for (const auto& [key, set] : first.metadata) {
    const std::optional<std::string> path = Follow(parts_.names, set.path);
    if (!path.has_value() || parts_.patches.contains(model::Key(*path))) continue;
    const auto [added, is_new] = parts_.metadata.try_emplace(model::Key(*path), set);
    if (is_new) added->second.path = *path;
  }
}

bool UndoMerger::Add(const UndoRecord& newer) {
  std::optional<Parts> first = TakeApart(newer);
  if (!first.has_value() || ChangesWhatComesBack(*first)) return false;
  std::optional<std::set<std::string>> several_names = SeveralNamesAfter(*first);
  if (!several_names.has_value()) return false;
  for (const auto& [key, content] : first->patches) {
    const std::optional<std::string> path = Follow(parts_.names, content.patch.path);
    const auto older = path.has_value() ? parts_.patches.find(model::Key(*path)) : parts_.patches.end();
    if (older != parts_.patches.end() && content.ranges.size() + older->second.ranges.size() > kMaxContentRanges) {
      return false;
    }
  }
  const bool renames = !first->names.vacated.empty() || !first->names.placed.empty();
  std::optional<Names> names = renames ? Compose(first->names, parts_.names) : parts_.names;
  if (!names.has_value()) return false;

  // Where the newer one patched a file, its metadata came with that; whatever is older counts.
  AddMetadata(*first);
  for (auto& [key, content] : first->patches) {
    const std::optional<std::string> path = Follow(parts_.names, content.patch.path);
    if (path.has_value()) AddContent(std::move(content), *path);
  }
  parts_.names = *std::move(names);
  parts_.several_names = *std::move(several_names);
  parts_.brings_back |= first->brings_back;
  about_.from = newer.about.from;
  replaces_.push_back(newer.about.sequence);
  return true;
}

size_t UndoMerger::CopiedRanges() const {
  size_t count = 0;
  for (const KeptCopy& copy : copies_) count += copy.ranges.size();
  return count;
}

MergedUndo UndoMerger::Take() && {
  MergedUndo merged;
  merged.replaces = std::move(replaces_);
  UndoRecord& record = merged.record;
  record.about = about_;
  record.several_names = std::move(parts_.several_names);
  size_t next_entry = kFirstMovedEntry;
  const auto note = [&](const KeptPlace& place) {
    if (place.sequence == about_.sequence) next_entry = std::max(next_entry, place.entry + 1);
  };
  for (const auto& [key, placed] : parts_.names.placed) {
    if (placed.kept.has_value()) note(*placed.kept);
  }
  for (const auto& [key, content] : parts_.patches) note(content.kept);
  const auto slot_of = [&](const KeptPlace& place) {
    if (place.sequence == about_.sequence) return KeptSlot(place.entry);
    merged.moves.push_back({place, next_entry});
    return KeptSlot(next_entry++);
  };

  std::map<std::string, model::Operation, std::greater<>> go;
  std::map<std::string, model::Slot> detached;  // by key of the new path
  model::Slot slot = 0;
  for (const auto& [key, vacated] : parts_.names.vacated) {
    const std::string path = model::PathOfKey(key);
    if (vacated.to.has_value()) {
      detached[model::Key(*vacated.to)] = slot;
      go[key] = model::Detach{path, slot++};
    } else {
      go[key] = model::Remove{path, vacated.kind};
    }
  }
  for (auto& [key, operation] : go) record.operations.push_back(std::move(operation));
  for (const auto& [key, placed] : parts_.names.placed) {
    if (placed.several_names) record.kept_several_names.insert(model::PathOfKey(key));
    const model::Slot from = placed.kept.has_value() ? slot_of(*placed.kept) : detached.at(key);
    record.operations.emplace_back(model::Attach{from, model::PathOfKey(key)});
  }
  for (auto& [key, content] : parts_.patches) {
    content.patch.slot = slot_of(content.kept);
    record.kept_content[content.patch.slot - kFirstKeptSlot] = std::move(content.ranges);
    record.operations.emplace_back(std::move(content.patch));
  }
  for (auto set = parts_.metadata.rbegin(); set != parts_.metadata.rend(); ++set) {
    record.operations.emplace_back(std::move(set->second));
  }
  merged.copies = std::move(copies_);
  return merged;
}

}  // namespace understudy::dr
