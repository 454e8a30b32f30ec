#!/bin/bash
# knfsd_exports_test.sh GUEST: boots user-mode-linux with this machine's / as its root, read-only, and runs the test program
# GUEST in it, against the kernel's NFS server of that machine in the machine. Exit 77 (skipped) where that can't be had.
set -u
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
guest=$1
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
skip() { echo "skipped: $1"; exit 77; }
[ -z "${UNDERSTUDY_SANITIZE:-}" ] || skip "a sanitizer's address space doesn't fit into user-mode-linux"
for needed in linux.uml modprobe rpc.nfsd rpc.mountd exportfs rpcbind mkfs.ext4 mount.nfs; do
  command -v $needed >/dev/null || skip "no $needed on this machine"
done
[ -d /usr/lib/uml/modules ] || skip "no kernel modules for user-mode-linux"

out=$(mktemp -d "${TMPDIR:-/var/tmp}/understudy-uml-XXXXXX")
trap 'rm -rf "$out"' EXIT
# Words of the command line that the kernel doesn't know become the environment of init.
timeout --kill-after=10 "${UNDERSTUDY_UML_SECONDS:-800}" linux.uml mem=768M rootfstype=hostfs rootflags=/ ro quiet con=null con0=null,fd:1 \
  init="$here/knfsd_guest_init.sh" GUEST="$guest" OUT="$out" UNDERSTUDY_BIN="${UNDERSTUDY_BIN:-}" \
  UNDERSTUDY_EXPORT_FLIPS="${UNDERSTUDY_EXPORT_FLIPS:-20}" </dev/null >"$out/console" 2>&1
cat "$out/output" 2>/dev/null
if [ ! -e "$out/result" ]; then
  echo "user-mode-linux ended without a result:"
  tail -40 "$out/console"
  exit 1
fi
exit "$(cat "$out/result")"
