// groups.h: the groups of drctl's commands; each adds its commands to the command line. docs/reference/drctl.md tells
// what they do, control/commands does it.
#pragma once

namespace understudy::control {

class CommandLine;

void AddStatus(CommandLine& line);
void AddVolumes(CommandLine& line);
void AddPoints(CommandLine& line);
void AddTrash(CommandLine& line);
void AddExports(CommandLine& line);
void AddGuard(CommandLine& line);
void AddEvents(CommandLine& line);
void AddSync(CommandLine& line);
void AddFailover(CommandLine& line);
void AddApply(CommandLine& line);
void AddServe(CommandLine& line);
void AddPki(CommandLine& line);
void AddConfig(CommandLine& line);

}  // namespace understudy::control
