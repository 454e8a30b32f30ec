// The generated reference pages are in step with the settings.
#include "core/config/reference.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <iterator>

namespace understudy::config {
namespace {

TEST(ReferencePagesTest, AreUpToDate) {
  const char* const source = std::getenv("UNDERSTUDY_SOURCE");
  ASSERT_NE(source, nullptr) << "run this test through ctest";
  for (const ReferencePage& page : ReferencePages()) {
    std::ifstream file(std::string(source) + "/docs/reference/" + page.file_name, std::ios::binary);
    const std::string committed((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
    EXPECT_EQ(committed, page.markdown) << "docs/reference/" << page.file_name
                                        << " is stale: run drctl config reference --dir docs/reference";
  }
}

}  // namespace
}  // namespace understudy::config
