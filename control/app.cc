#include "control/app.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <functional>
#include <map>

#include "control/commands/commands.h"
#include "core/base/log.h"
#include "core/config/control_config.h"
#include "core/config/visitor.h"
#include "core/daemon/version.h"
#include "core/net/pki.h"

namespace understudy::control {
namespace {

// What the options are written to; lives as long as the parser.
struct Options {
  std::string config_file = config::kControlConfigFile;
  OutputFormat format = OutputFormat::kTable;
  StatusOptions status;
  VolumeSelection show;
  PromotionOptions promote;
  PromotionOptions demote;
  VolumeSelection pause;
  VolumeSelection resume;
  SyncOptions sync;
  VerifyOptions verify;
  std::string sync_timeout;
  std::string trash_id;
  std::string trash_pair;
  VolumeSelection points_of;
  PointsCreateOptions point;
  std::string point_timeout;
  PointSelection point_to_forget;
  PointsRewindOptions rewind;
  PointsMaterialiseOptions materialise;
  PointsRemoveOptions tree;
  TrashPurgeOptions purge;
  ExportsListOptions exports_list;
  ExportsSetOptions exports_set;
  std::string guard_pair;
  ApproveOptions approve;
  EventsTailOptions events;
  SyncRunOptions sync_run;
  SyncReportOptions sync_report;
  ApplyOptions apply;
  std::filesystem::path pki_folder;
  bool pki_force = false;
  PkiIssueOptions issue{.folder = {}, .roles = {}, .hosts = {}, .name = "", .days = net::kDefaultCertificateDays};
  std::string checked_file;
  std::string checked_kind;
  std::string checked_rules;
  std::filesystem::path reference_folder;
};

using Command = std::function<ExitCode()>;

// The parser, and the command that the arguments chose.
class CommandLine {
 public:
  explicit CommandLine(const Console& console) : console_(console) {
    app_.name("drctl");
    app_.description(
        "Understudy's control: state, synchronisation, certificates, and the warm standby of storage objects.");
    app_.footer(
        "Example:\n  drctl --config control.yaml status -o json\n\n"
        "Exit codes: 0 done, 1 failed, 2 usage or configuration, 3 done in part, 4 can't reach, 5 refused,\n"
        "6 verification found a difference.");
    app_.set_version_flag("--version", fmt::format("drctl {}", daemon::SoftwareVersion()));
    app_.add_option("--config", options_.config_file, "configuration file")->capture_default_str();
    const std::map<std::string, OutputFormat> formats = {
        {"table", OutputFormat::kTable}, {"json", OutputFormat::kJson}, {"yaml", OutputFormat::kYaml}};
    app_.add_option("-o,--output", options_.format, "table, json or yaml")
        ->transform(CLI::CheckedTransformer(formats).description(""));
    app_.require_subcommand(1);
    app_.fallthrough();
    AddStatus();
    AddVolumes();
    AddPoints();
    AddTrash();
    AddExports();
    AddGuard();
    AddEvents();
    AddSync();
    AddApply();
    AddServe();
    AddPki();
    AddConfig();
  }

  int Run(std::vector<std::string> arguments) {
    std::reverse(arguments.begin(), arguments.end());  // as CLI11 takes them
    try {
      app_.parse(arguments);
    } catch (const CLI::RequiredError& error) {
      const std::vector<std::string> left_over = app_.remaining(true);
      if (left_over.empty()) return Refuse(error);
      PrintError(console_, absl::InvalidArgumentError(fmt::format("there is no command {}: drctl --help lists them",
                                                                  Printable(left_over[0]))));
      return static_cast<int>(ExitCode::kUsage);
    } catch (const CLI::ParseError& error) {
      return Refuse(error);
    }
    return static_cast<int>(command_());
  }

 private:
  using WithConfig = std::function<ExitCode(const config::ControlConfig&)>;

  // Help and version count as errors to CLI11.
  int Refuse(const CLI::ParseError& error) {
    const int code = app_.exit(error, console_.out, console_.err);
    return code == 0 ? 0 : static_cast<int>(ExitCode::kUsage);
  }

