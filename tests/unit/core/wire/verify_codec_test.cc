#include "core/wire/verify_codec.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "core/wire/limits.h"
#include "understudy/v1/replication.pb.h"
#include "understudy/v1/verify.pb.h"

namespace understudy::wire {
namespace {

model::Digest DigestOfByte(uint8_t byte) {
  model::Digest digest;
  digest.fill(byte);
  return digest;
}

Damaged SomeDamage() {
  return {"vol", {"d/image", 9'000'000, std::vector<model::SegmentDigest>{{0, DigestOfByte(1)}, {2, DigestOfByte(2)}}}};
}

TEST(VerifyCodecTest, ADamagedFileComesBackAsItWas) {
  const absl::StatusOr<Damaged> damaged = Parse(ToProto(SomeDamage()));
  ASSERT_TRUE(damaged.ok()) << damaged.status();
  EXPECT_EQ(damaged->volume, "vol");
  EXPECT_EQ(damaged->file.path, "d/image");
  EXPECT_EQ(damaged->file.size, 9'000'000u);
  EXPECT_EQ(damaged->file.segments, SomeDamage().file.segments);
  Damaged unreadable = SomeDamage();
  unreadable.file.segments.reset();
  EXPECT_FALSE(Parse(ToProto(unreadable))->file.segments.has_value());
}

TEST(VerifyCodecTest, TooManySegmentsAreLeftOut) {
  Damaged damaged = SomeDamage();
  damaged.file.segments->clear();
  for (uint64_t i = 0; i < kMaxResumedSegments; ++i) damaged.file.segments->push_back({i, DigestOfByte(1)});
  EXPECT_TRUE(ToProto(damaged).has_segments());
  EXPECT_LT(ToProto(damaged).ByteSizeLong(), kMaxMessageBytes);
  damaged.file.segments->push_back({kMaxResumedSegments, DigestOfByte(1)});
  EXPECT_FALSE(ToProto(damaged).has_segments());
}

TEST(VerifyCodecTest, ADamagedFileKeepsToItsBounds) {
  for (const auto& spoil : std::vector<void (*)(v1::Damaged&)>{
           [](v1::Damaged& message) { message.set_volume("a/b"); },
           [](v1::Damaged& message) { message.set_path(""); },
           [](v1::Damaged& message) { message.set_path("../etc"); },
           [](v1::Damaged& message) { message.set_size(~uint64_t{0}); },
           [](v1::Damaged& message) { message.mutable_segments(0)->set_digest("short"); },
           [](v1::Damaged& message) { message.mutable_segments(1)->set_number(0); },
       }) {
    v1::Damaged message = ToProto(SomeDamage());
    ASSERT_TRUE(Parse(message).ok());
    spoil(message);
    EXPECT_TRUE(absl::IsInvalidArgument(Parse(message).status())) << message.ShortDebugString();
  }
}

TEST(VerifyCodecTest, EachAgentTakesItsOwnDepths) {
  for (const char* const depth : {"exists", "metadata", "digests", "kept", "", "all"}) {
    v1::VerifyReplicaRequest at_dr;
    at_dr.set_volume("vol");
    at_dr.set_depth(depth);
    v1::VerifyVolumeRequest at_primary;
    at_primary.set_volume("vol");
    at_primary.set_depth(depth);
    const std::string name = depth;
    EXPECT_EQ(Parse(at_dr).ok(), name == "exists" || name == "kept") << name;
    EXPECT_EQ(Parse(at_primary).ok(), name == "metadata" || name == "digests") << name;
    at_dr.set_volume("");
    EXPECT_FALSE(Parse(at_dr).ok());
  }
}

TEST(VerifyCodecTest, AListedEntryMayBeTheRootButOnlyAFolder) {
  model::ListedEntry root;
  root.entry.kind = model::FileKind::kDirectory;
  root.entry.metadata.mode = 0755;
  v1::ListEntriesResponse page;
  *page.add_entries() = ToProto(root);
  model::ListedEntry file;
  file.entry.path = "f";
  file.entry.size = 5;
  file.entry.digest = DigestOfByte(7);
  file.entry.link_id = 9;
  file.damaged = true;
  *page.add_entries() = ToProto(file);
  const auto entries = Parse(page);
  ASSERT_TRUE(entries.ok()) << entries.status();
  EXPECT_EQ((*entries)[0].entry.path, "");
  EXPECT_EQ((*entries)[1].entry.digest, DigestOfByte(7));
  EXPECT_TRUE((*entries)[1].damaged);
  page.mutable_entries(1)->mutable_entry()->set_path("");
  EXPECT_FALSE(Parse(page).ok());
}

TEST(VerifyCodecTest, ListsAndUpdatesAreBounded) {
  ListEntriesRequest request{"vol", true, std::vector<std::string>(kMaxListedPaths, "a")};
  EXPECT_TRUE(Parse(ToProto(request)).ok());
  request.paths.emplace_back("b");
  EXPECT_FALSE(Parse(ToProto(request)).ok());
  request.paths = {"a/../b"};
  EXPECT_FALSE(Parse(ToProto(request)).ok());

  VerifyUpdate update{{1, 2, 3, 4, 5, 6}, {{"p", model::DifferenceKind::kMtime, std::string(5000, 'x')}}, true};
  const auto parsed = Parse(ToProto(update));
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->counts.differences, 6u);
  EXPECT_EQ(parsed->differences[0].kind, model::DifferenceKind::kMtime);
  EXPECT_EQ(parsed->differences[0].detail.size(), kMaxDifferenceDetailBytes);
  update.differences.resize(model::kMaxListedDifferences + 1, update.differences[0]);
  EXPECT_FALSE(Parse(ToProto(update)).ok());
  v1::VerifyUpdate unknown = ToProto(VerifyUpdate{});
  unknown.add_differences()->set_kind("strange");
  EXPECT_FALSE(Parse(unknown).ok());
}

}  // namespace
}  // namespace understudy::wire
