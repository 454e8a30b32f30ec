#include "core/net/secret_file.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "tests/support/temp_dir.h"

namespace understudy::net {
namespace {

TEST(SecretFileTest, IsReadAgainWhenItChangesAndCountsNoLongerOnceItIsGone) {
  const tests::TempDir dir;
  const std::string path = dir.File("token");
  SecretFile file(path);
  EXPECT_TRUE(absl::IsNotFound(file.Read().status()));
  std::ofstream(path) << "  first\n";
  EXPECT_EQ(*file.Read(), "first");
  std::ofstream(dir.File("new")) << "other\n";
  std::filesystem::rename(dir.File("new"), path);
  EXPECT_EQ(*file.Read(), "other");
  std::filesystem::remove(path);
  EXPECT_TRUE(absl::IsNotFound(file.Read().status()));
}

TEST(SecretFileTest, WhatIsNoSecretIsRefused) {
  const tests::TempDir dir;
  SecretFile file(dir.File("token"));
  for (const std::string& text : {std::string(), std::string(" \n"), std::string("a\nb"), std::string(100'000, 'x')}) {
    std::ofstream(dir.File("token"), std::ios::trunc) << text;
    EXPECT_TRUE(absl::IsInvalidArgument(file.Read().status())) << text.substr(0, 10);
  }
}

TEST(SameSecretTest, OnlyTheSecretItself) {
  EXPECT_TRUE(SameSecret("abc", "abc"));
  for (const char* const other : {"", "ab", "abd", "abcd", "ABC"}) EXPECT_FALSE(SameSecret(other, "abc")) << other;
}

// The example of GitHub's documentation of X-Hub-Signature-256.
TEST(HubSignatureTest, IsThatOfTheDocumentation) {
  EXPECT_EQ(HubSignature("It's a Secret to Everybody", "Hello, World!"),
            "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17");
}

}  // namespace
}  // namespace understudy::net
