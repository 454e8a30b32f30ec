// merge_undo.h: several undo records as one, which leads over the states between them in a single step.
//
// Pure. Undo records consist of Remove, Detach, Attach, Patch and SetMetadata alone (reverse.h), which is why any two
// of them can be composed: names are followed through both, of two old contents of one range the older one counts, and
// what came and went between the two is left out. Where a composition couldn't be run by the commit protocol as one
// commit, the records stay two (docs/formats/undo.md, "Merging").
#pragma once

#include <cstddef>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "agent-dr/commit/content_ranges.h"
#include "agent-dr/commit/volume_store.h"
#include "core/model/commit.h"

namespace understudy::dr {

// Data that has to be in `to` before the merged record takes the place of the others. Nothing that was there before
// counts for anything but in these ranges, so the records stay usable.
struct KeptCopy {
  KeptPlace from;
  KeptPlace to;
  std::vector<ContentRange> ranges;  // ascending; no holes
};

struct MergedUndo {
  UndoRecord record;  // has the oldest one's sequence
  std::vector<KeptCopy> copies;
  std::vector<KeptMove> moves;            // after that, into the folder of record.about.sequence
  std::vector<model::Sequence> replaces;  // the records that it is, oldest first
};

// One thread at a time.
class UndoMerger {
 public:
  // Begins with the record whose state stays. nullopt: it was left before records could be merged.
  [[nodiscard]] static std::optional<UndoMerger> Begin(const UndoRecord& oldest);

  // Puts the record before that leads to the state which the newest one so far is run on. False: the two can't be one,
  // and nothing has changed.
  [[nodiscard]] bool Add(const UndoRecord& newer);

  // How many there are so far.
  [[nodiscard]] size_t Count() const { return replaces_.size(); }
  // Pieces of content to be copied so far.
  [[nodiscard]] size_t CopiedRanges() const;

  [[nodiscard]] MergedUndo Take() &&;

 private:
  // Of what a record takes away: where it is afterwards; nullopt: nowhere.
  struct Vacated {
    model::FileKind kind = model::FileKind::kRegular;  // of what is removed; otherwise not known
    std::optional<std::string> to;
  };
  // Of what a record places: a kept entry, or what was at another path.
  struct Placed {
    std::optional<KeptPlace> kept;
    std::string from;
    bool several_names = false;  // of a kept entry that isn't a folder
  };
  // By key (core/model/path.h): `vacated` of the names before the record is run, `placed` of those after it.
  struct Names {
    std::map<std::string, Vacated> vacated;
    std::map<std::string, Placed> placed;
  };
  struct OldContent {
    model::Patch patch;
    KeptPlace kept;
    std::vector<ContentRange> ranges;
  };
  // A record taken apart.
  struct Parts {
    Names names;
    std::map<std::string, OldContent> patches;           // by key
    std::map<std::string, model::SetMetadata> metadata;  // likewise
    std::set<std::string> several_names;
    bool brings_back = false;  // has a kept entry among what it places
  };
  // Where what stands at a path was before.
  struct Origin {
    const Placed* kept = nullptr;  // by what it comes back
    std::string path;              // in the names before; below the kept entry if that isn't nullptr
  };

  explicit UndoMerger(UndoAbout about) : about_(std::move(about)) {}

  [[nodiscard]] static std::optional<Parts> TakeApart(const UndoRecord& record);
  [[nodiscard]] static std::optional<std::string> Follow(const Names& names, const std::string& path);
  [[nodiscard]] static Origin OriginOf(const Names& names, const std::string& path);
  [[nodiscard]] static std::optional<Names> Compose(const Names& first, const Names& second);
  [[nodiscard]] bool ChangesWhatComesBack(const Parts& first) const;
  [[nodiscard]] std::optional<std::set<std::string>> SeveralNamesAfter(const Parts& first) const;
  void AddContent(OldContent content, const std::string& path);
  void AddMetadata(const Parts& first);

  UndoAbout about_;
  Parts parts_;
  std::vector<KeptCopy> copies_;
  std::vector<model::Sequence> replaces_;
};

}  // namespace understudy::dr
