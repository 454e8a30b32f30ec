#!/bin/bash
# demo.sh: the whole of Understudy on this machine, as `./dev demo` shows it: two agents, a control plane, two Kubernetes API
# servers, all on loopback and below one folder. Every step says one line with the time that it took; a step that fails
# ends it with the ends of the logs and exit code 1. Everything that it started is stopped again, by pid.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
bin=${UNDERSTUDY_BIN:-$root/build/bin}
cluster=$root/tests/cluster/cluster.sh
volume=shop-db
primary_server=nfs.primary.example
dr_server=nfs.dr.example
image_size=1G
# A bound for a run that is broken; one that works waits for seconds.
patience=60

usage() {
  cat <<'TEXT'
Usage: ./dev demo [--once] [--no-cluster] [--keep-dir DIR]

  --once          end after the last step instead of leaving it running
  --no-cluster    no Kubernetes: the volume is listed in a file
  --keep-dir DIR  work in DIR, which must not exist or be empty, and leave it there

For example: ./dev demo --once --no-cluster
TEXT
}

once=no
kubernetes=yes
keep_dir=''
while [ $# -gt 0 ]; do
  case $1 in
    --once) once=yes; shift ;;
    --no-cluster) kubernetes=no; shift ;;
    --keep-dir) [ $# -ge 2 ] || { usage >&2; exit 2; }; keep_dir=$2; shift 2 ;;
    -h | --help) usage; exit 0 ;;
    *) usage >&2; exit 2 ;;
  esac
done

if [ -n "$keep_dir" ]; then
  mkdir -p "$keep_dir"
  [ -z "$(ls -A "$keep_dir")" ] || { echo "demo: $keep_dir is not empty" >&2; exit 2; }
  dir=$(cd "$keep_dir" && pwd)
else
  # Not /tmp, which may lie in memory: a 1 GiB image is written below it.
  dir=$(mktemp -d "${TMPDIR:-/var/tmp}/understudy-demo-XXXXXX")
fi
primary=$dir/primary/export
dr=$dir/dr/export
logs=$dir/logs
mkdir -p "$primary/$volume" "$dr" "$logs" "$dir/config"

declare -A pids=()
failed=no

# stop NAME: by the pid that we started it with.
stop() {
  local pid=${pids[$1]:-}
  [ -n "$pid" ] || return 0
  kill "$pid" 2>/dev/null || true
  for _ in $(seq 200); do
    kill -0 "$pid" 2>/dev/null || break
    sleep 0.05
  done
  kill -9 "$pid" 2>/dev/null || true
  wait "$pid" 2>/dev/null || true
  unset "pids[$1]"
}

show_logs() {
  local log
  for log in "$logs"/*.log "$dir"/cluster-*/api.log; do
    [ -s "$log" ] || continue
    printf '\n--- the end of %s\n' "$log"
    tail -n 15 "$log"
  done >&2
}

