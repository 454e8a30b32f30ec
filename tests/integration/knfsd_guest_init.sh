#!/bin/bash
# knfsd_guest_init.sh: the init of user-mode-linux in knfsd_exports_test.sh: readies an NFS server, runs $GUEST, writes what it
# says and its exit code into $OUT, a folder of the machine outside, and turns the machine off.
#
# The machine's root becomes an ext4 of its own, since neither the outside's files (hostfs) nor a tmpfs can be exported without
# ado, and NFSv4 clients come down from the root. Programs are the outside's.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
off() {
  echo "${1:-1}" >/out/result
  sync
  echo o >/proc/sysrq-trigger
  sleep 60
}
must() { "$@" || { echo "failed: $*"; off 1; }; }

first_root() {
  mount -t proc proc /proc
  mount -t sysfs sys /sys
  mount -t tmpfs tmpfs /mnt
  mkdir -p /mnt/modules/lib /mnt/root
  ln -s /usr/lib/uml/modules /mnt/modules/lib/modules
  local module
  for module in loop ext4 nfsd nfsv3 nfsv4; do modprobe -d /mnt/modules $module || echo "no module $module"; done
  truncate -s 400M /mnt/disk.img
  mkfs.ext4 -q -F /mnt/disk.img
  mount -o loop /mnt/disk.img /mnt/root
  cd /mnt/root || exit 1
  mkdir -p proc sys dev run tmp mnt data out outside usr etc/exports.d var/lib/nfs/v4recovery var/lib/nfs/sm var/lib/nfs/sm.bak \
    var/lib/nfs/rpc_pipefs
  cp -a /bin /sbin /lib /lib64 . # links into usr
  local file
  for file in passwd group hosts nsswitch.conf netconfig rpc services protocols ld.so.cache ssl; do cp -a /etc/$file etc/ 2>/dev/null; done
  touch etc/exports etc/mtab var/lib/nfs/etab var/lib/nfs/rmtab
  mount -t hostfs -o "$OUT" none out
  exec >out/output 2>&1
  mount --bind /usr usr
  mount --bind /dev dev
  mkdir -p ".$UNDERSTUDY_BIN"
  mount --bind "$UNDERSTUDY_BIN" ".$UNDERSTUDY_BIN"
  local script
  script=$(mktemp ./tmp/init.XXXXXX)
  cat "$0" >"$script"
  pivot_root . outside
  exec chroot . /usr/bin/bash "/tmp/${script##*/}" second
}

second_root() {
  mount -t proc proc /proc
  mount -t sysfs sys /sys
  mount -t tmpfs tmpfs /run
  mkdir /run/rpcbind
  must ip link set lo up
  must mount -t nfsd nfsd /proc/fs/nfsd
  must rpcbind -w
  rpc.mountd 2>/dev/null || off 1 # it has words for each missing protocol
  must rpc.nfsd --grace-time 10 --lease-time 10 4
  export TEST_TMPDIR=/data HOME=/run
  "$GUEST" --gtest_color=no
  off $?
}

if [ "${1:-}" = second ]; then second_root; else first_root; fi