  CLI::App* Add(CLI::App& parent, const std::string& name, const std::string& description, const std::string& example) {
    CLI::App* const command = parent.add_subcommand(name, description);
    command->footer("Example:\n  " + example);
    command->fallthrough();
    return command;
  }
  // What a command does once all arguments are parsed.
  void Does(CLI::App* command, Command action) {
    command->callback([this, action = std::move(action)] { command_ = action; });
  }
  void DoesWithConfig(CLI::App* command, WithConfig action) {
    Does(command, [this, action = std::move(action)] {
      const absl::StatusOr<config::ControlConfig> config = config::LoadControlConfig(options_.config_file);
      if (config.ok()) return action(*config);
      PrintError(console_, config.status());
      return ExitCode::kUsage;
    });
  }

  // Empty text: leaves the duration as it is. False: the text is none, and that was said.
  bool TakeTimeout(const std::string& text, absl::Duration& timeout) const {
    if (text.empty()) return true;
    const absl::StatusOr<absl::Duration> parsed = config::ParseDuration(text);
    if (!parsed.ok()) {
      PrintError(console_, Annotate(parsed.status(), "--timeout"));
      return false;
    }
    timeout = *parsed;
    return true;
  }

  void AddStatus() {
    CLI::App* const status =
        Add(app_, "status", "show all pairs and volumes", "drctl --config control.yaml status -o json");
    status->add_flag("!--no-objects", options_.status.objects,
                     "don't compare the DR cluster's storage objects with what they should be");
    DoesWithConfig(
        status, [this](const auto& config) { return RunStatus(console_, options_.format, config, options_.status); });
  }

  void AddVolumes() {
    CLI::App* const volumes =
        Add(app_, "volumes", "list, show, sync, verify, pause, promote or demote volumes", "drctl volumes list");
    volumes->require_subcommand(1);

    CLI::App* const list = Add(*volumes, "list", "list the volumes of all pairs", "drctl volumes list -o yaml");
    DoesWithConfig(list, [this](const auto& config) { return RunVolumesList(console_, options_.format, config); });

    CLI::App* const show = Add(*volumes, "show", "show everything about one volume", "drctl volumes show web");
    show->add_option("NAME", options_.show.name, "the volume's name")->required();
    show->add_option("--pair", options_.show.pair, "only in this pair");
    DoesWithConfig(
        show, [this](const auto& config) { return RunVolumesShow(console_, options_.format, config, options_.show); });
    AddVolumesSync(*volumes);
    AddVolumesVerify(*volumes);
    AddVolumesPause(*volumes);
    AddVolumesPromote(*volumes);
    AddVolumesDemote(*volumes);
  }

  void AddVolumesVerify(CLI::App& volumes) {
    CLI::App* const verify =
        Add(volumes, "verify",
            "whether DR's replica is what it should be; 6 when it isn't, 3 when not all could be compared",
            "drctl volumes verify web --depth digests\n  drctl volumes verify --all --depth kept -o json");
    CLI::Option* const name = verify->add_option("NAME", options_.verify.selection.name, "the volume's name");
    verify->add_flag("--all", options_.verify.all, "every volume")->excludes(name);
    verify->add_option("--pair", options_.verify.selection.pair, "only in this pair");
    const std::map<std::string, model::VerifyDepth> depths = {{"exists", model::VerifyDepth::kExists},
                                                              {"metadata", model::VerifyDepth::kMetadata},
                                                              {"digests", model::VerifyDepth::kDigests},
                                                              {"kept", model::VerifyDepth::kKept}};
    verify
        ->add_option("--depth", options_.verify.depth,
                     "exists: the replica is there and not empty; metadata (the default): compared with the primary at "
                     "a barrier; digests: and contents; kept: contents against DR's own digests, without the primary")
        ->transform(CLI::CheckedTransformer(depths).description(""));
    DoesWithConfig(verify, [this](const auto& config) {
      if (!options_.verify.all && options_.verify.selection.name.empty()) {
        PrintError(console_, absl::InvalidArgumentError("name a volume, or use --all"));
        return ExitCode::kUsage;
      }
      return RunVolumesVerify(console_, options_.format, config, options_.verify);
    });
  }

