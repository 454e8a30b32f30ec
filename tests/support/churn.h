// churn.h: random changes to a folder tree, the same again for the same seed.
//
// Files from nothing to a few megabytes (so that both inline and staged content is met), holes, renames, swaps (also
// around what stays) and cycles, moves into new folders, replaced kinds, symlinks, fifos, hard links that come and go
// and are broken, odd names, modes, times, xattrs, spots overwritten in large sparse files.
#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <vector>

namespace understudy::tests {

// Not thread-safe. Aborts when a change that has to work doesn't.
class Churn {
 public:
  // `root` is an existing folder. No file is made or grown beyond about `max_file_bytes`.
  Churn(std::string root, uint64_t seed, uint64_t max_file_bytes = UINT64_MAX)
      : root_(std::move(root)), max_file_bytes_(max_file_bytes), random_(seed) {}

  // One random change; returns what it was, for messages.
  std::string Step();

 private:
  uint64_t Below(uint64_t bound) { return random_() % bound; }
  std::vector<std::string> Entries(bool folders) const;
  std::string Pick(bool folder);
  std::string NewPath();
  std::string WriteFile(const std::string& path, uint64_t size);
  std::string ChangeFile();
  std::string OverwriteSparseFile();
  std::string AddName();
  std::string ReplaceByCopy();
  std::string Rename();
  std::string Swap();
  // Two folders trade places, and a folder in one of them stays where it was.
  std::string SwapAround();
  std::string MoveIntoNewFolder();
  std::string Remove();
  std::string ReplaceKind();

  const std::string root_;
  const uint64_t max_file_bytes_;
  std::mt19937_64 random_;
  uint64_t names_made_ = 0;
  std::string sparse_file_;  // where it was last
};

}  // namespace understudy::tests
