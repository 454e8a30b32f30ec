// Backups in a real S3 server (Swift), with its own opinion of signatures, lists and digests.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>
#include <sstream>

#include "absl/strings/numbers.h"
#include "control/oadp/backup_archive.h"
#include "control/oadp/backup_store.h"
#include "core/net/pki.h"
#include "tests/support/http_test_server.h"
#include "tests/support/process.h"
#include "tests/support/s3_server.h"
#include "tests/support/temp_dir.h"
#include "tests/support/velero_archive.h"

namespace understudy::tests {
namespace {

using control::BackupStore;
using control::BackupSummary;
using nlohmann::json;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

constexpr size_t kMiB = size_t{1} << 20;

std::string TextOf(const absl::Status& status) {
  return std::string(status.message());
}

std::string FileText(const std::filesystem::path& path) {
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

// "VmHWM: 1234 kB" of /proc/self/status, in bytes.
uint64_t MemoryOf(const std::string& field) {
  std::ifstream status("/proc/self/status");
  for (std::string name, number, rest; status >> name >> number && std::getline(status, rest);) {
    uint64_t kilobytes = 0;
    if (name == field + ":" && absl::SimpleAtoi(number, &kilobytes)) return kilobytes << 10;
  }
  return 0;
}

std::vector<std::string> NamesOf(const std::vector<BackupSummary>& backups) {
  std::vector<std::string> names;
  for (const BackupSummary& backup : backups) names.push_back(backup.name);
  return names;
}

class OffClock : public Clock {
 public:
  explicit OffClock(absl::Duration off) : off_(off) {}
  [[nodiscard]] absl::Time Now() const override { return System().Now() + off_; }
  [[nodiscard]] absl::Duration Monotonic() const override { return System().Monotonic(); }

 private:
  const absl::Duration off_;
};

VeleroArchive ShopArchive() {
  VeleroArchive archive;
  archive.Add(MakeVirtualMachine("shop", "web", "web-disk"))
      .Add(MakeClaim("shop", "web-disk", "pv-web"))
      .Add(MakeVolume("pv-web", "shop", "web-disk"));
  return archive;
}

json StartedAt(const std::string& time) {
  return {{"status", {{"startTimestamp", time}}}};
}

// One server for all tests; each has a bucket of its own.
class S3Test : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = new TempDir;
    ASSERT_EQ(net::InitAuthority(folder_->File("pki"), false), absl::OkStatus());
    const auto issued =
        net::IssueCertificate(folder_->File("pki"), {.name = "s3", .roles = {net::Role::kDr}, .hosts = {"127.0.0.1"}});
    ASSERT_TRUE(issued.ok()) << issued.status();
    auto server = S3Server::Start(folder_->File("s3"),
                                  S3Server::Certificate{folder_->File("pki/s3.crt"), folder_->File("pki/s3.key")});
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = server->release();
  }
  static void TearDownTestSuite() {
    delete server_;
    delete folder_;
  }

  void SetUp() override {
    ASSERT_NE(server_, nullptr);
    bucket_ = fmt::format("bucket-{}", ++buckets_);
    ASSERT_EQ(server_->MakeBucket(bucket_), absl::OkStatus());
    settings_.s3.endpoint = server_->Url();
    settings_.s3.bucket = bucket_;
    settings_.s3.prefix = "velero";
    settings_.s3.access_key_file = server_->AccessKeyFile();
    settings_.s3.secret_key_file = server_->SecretKeyFile();
  }