  void AddVolumesPause(CLI::App& volumes) {
    CLI::App* const pause =
        Add(volumes, "pause", "replicate nothing of a volume until it is resumed, whatever restarts",
            "drctl volumes pause web");
    pause->add_option("NAME", options_.pause.name, "the volume's name")->required();
    pause->add_option("--pair", options_.pause.pair, "only in this pair");
    DoesWithConfig(pause, [this](const auto& config) {
      return RunVolumesPause(console_, options_.format, config, options_.pause);
    });

    CLI::App* const resume =
        Add(volumes, "resume", "replicate a volume again that was paused", "drctl volumes resume web");
    resume->add_option("NAME", options_.resume.name, "the volume's name")->required();
    resume->add_option("--pair", options_.resume.pair, "only in this pair");
    DoesWithConfig(resume, [this](const auto& config) {
      return RunVolumesResume(console_, options_.format, config, options_.resume);
    });
  }

  void AddVolumesPromote(CLI::App& volumes) {
    CLI::App* const promote =
        Add(volumes, "promote", "make the replica at DR the live copy: writable there, and refused to its primary",
            "drctl volumes promote web\n  drctl volumes promote web --pair local --yes -o json");
    promote->add_option("NAME", options_.promote.selection.name, "the volume's name")->required();
    promote->add_option("--pair", options_.promote.selection.pair, "only in this pair");
    promote->add_flag("--yes", options_.promote.yes, "don't ask; without this and without a terminal, nothing is done");
    promote->add_flag("--incomplete", options_.promote.incomplete, "also a volume that was never across as a whole");
    DoesWithConfig(promote, [this](const auto& config) {
      return RunVolumesPromote(console_, options_.format, config, options_.promote);
    });
  }

  void AddVolumesDemote(CLI::App& volumes) {
    CLI::App* const demote = Add(
        volumes, "demote", "make the copy at DR a replica again: its primary's data replaces what was written there",
        "drctl volumes demote web");
    demote->add_option("NAME", options_.demote.selection.name, "the volume's name")->required();
    demote->add_option("--pair", options_.demote.selection.pair, "only in this pair");
    demote->add_flag("--yes", options_.demote.yes, "don't ask; without this and without a terminal, nothing is done");
    DoesWithConfig(demote, [this](const auto& config) {
      return RunVolumesDemote(console_, options_.format, config, options_.demote);
    });
  }

  void AddVolumesSync(CLI::App& volumes) {
    CLI::App* const sync =
        Add(volumes, "sync", "wait until DR durably holds everything that was written to the volume before this call",
            "drctl volumes sync web --published\n  drctl volumes sync --all --timeout 10m");
    CLI::Option* const name = sync->add_option("NAME", options_.sync.selection.name, "the volume's name");
    sync->add_flag("--all", options_.sync.all, "every volume")->excludes(name);
    sync->add_option("--pair", options_.sync.selection.pair, "only in this pair");
    sync->add_flag("--published", options_.sync.published, "also wait until the replica's folder shows it");
    sync->add_option("--timeout", options_.sync_timeout, "give up after this long, as in 90s or 10m (default: never)");
    DoesWithConfig(sync, [this](const auto& config) {
      if (!options_.sync.all && options_.sync.selection.name.empty()) {
        PrintError(console_, absl::InvalidArgumentError("name a volume, or use --all"));
        return ExitCode::kUsage;
      }
      if (!TakeTimeout(options_.sync_timeout, options_.sync.timeout)) return ExitCode::kUsage;
      return RunVolumesSync(console_, options_.format, config, options_.sync);
    });
  }

