// The files of both servers: what is written into them, what is read out of etab, and what can't be said there.
#include "core/exports/exports_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/exports/ganesha_file.h"

namespace understudy::exports {
namespace {

using model::ExportMode;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

WantedExport Wanted(std::string path, ExportMode mode, std::vector<std::string> clients = {"10.0.0.0/8"},
                    std::vector<std::string> options = {}) {
  return {.name = "web",
          .path = std::move(path),
          .mode = mode,
          .terms = {std::move(clients), std::move(options)},
          .export_id = 7};
}

bool SameFilesystem(const std::string&, const std::string&) {
  return true;
}
bool OtherFilesystem(const std::string&, const std::string&) {
  return false;
}

FoundExport Judge(const WantedExport& wanted, std::string_view etab,
                  bool (*same_filesystem)(const std::string&, const std::string&) = SameFilesystem) {
  const auto entries = ParseEtab(etab);
  EXPECT_TRUE(entries.ok()) << entries.status();
  return JudgeEtab(wanted, *entries, {.same_filesystem = same_filesystem});
}

TEST(ExportsFileTest, EachExportIsALineWithEveryClient) {
  const std::vector<WantedExport> wanted = {
      Wanted("/srv/a", ExportMode::kReadOnly, {"10.0.0.0/8", "@nodes"}, {"sec=sys", "no_root_squash"}),
      Wanted("/srv/hidden", ExportMode::kNone), Wanted("/srv/b", ExportMode::kReadWrite, {"*"}, {"subtree_check"})};
  EXPECT_EQ(RenderExportsFile("understudy-dr", wanted),
            "# Written by understudy-dr, and written anew at every change: see drctl exports list. Don't edit.\n"
            "/srv/a 10.0.0.0/8(ro,no_subtree_check,sec=sys,no_root_squash) "
            "@nodes(ro,no_subtree_check,sec=sys,no_root_squash)\n"
            "/srv/b *(rw,subtree_check)\n");
}

TEST(ExportsFileTest, BytesThatMeanSomethingToExportfsAreEscaped) {
  const std::vector<WantedExport> wanted = {Wanted("/srv/a b\"c\\d#e(f)\xf6", ExportMode::kReadOnly, {"*"})};
  const std::string text = RenderExportsFile("p", wanted);
  EXPECT_THAT(text, HasSubstr("\n/srv/a\\040b\\042c\\134d\\043e\\050f\\051\\366 *(ro,no_subtree_check)\n"));
  EXPECT_THAT(PathsOfExportsFile(text), ElementsAre(wanted[0].path));
}

TEST(ExportsFileTest, WhatTheFilesCantSayIsRefused) {
  EXPECT_TRUE(CheckKnfsdPath("/srv/a b\"c\\d\xf6").ok());
  EXPECT_THAT(std::string(MessageOf(CheckKnfsdPath("/srv/a\nb"))), HasSubstr("control character"));
  EXPECT_TRUE(absl::IsInvalidArgument(CheckKnfsdPath("/" + std::string(kMaxKnfsdPathBytes, 'a'))));
  EXPECT_TRUE(CheckGaneshaPath("/srv/a b'c#{$}%\xc3\xb6").ok());
  for (const char* const path : {"/srv/a\nb", "/srv/a\"b", "/srv/a\\b", "/srv/\xf6"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(CheckGaneshaPath(path))) << path;
  }
}

TEST(ExportsFileTest, EtabIsReadAsExportfsWritesIt) {
  // Of exportfs 2.6.2.
  const auto entries = ParseEtab(
      "/srv/q\\042b\\134c\t10.9.8.7(rw,sync,wdelay,hide,no_subtree_check,fsid=2,sec=sys,rw,root_squash)\n"
      "/srv/sp\\040ace\t@ng(ro,sync,sec=krb5:sys,ro,no_root_squash,no_all_squash)\n"
      "/srv/h\xf6\t2001:db8::/32(ro,sync,sec=krb5,ro,sec=sys,rw)\n");
  ASSERT_TRUE(entries.ok()) << entries.status();
  ASSERT_EQ(entries->size(), 3u);
  EXPECT_EQ((*entries)[0].path, "/srv/q\"b\\c");
  EXPECT_EQ((*entries)[0].client, "10.9.8.7");
  EXPECT_EQ((*entries)[0].mode, ExportMode::kReadWrite);
  EXPECT_EQ((*entries)[1].path, "/srv/sp ace");
  EXPECT_EQ((*entries)[1].mode, ExportMode::kReadOnly);
  EXPECT_EQ((*entries)[2].path, "/srv/h\xf6");
  EXPECT_EQ((*entries)[2].mode, ExportMode::kReadWrite) << "one flavour may write";
}

TEST(ExportsFileTest, WhatIsNoEtabIsAnError) {
  for (const char* const text : {"hello\n", "/srv/a *(ro)\n", "/srv/a\t*(ro\n", "/srv/a\t*\n"}) {
    EXPECT_TRUE(absl::IsDataLoss(ParseEtab(text).status())) << text;
  }
  EXPECT_TRUE(ParseEtab("")->empty());
}

TEST(JudgeEtabTest, OursAsWanted) {
  const FoundExport found = Judge(Wanted("/srv/a", ExportMode::kReadOnly, {"10.0.0.0/8", "*"}),
                                  "/srv/a\t10.0.0.0/8(ro,sec=sys,ro)\n/srv/a\t*(ro,sec=sys,ro)\n/srv/b\t*(rw)\n");
  EXPECT_EQ(found.actual, ExportMode::kReadOnly);
  EXPECT_TRUE(found.ours_settled);
  EXPECT_EQ(found.problem, "");
}

TEST(JudgeEtabTest, AClientThatIsMissingIsNamed) {
  const FoundExport found =
      Judge(Wanted("/srv/a", ExportMode::kReadOnly, {"10.0.0.0/8", "@ng"}), "/srv/a\t10.0.0.0/8(ro)\n");
  EXPECT_FALSE(found.ours_settled);
  EXPECT_THAT(found.problem, HasSubstr("isn't exported to @ng"));
  const FoundExport none = Judge(Wanted("/srv/a", ExportMode::kReadWrite), "");
  EXPECT_EQ(none.actual, ExportMode::kNone);
  EXPECT_FALSE(none.ours_settled);
}

TEST(JudgeEtabTest, AHostsNameMayStandThereAsTheResolverHasIt) {
  const WantedExport wanted = Wanted("/srv/a", ExportMode::kReadWrite, {"alias1", "alias2", "10.0.0.0/8"});
  EXPECT_TRUE(Judge(wanted, "/srv/a\t10.0.0.0/8(rw)\n/srv/a\tnode.example.com(rw)\n").ours_settled);
  EXPECT_FALSE(Judge(wanted, "/srv/a\t10.0.0.0/8(rw)\n").ours_settled);
  EXPECT_FALSE(Judge(wanted, "/srv/a\t10.0.0.0/8(rw)\n/srv/a\tnode.example.com(ro)\n").ours_settled);
}

// Of hexadecimal digits alone, as an address may be.
TEST(JudgeEtabTest, AHostsNameIsNoAddressBecauseOfItsLetters) {
  for (const std::string name : {"db1", "cafe", "10", "fe80"}) {
    EXPECT_TRUE(
        Judge(Wanted("/srv/a", ExportMode::kReadWrite, {name}), "/srv/a\t" + name + ".lab.example(rw)\n").ours_settled)
        << name;
  }
  for (const std::string address : {"10.7.7.7", "2001:db8::1", "10.0.0.0/8", "2001:db8::/32"}) {
    EXPECT_FALSE(
        Judge(Wanted("/srv/a", ExportMode::kReadWrite, {address}), "/srv/a\tnode.lab.example(rw)\n").ours_settled)
        << address;
  }
}

TEST(ExportsFileTest, AnEtabIsReadAsItWasWritten) {
  const std::vector<EtabEntry> entries = {{"/srv/a b\tc\xf6", "@ng", "ro,sec=sys,ro", ExportMode::kReadOnly},
                                          {"/srv/b", "2001:db8::/32", "rw,fsid=2", ExportMode::kReadWrite}};
  const auto read = ParseEtab(RenderEtab(entries));
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(*read, entries);
}

TEST(JudgeEtabTest, AStrangersExportOfThePathThatLetsClientsWriteIsNoReadOnly) {
  const FoundExport found =
      Judge(Wanted("/srv/a", ExportMode::kReadOnly), "/srv/a\t10.0.0.0/8(ro)\n/srv/a\t192.168.0.0/16(rw)\n");
  EXPECT_TRUE(found.ours_settled);
  EXPECT_EQ(found.actual, ExportMode::kReadWrite);
  EXPECT_THAT(found.problem, HasSubstr("192.168.0.0/16"));
}

TEST(JudgeEtabTest, AStrangersNarrowerExportOfThePathIsToldAndNoFailure) {
  const std::string etab = "/srv/a\t10.0.0.0/8(rw)\n/srv/a\t10.0.0.9(ro)\n";
  const FoundExport found = Judge(Wanted("/srv/a", ExportMode::kReadWrite), etab);
  EXPECT_TRUE(found.ours_settled);
  EXPECT_EQ(found.actual, ExportMode::kReadWrite);
  EXPECT_THAT(found.problem, HasSubstr("'/srv/a' is exported ro to 10.0.0.9 by somebody else"));
  const FoundExport own = Judge(Wanted("/srv/a", ExportMode::kReadWrite), "/srv/a\t10.0.0.0/8(ro)\n");
  EXPECT_FALSE(own.ours_settled) << "our own clients are another matter";
  EXPECT_EQ(own.actual, ExportMode::kReadOnly);
}

TEST(JudgeEtabTest, AStrangersExportOfAFolderAboveLetsClientsWrite) {
  const std::string etab = "/srv/a/vol\t10.0.0.0/8(ro)\n/srv\t*(rw)\n";
  const FoundExport found = Judge(Wanted("/srv/a/vol", ExportMode::kReadOnly), etab);
  EXPECT_EQ(found.actual, ExportMode::kReadWrite);
  EXPECT_THAT(found.problem, HasSubstr("'/srv' is exported rw to *"));
  EXPECT_EQ(Judge(Wanted("/srv/a/vol", ExportMode::kReadOnly), etab, OtherFilesystem).problem, "");
  // A folder whose name only begins alike is none above.
  EXPECT_EQ(Judge(Wanted("/srv/a/vol", ExportMode::kReadOnly), "/srv/a/vol\t10.0.0.0/8(ro)\n/srv/a/v\t*(rw)\n").problem,
            "");
}

TEST(JudgeEtabTest, AReadOnlyFolderAboveHoldsNfsv4ClientsBack) {
  const FoundExport found =
      Judge(Wanted("/srv/a/vol", ExportMode::kReadWrite), "/srv/a/vol\t10.0.0.0/8(rw)\n/srv\t*(ro)\n");
  EXPECT_EQ(found.actual, ExportMode::kReadWrite);
  EXPECT_TRUE(found.ours_settled);
  EXPECT_THAT(found.problem, HasSubstr("NFSv4"));
}

TEST(JudgeEtabTest, WhatSomebodyElseStillExportsIsToldWhenNothingIsWanted) {
  const FoundExport found = Judge(Wanted("/srv/a", ExportMode::kNone), "/srv/a\t*(rw)\n");
  EXPECT_TRUE(found.ours_settled);
  EXPECT_EQ(found.actual, ExportMode::kReadWrite);
  EXPECT_THAT(found.problem, HasSubstr("somebody else"));
}

TEST(GaneshaFileTest, EachExportIsABlockThatOnlyItsClientsMayUse) {
  const std::vector<WantedExport> wanted = {
      Wanted("/srv/a b", ExportMode::kReadWrite, {"10.0.0.0/8", "*"},
             {"sec=sys:krb5", "no_root_squash", "sync", "anonuid=65534", "protocols=3:4"}),
      Wanted("/srv/hidden", ExportMode::kNone)};
  const std::string text = RenderGaneshaFile("understudy-dr", wanted);
  EXPECT_THAT(text, HasSubstr("EXPORT {\n"
                              "  Export_Id = 7;\n"
                              "  Path = \"/srv/a b\";\n"
                              "  Pseudo = \"/srv/a b\";\n"
                              "  Access_Type = None;\n"
                              "  SecType = sys, krb5;\n"
                              "  Squash = No_Root_Squash;\n"
                              "  Anonymous_Uid = 65534;\n"
                              "  Protocols = 3, 4;\n"
                              "  CLIENT {\n    Clients = 10.0.0.0/8;\n    Access_Type = RW;\n  }\n"
                              "  CLIENT {\n    Clients = *;\n    Access_Type = RW;\n  }\n"
                              "  FSAL {\n    Name = VFS;\n  }\n}\n"));
  EXPECT_THAT(text, Not(HasSubstr("hidden")));
}

}  // namespace
}  // namespace understudy::exports