clean_up() {
  local status=$? name
  trap '' INT TERM
  trap - EXIT
  set +e
  if [ $failed = yes ]; then show_logs; fi
  for name in control primary dr; do stop $name; done
  for name in primary dr; do
    if [ -f "$dir/cluster-$name/cluster" ]; then "$cluster" down "$dir/cluster-$name"; fi
  done
  if [ -z "$keep_dir" ]; then rm -rf "$dir"; fi
  exit "$status"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

fail() {
  failed=yes
  printf 'demo: failed: %s\n' "$1" >&2
  exit 1
}
# What `set -e` ends with nothing said is a failed step as well.
trap 'failed=yes; echo "demo: failed in line $LINENO: $BASH_COMMAND" >&2' ERR
set -E

now_ms() { echo $((${EPOCHREALTIME/./} / 1000)); }
step_started=$(now_ms)
# step TEXT: one line for what was done since the last one.
step() {
  local now
  now=$(now_ms)
  printf '%6d ms  %s\n' $((now - step_started)) "$1"
  step_started=$(now_ms)
}
note() { printf '           %s\n' "$1"; }

# Every started program is looked at while waiting: one that died isn't waited for.
all_running() {
  local name
  for name in "${!pids[@]}"; do
    kill -0 "${pids[$name]}" 2>/dev/null || fail "understudy's $name program ended; its log is below"
  done
}

# wait_for WHAT COMMAND…
wait_for() {
  local what=$1 deadline=$((SECONDS + patience))
  shift
  until "$@"; do
    all_running
    [ $SECONDS -lt $deadline ] || fail "waited $patience s for $what"
    sleep 0.02
  done
}

declare -A taken=()
# Sets REPLY to a port that nothing listens on, below Linux's range of ports for outgoing connections.
free_port() {
  while REPLY=$((20000 + RANDOM % 12000)); do
    if [ -z "${taken[$REPLY]:-}" ] && ! (exec 3<>"/dev/tcp/127.0.0.1/$REPLY") 2>/dev/null; then break; fi
  done
  taken[$REPLY]=yes
}

drctl() { "$bin/drctl" --config "$dir/config/control.yaml" "$@"; }

# start NAME PROGRAM ARGUMENTS…: in the background, its log in the folder; killed by the kernel if this script is.
start() {
  local name=$1
  shift
  setpriv --pdeathsig KILL "$@" </dev/null >"$logs/$name.log" 2>&1 &
  pids[$name]=$!
}

ready() { [ "$(curl -s -m 2 -o /dev/null -w '%{http_code}' "http://127.0.0.1:$1/readyz" || true)" = 200 ]; }

# api SITE PATH [curl options]: one request to that site's cluster; prints the answer, fails on an error answer.
api() {
  local site=$1 path=$2 port
  shift 2
  read -r _ port _ <"$dir/cluster-$site/cluster"
  curl -sf -m 10 --cacert "$dir/cluster-$site/pki/ca.crt" -H "Authorization: Bearer $site-admin-token" "$@" "https://127.0.0.1:$port$path"
}

create() { api "$1" "$2" -o /dev/null -H 'Content-Type: application/json' --data-binary @-; }

make_keys() {
  local role
  "$bin/drctl" pki init --dir "$dir/config/pki" >"$logs/pki.log" 2>&1 || fail "drctl pki init"
  for role in primary dr control; do
    "$bin/drctl" pki issue --dir "$dir/config/pki" --role $role --host 127.0.0.1 >>"$logs/pki.log" 2>&1 || fail "drctl pki issue --role $role"
  done
}

start_clusters() {
  local site ports
  "$root/tests/cluster/build.sh"
  for site in primary dr; do
    ports=''
    for _ in 1 2 3 4; do
      free_port
      ports+=${ports:+,}$REPLY
    done
    "$cluster" up "$dir/cluster-$site" $site "$ports" >"$logs/cluster-$site.log" 2>&1 &
    pids[cluster-$site]=$!
  done
  for site in primary dr; do
    local pid=${pids[cluster-$site]}
    unset "pids[cluster-$site]"
    wait "$pid" || fail "the $site cluster didn't start"
  done
}

write_configuration() {
  free_port; primary_port=$REPLY
  free_port; dr_port=$REPLY
  free_port; primary_metrics=$REPLY
  free_port; dr_metrics=$REPLY
  free_port; control_metrics=$REPLY
  cat >"$dir/config/primary.yaml" <<TEXT
listen: 127.0.0.1:$primary_port
metrics_listen: 127.0.0.1:$primary_metrics
state_dir: ../primary/state
tls: {ca: pki/ca.crt, cert: pki/primary.crt, key: pki/primary.key}
peer: {address: 127.0.0.1:$dr_port}
exports:
  - {path: $primary, dr_path: $dr, server_names: [$primary_server]}
TEXT
  if [ $kubernetes = yes ]; then
    printf 'kubernetes: {kubeconfig: ../cluster-primary/admin.kubeconfig}\n'
  else
    printf 'volumes: [{name: %s, path: %s}]\n' $volume "$primary/$volume"
  fi >>"$dir/config/primary.yaml"
  cat >"$dir/config/dr.yaml" <<TEXT
listen: 127.0.0.1:$dr_port
metrics_listen: 127.0.0.1:$dr_metrics
state_dir: ../dr/state
tls: {ca: pki/ca.crt, cert: pki/dr.crt, key: pki/dr.key}
exports: [{path: $dr, backend: none}]
TEXT
  cat >"$dir/config/control.yaml" <<TEXT
metrics_listen: 127.0.0.1:$control_metrics
tls: {ca: pki/ca.crt, cert: pki/control.crt, key: pki/control.key}
pairs:
  - {name: demo, primary: "127.0.0.1:$primary_port", dr: "127.0.0.1:$dr_port", server_names: [$primary_server], dr_server: $dr_server}
TEXT
  if [ $kubernetes = yes ]; then
    printf 'clusters: {dr: {kubeconfig: ../cluster-dr/admin.kubeconfig}}\n' >>"$dir/config/control.yaml"
  fi
}

start_programs() {
  start dr "$bin/understudy-dr" --config "$dir/config/dr.yaml"
  wait_for "understudy-dr to be ready" ready "$dr_metrics"
  start primary "$bin/understudy-primary" --config "$dir/config/primary.yaml"
  wait_for "understudy-primary to be ready" ready "$primary_metrics"
  [ $kubernetes = yes ] || return 0
  start control "$bin/drctl" --config "$dir/config/control.yaml" serve
  wait_for "drctl serve to be ready" ready "$control_metrics"
}

create_volume_and_claim() {
  wait_for "the primary cluster's default namespace" api primary /api/v1/namespaces/default -o /dev/null
  create primary /api/v1/namespaces <<<'{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}'
  create primary /api/v1/persistentvolumes <<TEXT
{"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "$volume"},
 "spec": {"capacity": {"storage": "2Gi"}, "accessModes": ["ReadWriteMany"], "persistentVolumeReclaimPolicy": "Delete",
          "storageClassName": "nfs", "nfs": {"server": "$primary_server", "path": "$primary/$volume"}}}
TEXT
  create primary /api/v1/namespaces/shop/persistentvolumeclaims <<TEXT
{"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "db-data"},
 "spec": {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "2Gi"}}, "storageClassName": "nfs",
          "volumeName": "$volume"}}
TEXT
}

claim_bound() {
  [ "$(api "$1" /api/v1/namespaces/shop/persistentvolumeclaims/db-data 2>/dev/null | jq -r .status.phase)" = Bound ]
}

write_files() {
  local i
  mkdir -p "$primary/$volume/orders/2024" "$primary/$volume/empty"
  for i in $(seq 200); do printf 'order %d\n' "$i" >"$primary/$volume/orders/2024/$i.txt"; done
  head -c 3000000 /dev/urandom >"$primary/$volume/ledger.bin"
  ln -s ledger.bin "$primary/$volume/current"
  ln "$primary/$volume/ledger.bin" "$primary/$volume/ledger.hardlink"
  printf 'name with a newline, and \377 that is no UTF-8\n' >"$primary/$volume/"$'odd\nname\377'
  chmod 0640 "$primary/$volume/ledger.bin"
  touch -d '2001-02-03 04:05:06.789012345' "$primary/$volume/orders/2024/7.txt"
}

# A disk image as a VM has it: mostly holes, data here and there.
write_image() {
  local i
  truncate -s $image_size "$primary/$volume/disk.img"
  for i in $(seq 0 31); do
    dd if=/dev/urandom of="$primary/$volume/disk.img" bs=1M count=1 seek=$((i * 32)) conv=notrunc status=none
  done
}

# 100 scattered blocks of 4 KiB, where the image has data.
change_image() {
  local i
  for i in $(seq 0 99); do
    dd if=/dev/urandom of="$primary/$volume/disk.img" bs=4096 count=1 seek=$((i % 32 * 8192 + i / 32 * 64)) conv=notrunc status=none
  done
}

# Everything that a file is but its bytes, one entry a record. A folder's size is its filesystem's affair.
listing() { (cd "$1" && find . -type d -printf '%P %y %m %U:%G %T@\0' -o -printf '%P %y %m %U:%G %T@ %s %l\0' | sort -z); }

same_metadata() { cmp -s <(listing "$primary/$volume") <(listing "$dr/$volume"); }

same_on_both_sides() { diff -r --no-dereference "$primary/$volume" "$dr/$volume" >"$logs/diff.log" 2>&1 && same_metadata; }

volume_field() { drctl status -o json | jq -r --arg name $volume '.volumes[] | select(.name == $name) | '"$1"; }

registered() { [ -n "$(volume_field .name 2>/dev/null)" ]; }

lag_is_zero() { [ "$(volume_field '.lag_seconds == 0')" = true ]; }

sync_published() { drctl volumes sync $volume --published >>"$logs/drctl.log" 2>&1 || fail "drctl volumes sync $volume --published"; }

show_dr_objects() {
  note "$(api dr /api/v1/persistentvolumes/$volume | jq -r '"at DR: PersistentVolume \(.metadata.name): \(.status.phase), \(.spec.persistentVolumeReclaimPolicy), \(.spec.nfs.server):\(.spec.nfs.path)"')"
  note "$(api dr /api/v1/namespaces/shop/persistentvolumeclaims/db-data | jq -r '"at DR: PersistentVolumeClaim \(.metadata.namespace)/\(.metadata.name): \(.status.phase) to \(.spec.volumeName)"')"
}

# The hints that a person can go on with; ends with Ctrl-C.
leave_running() {
  cat <<TEXT

It goes on running. In another terminal:

  drctl() { $bin/drctl --config $dir/config/control.yaml "\$@"; }
  drctl status
  drctl volumes show $volume
  echo hello >$primary/$volume/hello.txt; drctl volumes sync $volume --published; cat $dr/$volume/hello.txt
  curl -s http://127.0.0.1:$primary_metrics/metrics | grep ^understudy_
TEXT
  if [ $kubernetes = yes ]; then
    printf '  KUBECONFIG=%s kubectl get pv,pvc -A     # and cluster-primary; any kubectl will do\n' "$dir/cluster-dr/admin.kubeconfig"
  fi
  printf '\nThe logs are in %s. Ctrl-C ends all of it.\n' "$logs"
  while sleep 1; do all_running; done
}

for program in understudy-primary understudy-dr drctl; do
  [ -x "$bin/$program" ] || fail "there is no $bin/$program; ./dev build makes it"
done

make_keys
step "made a CA and three certificates with drctl pki"
if [ $kubernetes = yes ]; then
  start_clusters
  step "started two Kubernetes API servers, each with its etcd and claim binder"
fi
write_configuration
start_programs
step "started understudy-dr, understudy-primary$([ $kubernetes = no ] || echo ' and drctl serve'), all ready"

if [ $kubernetes = yes ]; then
  create_volume_and_claim
  step "created PersistentVolume $volume and claim shop/db-data on the primary cluster"
  wait_for "the volume to be replicated" registered
  step "understudy-primary took the volume up by itself"
else
  wait_for "the volume to be known" registered
  step "volume $volume, listed in primary.yaml, is replicated"
fi
write_files
step "wrote 200 small files, a 3 MB file, links, and a name that is no text, into the volume"
wait_for "the files to be at DR" same_on_both_sides
step "DR has them: the same bytes, modes, owners and times"
if [ $kubernetes = yes ]; then
  wait_for "the claim to be Bound at DR" claim_bound dr
  step "the DR cluster has the cleaned PersistentVolume and claim, Bound"
  show_dr_objects
fi
drctl status
step_started=$(now_ms)

write_image
step "wrote a disk image of 1 GiB, mostly holes, with 32 MiB of data in it"
sync_published
step "drctl volumes sync $volume --published: DR holds and shows the image"
before=$(volume_field .content_bytes_sent)
change_image
step "changed 100 scattered blocks of 4 KiB of the image"
wait_for "lag 0" lag_is_zero
sync_published
wait_for "lag 0" lag_is_zero
step "lag is back to 0 s"
after=$(volume_field .content_bytes_sent)
if [[ $before =~ ^[0-9]+$ && $after =~ ^[0-9]+$ ]]; then note "$(((after - before) / 1024)) KiB of content were sent for the 400 KiB that changed"; fi
same_on_both_sides || fail "the two sides differ: $(head -n 3 "$logs/diff.log")"
step "compared both sides: the same bytes, modes, owners, and times to the nanosecond"
drctl status

if [ $once = yes ]; then
  step "done; stopping everything"
else
  leave_running
fi
