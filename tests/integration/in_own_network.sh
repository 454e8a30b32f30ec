#!/bin/bash
# in_own_network.sh PROGRAM [ARGUMENT…]: runs it where it is alone: with a loopback device, /run, process ids and an rpcbind
# of its own, all of which end with it. Exit 77 (skipped) where that can't be had.
set -u
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
skip() { echo "skipped: $1"; exit 77; }
for needed in unshare ip rpcbind; do command -v $needed >/dev/null || skip "no $needed on this machine"; done
unshare --net --mount --pid --fork true 2>/dev/null || skip "no namespaces of its own: this needs root"
inside() {
  ip link set lo up && mount -t tmpfs tmpfs /run && mkdir -p /run/rpcbind && rpcbind -w || exit 1
  "$@"
}
export -f inside
exec unshare --net --mount --pid --fork --kill-child --mount-proc bash -c 'inside "$@"' inside "$@"
