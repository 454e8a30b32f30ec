// file_view.h: single files of a volume, as its primary knows them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "control/commands/output.h"

namespace understudy::control {

// Paths are bytes.
struct FileView {
  std::string path;  // in the volume
  std::string kind;  // file, folder, symlink, fifo, socket, character-device or block-device
  uint64_t size = 0;
  std::optional<uint64_t> extents;
  std::string rung;    // extents, blocks, rsync or whole; empty: not known
  std::string reason;  // why not a better one
  std::optional<absl::Time> captured_at;
  struct Base {
    absl::Time made_at;
    uint64_t size = 0;
    std::optional<uint64_t> extents;
  };
  std::optional<Base> base;
  std::optional<absl::Time> rests_until;
  bool dirty = false;
  bool damaged = false;
};

[[nodiscard]] Document ToDocument(const FileView& file);
// Every member, a line each.
[[nodiscard]] std::string FileLines(const FileView& file);
// Empty without files.
[[nodiscard]] std::string FilesTable(const std::vector<FileView>& files);

}  // namespace understudy::control