  void AddPoints() {
    CLI::App* const points =
        Add(app_, "points", "recovery points: earlier states of a volume, at DR", "drctl points list web");
    points->require_subcommand(1);

    CLI::App* const list = Add(
        *points, "list", "list a volume's states, and the trees that were made of some; without a volume, all trees",
        "drctl points list web -o json\n  drctl points list");
    list->add_option("VOLUME", options_.points_of.name, "the volume's name (default: the trees of all volumes)");
    list->add_option("--pair", options_.points_of.pair, "only in this pair");
    DoesWithConfig(list, [this](const auto& config) {
      const VolumeSelection& of = options_.points_of;
      if (of.name.empty()) return RunPointsListTrees(console_, options_.format, config, of.pair);
      return RunPointsList(console_, options_.format, config, options_.points_of);
    });

    CLI::App* const create =
        Add(*points, "create", "give a state a label, by which it stays kept; the newest one after a sync",
            "drctl points create web --label before-upgrade --pin");
    AddVolume(*create, options_.point.selection);
    create->add_option("--label", options_.point.label, "letters, digits, dots, underscores and dashes")->required();
    create->add_flag("--pin", options_.point.pin, "also keep it past points.keep_for, as long as there is room");
    create->add_option("--state", options_.point.state, "this state instead: its number, or a time");
    create->add_flag("!--no-sync", options_.point.sync, "take what DR has, without asking the primary");
    create->add_option("--timeout", options_.point_timeout,
                       "give up the sync after this long, as in 90s or 10m (default: never)");
    DoesWithConfig(create, [this](const auto& config) {
      if (!TakeTimeout(options_.point_timeout, options_.point.timeout)) return ExitCode::kUsage;
      return RunPointsCreate(console_, options_.format, config, options_.point);
    });

    CLI::App* const forget = Add(*points, "forget", "take a state's label away, so that it may be thinned out",
                                 "drctl points forget web before-upgrade");
    AddState(*forget, options_.point_to_forget);
    DoesWithConfig(forget, [this](const auto& config) {
      return RunPointsForget(console_, options_.format, config, options_.point_to_forget);
    });
    AddPointsRewind(*points);
    AddPointsTrees(*points);
  }

  void AddVolume(CLI::App& command, VolumeSelection& selection) {
    command.add_option("VOLUME", selection.name, "the volume's name")->required();
    command.add_option("--pair", selection.pair, "only in this pair");
  }
  void AddState(CLI::App& command, PointSelection& selection) {
    AddVolume(command, selection.volume);
    command
        .add_option("STATE", selection.state,
                    "its number, its label, or a time with its zone: the newest whole state from before it")
        ->required();
  }

  void AddPointsRewind(CLI::App& points) {
    CLI::App* const rewind =
        Add(points, "rewind",
            "take a volume's replica to an earlier state, and hold it there; what it was before stays a state",
            "drctl points rewind web 2026-11-29T03:00:00Z --yes\n  drctl points rewind web before-upgrade");
    AddState(*rewind, options_.rewind.selection);
    rewind->add_flag("--yes", options_.rewind.yes,
                     "don't ask; without this and without a terminal, only what would be done is shown");
    DoesWithConfig(rewind, [this](const auto& config) {
      return RunPointsRewind(console_, options_.format, config, options_.rewind);
    });
  }

  void AddPointsTrees(CLI::App& points) {
    CLI::App* const materialise =
        Add(points, "materialise", "make a state a folder tree of its own, beside the replica",
            "drctl points materialise web before-upgrade --path /srv/dr/web-test --writable");
    AddState(*materialise, options_.materialise.selection);
    materialise->add_option("--path", options_.materialise.path,
                            "at DR, in the export that holds the replica (default: beside it)");
    materialise->add_flag("--writable", options_.materialise.writable, "clients may write to it");
    DoesWithConfig(materialise, [this](const auto& config) {
      return RunPointsMaterialise(console_, options_.format, config, options_.materialise);
    });

    CLI::App* const remove = Add(points, "remove", "delete such a tree, with what was written to it",
                                 "drctl points remove 0123456789abcdef0123456789abcdef --yes");
    remove->add_option("TREE", options_.tree.id, "as points list shows it, also without a volume")->required();
    remove->add_option("--pair", options_.tree.pair, "only in this pair");
    remove->add_flag("--yes", options_.tree.yes,
                     "don't ask; without this and without a terminal, only what would be deleted is shown");
    DoesWithConfig(remove, [this](const auto& config) {
      return RunPointsRemove(console_, options_.format, config, options_.tree);
    });
  }

