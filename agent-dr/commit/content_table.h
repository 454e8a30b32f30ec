// content_table.h: what DR durably knows of the contents of one replica (docs/formats/kept-digests.md): the digest that
// each regular file should have, which of them were found to be damaged, and how far the scrub is.
//
// Digests are kept by identity, so a file keeps its own through renames, other names and undo records. Works on the
// replica's database; what belongs together is in the caller's transaction. One thread at a time.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "agent-dr/commit/identity.h"
#include "core/base/status.h"
#include "core/model/commit.h"
#include "core/model/verify.h"
#include "core/model/volume.h"
#include "core/store/database.h"

namespace understudy::dr {

// A step of store::Database::Migrate; it only adds tables of its own.
inline constexpr std::string_view kContentSchema =
    "CREATE TABLE IF NOT EXISTS content("
    "  inode INTEGER NOT NULL, btime_nanoseconds INTEGER NOT NULL, size INTEGER NOT NULL, digest BLOB,"
    "  sequence INTEGER NOT NULL, learned INTEGER NOT NULL, pass INTEGER NOT NULL,"
    "  PRIMARY KEY(inode, btime_nanoseconds)) WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS content_damage("
    "  path BLOB PRIMARY KEY, inode INTEGER NOT NULL, btime_nanoseconds INTEGER NOT NULL, size INTEGER NOT NULL,"
    "  sequence INTEGER NOT NULL, found_nanoseconds INTEGER NOT NULL, why TEXT NOT NULL, segments BLOB) WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS content_scrub("
    "  one INTEGER PRIMARY KEY CHECK(one = 1), pass INTEGER NOT NULL, under_way INTEGER NOT NULL, path BLOB NOT NULL,"
    "  ended_nanoseconds INTEGER NOT NULL, holds_entries INTEGER);"
    "INSERT OR IGNORE INTO content_scrub VALUES(1, 1, 0, x'', 0, NULL);";

// The content that a commit gives a file.
struct BroughtContent {
  Identity identity{};
  uint64_t size = 0;
  std::optional<model::Digest> digest{};  // nullopt: an old undo record doesn't say
};

// What a commit changes of what is known.
struct ContentChanges {
  std::vector<BroughtContent> brought{};
  std::optional<bool> holds_entries{};  // whether the replica's folder has an entry after it; nullopt: as before
};

// What the file with `identity` should hold.
struct KeptContent {
  Identity identity{};
  uint64_t size = 0;
  std::optional<model::Digest> digest{};
  model::Sequence sequence = 0;  // of the commit that brought it, or of the state in which it was learned
  bool learned = false;          // read from DR's disk, not told by the primary
  uint64_t pass = 0;             // of the scrub, in which it was met last
  friend bool operator==(const KeptContent&, const KeptContent&) = default;
};

struct Damage {
  model::DamagedFile file;
  Identity identity{};
  model::Sequence sequence = 0;  // KeptContent::sequence when it was found
  int64_t found_nanoseconds = 0;
  std::string why;  // for people
};

// So many damaged files of one replica are remembered; what is past that is found again by a later pass.
inline constexpr size_t kMaxDamage = 1000;

// Rows that are looked at in one go, while commits wait.
inline constexpr size_t kCollectedAtOnce = 10'000;

// How far the scrub of one replica is.
struct ScrubPlace {
  uint64_t pass = 1;
  bool under_way = false;
  std::string path{};             // the last one that this pass is done with
  int64_t ended_nanoseconds = 0;  // the pass before; 0: none
};

class ContentTable {
 public:
  explicit ContentTable(store::Database& database) : database_(&database) {}

  [[nodiscard]] absl::StatusOr<std::optional<KeptContent>> Find(const Identity& identity);
  [[nodiscard]] absl::Status Apply(const ContentChanges& changes, model::Sequence sequence);
  // What isn't known otherwise, and wasn't brought since the state of its `sequence`; each has a digest. In a
  // transaction of its own.
  [[nodiscard]] absl::Status Learn(std::span<const KeptContent> contents);
  [[nodiscard]] absl::StatusOr<uint64_t> Count();

  // In a transaction of its own: the scrub was at `place`, and met these files.
  [[nodiscard]] absl::Status SavePlace(const ScrubPlace& place, std::span<const Identity> met);
  [[nodiscard]] absl::StatusOr<ScrubPlace> LoadPlace();
  // Where Collect goes on.
  struct CollectPlace {
    int64_t inode = INT64_MIN;
    int64_t btime_nanoseconds = INT64_MIN;
    bool at_end = false;
  };
  // Forgets files that neither pass `pass` nor the one before it met, of the next kCollectedAtOnce rows after `place`.
  [[nodiscard]] absl::StatusOr<CollectPlace> Collect(uint64_t pass, const CollectPlace& place);

  // Ascending by path.
  [[nodiscard]] absl::StatusOr<std::vector<Damage>> ListDamage();
  // Takes the place of what was known of its path. False: kMaxDamage are known already.
  [[nodiscard]] absl::StatusOr<bool> PutDamage(const Damage& damage);
  [[nodiscard]] absl::Status RemoveDamage(std::string_view path);

  // As ContentChanges::holds_entries of the newest commit that said so; nullopt: none did.
  [[nodiscard]] absl::StatusOr<std::optional<bool>> HoldsEntries();

 private:
  store::Database* database_;
};

}  // namespace understudy::dr
