// groups.h: the groups of drctl's commands; each adds its commands to the command line. docs/reference/drctl.md tells
// what they do, control/commands does it.
#pragma once

namespace CLI {
class App;
}  // namespace CLI

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
void AddReprotect(CommandLine& line);
void AddFailback(CommandLine& line);
void AddApply(CommandLine& line);
void AddServe(CommandLine& line);
void AddPki(CommandLine& line);
void AddConfig(CommandLine& line);

// Parts of groups, which the group adds itself.
void AddFailoverBackup(CommandLine& line, CLI::App& failover);

}  // namespace understudy::control
