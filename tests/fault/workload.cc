#include "tests/fault/workload.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <utility>
#include <vector>

#include "core/base/status.h"
#include "core/os/fd.h"
#include "core/os/file_io.h"

namespace understudy::tests {
namespace {

constexpr uint64_t kImageBytes = 64ull << 20;
constexpr uint64_t kBlockBytes = 4096;
constexpr uint64_t kMostTreeBytes = 48ull << 20;

std::string MadeFolder(const std::string& path) {
  UNDERSTUDY_CHECK(std::filesystem::create_directory(path));
  return path;
}

}  // namespace

Workload::Workload(const std::string& volume, uint64_t seed)
    : tree_(MadeFolder(volume + "/tree")), image_(volume + "/disk.img"), random_(seed), churn_(tree_, seed + 1) {
  const os::Fd image(open(image_.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644));
  UNDERSTUDY_CHECK(image.valid() && ftruncate(image.get(), static_cast<off_t>(kImageBytes)) == 0);
}

void Workload::Step() {
  if (random_() % 4 != 0) {
    churn_.Step();
    return;
  }
  const os::Fd image(open(image_.c_str(), O_WRONLY | O_CLOEXEC));
  UNDERSTUDY_CHECK(image.valid());
  for (uint64_t blocks = 1 + random_() % 8; blocks > 0; --blocks) {
    const uint64_t at = random_() % (kImageBytes / kBlockBytes) * kBlockBytes;
    std::string block(kBlockBytes, '\0');
    std::generate(block.begin(), block.end(), [this] { return static_cast<char>(random_()); });
    UNDERSTUDY_CHECK(os::WriteAt(image.get(), at, block).ok());
  }
}

void Workload::KeepSmall() {
  std::vector<std::pair<uint64_t, std::string>> files;
  uint64_t bytes = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(tree_)) {
    if (!entry.is_regular_file() || entry.is_symlink()) continue;
    files.emplace_back(entry.file_size(), entry.path());
    bytes += files.back().first;
  }
  std::sort(files.rbegin(), files.rend());
  for (const auto& [size, path] : files) {
    if (bytes <= kMostTreeBytes) break;
    std::filesystem::remove(path);
    bytes -= size;
  }
}

}  // namespace understudy::tests