  void AddTrash() {
    CLI::App* const trash = Add(app_, "trash", "deleted volumes whose data DR still keeps", "drctl trash list");
    trash->require_subcommand(1);

    CLI::App* const list = Add(*trash, "list", "list the deleted volumes of all pairs", "drctl trash list -o json");
    list->add_option("--pair", options_.trash_pair, "only of this pair");
    DoesWithConfig(list, [this](const auto& config) {
      return RunTrashList(console_, options_.format, config, options_.trash_pair);
    });

    CLI::App* const restore = Add(*trash, "restore", "make a deleted volume a replica again, in its old place",
                                  "drctl trash restore 0123456789abcdef0123456789abcdef");
    restore->add_option("ID", options_.trash_id, "as trash list shows it")->required();
    restore->add_option("--pair", options_.trash_pair, "only in this pair");
    DoesWithConfig(restore, [this](const auto& config) {
      return RunTrashRestore(console_, options_.format, config, options_.trash_id, options_.trash_pair);
    });
    AddTrashPurge(*trash);
  }

  void AddTrashPurge(CLI::App& trash) {
    CLI::App* const purge = Add(trash, "purge", "delete the data of deleted volumes for good",
                                "drctl trash purge 0123456789abcdef0123456789abcdef --yes");
    CLI::Option* const id = purge->add_option("ID", options_.purge.id, "as trash list shows it");
    purge->add_flag("--all", options_.purge.everything, "everything in the trash")->excludes(id);
    purge->add_option("--pair", options_.purge.pair, "only of this pair");
    purge->add_flag("--yes", options_.purge.yes, "do it; without this, only what would be purged is shown");
    DoesWithConfig(purge, [this](const auto& config) {
      if (options_.purge.id.empty() && !options_.purge.everything) {
        PrintError(console_, absl::InvalidArgumentError("name an entry, or use --all"));
        return ExitCode::kUsage;
      }
      return RunTrashPurge(console_, options_.format, config, options_.purge);
    });
  }

  void AddExports() {
    const std::map<std::string, Site> sites = {{"primary", Site::kPrimary}, {"dr", Site::kDr}};
    CLI::App* const exports = Add(app_, "exports", "what NFS clients may do with the volumes", "drctl exports list");
    exports->require_subcommand(1);

    CLI::App* const list =
        Add(*exports, "list", "list the volumes' exports at both sites", "drctl exports list --site dr -o json");
    list->add_option("--pair", options_.exports_list.pair, "only of this pair");
    list->add_option_function<std::string>(
            "--site", [this, sites](const std::string& site) { options_.exports_list.site = sites.at(site); },
            "only at this site: primary or dr")
        ->check(CLI::IsMember({"primary", "dr"}));
    DoesWithConfig(list, [this](const auto& config) {
      return RunExportsList(console_, options_.format, config, options_.exports_list);
    });

    CLI::App* const set =
        Add(*exports, "set", "have the NFS server export a volume read-only, read-write or not at all",
            "drctl exports set web ro\n  drctl exports set web ro --site primary");
    set->add_option("VOLUME", options_.exports_set.selection.name, "the volume's name")->required();
    set->add_option("MODE", options_.exports_set.mode, "ro, rw or none")
        ->required()
        ->check(CLI::IsMember({"ro", "rw", "none"}));
    set->add_option_function<std::string>(
           "--site", [this, sites](const std::string& site) { options_.exports_set.site = sites.at(site); },
           "primary or dr (default: dr)")
        ->check(CLI::IsMember({"primary", "dr"}));
    set->add_option("--pair", options_.exports_set.selection.pair, "only in this pair");
    DoesWithConfig(set, [this](const auto& config) {
      return RunExportsSet(console_, options_.format, config, options_.exports_set);
    });
  }

