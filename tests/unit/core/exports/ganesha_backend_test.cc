// The backend of NFS-Ganesha over an export manager that a test can look into; the real one is met in
// tests/integration/ganesha_exports_test.cc.
#include "core/exports/ganesha_backend.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "tests/support/temp_dir.h"

namespace understudy::exports {
namespace {

using model::ExportMode;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// What Ganesha has, which outlives a connection.
struct FakeGanesha {
  struct Export {
    std::string path;
    std::vector<GaneshaClient> clients;
  };
  std::map<uint16_t, Export> exports;
  std::vector<std::string> calls;  // that change something
  bool away = false;
  bool refuses = false;

  // Reads the block as RenderGaneshaFile writes it.
  absl::Status Take(const std::string& file, uint16_t id) {
    if (refuses) return absl::InternalError("NFS-Ganesha refuses: validation errors");
    std::ifstream stream(file);
    std::ostringstream all;
    all << stream.rdbuf();
    const std::string text = all.str();
    const size_t begin = text.find("Export_Id = " + std::to_string(id) + ";");
    if (begin == std::string::npos) return absl::InternalError("Error finding exports");
    const std::string block = text.substr(begin, text.find("FSAL", begin) - begin);
    const size_t path = block.find("Path = \"") + 8;
    Export taken{.path = block.substr(path, block.find('"', path) - path), .clients = {}};
    for (size_t at = block.find("Clients = "); at != std::string::npos; at = block.find("Clients = ", at + 1)) {
      const size_t access = block.find("Access_Type = ", at) + 14;
      taken.clients.push_back({block.substr(at + 10, block.find(';', at) - at - 10),
                               block.compare(access, 2, "RW") == 0 ? ExportMode::kReadWrite : ExportMode::kReadOnly});
    }
    exports[id] = taken;
    return absl::OkStatus();
  }
};

class FakeManager : public GaneshaManager {
 public:
  explicit FakeManager(FakeGanesha& ganesha) : ganesha_(ganesha) {}
  absl::StatusOr<std::map<uint16_t, std::string>> Show() override {
    std::map<uint16_t, std::string> shown = {{0, "/"}};
    for (const auto& [id, one] : ganesha_.exports) shown[id] = one.path;
    return shown;
  }
  absl::StatusOr<std::vector<GaneshaClient>> Clients(uint16_t id) override { return ganesha_.exports.at(id).clients; }
  absl::Status Add(const std::string& file, uint16_t id) override { return Change("add", file, id); }
  absl::Status Update(const std::string& file, uint16_t id) override { return Change("update", file, id); }
  absl::Status Remove(uint16_t id) override {
    ganesha_.calls.push_back("remove " + std::to_string(id));
    ganesha_.exports.erase(id);
    return absl::OkStatus();
  }

 private:
  absl::Status Change(const std::string& what, const std::string& file, uint16_t id) {
    ganesha_.calls.push_back(what + " " + std::to_string(id));
    return ganesha_.Take(file, id);
  }
  FakeGanesha& ganesha_;
};

class GaneshaBackendTest : public ::testing::Test {
 protected:
  void MakeBackend() {
    backend_ = std::make_unique<GaneshaBackend>(
        GaneshaOptions{.program = "understudy-test",
                       .config_dir = dir_.Path(),
                       .first_id = 100,
                       .ids = 3,
                       .connect = [this]() -> absl::StatusOr<std::unique_ptr<GaneshaManager>> {
                         if (ganesha_.away) return absl::UnavailableError("NFS-Ganesha doesn't answer");
                         return std::make_unique<FakeManager>(ganesha_);
                       }});
  }
  void SetUp() override { MakeBackend(); }

  static WantedExport Wanted(const std::string& name, uint16_t id, ExportMode mode) {
    return {.name = name, .path = "/srv/" + name, .mode = mode, .terms = {{"10.0.0.0/8", "*"}, {}}, .export_id = id};
  }
  FoundExport Reconcile(const WantedExport& wanted) {
    const auto found = backend_->Reconcile(std::vector<WantedExport>{wanted}, std::nullopt);
    EXPECT_TRUE(found.ok()) << found.status();
    return found->at(wanted.name);
  }
  std::vector<std::string> TakeCalls() { return std::exchange(ganesha_.calls, {}); }

