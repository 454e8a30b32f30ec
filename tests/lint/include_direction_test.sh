#!/bin/bash
# include_direction_test.sh: the check lets good includes pass and finds each kind of bad one.
set -euo pipefail
check=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/include_direction.sh
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
git -C "$tree" init -q

# source FILE INCLUDE
source_file() {
  mkdir -p "$tree/$(dirname "$1")"
  printf '#include %s\n' "$2" >"$tree/$1"
}

expect() {
  local verdict=$1 file=$2 include=$3 found=good
  source_file "$file" "$include"
  "$check" "$tree" >/dev/null || found=bad
  rm "$tree/$file"
  [ $found = "$verdict" ] || { echo "$file including $include is $found, should be $verdict"; exit 1; }
}

expect good core/os/a.cc '"core/os/a.h"'
expect good core/wire/a.h '"core/net/channel.h"'
expect good core/wire/a.cc '<grpcpp/grpcpp.h>'
expect good agent-dr/receive/a.cc '"understudy/v1/volume.pb.h"'
expect good control/commands/agents_client.cc '<grpcpp/grpcpp.h>'
expect bad control/commands/agents_client.h '<grpcpp/grpcpp.h>'
expect good control/serve/a.cc '"core/kube/client.h"'
expect good tests/unit/a_test.cc '"agent-dr/commit/a.h"'
expect bad core/base/a.h '"core/model/commit.h"'
expect bad core/net/a.h '"core/wire/a.h"'
expect bad core/kube/a.h '"control/apply/a.h"'
expect bad core/new/a.h '"core/base/status.h"'
expect bad agent-primary/ship/a.cc '"agent-dr/receive/a.h"'
expect bad control/app.cc '"agent-primary/app.h"'
expect bad agent-dr/commit/a.h '<grpcpp/grpcpp.h>'
expect bad core/model/a.h '"understudy/v1/volume.pb.h"'
expect bad core/os/a.cc '"tests/support/wait.h"'
expect bad core/os/a.cc '"a.h"'
