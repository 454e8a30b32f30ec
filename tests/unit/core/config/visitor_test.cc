// The small texts of settings: durations, addresses, paths.
#include "core/config/visitor.h"

#include <gtest/gtest.h>

namespace understudy::config {
namespace {

TEST(DurationSettingTest, RoundTrips) {
  for (const std::string_view text : {"0s", "1ms", "1500ms", "5s", "90s", "3m", "1h", "25h", "7d"}) {
    const auto parsed = ParseDuration(text);
    ASSERT_TRUE(parsed.ok()) << text;
    EXPECT_EQ(DurationText(*parsed), text);
  }
}

TEST(DurationSettingTest, RefusesWhatIsNotANumberAndAUnit) {
  for (const std::string_view text : {"", "5", "s", "-5s", "5 s", "1.5s", "5w", "5s ", "99999999999s"}) {
    EXPECT_FALSE(ParseDuration(text).ok()) << text;
  }
}

TEST(SizeSettingTest, RoundTrips) {
  for (const std::string_view text : {"0KiB", "1KiB", "1500KiB", "5MiB", "64GiB", "1048576TiB"}) {
    const auto parsed = ParseSize(text);
    ASSERT_TRUE(parsed.ok()) << text;
    EXPECT_EQ(SizeText(*parsed), text);
  }
  EXPECT_EQ(*ParseSize("2MiB"), 2u * 1024 * 1024);
}

TEST(SizeSettingTest, RefusesWhatIsNotANumberAndAUnit) {
  for (const std::string_view text : {"", "5", "GiB", "-5GiB", "5 GiB", "1.5GiB", "5GB", "5GiB ", "99999999999TiB"}) {
    EXPECT_FALSE(ParseSize(text).ok()) << text;
  }
}

TEST(AddressSettingTest, TakesHostsAndPorts) {
  for (const char* const text : {"a:1", "127.0.0.1:0", "[::1]:65535", "nfs.example.com:7411"}) {
    EXPECT_TRUE(CheckAddress(text).ok()) << text;
  }
  for (const char* const text :
       {"", "a", ":1", "a:", "a:65536", "a:-1", "::1:5", "http://a:1", "a b:1", "[]:1", "a:1x"}) {
    EXPECT_FALSE(CheckAddress(text).ok()) << text;
  }
}

TEST(AbsolutePathSettingTest, RefusesWhatIsNotPlain) {
  for (const char* const text : {"/", "/a", "/a/b c"}) EXPECT_TRUE(CheckAbsolutePath(text).ok()) << text;
  for (const char* const text : {"", "a", "/a/", "//a", "/a/../b", "/./a"})
    EXPECT_FALSE(CheckAbsolutePath(text).ok()) << text;
}

}  // namespace
}  // namespace understudy::config
