#!/bin/bash
# include_direction.sh: fails, naming file and line, when an include goes against the direction of the dependencies:
#   proto ◄ core ◄ { agent-primary, agent-dr, control }; the programs never include one another; nothing but tests and
#   benchmarks includes tests/; inside core each folder includes only itself and folders of a lower rank (below);
#   gRPC and generated headers stay in the folders that speak on the wire.
set -euo pipefail
cd "${1:-$(dirname "${BASH_SOURCE[0]}")/../..}"

git ls-files --cached --others --exclude-standard -- '*.h' '*.cc' | sort -u | while read -r file; do
  [ ! -f "$file" ] || grep -HnE '^[[:space:]]*#[[:space:]]*include[[:space:]]' "$file" || true
done | awk '
  function top(path) { return substr(path, 1, index(path, "/") - 1) }
  function folder(path, parts) { split(path, parts, "/"); return parts[1] "/" parts[2] }
  function is_program(name) { return name == "agent-primary" || name == "agent-dr" || name == "control" }
  function finding(message) { print file ":" line ": " message; found = 1 }
  function on_the_wire(path) {
    return path ~ /^(core\/(wire|net)|proto|cmake|tests|bench)\// || path ~ /^[^\/]+\/(ship|receive|service)\// ||
      path ~ /^control\/commands\/[a-z_]+_client\.cc$/
  }
  BEGIN {
    rank["core/base"] = 1
    rank["core/model"] = 2
    rank["core/delta"] = 3
    rank["core/os"] = 4
    rank["core/store"] = rank["core/config"] = rank["core/telemetry"] = rank["core/daemon"] = 5
    rank["core/net"] = rank["core/exports"] = 6
    rank["core/wire"] = rank["core/kube"] = 7
  }
  {
    split($0, field, ":")
    file = field[1]; line = field[2]
    if (!match($0, /["<][^">]+[">]/)) next
    quoted = substr($0, RSTART, 1) == "\""
    target = substr($0, RSTART + 1, RLENGTH - 2)
    from = top(file); to = top(target)
    tests_or_bench = from == "tests" || from == "bench"

    if (target ~ /^(grpc|grpcpp|google\/protobuf)\// || target ~ /\.pb\.h$/) {
      if (!on_the_wire(file)) finding(target " belongs to core/wire, core/net, ship, receive and service folders and to clients of control/commands only")
      next
    }
    if (quoted && to == "") finding("\"" target "\": write the path from the top of the tree")
    if (to == "tests" && !tests_or_bench) finding("nothing but tests and benchmarks may include " target)
    if (from == "core" && (is_program(to) || to == "bench")) finding("core may not include " target)
    if (is_program(from) && is_program(to) && from != to) finding("programs may not include one another: " target)
    if (from == "core" && to == "core" && folder(file) != folder(target)) {
      if (!(folder(file) in rank)) finding(folder(file) " has no rank in tests/lint/include_direction.sh")
      else if (!(folder(target) in rank)) finding(folder(target) " has no rank in tests/lint/include_direction.sh")
      else if (rank[folder(target)] >= rank[folder(file)]) finding(folder(file) " may not include " target)
    }
  }
  END { exit found }'