  void Put(const std::string& name, const json& overrides = {}, const VeleroArchive& archive = ShopArchive()) {
    ASSERT_EQ(PutBackup(*server_, bucket_, "velero", name, archive, MakeBackupDescription(name, overrides)),
              absl::OkStatus());
  }
  std::unique_ptr<BackupStore> Store(Clock& clock = Clock::System()) {
    auto store = control::OpenBackupStore(settings_, clock);
    EXPECT_TRUE(store.ok()) << store.status();
    return store.ok() ? *std::move(store) : nullptr;
  }
  net::S3Client Client(const std::string& url, uint64_t page_size = 1000) {
    net::S3Options options{.endpoint = url, .bucket = bucket_};
    options.page_size = page_size;
    options.first_pause = absl::Milliseconds(1);
    return net::S3Client(options, [] {
      return net::AwsCredentials{.access_key = S3Server::kAccessKey, .secret_key = S3Server::kSecretKey};
    });
  }
  // drctl with a configuration that holds these settings.
  ProcessResult Drctl(std::vector<std::string> arguments, const std::string& more = "") {
    std::ofstream(scratch_.File("control.yaml")) << fmt::format(
        "tls: {{ca: a, cert: b, key: c}}\npairs: [{{name: p, primary: 'h:1', dr: 'h:2'}}]\n{}"
        "oadp: {{s3: {{endpoint: '{}', bucket: {}, prefix: velero, credentials_file: '{}'}}}}\n",
        more, server_->Url(), bucket_, server_->CredentialsFile());
    arguments.insert(arguments.begin(), {"--config", scratch_.File("control.yaml")});
    const auto result = RunProcess(
        {.program = ProgramPath("drctl"), .arguments = arguments, .environment = {{"TMPDIR", scratch_.Path()}}});
    EXPECT_TRUE(result.ok()) << result.status();
    return result.ok() ? *result : ProcessResult{};
  }

