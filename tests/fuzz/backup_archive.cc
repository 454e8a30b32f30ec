// The archive and the description of a backup, as whoever can write to the bucket may have made them: whatever they
// are, they are refused or read within the limits, and what was read bears being looked at. The input is the tar stream
// inside the gzip file, whose checksum a fuzzer would hardly meet.
#include "control/oadp/backup_archive.h"

#include <cstdint>

#include "control/oadp/backup_summary.h"
#include "control/oadp/backup_view.h"
#include "control/oadp/gzip_source.h"

namespace understudy::control {
namespace {

// In pieces, so that what is read lies across their ends.
class PieceSource : public ByteSource {
 public:
  explicit PieceSource(std::string_view bytes) : left_(bytes) {}
  absl::StatusOr<std::string_view> Next() override {
    constexpr size_t kPieceBytes = 700;
    const std::string_view piece = left_.substr(0, kPieceBytes);
    left_.remove_prefix(piece.size());
    return piece;
  }

 private:
  std::string_view left_;
};

void ReadArchive(std::string_view tar) {
  PieceSource source(tar);
  ArchiveRequest request{.backup = "fuzzed", .namespaces = {"shop"}};
  request.limits = {.entries = 1000, .entry_bytes = 1 << 20, .kept_bytes = 4 << 20};
  const auto contents = ReadBackupTar(source, request);
  if (!contents.ok()) {
    UNDERSTUDY_CHECK(MessageOf(contents.status()).find("fuzzed") != std::string_view::npos);
    return;
  }
  for (const nlohmann::json& claim : contents->claims) UNDERSTUDY_CHECK(claim["metadata"]["namespace"] == "shop");
  for (const nlohmann::json& machine : contents->virtual_machines) (void)machine.dump();
  (void)FindGaps(*contents);
  (void)StorageByClass(*contents);
}

void ReadSummary(std::string_view text) {
  const auto backup = ParseBackupSummary("b", text);
  if (!backup.ok()) return;
  UNDERSTUDY_CHECK(backup->name == "b");
  (void)ChooseBackup({*backup}, {.must_include_namespaces = {"shop"}}, absl::FromUnixSeconds(1));
}

}  // namespace
}  // namespace understudy::control

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  if (input.starts_with('{')) {
    understudy::control::ReadSummary(input);
  } else {
    understudy::control::ReadArchive(input);
  }
  return 0;
}
