#include "agent-primary/capture/segment_reader.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <string>

#include "core/os/fd.h"
#include "tests/support/temp_dir.h"

namespace understudy::primary {
namespace {

using delta::kBlockBytes;
using delta::kSegmentBytes;

class SegmentReaderTest : public ::testing::Test {
 protected:
  std::string Noise(size_t length) {
    std::string bytes(length + 8, '\0');
    for (size_t at = 0; at < length; at += 8) {
      const uint64_t word = random_();
      std::memcpy(bytes.data() + at, &word, sizeof(word));
    }
    bytes.resize(length);
    return bytes;
  }
  void Write(uint64_t offset, std::string_view bytes) { ASSERT_TRUE(os::WriteAt(file_.get(), offset, bytes).ok()); }
  void SetSize(uint64_t size) { ASSERT_EQ(ftruncate(file_.get(), static_cast<off_t>(size)), 0); }

  // Each segment of a file that is `content`.
  void ExpectReads(const std::string& content) {
    SegmentReader reader(file_.get(), content.size());
    for (uint64_t offset = 0; offset < content.size(); offset += kSegmentBytes) {
      SCOPED_TRACE(offset);
      const absl::StatusOr<ReadSegment> segment = reader.Next();
      ASSERT_TRUE(segment.ok()) << segment.status();
      const std::string_view expected = std::string_view(content).substr(offset, kSegmentBytes);
      EXPECT_EQ(segment->number, offset / kSegmentBytes);
      EXPECT_EQ(segment->offset, offset);
      EXPECT_EQ(segment->length, expected.size());
      EXPECT_FALSE(segment->cut);
      if (delta::IsAllZeros(expected)) {
        EXPECT_TRUE(segment->bytes.empty() && segment->around.empty() && segment->marks.empty());
        continue;
      }
      EXPECT_TRUE(segment->bytes == expected);
      const uint64_t begin = offset - std::min(offset, kBlockBytes);
      EXPECT_EQ(segment->around_offset, begin);
      const uint64_t end = offset + expected.size() + kBlockBytes;
      EXPECT_TRUE(segment->around == std::string_view(content).substr(begin, end - begin));
      std::string marks;
      EXPECT_EQ(segment->digest, delta::DigestOfSegment(segment->number, expected, &marks));
      EXPECT_TRUE(segment->marks == marks);
    }
  }

  std::mt19937_64 random_{20261130};
  const tests::TempDir folder_;
  const os::Fd file_{open(folder_.File("file").c_str(), O_RDWR | O_CREAT, 0600)};
};

TEST_F(SegmentReaderTest, SegmentsComeInOrder) {
  for (const uint64_t size : {uint64_t{1}, kSegmentBytes, kSegmentBytes + 1, 2 * kSegmentBytes, 3 * kSegmentBytes - 1,
                              9 * kSegmentBytes + 12'345}) {
    SCOPED_TRACE(size);
    const std::string content = Noise(size);
    SetSize(0);
    Write(0, content);
    ExpectReads(content);
  }
}

TEST_F(SegmentReaderTest, HolesAndZerosAreNothing) {
  std::string content(12 * kSegmentBytes + 100, '\0');
  SetSize(content.size());
  const std::string data = Noise(3 * kBlockBytes);
  for (const uint64_t offset :
       {3 * kSegmentBytes - kBlockBytes, 9 * kSegmentBytes + 77, content.size() - 3 * kBlockBytes}) {
    content.replace(offset, data.size(), data);
    Write(offset, data);
  }
  Write(6 * kSegmentBytes, std::string(kSegmentBytes, '\0'));
  ExpectReads(content);
  content.assign(5 * kSegmentBytes, '\0');
  SetSize(0);
  SetSize(content.size());
  ExpectReads(content);
}

// Buffers are used again: what is in a hole is zeros all the same.
TEST_F(SegmentReaderTest, HolesBetweenDataWithinASegment) {
  std::string content(8 * kSegmentBytes, '\0');
  SetSize(content.size());
  const auto put = [&](uint64_t at, const std::string& data) {
    content.replace(at, data.size(), data);
    Write(at, data);
  };
  for (uint64_t at = 0; at + 100'000 < content.size(); at += kSegmentBytes / 3 + 1)
    put(at, Noise(10'000 + at % 50'000));
  for (const uint64_t number : {2, 3, 6}) put(number * kSegmentBytes - 10'000, Noise(20'000));
  ExpectReads(content);
}

TEST_F(SegmentReaderTest, WhatIsCutOffIsZeros) {
  const std::string content = Noise(4 * kSegmentBytes + 1000);
  Write(0, content);
  SegmentReader reader(file_.get(), 6 * kSegmentBytes);
  for (int number = 0; number < 4; ++number) EXPECT_FALSE(reader.Next()->cut);
  const ReadSegment segment = reader.Next().value();
  EXPECT_TRUE(segment.cut);
  EXPECT_EQ(segment.bytes.size(), kSegmentBytes);
  EXPECT_EQ(segment.bytes.substr(0, 1000), content.substr(4 * kSegmentBytes));
  EXPECT_TRUE(delta::IsAllZeros(segment.bytes.substr(1000)));
  EXPECT_TRUE(reader.Next()->bytes.empty());
}

TEST_F(SegmentReaderTest, WhatItGaveStaysUntilTheNext) {
  const std::string content = Noise(8 * kSegmentBytes);
  Write(0, content);
  SegmentReader reader(file_.get(), content.size());
  ReadSegment segment = reader.Next().value();
  usleep(20'000);  // the threads have read all that they may
  EXPECT_TRUE(segment.bytes == std::string_view(content).substr(0, kSegmentBytes));
}

TEST_F(SegmentReaderTest, ItMayEndAtAnyTime) {
  Write(0, Noise(8 * kSegmentBytes));
  for (int given = 0; given < 6; ++given) {
    SegmentReader reader(file_.get(), 8 * kSegmentBytes);
    for (int i = 0; i < given; ++i) ASSERT_TRUE(reader.Next().ok());
  }
}

TEST_F(SegmentReaderTest, WhatCantBeReadIsTold) {
  for (const uint64_t segments : {uint64_t{1}, uint64_t{5}}) {
    Write(0, Noise(segments * kSegmentBytes));
    const os::Fd write_only(open(folder_.File("file").c_str(), O_WRONLY));
    SegmentReader reader(write_only.get(), segments * kSegmentBytes);
    EXPECT_FALSE(reader.Next().ok());
    SegmentReader of_nothing(-1, segments * kSegmentBytes);
    EXPECT_FALSE(of_nothing.Next().ok());
  }
}

}  // namespace
}  // namespace understudy::primary
