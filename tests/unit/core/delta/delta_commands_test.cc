// librsync is the judge: it applies what is encoded here, and what it makes is read here.
#include "core/delta/delta_commands.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "core/delta/rsync_segment.h"

namespace understudy::delta {
namespace {

using ::testing::ElementsAre;

std::string Noise(size_t length, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::string bytes(length, '\0');
  for (char& byte : bytes) byte = static_cast<char>(random());
  return bytes;
}

// What `copies` say of `base`, and other bytes between them.
std::string MadeOf(std::string_view base, const std::vector<Copy>& copies, size_t size) {
  std::string next = Noise(size, 2);
  for (const Copy& copy : copies) next.replace(copy.to, copy.length, base.substr(copy.from, copy.length));
  return next;
}

TEST(DeltaCommandsTest, LibrsyncMakesWhatWasEncoded) {
  const std::string base = Noise(300'000, 1);
  const std::vector<std::vector<Copy>> cases = {
      {},
      {{0, 0, 300'000}},
      {{299'999, 0, 1}},
      {{70'000, 64, 255}, {3, 319 + 65, 256}, {255, 1000, 65'535}, {256, 70'000, 65'536}},
      {{100, 0, 100'000}, {100, 100'000, 100'000}},
  };
  for (const std::vector<Copy>& copies : cases) {
    const std::string next = MadeOf(base, copies, 300'000);
    const std::string delta = EncodeDelta(next, copies);
    const absl::StatusOr<std::string> made = ApplyDelta(base, delta, next.size());
    ASSERT_TRUE(made.ok()) << made.status();
    EXPECT_TRUE(*made == next);
    EXPECT_EQ(CopiesOf(delta).value(), copies);
  }
}

TEST(DeltaCommandsTest, LiteralsOfEachLength) {
  for (const size_t length : {size_t{0}, size_t{1}, size_t{64}, size_t{65}, size_t{255}, size_t{256}, size_t{70'000}}) {
    const std::string next = Noise(length, length);
    EXPECT_TRUE(ApplyDelta("", EncodeDelta(next, {}), length).value() == next) << length;
  }
}

TEST(DeltaCommandsTest, WhatLibrsyncCopiesIsRead) {
  const std::string base = Noise(1'000'000, 1);
  const std::string next = Noise(12'345, 2) + base;
  const std::string delta = MakeDelta(MakeSignature(base).value(), next).value();
  EXPECT_THAT(CopiesOf(delta).value(), ElementsAre(Copy{0, 12'345, 1'000'000}));
}

TEST(DeltaCommandsTest, WhatIsNoDeltaIsRefused) {
  const std::string delta = EncodeDelta(Noise(1000, 1), {{5, 100, 300}});
  for (size_t length = 0; length < delta.size(); ++length) {
    EXPECT_TRUE(absl::IsInvalidArgument(CopiesOf(delta.substr(0, length)).status())) << length;
  }
  EXPECT_TRUE(absl::IsInvalidArgument(CopiesOf(delta + "x").status()));
  EXPECT_TRUE(absl::IsInvalidArgument(CopiesOf(delta.substr(0, 4) + '\x55' + '\0').status())) << "reserved";
}

}  // namespace
}  // namespace understudy::delta
