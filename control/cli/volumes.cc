#include <map>

#include "control/cli/command_line.h"
#include "control/cli/groups.h"
#include "control/commands/commands.h"

namespace understudy::control {
namespace {

struct VolumesOptions {
  ShowOptions show;
  SyncOptions sync;
  std::string sync_timeout;
  VerifyOptions verify;
  VolumeSelection pause;
  VolumeSelection resume;
  PromotionOptions promote;
  PromotionOptions demote;
  ReprotectOptions reprotect;
};

void AddVolumesSync(CommandLine& line, CLI::App& volumes, VolumesOptions& options) {
  CLI::App* const sync = line.Add(
      volumes, "sync", "wait until DR durably holds everything that was written to the volume before this call",
      "drctl volumes sync web --published\n  drctl volumes sync --all --timeout 10m");
  CLI::Option* const name = sync->add_option("NAME", options.sync.selection.name, "the volume's name");
  sync->add_flag("--all", options.sync.all, "every volume")->excludes(name);
  sync->add_option("--pair", options.sync.selection.pair, "only in this pair");
  sync->add_flag("--published", options.sync.demand.published, "also wait until the replica's folder shows it");
  sync->add_flag("--rescan", options.sync.demand.rescan,
                 "look at every file of the volume, also where nothing told of a change");
  sync->add_option("--timeout", options.sync_timeout, "give up after this long, as in 90s or 10m (default: never)");
  line.DoesWithConfig(sync, [&line, &options](const auto& config) {
    if (!options.sync.all && options.sync.selection.name.empty()) {
      return line.RefuseUsage("name a volume, or use --all");
    }
    if (!line.TakeTimeout(options.sync_timeout, options.sync.timeout)) return ExitCode::kUsage;
    return RunVolumesSync(line.console(), line.format(), config, options.sync);
  });
}

void AddVolumesVerify(CommandLine& line, CLI::App& volumes, VolumesOptions& options) {
  CLI::App* const verify = line.Add(
      volumes, "verify", "whether DR's replica is what it should be; 6 when it isn't, 3 when not all could be compared",
      "drctl volumes verify web --depth digests\n  drctl volumes verify --all --depth kept -o json");
  CLI::Option* const name = verify->add_option("NAME", options.verify.selection.name, "the volume's name");
  verify->add_flag("--all", options.verify.all, "every volume")->excludes(name);
  verify->add_option("--pair", options.verify.selection.pair, "only in this pair");
  const std::map<std::string, model::VerifyDepth> depths = {{"exists", model::VerifyDepth::kExists},
                                                            {"metadata", model::VerifyDepth::kMetadata},
                                                            {"digests", model::VerifyDepth::kDigests},
                                                            {"kept", model::VerifyDepth::kKept}};
  verify
      ->add_option("--depth", options.verify.depth,
                   "exists: the replica is there and not empty; metadata (the default): compared with the primary at "
                   "a barrier; digests: and contents; kept: contents against DR's own digests, without the primary")
      ->transform(CLI::CheckedTransformer(depths).description(""));
  line.DoesWithConfig(verify, [&line, &options](const auto& config) {
    if (!options.verify.all && options.verify.selection.name.empty()) {
      return line.RefuseUsage("name a volume, or use --all");
    }
    return RunVolumesVerify(line.console(), line.format(), config, options.verify);
  });
}

void AddVolumesPause(CommandLine& line, CLI::App& volumes, VolumesOptions& options) {
  CLI::App* const pause =
      line.Add(volumes, "pause", "replicate nothing of a volume until it is resumed, whatever restarts",
               "drctl volumes pause web");
  pause->add_option("NAME", options.pause.name, "the volume's name")->required();
  pause->add_option("--pair", options.pause.pair, "only in this pair");
  line.DoesWithConfig(pause, [&line, &options](const auto& config) {
    return RunVolumesPause(line.console(), line.format(), config, options.pause);
  });

  CLI::App* const resume =
      line.Add(volumes, "resume", "replicate a volume again that was paused", "drctl volumes resume web");
  resume->add_option("NAME", options.resume.name, "the volume's name")->required();
  resume->add_option("--pair", options.resume.pair, "only in this pair");
  line.DoesWithConfig(resume, [&line, &options](const auto& config) {
    return RunVolumesResume(line.console(), line.format(), config, options.resume);
  });
}

void AddVolumesPromote(CommandLine& line, CLI::App& volumes, VolumesOptions& options) {
  CLI::App* const promote =
      line.Add(volumes, "promote", "make the replica at DR the live copy: writable there, and refused to its primary",
               "drctl volumes promote web\n  drctl volumes promote web --pair local --yes -o json");
  promote->add_option("NAME", options.promote.selection.name, "the volume's name")->required();
  promote->add_option("--pair", options.promote.selection.pair, "only in this pair");
  promote->add_flag("--yes", options.promote.yes, "don't ask; without this and without a terminal, nothing is done");
  promote->add_flag("--incomplete", options.promote.incomplete,
                    "also a volume that was never across as a whole, or in the midst of a capture");
  line.DoesWithConfig(promote, [&line, &options](const auto& config) {
    return RunVolumesPromote(line.console(), line.format(), config, options.promote);
  });
}

void AddVolumesDemote(CommandLine& line, CLI::App& volumes, VolumesOptions& options) {
  CLI::App* const demote = line.Add(
      volumes, "demote", "make the copy at DR a replica again: its primary's data replaces what was written there",
      "drctl volumes demote web");
  demote->add_option("NAME", options.demote.selection.name, "the volume's name")->required();
  demote->add_option("--pair", options.demote.selection.pair, "only in this pair");
  demote->add_flag("--yes", options.demote.yes, "don't ask; without this and without a terminal, nothing is done");
  line.DoesWithConfig(demote, [&line, &options](const auto& config) {
    return RunVolumesDemote(line.console(), line.format(), config, options.demote);
  });
}

void AddVolumesReprotect(CommandLine& line, CLI::App& volumes, VolumesOptions& options) {
  CLI::App* const reprotect =
      line.Add(volumes, "reprotect",
               "turn replication round after a promotion: from the live copy to the host where the volume was before",
               "drctl volumes reprotect web\n  drctl volumes reprotect web --pair local --yes --no-wait -o json");
  reprotect->add_option("NAME", options.reprotect.selection.name, "the volume's name")->required();
  reprotect->add_option("--pair", options.reprotect.selection.pair, "only in this pair");
  reprotect->add_flag("--yes", options.reprotect.yes,
                      "don't ask; without this and without a terminal, nothing is done");
  reprotect->add_flag("!--no-wait", options.reprotect.wait, "don't wait until what differs is across");
  line.DoesWithConfig(reprotect, [&line, &options](const auto& config) {
    return RunVolumesReprotect(line.console(), line.format(), config, options.reprotect);
  });
}

}  // namespace

void AddVolumes(CommandLine& line) {
  auto& options = line.Keep<VolumesOptions>();
  CLI::App* const volumes =
      line.Add(line.top(), "volumes", "list, show, sync, verify, pause, promote, demote or reprotect volumes",
               "drctl volumes list");
  volumes->require_subcommand(1);

  CLI::App* const list = line.Add(*volumes, "list", "list the volumes of all pairs", "drctl volumes list -o yaml");
  line.DoesWithConfig(list,
                      [&line](const auto& config) { return RunVolumesList(line.console(), line.format(), config); });

  CLI::App* const show = line.Add(*volumes, "show", "show everything about one volume, or about one of its files",
                                  "drctl volumes show web\n  drctl volumes show web disk.img -o json");
  show->add_option("NAME", options.show.selection.name, "the volume's name")->required();
  show->add_option("FILE", options.show.file,
                   "one of its files: in the volume, or absolute at the primary (default: the volume, with its largest "
                   "files)");
  show->add_option("--pair", options.show.selection.pair, "only in this pair");
  line.DoesWithConfig(show, [&line, &options](const auto& config) {
    return RunVolumesShow(line.console(), line.format(), config, options.show);
  });
  AddVolumesSync(line, *volumes, options);
  AddVolumesVerify(line, *volumes, options);
  AddVolumesPause(line, *volumes, options);
  AddVolumesPromote(line, *volumes, options);
  AddVolumesDemote(line, *volumes, options);
  AddVolumesReprotect(line, *volumes, options);
}

}  // namespace understudy::control