  static inline TempDir* folder_ = nullptr;
  static inline S3Server* server_ = nullptr;
  static inline int buckets_ = 0;
  std::string bucket_;
  config::OadpConfig settings_;
  const TempDir scratch_;
};

TEST_F(S3Test, FindsFetchesAndReadsTheLatestBackup) {
  Put("older", StartedAt("2026-11-01T02:00:00Z"));
  Put("newer", StartedAt("2026-11-02T02:00:00Z"));
  Put("failed", {{"status", {{"startTimestamp", "2026-11-03T02:00:00Z"}, {"phase", "Failed"}}}});
  const auto store = Store();
  const auto backups = store->List({});
  ASSERT_TRUE(backups.ok()) << backups.status();
  EXPECT_THAT(NamesOf(*backups), ElementsAre("failed", "newer", "older"));
  const auto found = store->Find({.must_include_namespaces = {"shop"}}, {});
  ASSERT_TRUE(found.ok()) << found.status();
  EXPECT_EQ(found->name, "newer");
  const auto fetched = store->Fetch(*found, scratch_.Path(), {});
  ASSERT_TRUE(fetched.ok()) << fetched.status();
  EXPECT_EQ(fetched->archive_bytes, std::filesystem::file_size(fetched->archive));
  const auto contents = control::ReadBackupArchive(fetched->archive, {.backup = "newer", .namespaces = {"shop"}});
  ASSERT_TRUE(contents.ok()) << contents.status();
  EXPECT_THAT(contents->virtual_machines, ElementsAre(MakeVirtualMachine("shop", "web", "web-disk")));
  EXPECT_THAT(contents->persistent_volumes, SizeIs(1));
}

TEST_F(S3Test, ABackupIsFoundByItsName) {
  Put("older", StartedAt("2026-11-01T02:00:00Z"));
  Put("newer", StartedAt("2026-11-02T02:00:00Z"));
  Put("older-still", StartedAt("2026-10-02T02:00:00Z"));
  const auto store = Store();
  EXPECT_EQ(store->Find({.name = "older"}, {})->name, "older");
  for (const std::string name : {"old", "none", "../older", "older/", ""}) {
    EXPECT_TRUE(absl::IsNotFound(store->Find({.name = name}, {}).status())) << name;
  }
}

TEST_F(S3Test, ABrokenDescriptionHidesNoOtherBackup) {
  Put("whole");
  ASSERT_EQ(server_->Put(bucket_, "velero/backups/torn/velero-backup.json", "{\"kind\": \"Bac"), absl::OkStatus());
  ASSERT_EQ(server_->Put(bucket_, "velero/backups/begun/begun-logs.gz", "x"), absl::OkStatus());
  ASSERT_EQ(server_->Put(bucket_, "velero/restores/r/restore-r-logs.gz", "x"), absl::OkStatus());
  const auto store = Store();
  const auto backups = store->List({});
  ASSERT_TRUE(backups.ok()) << backups.status();
  EXPECT_THAT(NamesOf(*backups), ElementsAre("whole", "torn", "begun"));
  EXPECT_THAT((*backups)[1].problem, HasSubstr("isn't a JSON object"));
  EXPECT_THAT((*backups)[2].problem, HasSubstr("no velero-backup.json"));
  const auto found = store->Find({}, {});
  ASSERT_TRUE(found.ok()) << found.status();
  EXPECT_EQ(found->name, "whole");
  EXPECT_THAT(found->notes, ElementsAre(HasSubstr("2 more can't be read")));
}

TEST_F(S3Test, AnEmptyBucketHasNoBackup) {
  EXPECT_THAT(*Store()->List({}), SizeIs(0));
  EXPECT_TRUE(absl::IsNotFound(Store()->Find({}, {}).status()));
}

TEST_F(S3Test, AWrongSecretKeyIsExplained) {
  std::ofstream(scratch_.File("wrong")) << "not-the-secret\n";
  settings_.s3.secret_key_file = scratch_.File("wrong");
  const auto store = Store();
  const absl::Status status = store->List({}).status();
  EXPECT_TRUE(absl::IsUnauthenticated(status)) << status;
  EXPECT_THAT(TextOf(status), AllOf(HasSubstr("secret key"), HasSubstr(S3Server::kAccessKey)));
  // The files are read anew for each request.
  std::filesystem::copy_file(server_->SecretKeyFile(), scratch_.File("wrong"),
                             std::filesystem::copy_options::overwrite_existing);
  EXPECT_TRUE(store->List({}).ok());
}

TEST_F(S3Test, AnAccessKeyThatIsntKnownIsExplained) {
  std::ofstream(scratch_.File("wrong")) << "test:nobody\n";
  settings_.s3.access_key_file = scratch_.File("wrong");
  const absl::Status status = Store()->List({}).status();
  EXPECT_TRUE(absl::IsUnauthenticated(status) || absl::IsPermissionDenied(status)) << status;
  EXPECT_THAT(TextOf(status), HasSubstr("access key test:nobody"));
}

TEST_F(S3Test, ABucketThatIsntThereIsExplained) {
  settings_.s3.bucket = "no-such-bucket";
  const absl::Status by_list = Store()->List({}).status();
  EXPECT_TRUE(absl::IsNotFound(by_list)) << by_list;
  EXPECT_THAT(TextOf(by_list), AllOf(HasSubstr("no such bucket"), HasSubstr("no-such-bucket")));
  EXPECT_THAT(TextOf(Store()->Find({.name = "nightly"}, {}).status()), HasSubstr("no such bucket"));
}

TEST_F(S3Test, AClockThatIsOffIsExplained) {
  OffClock clock(absl::Minutes(20));
  const absl::Status status = Store(clock)->List({}).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_THAT(TextOf(status), AllOf(HasSubstr("ahead"), HasSubstr("set the clock")));
}

TEST_F(S3Test, ListsOverManyPages) {
  std::vector<std::string> expected;
  for (int i = 0; i < 40; ++i) {
    expected.push_back(fmt::format("backups/b{:02}/", i));
    ASSERT_EQ(server_->Put(bucket_, expected.back() + "velero-backup.json", "{}"), absl::OkStatus());
  }
  const net::S3Client client = Client(server_->Url(), 7);
  const auto folders = client.List("backups/", "/");
  ASSERT_TRUE(folders.ok()) << folders.status();
  EXPECT_EQ(folders->common_prefixes, expected);
  const auto objects = client.List("backups/", "");
  ASSERT_TRUE(objects.ok()) << objects.status();
  EXPECT_THAT(objects->objects, SizeIs(40));
  EXPECT_EQ(objects->objects[39].key, "backups/b39/velero-backup.json");
}

TEST_F(S3Test, KeysOfAllCharactersAreReached) {
  const std::string key = "a b/+%2B&=?#~'()*!@:,;$/\xC3\xBC\xE2\x82\xAC..json";
  ASSERT_EQ(server_->Put(bucket_, key, "reached"), absl::OkStatus());
  const net::S3Client client = Client(server_->Url());
  const auto got = client.Get(key, 100);
  ASSERT_TRUE(got.ok()) << got.status();
  EXPECT_EQ(*got, "reached");
  const auto listing = client.List("a b/+%2B&=", "");
  ASSERT_TRUE(listing.ok()) << listing.status();
  ASSERT_THAT(listing->objects, SizeIs(1));
  EXPECT_EQ(listing->objects[0].key, key);
}

TEST_F(S3Test, ALargeObjectIsFetchedInLittleMemory) {
  constexpr size_t kSize = 50 * kMiB;
  {
    std::mt19937_64 random(1);
    std::string content(kSize, '\0');
    for (size_t at = 0; at < kSize; at += sizeof(uint64_t)) {
      const uint64_t word = random();
      std::memcpy(content.data() + at, &word, sizeof(word));
    }
    ASSERT_EQ(server_->Put(bucket_, "large", content), absl::OkStatus());
    std::ofstream(scratch_.File("large"), std::ios::binary) << content;
  }
  const net::S3Client client = Client(server_->Url());
  std::ofstream("/proc/self/clear_refs") << "5";  // the peak begins anew
  const uint64_t before = MemoryOf("VmRSS");
  const auto download = client.Download("large", scratch_.Path(), kSize);
  ASSERT_TRUE(download.ok()) << download.status();
  EXPECT_LT(MemoryOf("VmHWM"), before + 16 * kMiB);
  const auto same = RunProcess({.program = "cmp", .arguments = {scratch_.File("large"), download->file.native()}});
  EXPECT_EQ(same->exit_code, 0) << same->out << same->err;
}

// The server behind a proxy that breaks off whatever is longer than a piece.
TEST_F(S3Test, GoesOnWhereATransferBroke) {
  std::string content;
  std::mt19937_64 random(2);
  while (content.size() < 5 * kMiB) content += fmt::format("{:x}", random());
  ASSERT_EQ(server_->Put(bucket_, "object", content), absl::OkStatus());
  const net::HttpClient http{net::HttpTls{}};
  std::atomic<int> resumed = 0;
  const HttpTestServer proxy([&](const TestRequest& request, TestReply& reply) {
    net::HttpRequest forwarded{.method = request.method, .url = server_->Url() + request.target};
    for (const auto& header : request.headers) forwarded.headers.push_back(header);
    const auto answer = http.Send(forwarded);
    ASSERT_TRUE(answer.ok()) << answer.status();
    std::map<std::string, std::string> headers = answer->headers;
    headers.erase("content-length");
    if (answer->status == 206) ++resumed;
    reply.BreakOffAfter(answer->status, answer->body.size(), answer->body.substr(0, 2 * kMiB), headers);
  });
  const auto download = Client(proxy.Url()).Download("object", scratch_.Path(), 10 * kMiB);
  ASSERT_TRUE(download.ok()) << download.status();
  EXPECT_EQ(FileText(download->file), content);
  EXPECT_GE(resumed, 2);
}

TEST_F(S3Test, IsReachedOverTlsWithAnAuthorityOfItsOwn) {
  Put("nightly");
  settings_.s3.endpoint = server_->TlsUrl();
  settings_.s3.ca = folder_->File("pki/ca.crt");
  const auto backups = Store()->List({});
  ASSERT_TRUE(backups.ok()) << backups.status();
  EXPECT_THAT(NamesOf(*backups), ElementsAre("nightly"));
  settings_.s3.ca.clear();
  const absl::Status distrusted = Client(server_->TlsUrl()).List("", "").status();
  EXPECT_TRUE(absl::IsUnavailable(distrusted)) << distrusted;
  EXPECT_THAT(TextOf(distrusted), HasSubstr("certificate"));
}

TEST_F(S3Test, AnArchiveThatIsMissingOrTooLargeIsTold) {
  Put("nightly");
  const auto store = Store();
  const BackupSummary backup = *store->Find({.name = "nightly"}, {});
  settings_.max_archive_bytes = 10;
  const absl::Status too_large = Store()->Fetch(backup, scratch_.Path(), {}).status();
  EXPECT_TRUE(absl::IsResourceExhausted(too_large)) << too_large;
  EXPECT_THAT(TextOf(too_large), HasSubstr("max_archive_bytes"));
  ASSERT_EQ(server_->Delete(bucket_, "velero/backups/nightly/nightly.tar.gz"), absl::OkStatus());
  const absl::Status missing = store->Fetch(backup, scratch_.Path(), {}).status();
  EXPECT_TRUE(absl::IsNotFound(missing)) << missing;
  EXPECT_THAT(TextOf(missing), HasSubstr("nightly.tar.gz"));
  EXPECT_TRUE(std::filesystem::is_empty(scratch_.Path()));
}

TEST_F(S3Test, DrctlListsAndShowsBackups) {
  Put("nightly", {{"spec", {{"includedNamespaces", {"shop"}}}}});
  Put("of-bank",
      {{"spec", {{"includedNamespaces", {"bank"}}}}, {"status", {{"startTimestamp", "2026-11-05T02:00:00Z"}}}});
  const ProcessResult list = Drctl({"failover", "backup", "list", "-o", "json"}, "namespaces: [shop]\n");
  ASSERT_EQ(list.exit_code, 0) << list.err;
  const json listed = json::parse(list.out);
  ASSERT_THAT(listed["backups"], SizeIs(2));
  EXPECT_EQ(listed["backups"][0]["name"], "of-bank");
  EXPECT_EQ(listed["backups"][0]["usable"], false);
  EXPECT_THAT(listed["backups"][0]["problem"].get<std::string>(), HasSubstr("doesn't hold namespace shop"));
  EXPECT_EQ(listed["backups"][1]["usable"], true);
  EXPECT_EQ(listed["backups"][1]["started_at"], "2026-11-01T02:00:00+00:00");
  EXPECT_THAT(Drctl({"failover", "backup", "list"}).out, AllOf(HasSubstr("NAME"), HasSubstr("nightly")));

  const ProcessResult show = Drctl({"failover", "backup", "show", "-o", "json"}, "namespaces: [shop]\n");
  ASSERT_EQ(show.exit_code, 0) << show.err;
  const json shown = json::parse(show.out);
  EXPECT_EQ(shown["backup"]["name"], "nightly");
  EXPECT_EQ(shown["counts"]["persistentvolumeclaims"], 1);
  EXPECT_EQ(shown["storage"][0]["storage_class"], "nfs");
  EXPECT_EQ(shown["storage"][0]["volumes"], json({"pv-web"}));
  EXPECT_EQ(shown["virtual_machines"][0]["claims"], json({"web-disk"}));
  EXPECT_THAT(shown["warnings"][0].get<std::string>(), HasSubstr("of-bank doesn't hold namespace shop"));
  const ProcessResult table = Drctl({"failover", "backup", "show", "nightly"});
  EXPECT_THAT(table.out,
              AllOf(HasSubstr("STORAGE CLASS"), HasSubstr("web-disk"), HasSubstr("virtualmachines.kubevirt.io")));
  // Nothing that was fetched stays.
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(scratch_.Path()), {}), 1);
}