  void AddGuard() {
    CLI::App* const guard =
        Add(app_, "guard", "what is held back because a mistake at the primary is likely", "drctl guard list");
    guard->require_subcommand(1);

    CLI::App* const list = Add(*guard, "list", "list what is held back, and why", "drctl guard list -o json");
    list->add_option("--pair", options_.guard_pair, "only in this pair");
    DoesWithConfig(list, [this](const auto& config) {
      return RunGuardList(console_, options_.format, config, options_.guard_pair);
    });

    CLI::App* const approve = Add(*guard, "approve", "let what is held back happen at DR: no more than was shown",
                                  "drctl guard approve web\n  drctl guard approve objects:PersistentVolume --yes");
    approve
        ->add_option("NAME", options_.approve.selection.name, "as guard list shows it: a volume, or a guard on objects")
        ->required();
    approve->add_option("--pair", options_.approve.selection.pair, "only in this pair");
    approve->add_flag("--yes", options_.approve.yes,
                      "don't ask; without this and without a terminal, only what would be approved is shown");
    DoesWithConfig(approve, [this](const auto& config) {
      return RunGuardApprove(console_, options_.format, config, options_.approve);
    });
  }

  void AddEvents() {
    CLI::App* const events =
        Add(app_, "events", "object events of the primary clusters, and what became of them", "drctl events tail");
    events->require_subcommand(1);

    CLI::App* const tail = Add(*events, "tail", "show the newest object events, oldest first",
                               "drctl events tail --limit 20\n  drctl events tail --follow -o json");
    tail->add_flag("--follow", options_.events.follow, "then show every event that comes, or whose outcome changes");
    tail->add_option("--limit", options_.events.limit, "how many of those that are there")->capture_default_str();
    tail->add_option("--pair", options_.events.pair, "only of this pair");
    DoesWithConfig(
        tail, [this](const auto& config) { return RunEventsTail(console_, options_.format, config, options_.events); });
  }

  void AddSync() {
    CLI::App* const sync =
        Add(app_, "sync", "the scheduled sync: data and storage objects of whole namespaces, to DR", "drctl sync run");
    sync->require_subcommand(1);

    CLI::App* const run = Add(*sync, "run", "make a run now, and print its report",
                              "drctl sync run --dry-run\n  drctl sync run --namespace shop --namespace bank -o json");
    run->add_flag("--dry-run", options_.sync_run.dry_run,
                  "show what would be brought across and deleted; change nothing");
    run->add_option("--namespace", options_.sync_run.namespaces,
                    "only this one of the configured namespaces; may be given several times")
        ->expected(1)
        ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
    run->add_flag("--accept-cluster", options_.sync_run.accept_cluster,
                  "the primary cluster is another one than before, and that is right: what only DR has may be deleted");
    DoesWithConfig(
        run, [this](const auto& config) { return RunSyncRun(console_, options_.format, config, options_.sync_run); });

    CLI::App* const list = Add(*sync, "list", "list the newest runs", "drctl sync list -o json");
    DoesWithConfig(list, [this](const auto& config) { return RunSyncList(console_, options_.format, config); });

    CLI::App* const report =
        Add(*sync, "report", "print the report of a run", "drctl sync report --format html > report.html");
    report->add_option("RUN", options_.sync_report.run, "as sync list shows it (default: the newest that has ended)");
    const std::map<std::string, ReportFormat> formats = {
        {"text", ReportFormat::kText}, {"json", ReportFormat::kJson}, {"html", ReportFormat::kHtml}};
    report->add_option("--format", options_.sync_report.format, "text, json or html")
        ->transform(CLI::CheckedTransformer(formats).description(""));
    DoesWithConfig(report, [this](const auto& config) {
      return RunSyncReport(console_, options_.format, config, options_.sync_report);
    });
  }

