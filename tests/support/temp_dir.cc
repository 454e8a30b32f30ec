#include "tests/support/temp_dir.h"

#include <sys/stat.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <system_error>

#include "core/base/status.h"

namespace understudy::tests {
namespace {

std::string ParentFolder() {
  for (const char* variable : {"TEST_TMPDIR", "TMPDIR"}) {
    if (const char* value = std::getenv(variable); value != nullptr && *value != '\0') return value;
  }
  return "/var/tmp";
}

}  // namespace

TempDir::TempDir() : path_(std::filesystem::canonical(ParentFolder()).string() + "/understudy-test-XXXXXX") {
  UNDERSTUDY_CHECK(mkdtemp(path_.data()) != nullptr);
  UNDERSTUDY_CHECK(chmod(path_.c_str(), 0755) == 0);
}

TempDir::~TempDir() {
  if (std::getenv("UNDERSTUDY_KEEP_TEMP") != nullptr) {
    std::fprintf(stderr, "kept %s\n", path_.c_str());
    return;
  }
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

std::string TempDir::File(std::string_view name) const {
  return path_ + "/" + std::string(name);
}

}  // namespace understudy::tests