TEST_F(S3Test, DrctlSaysWhatIsWrong) {
  Put("part", {{"status", {{"phase", "PartiallyFailed"}, {"errors", 2}}}});
  const ProcessResult refused = Drctl({"failover", "backup", "show", "part"});
  EXPECT_EQ(refused.exit_code, 5);
  EXPECT_THAT(refused.err, HasSubstr("PartiallyFailed (2 errors)"));
  EXPECT_EQ(Drctl({"failover", "backup", "show", "part", "--accept-partially-failed"}).exit_code, 0);
  EXPECT_EQ(Drctl({"failover", "backup", "show", "none"}).exit_code, 2);
  EXPECT_EQ(Drctl({"failover", "backup", "show"}).exit_code, 5);

  Put("torn", StartedAt("2026-11-09T02:00:00Z"));
  const std::string whole = ShopArchive().TarGz();
  ASSERT_EQ(server_->Put(bucket_, "velero/backups/torn/torn.tar.gz", whole.substr(0, whole.size() - 40)),
            absl::OkStatus());
  const ProcessResult torn = Drctl({"failover", "backup", "show"});
  EXPECT_EQ(torn.exit_code, 1);
  EXPECT_THAT(torn.err, AllOf(HasSubstr("archive of backup torn"), HasSubstr("ends early"), HasSubstr("--backup")));
  EXPECT_EQ(Drctl({"failover", "backup"}).exit_code, 2);
}

}  // namespace
}  // namespace understudy::tests
