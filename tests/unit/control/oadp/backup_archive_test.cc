#include "control/oadp/backup_archive.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zlib.h>

#include <fstream>

#include "core/kube/object_fields.h"
#include "tests/support/temp_dir.h"
#include "tests/support/velero_archive.h"

namespace understudy::control {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;
using tests::MakeClaim;
using tests::MakeSnapshot;
using tests::MakeSnapshotContent;
using tests::MakeVirtualMachine;
using tests::MakeVolume;
using tests::VeleroArchive;

std::vector<std::string> NamesOf(const std::vector<json>& objects) {
  std::vector<std::string> names;
  for (const json& object : objects) names.push_back(kube::NameOf(object));
  return names;
}

std::string Gzipped(const std::string& bytes) {
  std::string out(compressBound(bytes.size()) + 64, '\0');
  z_stream stream{};
  EXPECT_EQ(deflateInit2(&stream, Z_BEST_SPEED, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY), Z_OK);
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
  stream.avail_in = static_cast<uInt>(bytes.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  EXPECT_EQ(deflate(&stream, Z_FINISH), Z_STREAM_END);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

class BackupArchiveTest : public ::testing::Test {
 protected:
  absl::StatusOr<BackupContents> ReadBytes(const std::string& bytes, std::vector<std::string> namespaces = {},
                                           ArchiveLimits limits = {}) {
    const std::string file = folder_.File("b.tar.gz");
    std::ofstream(file, std::ios::binary | std::ios::trunc) << bytes;
    return ReadBackupArchive(file, {.backup = "nightly", .namespaces = std::move(namespaces), .limits = limits});
  }
  absl::StatusOr<BackupContents> Read(const VeleroArchive& archive, std::vector<std::string> namespaces = {},
                                      ArchiveLimits limits = {}) {
    return ReadBytes(archive.TarGz(), std::move(namespaces), limits);
  }
  std::string ErrorOf(const VeleroArchive& archive, ArchiveLimits limits = {}) {
    return std::string(Read(archive, {}, limits).status().message());
  }

  static VeleroArchive TwoShops() {
    VeleroArchive archive;
    archive.Add(MakeVirtualMachine("shop", "web", "web-disk"))
        .Add(MakeClaim("shop", "web-disk", "pv-web"))
        .Add(MakeVolume("pv-web", "shop", "web-disk"))
        .Add(MakeClaim("bank", "ledger", "pv-ledger"))
        .Add(MakeVolume("pv-ledger", "bank", "ledger"))
        .Add(MakeVolume("pv-of-nobody", "gone", "nothing"))
        .Add(MakeSnapshot("shop", "web-snap", "content-web"))
        .Add(MakeSnapshotContent("content-web", "shop", "web-snap"))
        .Add(MakeSnapshotContent("content-of-nobody", "gone", "nothing"))
        .Add({{"apiVersion", "cdi.kubevirt.io/v1beta1"},
              {"kind", "DataVolume"},
              {"metadata", {{"namespace", "shop"}, {"name", "web-disk"}}}})
        .Add({{"apiVersion", "v1"}, {"kind", "Pod"}, {"metadata", {{"namespace", "shop"}, {"name", "launcher"}}}});
    return archive;
  }

  const tests::TempDir folder_;
};

TEST_F(BackupArchiveTest, YieldsStorageAndMachinesOfAllNamespaces) {
  const auto contents = Read(TwoShops());
  ASSERT_TRUE(contents.ok()) << contents.status();
  EXPECT_EQ(contents->format_version, "1.1.0");
  EXPECT_THAT(NamesOf(contents->persistent_volumes), ElementsAre("pv-ledger", "pv-web"));
  EXPECT_THAT(NamesOf(contents->claims), ElementsAre("ledger", "web-disk"));
  EXPECT_THAT(NamesOf(contents->snapshots), ElementsAre("web-snap"));
  EXPECT_THAT(NamesOf(contents->snapshot_contents), ElementsAre("content-web"));
  EXPECT_THAT(NamesOf(contents->virtual_machines), ElementsAre("web"));
  EXPECT_EQ(contents->data_volumes.size(), 1);
  EXPECT_THAT(contents->namespaces, ElementsAre("bank", "shop"));
  // Each object once, though it stands in the archive twice.
  EXPECT_THAT(contents->counts,
              ElementsAre(Pair("datavolumes.cdi.kubevirt.io", 1), Pair("persistentvolumeclaims", 2),
                          Pair("persistentvolumes", 3), Pair("pods", 1), Pair("virtualmachines.kubevirt.io", 1),
                          Pair("volumesnapshotcontents.snapshot.storage.k8s.io", 2),
                          Pair("volumesnapshots.snapshot.storage.k8s.io", 1)));
  EXPECT_EQ(contents->persistent_volumes[1], MakeVolume("pv-web", "shop", "web-disk"));
}

TEST_F(BackupArchiveTest, LeavesOutWhatBelongsToOtherNamespaces) {
  const auto contents = Read(TwoShops(), {"bank"});
  ASSERT_TRUE(contents.ok()) << contents.status();
  EXPECT_THAT(NamesOf(contents->persistent_volumes), ElementsAre("pv-ledger"));
  EXPECT_THAT(NamesOf(contents->claims), ElementsAre("ledger"));
  EXPECT_THAT(contents->snapshots, IsEmpty());
  EXPECT_THAT(contents->snapshot_contents, IsEmpty());
  EXPECT_THAT(contents->virtual_machines, IsEmpty());
  EXPECT_THAT(contents->namespaces, ElementsAre("bank"));
  EXPECT_EQ(contents->counts.at("persistentvolumeclaims"), 1);
}

TEST_F(BackupArchiveTest, AVolumeIsFoundFromEitherSide) {
  json unbound_reference = MakeVolume("pv-1", "shop", "data");
  unbound_reference["spec"].erase("claimRef");
  VeleroArchive archive;
  archive.Add(unbound_reference)
      .Add(MakeClaim("shop", "data", "pv-1"))
      .Add(MakeVolume("pv-2", "shop", "more"))
      .Add(MakeClaim("shop", "more", ""));
  EXPECT_THAT(NamesOf(Read(archive)->persistent_volumes), ElementsAre("pv-1", "pv-2"));
}

TEST_F(BackupArchiveTest, FoldersMayHaveEntriesOfTheirOwn) {
  VeleroArchive archive;
  archive.AddFolder("resources").AddFolder("resources/pods/");
  EXPECT_TRUE(Read(archive).ok()) << Read(archive).status();
}

TEST_F(BackupArchiveTest, AnArchiveThatEndsEarlyIsNeverTaken) {
  const std::string whole = TwoShops().TarGz();
  // Every length near the end, where the checksum and the length are.
  for (size_t length = 0; length < whole.size(); length += length + 24 < whole.size() ? 13 : 1) {
    const absl::Status status = ReadBytes(whole.substr(0, length)).status();
    ASSERT_TRUE(absl::IsDataLoss(status)) << length << ": " << status;
  }
  const std::string message(ReadBytes(whole.substr(0, whole.size() / 2)).status().message());
  EXPECT_THAT(message, AllOf(HasSubstr("backup nightly"), HasSubstr("ends early"), HasSubstr("--backup")));
}

TEST_F(BackupArchiveTest, ATarThatEndsEarlyInsideWholeGzipIsNeverTaken) {
  const std::string tar = TwoShops().Tar();
  // The last two blocks of zeros, and what pads the file after them.
  const size_t content = tar.find_last_not_of('\0') + 1;
  for (size_t length = 0; length < content + 512; length += 512) {
    const absl::Status status = ReadBytes(Gzipped(tar.substr(0, length))).status();
    ASSERT_TRUE(absl::IsDataLoss(status)) << length << ": " << status;
  }
  EXPECT_TRUE(ReadBytes(Gzipped(tar)).ok());
}

TEST_F(BackupArchiveTest, AByteThatChangedIsFoundOrChangesNothing) {
  const std::string whole = TwoShops().TarGz();
  const auto untouched = Read(TwoShops());
  for (size_t at = 10; at < whole.size(); at += 5) {  // what is before is gzip's own header, of which most says nothing
    std::string damaged = whole;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x10);
    const auto contents = ReadBytes(damaged);
    if (!contents.ok()) continue;
    // Bits that say nothing: those that fill up the last byte of the compressed data, for one.
    EXPECT_EQ(contents->claims, untouched->claims) << at;
    EXPECT_EQ(contents->counts, untouched->counts) << at;
  }
}

TEST_F(BackupArchiveTest, WhatFollowsTheEndIsRefused) {
  const VeleroArchive archive = TwoShops();
  EXPECT_FALSE(ReadBytes(archive.TarGz() + "more").ok());
  EXPECT_FALSE(ReadBytes(Gzipped(archive.Tar() + std::string(512, 'x'))).ok());
  EXPECT_FALSE(ReadBytes("").ok());
  EXPECT_FALSE(ReadBytes("this is no archive, but long enough to be looked at").ok());
  EXPECT_FALSE(ReadBytes(Gzipped("this is no tar file")).ok());
  EXPECT_FALSE(ReadBytes(Gzipped("")).ok());
}

TEST_F(BackupArchiveTest, AFormatThatIsntKnownIsTold) {
  EXPECT_TRUE(Read(VeleroArchive("1")).ok());
  EXPECT_TRUE(Read(VeleroArchive("1.2.0\n")).ok());
  EXPECT_TRUE(absl::IsUnimplemented(Read(VeleroArchive("2.0.0")).status()));
  EXPECT_TRUE(absl::IsUnimplemented(Read(VeleroArchive("11.0.0")).status()));
  const absl::Status none = Read(VeleroArchive("").AddFile("x", "y")).status();
  EXPECT_TRUE(absl::IsDataLoss(none)) << none;
  EXPECT_THAT(std::string(none.message()), HasSubstr("metadata/version"));
}

TEST_F(BackupArchiveTest, EntriesThatLeadElsewhereAreRefused) {
  constexpr char kClaim[] = "resources/persistentvolumeclaims/namespaces/shop/data.json";
  EXPECT_THAT(ErrorOf(VeleroArchive().AddFile("/etc/cron.d/x", "")), HasSubstr("absolute"));
  EXPECT_THAT(ErrorOf(VeleroArchive().AddFile("resources/../../x", "")), HasSubstr("'..'"));
  EXPECT_THAT(ErrorOf(VeleroArchive().AddSymlink(kClaim, "/etc/passwd")), AllOf(HasSubstr("link"), HasSubstr(kClaim)));
  EXPECT_THAT(ErrorOf(VeleroArchive().AddHardLink(kClaim, "metadata/version")), HasSubstr("link"));
  EXPECT_THAT(ErrorOf(VeleroArchive().AddSymlink("resources/pods", "..")), HasSubstr("link"));
}

TEST_F(BackupArchiveTest, AnEntryThatComesTwiceIsRefused) {
  const json claim = MakeClaim("shop", "data", "pv-1");
  EXPECT_THAT(ErrorOf(VeleroArchive().Add(claim).Add(claim)), HasSubstr("second time"));
  EXPECT_THAT(ErrorOf(VeleroArchive().AddFile("metadata/version", "1.1.0")), HasSubstr("second time"));
}

TEST_F(BackupArchiveTest, AnObjectHasToBeWhatItsPathSays) {
  constexpr char kPath[] = "resources/persistentvolumeclaims/namespaces/shop/data.json";
  const auto error = [&](const json& object) { return ErrorOf(VeleroArchive().AddFile(kPath, object.dump())); };
  EXPECT_EQ(error(MakeClaim("shop", "data", "pv-1")), "");
  EXPECT_THAT(error(MakeClaim("shop", "other", "pv-1")), HasSubstr("shop/other instead"));
  EXPECT_THAT(error(MakeClaim("bank", "data", "pv-1")), HasSubstr("bank/data instead"));
  EXPECT_THAT(error(MakeVolume("data", "shop", "x")), HasSubstr("PersistentVolume"));
  json other_group = MakeClaim("shop", "data", "pv-1");
  other_group["apiVersion"] = "example.com/v1";
  EXPECT_THAT(error(other_group), HasSubstr("instead"));
  EXPECT_THAT(error(json::array()), HasSubstr("isn't a JSON object"));
  EXPECT_THAT(error(json({{"metadata", "none"}})), HasSubstr("instead"));
}

TEST_F(BackupArchiveTest, BrokenJsonNamesItsEntry) {
  constexpr char kPath[] = "resources/virtualmachines.kubevirt.io/namespaces/shop/web.json";
  const std::string text = MakeVirtualMachine("shop", "web", "disk").dump();
  EXPECT_THAT(ErrorOf(VeleroArchive().AddFile(kPath, text.substr(0, text.size() - 1))),
              AllOf(HasSubstr(kPath), HasSubstr("JSON"), HasSubstr("nightly")));
  EXPECT_THAT(ErrorOf(VeleroArchive().AddFile(kPath, "")), HasSubstr(kPath));
  EXPECT_THAT(ErrorOf(VeleroArchive().AddFile(kPath, std::string(100'000, '['))), HasSubstr("nested deeper"));
}

TEST_F(BackupArchiveTest, EveryLimitHolds) {
  const VeleroArchive archive = TwoShops();
  const auto code = [&](ArchiveLimits limits) { return Read(archive, {}, limits).status().code(); };
  const uint64_t compressed = archive.TarGz().size();
  const uint64_t uncompressed = archive.Tar().size();
  EXPECT_EQ(code({.archive_bytes = compressed}), absl::StatusCode::kOk);
  EXPECT_EQ(code({.archive_bytes = compressed - 1}), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(code({.uncompressed_bytes = uncompressed}), absl::StatusCode::kOk);
  EXPECT_EQ(code({.uncompressed_bytes = uncompressed - 1}), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(code({.entries = 23}), absl::StatusCode::kOk);
  EXPECT_EQ(code({.entries = 22}), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(code({.entry_bytes = 100}), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(code({.kept_bytes = 1000}), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(code({.path_bytes = 40}), absl::StatusCode::kResourceExhausted);
}

TEST_F(BackupArchiveTest, ABombIsFoundBeforeItIsUnpacked) {
  // 16 MiB of zeros in 16 KiB.
  VeleroArchive bomb;
  bomb.AddFile("resources/pods/namespaces/shop/bomb.json", std::string(size_t{16} << 20, '\0'));
  EXPECT_TRUE(absl::IsResourceExhausted(Read(bomb, {}, {.uncompressed_bytes = 4 << 20}).status()));
}

TEST_F(BackupArchiveTest, NamesOfOtherAlphabetsDisturbNothing) {
  VeleroArchive archive = TwoShops();
  archive.AddFile("resources/clusterroles.rbac.authorization.k8s.io/cluster/r\xC3\xB6le:x.json", "{}");
  EXPECT_TRUE(Read(archive).ok()) << Read(archive).status();
}

TEST_F(BackupArchiveTest, AStopEndsIt) {
  std::ofstream(folder_.File("a"), std::ios::binary) << TwoShops().TarGz();
  std::stop_source stop;
  stop.request_stop();
  EXPECT_TRUE(absl::IsCancelled(ReadBackupArchive(folder_.File("a"), {.backup = "b"}, stop.get_token()).status()));
}

TEST_F(BackupArchiveTest, AFileThatIsntThereIsNamed) {
  const absl::Status status = ReadBackupArchive(folder_.File("none"), {.backup = "b"}).status();
  EXPECT_TRUE(absl::IsNotFound(status));
  EXPECT_THAT(std::string(status.message()), HasSubstr("none"));
}

}  // namespace
}  // namespace understudy::control