  tests::TempDir dir_;
  FakeGanesha ganesha_;
  std::unique_ptr<GaneshaBackend> backend_;
};

TEST_F(GaneshaBackendTest, AddsUpdatesAndRemovesAndReadsBack) {
  FoundExport found = Reconcile(Wanted("web", 100, ExportMode::kReadOnly));
  EXPECT_EQ(found.actual, ExportMode::kReadOnly);
  EXPECT_TRUE(found.ours_settled);
  EXPECT_THAT(TakeCalls(), ElementsAre("add 100"));
  found = Reconcile(Wanted("web", 100, ExportMode::kReadWrite));
  EXPECT_EQ(found.actual, ExportMode::kReadWrite);
  EXPECT_THAT(TakeCalls(), ElementsAre("update 100"));
  (void)Reconcile(Wanted("web", 100, ExportMode::kReadWrite));
  EXPECT_THAT(TakeCalls(), IsEmpty()) << "it is so already";
  found = Reconcile(Wanted("web", 100, ExportMode::kNone));
  EXPECT_EQ(found.actual, ExportMode::kNone);
  EXPECT_THAT(TakeCalls(), ElementsAre("remove 100"));
  EXPECT_THAT(ganesha_.exports, IsEmpty());
}

TEST_F(GaneshaBackendTest, AServerThatStartedAnewIsGivenItsExportsAgain) {
  (void)Reconcile(Wanted("web", 100, ExportMode::kReadWrite));
  ganesha_.exports.clear();
  EXPECT_EQ(Reconcile(Wanted("web", 100, ExportMode::kReadWrite)).actual, ExportMode::kReadWrite);
  EXPECT_THAT(TakeCalls(), ElementsAre("add 100", "add 100"));
}

TEST_F(GaneshaBackendTest, AnAgentThatStartedAnewHasEachBlockTakenUpOnce) {
  (void)Reconcile(Wanted("web", 100, ExportMode::kReadWrite));
  MakeBackend();
  (void)TakeCalls();
  (void)Reconcile(Wanted("web", 100, ExportMode::kReadWrite));
  EXPECT_THAT(TakeCalls(), ElementsAre("update 100")) << "options may have changed, which can't be read back";
  (void)Reconcile(Wanted("web", 100, ExportMode::kReadWrite));
  EXPECT_THAT(TakeCalls(), IsEmpty());
}

TEST_F(GaneshaBackendTest, AStrangersExportIsNeverTouched) {
  ganesha_.exports[100] = {.path = "/theirs", .clients = {{"*", ExportMode::kReadWrite}}};
  FoundExport found = Reconcile(Wanted("web", 100, ExportMode::kReadOnly));
  EXPECT_FALSE(found.ours_settled);
  EXPECT_THAT(found.problem, HasSubstr("Export_Id 100 is the one of '/theirs'"));
  found = Reconcile(Wanted("web", 100, ExportMode::kNone));
  EXPECT_TRUE(found.ours_settled);
  EXPECT_EQ(ganesha_.exports.at(100).path, "/theirs");
  EXPECT_THAT(ganesha_.calls, IsEmpty());
  // Nor is its id taken, though it lies in this agent's range.
  EXPECT_EQ(*backend_->ChooseId({}), 101);
  EXPECT_EQ(*backend_->ChooseId({101}), 102);
  EXPECT_TRUE(absl::IsResourceExhausted(backend_->ChooseId({101, 102}).status()));
}

TEST_F(GaneshaBackendTest, AnExportAboveByWhichClientsMayComeIsTold) {
  ganesha_.exports[5] = {.path = "/srv", .clients = {}};
  const FoundExport found = Reconcile(Wanted("web", 100, ExportMode::kReadOnly));
  EXPECT_TRUE(found.ours_settled);
  EXPECT_THAT(found.problem, HasSubstr("'/srv' is exported, too (Export_Id 5)"));
}

TEST_F(GaneshaBackendTest, ARefusalIsToldWithGaneshasWordsAndTriedAgain) {
  ganesha_.refuses = true;
  FoundExport found = Reconcile(Wanted("web", 100, ExportMode::kReadOnly));
  EXPECT_FALSE(found.ours_settled);
  EXPECT_THAT(found.problem, HasSubstr("validation errors"));
  ganesha_.refuses = false;
  found = Reconcile(Wanted("web", 100, ExportMode::kReadOnly));
  EXPECT_TRUE(found.ours_settled);
  // An export that is there and can't be changed is what it was.
  ganesha_.refuses = true;
  found = Reconcile(Wanted("web", 100, ExportMode::kReadWrite));
  EXPECT_FALSE(found.ours_settled);
  EXPECT_EQ(found.actual, ExportMode::kReadOnly);
}

TEST_F(GaneshaBackendTest, AServerThatIsAwayIsAnErrorAndTheFileIsWrittenAllTheSame) {
  ganesha_.away = true;
  const std::vector<WantedExport> wanted = {Wanted("web", 100, ExportMode::kReadOnly)};
  EXPECT_TRUE(absl::IsUnavailable(backend_->Reconcile(wanted, std::nullopt).status()));
  std::ifstream file(dir_.File("understudy-test.conf"));
  std::ostringstream text;
  text << file.rdbuf();
  EXPECT_THAT(text.str(), HasSubstr("Access_Type = RO"));
}

TEST_F(GaneshaBackendTest, OneThatIsAskedForAloneIsTheOnlyOneTouched) {
  const std::vector<WantedExport> wanted = {Wanted("a", 100, ExportMode::kReadOnly),
                                            Wanted("b", 101, ExportMode::kReadOnly)};
  const auto found = backend_->Reconcile(wanted, "b");
  ASSERT_TRUE(found.ok()) << found.status();
  EXPECT_EQ(found->count("b"), 1u);
  EXPECT_THAT(TakeCalls(), ElementsAre("add 101"));
}

}  // namespace
}  // namespace understudy::exports
