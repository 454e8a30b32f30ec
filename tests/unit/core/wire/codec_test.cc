#include <gtest/gtest.h>

#include <functional>
#include <string>

#include "core/wire/catalog_codec.h"
#include "core/wire/limits.h"
#include "core/wire/replication_codec.h"
#include "core/wire/status_fence.h"
#include "core/wire/status_path.h"
#include "understudy/v1/catalog.pb.h"
#include "understudy/v1/replica.pb.h"
#include "understudy/v1/replication.pb.h"

namespace understudy::wire {
namespace {

using model::FileKind;

model::Metadata SomeMetadata() {
  model::Metadata metadata;
  metadata.mode = 04751;
  metadata.uid = 1;
  metadata.gid = 2;
  metadata.mtime_seconds = -3;
  metadata.mtime_nanoseconds = 4;
  metadata.xattrs = {{"security.capability", std::string("\0\x01", 2)}, {"user.x", ""}};
  return metadata;
}

model::Commit CommitOfEveryKind() {
  model::Commit commit;
  commit.volume = "vol-1";
  commit.epoch = 2;
  commit.base_sequence = 41;
  commit.sequence = 42;
  commit.completes_capture = false;
  commit.captured_at_nanoseconds = 1'700'000'000'000'000'001;
  commit.id = "0123456789abcdef0123456789abcdef";
  const std::string odd("\xff/\x01", 3);
  model::Digest digest{};
  digest[15] = 9;
  commit.operations = {
      model::Detach{"z", 3},
      model::Remove{"y", FileKind::kSocket},
      model::MakeDirectory{"a", SomeMetadata()},
      model::Put{"b", SomeMetadata(), 5, digest, std::string("a\0b\xff!", 5)},
      model::Put{"c", SomeMetadata(), 5'000'000'000, digest, model::Slot{7}},
      model::MakeSymlink{"d", odd, SomeMetadata()},
      model::MakeNode{"e", FileKind::kBlockDevice, 0x1234567890, SomeMetadata()},
      model::Attach{3, odd},
      model::SetMetadata{"y", FileKind::kFifo, SomeMetadata()},
      model::SetMetadata{"", FileKind::kDirectory, SomeMetadata()},
  };
  return commit;
}

TEST(CommitCodec, GivesBackEveryKindOfOperation) {
  const model::Commit commit = CommitOfEveryKind();
  const v1::Commit message = ToProto(commit);
  const auto parsed = Parse(message);
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(ToProto(*parsed).SerializeAsString(), message.SerializeAsString());
  EXPECT_EQ(parsed->sequence, 42u);
  EXPECT_FALSE(parsed->completes_capture);
  const auto& put = std::get<model::Put>(parsed->operations[3]);
  EXPECT_EQ(std::get<std::string>(put.content), std::string("a\0b\xff!", 5));
  EXPECT_EQ(put.metadata, SomeMetadata());
  EXPECT_EQ(std::get<model::Slot>(std::get<model::Put>(parsed->operations[4]).content), 7u);
  EXPECT_EQ(std::get<model::MakeNode>(parsed->operations[6]).device, 0x1234567890u);
}

TEST(CommitCodec, OnlyTheEndOfACaptureIsConsistent) {
  model::Commit commit = CommitOfEveryKind();
  commit.consistency = model::Consistency::kQuiesced;
  EXPECT_EQ(Parse(ToProto(commit))->consistency, model::Consistency::kUnknown);
  commit.completes_capture = true;
  v1::Commit message = ToProto(commit);
  EXPECT_EQ(Parse(message)->consistency, model::Consistency::kQuiesced);
  message.set_consistency(static_cast<v1::Consistency>(99));
  EXPECT_EQ(Parse(message)->consistency, model::Consistency::kUnknown) << "of a newer program";
}

TEST(CommitCodec, RefusesWhatHasNoMeaning) {
  const auto code_after = [](const std::function<void(v1::Commit&)>& damage) {
    v1::Commit message = ToProto(CommitOfEveryKind());
    damage(message);
    return Parse(message).status().code();
  };
  EXPECT_EQ(code_after([](v1::Commit&) {}), absl::StatusCode::kOk);
  const std::function<void(v1::Commit&)> damages[] = {
      [](v1::Commit& m) { m.add_operations(); },
      [](v1::Commit& m) { m.mutable_operations(1)->mutable_remove()->set_kind(v1::FILE_KIND_UNSPECIFIED); },
      [](v1::Commit& m) { m.mutable_operations(1)->mutable_remove()->set_kind(static_cast<v1::FileKind>(8)); },
      [](v1::Commit& m) { m.mutable_operations(3)->mutable_put()->clear_content(); },
      [](v1::Commit& m) { m.mutable_operations(3)->mutable_put()->set_digest("short"); },
      [](v1::Commit& m) { m.mutable_operations(3)->mutable_put()->set_digest(std::string(17, 'd')); },
      [](v1::Commit& m) { m.mutable_operations(3)->mutable_put()->set_path("b/../c"); },
      [](v1::Commit& m) { m.set_volume("../vol"); },
      [](v1::Commit& m) { m.set_sequence(43); },
  };
  for (const auto& damage : damages) EXPECT_EQ(code_after(damage), absl::StatusCode::kInvalidArgument);
}

TEST(CommitRecord, ComesBackWithoutItsContentsAndTellsDamage) {
  model::Commit commit = CommitOfEveryKind();
  std::get<model::Put>(commit.operations[3]).content = std::string();
  const std::string bytes = SerializeCommit(commit);
  const auto read = DeserializeCommit(bytes);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(SerializeCommit(*read), bytes);
  EXPECT_EQ(DeserializeCommit(bytes.substr(0, bytes.size() - 3)).status().code(), absl::StatusCode::kDataLoss);
}

TEST(StageCodec, DataAndHolesAreToldApart) {
  const v1::StageData message =
      ToProto(StageData{"vol", 1, {{4096, 3, "abc"}, {8192, uint64_t{1} << 40, ""}, {uint64_t{1} << 41, 2, "de"}}});
  const auto parsed = Parse(message);
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  ASSERT_EQ(parsed->ranges.size(), 3u);
  EXPECT_EQ(parsed->ranges[0].data, "abc");
  EXPECT_TRUE(parsed->ranges[1].data.empty());
  EXPECT_EQ(parsed->ranges[1].length, uint64_t{1} << 40);
  EXPECT_EQ(parsed->ranges[2].offset, uint64_t{1} << 41);
  EXPECT_EQ(parsed->ranges[2].data, "de");
}

TEST(StageCodec, EachRangeAndAllOfThemAreChecked) {
  const v1::StageData message = ToProto(StageData{"vol", 1, {{0, 3, "abc"}, {4096, 2, "de"}}});
  v1::StageData lying = message;
  lying.set_length(4);
  EXPECT_TRUE(absl::IsInvalidArgument(Parse(lying).status()));
  lying = message;
  lying.mutable_more(0)->set_length(4);
  EXPECT_TRUE(absl::IsInvalidArgument(Parse(lying).status()));
  v1::StageData large = message;
  large.mutable_more(0)->set_data(std::string(kMaxStageBytes - 3, 'x'));
  large.mutable_more(0)->set_length(kMaxStageBytes - 3);
  EXPECT_TRUE(Parse(large).ok());
  large.set_data("abcd");
  large.set_length(4);
  EXPECT_TRUE(absl::IsInvalidArgument(Parse(large).status()));
  v1::StageData many = message;
  while (many.more_size() + 1 < static_cast<int>(kMaxStageRanges)) *many.add_more() = message.more(0);
  EXPECT_TRUE(Parse(many).ok());
  *many.add_more() = message.more(0);
  EXPECT_TRUE(absl::IsInvalidArgument(Parse(many).status()));
}

TEST(StageCodec, SmallFilesComeBack) {
  model::StagedBatch batch{{"new", "new/in"}, {}};
  model::StagedFile& file = batch.files.emplace_back();
  file.slot = 7;
  file.path = "new/in/f";
  file.metadata.mode = 0640;
  file.metadata.mtime_nanoseconds = 9;
  file.metadata.xattrs = {{"user.a", "1"}};
  file.digest = {1, 2, 3};
  file.content = "content";
  const auto parsed = Parse(ToProto("vol", batch));
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->volume, "vol");
  EXPECT_EQ(parsed->batch.folders, batch.folders);
  ASSERT_EQ(parsed->batch.files.size(), 1u);
  EXPECT_EQ(parsed->batch.files[0].slot, 7u);
  EXPECT_EQ(parsed->batch.files[0].path, "new/in/f");
  EXPECT_EQ(parsed->batch.files[0].metadata, file.metadata);
  EXPECT_EQ(parsed->batch.files[0].digest, file.digest);
  EXPECT_EQ(parsed->batch.files[0].content, "content");
  file.path = "../f";
  EXPECT_EQ(Parse(ToProto("vol", batch)).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(StageCodec, DeltasComeBack) {
  const StageDelta delta{"vol", 5, {kMaxDeltaRangeBytes, 100, "delta", {1, 2, 3}, 4096, 99}};
  const auto parsed = Parse(ToProto(delta));
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->delta.offset, kMaxDeltaRangeBytes);
  EXPECT_EQ(parsed->delta.delta, "delta");
  EXPECT_EQ(parsed->delta.digest, delta.delta.digest);
  EXPECT_EQ(parsed->delta.base_offset, 4096u);
  EXPECT_EQ(parsed->delta.base_length, 99u);
}

TEST(ReplicaStateCodec, ComesBackAndIsChecked) {
  const model::ReplicaState state{"vol", "id", 3, 9, 8, "commit", model::VolumeState::kStandby, "/srv/b/vol", true};
  v1::ReplicaState message = ToProto(state);
  const auto parsed = Parse(message);
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->sequence, 9u);
  EXPECT_EQ(parsed->published_sequence, 8u);
  EXPECT_EQ(parsed->commit_id, "commit");
  EXPECT_EQ(parsed->root, "/srv/b/vol");
  EXPECT_TRUE(parsed->complete);
  EXPECT_FALSE(parsed->awaits_primary);
  model::ReplicaState demoted = state;
  demoted.awaits_primary = demoted.demoted_whole = demoted.hooks_due = demoted.reprotected = true;
  demoted.adopted_epoch = 7;
  demoted.captured_at_nanoseconds = 5;
  demoted.state_since_nanoseconds = 6;
  const auto demoted_parsed = Parse(ToProto(demoted));
  ASSERT_TRUE(demoted_parsed.ok());
  EXPECT_TRUE(demoted_parsed->awaits_primary && demoted_parsed->demoted_whole && demoted_parsed->hooks_due);
  EXPECT_TRUE(demoted_parsed->reprotected);
  EXPECT_EQ(demoted_parsed->adopted_epoch, 7u);
  EXPECT_EQ(demoted_parsed->captured_at_nanoseconds, 5);
  EXPECT_EQ(demoted_parsed->state_since_nanoseconds, 6);
  model::ReplicaState midst = state;
  midst.midst_of_capture = true;
  EXPECT_EQ(Parse(ToProto(midst))->newest_whole, std::nullopt);
  midst.newest_whole = {6, 5, model::Consistency::kFuzzy};
  midst.consistency = model::Consistency::kCrashConsistent;
  EXPECT_EQ(Parse(ToProto(midst))->consistency, model::Consistency::kCrashConsistent);
  EXPECT_TRUE(Parse(ToProto(midst))->midst_of_capture);
  EXPECT_EQ(Parse(ToProto(midst))->newest_whole, midst.newest_whole);
  message.set_published_sequence(10);
  EXPECT_FALSE(Parse(message).ok());
  message.set_published_sequence(8);
  message.set_state("sleeping");
  EXPECT_FALSE(Parse(message).ok());
}

TEST(RefusalCodec, KeepsCodeMessageAndPath) {
  const std::string path = "dir/\xff";
  const absl::Status status = WithPath(absl::DataLossError("'dir/\\xff' differs"), path);
  const auto parsed = Parse(ToProto(Refusal{"vol", status, path}));
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->status.code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(MessageOf(parsed->status), "'dir/\\xff' differs");
  EXPECT_EQ(PathOf(parsed->status), path);
  v1::Refusal strange = ToProto(Refusal{"vol", status, ""});
  strange.set_code(99);
  EXPECT_EQ(Parse(strange)->status.code(), absl::StatusCode::kUnknown);
  strange.set_code(0);
  EXPECT_EQ(Parse(strange)->status.code(), absl::StatusCode::kUnknown) << "a refusal is never OK";
}

TEST(RefusalCodec, KeepsWhichEpochFencesThePrimary) {
  const absl::Status fenced = WithFence(absl::FailedPreconditionError("promoted"), 7);
  EXPECT_EQ(FenceOf(Parse(ToProto(Refusal{"vol", fenced, ""}))->status), 7u);
  EXPECT_EQ(FenceOf(Parse(ToProto(Refusal{"vol", absl::FailedPreconditionError("other"), ""}))->status), std::nullopt);
}

TEST(EpochCodec, EveryMessageOfAnOpenVolumeHasOne) {
  v1::ReplicateRequest message;
  *message.mutable_stage_end() = ToProto(StageEnd{"vol", 1});
  EXPECT_EQ(ParseEpoch(message).status().code(), absl::StatusCode::kInvalidArgument);
  message.set_epoch(3);
  EXPECT_EQ(ParseEpoch(message).value(), 3u);
  message.set_epoch(uint64_t{1} << 63);
  EXPECT_EQ(ParseEpoch(message).status().code(), absl::StatusCode::kInvalidArgument);
  *message.mutable_commit() = ToProto(CommitOfEveryKind());
  message.set_epoch(2);
  EXPECT_EQ(ParseEpoch(message).value(), 2u);
  message.set_epoch(3);
  EXPECT_EQ(ParseEpoch(message).status().code(), absl::StatusCode::kInvalidArgument) << "the commit says 2";
}

TEST(EpochCodec, NoPrimaryBringsOneThatLeavesNoRoomForPromotions) {
  EXPECT_TRUE(Parse(ToProto(model::VolumeSpec{"vol", "/srv/b/vol", kMaxEpoch})).ok());
  EXPECT_FALSE(Parse(ToProto(model::VolumeSpec{"vol", "/srv/b/vol", kMaxEpoch + 1})).ok());
}

TEST(RefusalCodec, CutsAndCleansAnOverlongMessage) {
  const v1::Refusal message = ToProto(Refusal{"vol", absl::InternalError(std::string(100'000, 'x') + "\xff"), ""});
  EXPECT_LE(message.message().size(), kMaxErrorMessageBytes);
  const v1::Refusal dirty = ToProto(Refusal{"vol", absl::InternalError("a\xff\n"), ""});
  EXPECT_EQ(dirty.message(), "a\\xff\\x0a");
}

TEST(Handshake, SaysWhichSideToUpgrade) {
  const Handshake ours{1, "0.1.0", "b"};
  EXPECT_TRUE(CheckVersions(ours, "understudy-dr", {1, "0.9.0", "a"}, "understudy-primary").ok());
  const absl::Status newer = CheckVersions(ours, "understudy-dr", {2, "2.0.0", "a"}, "understudy-primary");
  EXPECT_EQ(newer.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(MessageOf(newer).ends_with("upgrade understudy-dr")) << newer;
  const absl::Status older = CheckVersions({2, "2.0.0", "b"}, "understudy-dr", {1, "0.1.0", "a"}, "understudy-primary");
  EXPECT_TRUE(MessageOf(older).ends_with("upgrade understudy-primary")) << older;
}

TEST(InventoryCodec, EntriesComeBackAndAreChecked) {
  model::InventoryEntry entry;
  entry.path = "a/\xfe";
  entry.size = 12;
  entry.metadata = SomeMetadata();
  entry.digest = model::Digest{1};
  v1::InventoryEntry message = ToProto(entry);
  const auto parsed = Parse(message);
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->path, entry.path);
  EXPECT_EQ(parsed->digest, entry.digest);
  EXPECT_EQ(parsed->metadata, entry.metadata);
  message.set_kind(v1::FILE_KIND_DIRECTORY);
  EXPECT_FALSE(Parse(message).ok()) << "a folder has no digest";
  v1::InventoryResponse page;
  for (size_t i = 0; i <= kMaxPageEntries; ++i) *page.add_entries() = ToProto(entry);
  EXPECT_FALSE(Parse(page).ok());
}

TEST(CatalogCodec, EntriesComeBackAndAreChecked) {
  model::CatalogEntry entry;
  entry.key = {model::ObjectKind::kPersistentVolumeClaim, "shop", "db"};
  entry.uid = "0f";
  entry.resource = R"({"kind":"PersistentVolumeClaim"})";
  entry.volume = "pv-db";
  entry.replica_path = "/srv/b/\xff";
  entry.server = "nfs";
  entry.revision = 12;
  entry.observed_at = absl::FromUnixNanos(1'700'000'000'000'000'007);
  v1::PutObjectRequest request;
  *request.mutable_entry() = ToProto(entry);
  const auto parsed = Parse(request);
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->key, entry.key);
  EXPECT_EQ(parsed->resource, entry.resource);
  EXPECT_EQ(parsed->replica_path, entry.replica_path);
  EXPECT_EQ(parsed->observed_at, entry.observed_at);
  request.mutable_entry()->set_deleted(true);
  EXPECT_FALSE(Parse(request).ok());
  request.mutable_entry()->set_deleted(false);
  request.mutable_entry()->mutable_key()->set_kind("Secret");
  EXPECT_FALSE(Parse(request).ok());
}

TEST(CatalogCodec, PagesRise) {
  model::CatalogEntry entry;
  entry.key = {model::ObjectKind::kPersistentVolume, "", "pv"};
  entry.resource = "{}";
  v1::ListObjectsResponse page;
  entry.revision = 2;
  *page.add_entries() = ToProto(entry);
  entry.revision = 3;
  *page.add_entries() = ToProto(entry);
  EXPECT_TRUE(Parse(page).ok());
  *page.add_entries() = ToProto(entry);
  EXPECT_FALSE(Parse(page).ok());
  v1::ListObjectsResponse endless;
  endless.set_more(true);
  EXPECT_FALSE(Parse(endless).ok());
}

TEST(OtherMessages, AreChecked) {
  v1::OpenVolume open = ToProto(model::VolumeSpec{"vol", "/srv/b/vol", 4});
  EXPECT_TRUE(Parse(open).ok());
  open.set_root("/srv/b/../c");
  EXPECT_FALSE(Parse(open).ok());
  EXPECT_FALSE(Parse(ToProto(Acknowledgement{"", 1})).ok());
  EXPECT_TRUE(Parse(ToProto(Published{"vol", 1})).ok());
  v1::HandshakeRequest handshake = ToRequest({1, "0.1.0", "host"});
  EXPECT_TRUE(Parse(handshake).ok());
  handshake.set_host(std::string(300, 'h'));
  EXPECT_FALSE(Parse(handshake).ok());
  v1::InventoryRequest inventory;
  EXPECT_FALSE(Parse(inventory).ok());
  v1::ListReplicasRequest all;
  EXPECT_EQ(Parse(all).value(), "");
  all.set_volume("a/b");
  EXPECT_FALSE(Parse(all).ok());
}

TEST(InventoryCodec, SegmentsComeBackAndAreChecked) {
  model::InventoryEntry entry;
  entry.path = "image";
  entry.size = 3 * kMaxDeltaRangeBytes + 1;
  entry.digest = model::Digest{9};
  entry.segments = {{0, {1}}, {3, {2}}};
  const auto parsed = Parse(ToProto(entry));
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->segments, entry.segments);
  model::InventoryEntry past_the_end = entry;
  past_the_end.segments.push_back({4, {3}});
  EXPECT_FALSE(Parse(ToProto(past_the_end)).ok());
  model::InventoryEntry disordered = entry;
  disordered.segments = {{3, {2}}, {0, {1}}};
  EXPECT_FALSE(Parse(ToProto(disordered)).ok());
  model::InventoryEntry unvouched = entry;
  unvouched.digest.reset();
  EXPECT_FALSE(Parse(ToProto(unvouched)).ok());
  v1::InventoryEntry many = ToProto(entry);
  many.mutable_segments()->Reserve(kMaxInventorySegments + 1);
  for (size_t i = 0; i <= kMaxInventorySegments; ++i) *many.add_segments() = many.segments(0);
  EXPECT_FALSE(Parse(many).ok());
}

TEST(SignatureCodec, RequestsAndAnswersAreChecked) {
  const v1::SegmentSignatureRequest request = ToProto(SegmentPlace{"vol", "a/image", 7});
  ASSERT_TRUE(Parse(request).ok());
  EXPECT_EQ(Parse(request)->path, "a/image");
  EXPECT_EQ(Parse(request)->number, 7u);
  EXPECT_FALSE(Parse(ToProto(SegmentPlace{"../vol", "image", 0})).ok());
  EXPECT_FALSE(Parse(ToProto(SegmentPlace{"vol", "../image", 0})).ok());
  EXPECT_FALSE(Parse(ToProto(SegmentPlace{"vol", "", 0})).ok());
  EXPECT_FALSE(Parse(ToProto(SegmentPlace{"vol", "image", UINT64_MAX})).ok());
  v1::SegmentSignatureResponse response;
  EXPECT_FALSE(Parse(response).ok());
  response.set_signature(std::string(kMaxSignatureBytes, 's'));
  EXPECT_EQ(Parse(response)->size(), kMaxSignatureBytes);
  response.set_signature(std::string(kMaxSignatureBytes + 1, 's'));
  EXPECT_FALSE(Parse(response).ok());
}

}  // namespace
}  // namespace understudy::wire