  void AddApply() {
    CLI::App* const apply =
        Add(app_, "apply", "bring what the catalogs hold to the DR cluster, once", "drctl apply --dry-run --diff");
    CLI::Option* const dry_run = apply->add_flag("--dry-run", options_.apply.dry_run,
                                                 "ask the DR cluster what would become of it; change nothing");
    apply->add_flag("--diff", options_.apply.diff, "show each change as a diff")->needs(dry_run);
    apply->add_option("--pair", options_.apply.pair, "only of this pair");
    DoesWithConfig(apply,
                   [this](const auto& config) { return RunApply(console_, options_.format, config, options_.apply); });
  }

  void AddServe() {
    CLI::App* const serve =
        Add(app_, "serve", "keep the DR cluster's storage objects ready, and run the scheduled sync",
            "drctl --config /etc/understudy/control.yaml serve");
    DoesWithConfig(serve, [this](const auto& config) { return RunServe(console_, config); });
  }

  void AddPki() {
    CLI::App* const pki =
        Add(app_, "pki", "a small certificate authority for the three roles", "drctl pki init --dir pki");
    pki->require_subcommand(1);

    CLI::App* const init = Add(*pki, "init", "make the authority: ca.crt and ca.key", "drctl pki init --dir pki");
    init->add_option("--dir", options_.pki_folder, "folder of the authority; made when missing")->required();
    init->add_flag("--force", options_.pki_force, "replace an authority: all its certificates become worthless");
    Does(init, [this] { return RunPkiInit(console_, options_.format, options_.pki_folder, options_.pki_force); });

    CLI::App* const issue = Add(*pki, "issue", "issue a certificate and its key",
                                "drctl pki issue --dir pki --role primary --host nfs1.example.com --host 192.0.2.1");
    issue->add_option("--dir", options_.issue.folder, "folder of the authority")->required();
    issue->add_option("--role", options_.issue.roles, "primary, dr or control; may be given several times")
        ->required()
        ->expected(1)
        ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
    issue
        ->add_option("--host", options_.issue.hosts,
                     "name or address under which it is reached; may be given several times")
        ->expected(1)
        ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
    issue->add_option("--name", options_.issue.name, "name of the files (default: the first role)");
    issue->add_option("--days", options_.issue.days, "how long it is valid")->capture_default_str();
    issue->add_flag("--force", options_.issue.force, "replace files that are there");
    Does(issue, [this] { return RunPkiIssue(console_, options_.format, options_.issue); });
  }

  void AddConfig() {
    CLI::App* const config =
        Add(app_, "config", "check configuration files", "drctl config check /etc/understudy/dr.yaml");
    config->require_subcommand(1);

    CLI::App* const check =
        Add(*config, "check", "check a configuration file, with the rules file that it names, or a rules file alone",
            "drctl config check --kind primary nfs1.yaml\n  drctl config check --rules rules.yaml");
    CLI::Option* const file = check->add_option("FILE", options_.checked_file, "the file");
    check->add_option("--rules", options_.checked_rules, "a rules file")->excludes(file);
    check->add_option("--kind", options_.checked_kind, "primary, dr or control (default: told from the file's name)")
        ->check(CLI::IsMember({"primary", "dr", "control"}));
    Does(check, [this] {
      if (!options_.checked_rules.empty()) return RunRulesCheck(console_, options_.checked_rules);
      if (!options_.checked_file.empty()) {
        return RunConfigCheck(console_, options_.checked_file, options_.checked_kind);
      }
      PrintError(console_, absl::InvalidArgumentError("name a file, or use --rules FILE"));
      return ExitCode::kUsage;
    });

    CLI::App* const reference = Add(*config, "reference", "write the reference pages of all settings",
                                    "drctl config reference --dir docs/reference");
    reference->add_option("--dir", options_.reference_folder, "folder to write to")->required();
    Does(reference, [this] { return RunConfigReference(console_, options_.reference_folder); });
  }

  const Console& console_;
  CLI::App app_;
  Options options_;
  Command command_;
};

}  // namespace

int RunDrctl(std::vector<std::string> arguments, const Console& console) {
  return CommandLine(console).Run(std::move(arguments));
}

}  // namespace understudy::control
