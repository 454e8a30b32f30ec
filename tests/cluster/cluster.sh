#!/bin/bash
# cluster.sh: a Kubernetes API server with its etcd and the controllers that bind claims, on loopback, in one folder.
#
#   cluster.sh up DIR NAME [PORTS]     prepare it, start all of it in the background, return when it is ready
#   cluster.sh down DIR                stop what `up` started; the folder stays, and `up` takes it up again
#
# and the single pieces, for a caller that keeps the processes itself (tests/support/cluster.h):
#
#   cluster.sh prepare DIR NAME [PORTS]      keys, certificates, kubeconfigs; a second time changes nothing
#   cluster.sh run etcd|api|controllers DIR  become that program
#   cluster.sh ready DIR                     ask once: exit code 0 when the API server is ready
#   cluster.sh install DIR                   create the custom resource definitions of crds.yaml and wait until they are served
#
# PORTS are four loopback ports "api,etcd,etcd-peer,controllers"; free ones are chosen when they aren't given.
# DIR holds admin.kubeconfig (client certificate) and token.kubeconfig (bearer token), both all-powerful; audit.log with
# every request; a log for each program. AUTHZ and AUDIT_LEVEL change the authorizer (RBAC) and the audit level (Request).
# The programs come from build.sh. Nothing of this is for anything but tests: etcd speaks plain HTTP and doesn't sync.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
bin=${XDG_CACHE_HOME:-$HOME/.cache}/understudy/kube/bin

fail() { echo "cluster.sh: $1" >&2; exit "${2:-1}"; }

# Reads what `prepare` wrote: name, and the four ports.
load() {
  [ -f "$1/cluster" ] || fail "$1 is no cluster's folder; run: cluster.sh prepare $1 NAME" 2
  dir=$(cd "$1" && pwd)
  read -r name api_port etcd_port peer_port controllers_port <"$dir/cluster"
  token=$name-admin-token
  url=https://127.0.0.1:$api_port
}

# Below Linux's range of ports for outgoing connections, so that none of those takes it before the program listens.
free_port() {
  local port
  while port=$((20000 + RANDOM % 12000)); do
    if ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then echo $port; return; fi
  done
}

key() { openssl ecparam -name prime256v1 -genkey -noout -out "$1"; }

# certificate FILE SUBJECT USAGE [ALTERNATIVE NAMES]: signed by the cluster's CA.
certificate() {
  key "$1.key"
  openssl req -new -key "$1.key" -subj "$2" -out "$1.csr"
  printf 'extendedKeyUsage=%s\n%s\n' "$3" "${4:+subjectAltName=$4}" >"$1.extensions"
  openssl x509 -req -in "$1.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -sha256 -days 3650 -extfile "$1.extensions" -out "$1.crt"
}

make_pki() (
  mkdir -p "$dir/pki"
  cd "$dir/pki"
  key ca.key
  openssl req -x509 -new -key ca.key -sha256 -days 3650 -subj "/CN=$name-ca" -out ca.crt -addext keyUsage=critical,keyCertSign,cRLSign
  certificate server /CN=kube-apiserver serverAuth IP:127.0.0.1,DNS:localhost,DNS:kubernetes.default.svc
  certificate admin /O=system:masters/CN=admin clientAuth
  certificate controllers /O=system:masters/CN=system:kube-controller-manager clientAuth
  openssl genrsa -out service-accounts.key 2048
  openssl rsa -in service-accounts.key -pubout -out service-accounts.pub
)

# kubeconfig USER CREDENTIALS: writes USER.kubeconfig.
kubeconfig() {
  cat >"$dir/$1.kubeconfig" <<TEXT
apiVersion: v1
kind: Config
current-context: $name
clusters: [{name: $name, cluster: {server: "$url", certificate-authority: $dir/pki/ca.crt}}]
users: [{name: $1, user: {$2}}]
contexts: [{name: $name, context: {cluster: $name, user: $1}}]
TEXT
}

prepare() {
  [ ! -f "$1/cluster" ] || return 0
  mkdir -p "$1"
  local ports=${3:-$(free_port),$(free_port),$(free_port),$(free_port)}
  printf '%s %s\n' "$2" "${ports//,/ }" >"$1/cluster.new"
  mv "$1/cluster.new" "$1/cluster"
  load "$1"
  make_pki 2>"$dir/pki.log" || { cat "$dir/pki.log" >&2; rm "$dir/cluster"; fail "making certificates failed"; }
  kubeconfig admin "client-certificate: $dir/pki/admin.crt, client-key: $dir/pki/admin.key"
  kubeconfig controllers "client-certificate: $dir/pki/controllers.crt, client-key: $dir/pki/controllers.key"
  kubeconfig token "token: $token"
  echo "$token,token-admin,token-admin,\"system:masters\"" >"$dir/tokens.csv"
  cat >"$dir/audit-policy.yaml" <<TEXT
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- {level: None, users: ["system:apiserver"]}
- {level: None, nonResourceURLs: ["/readyz*", "/livez*", "/healthz*"]}
- {level: ${AUDIT_LEVEL:-Request}}
TEXT
}

run_etcd() {
  local client=http://127.0.0.1:$etcd_port peer=http://127.0.0.1:$peer_port
  exec etcd --name "$name" --data-dir "$dir/etcd" --logger zap --log-outputs stderr --unsafe-no-fsync \
    --listen-client-urls "$client" --advertise-client-urls "$client" \
    --listen-peer-urls "$peer" --initial-advertise-peer-urls "$peer" --initial-cluster "$name=$peer"
}

# Anonymous requests are refused nothing but by the authorizer, as on a real cluster; the service account admission is off
# because no controller makes the default accounts here.
run_api() {
  exec "$bin/kube-apiserver" --etcd-servers="http://127.0.0.1:$etcd_port" --storage-media-type=application/json \
    --bind-address=127.0.0.1 --advertise-address=127.0.0.1 --secure-port="$api_port" --insecure-port=0 \
    --endpoint-reconciler-type=none --service-cluster-ip-range=10.96.0.0/24 --cert-dir="$dir" \
    --tls-cert-file="$dir/pki/server.crt" --tls-private-key-file="$dir/pki/server.key" \
    --client-ca-file="$dir/pki/ca.crt" --token-auth-file="$dir/tokens.csv" --authorization-mode="${AUTHZ:-RBAC}" \
    --service-account-issuer=https://kubernetes.default.svc --api-audiences=https://kubernetes.default.svc \
    --service-account-key-file="$dir/pki/service-accounts.pub" \
    --service-account-signing-key-file="$dir/pki/service-accounts.key" \
    --disable-admission-plugins=ServiceAccount --enable-priority-and-fairness=false \
    --etcd-compaction-interval=0 --etcd-count-metric-poll-period=0 \
    --audit-policy-file="$dir/audit-policy.yaml" --audit-log-path="$dir/audit.log" --audit-log-mode=blocking
}

# The protection controllers are needed too: without them a delete hangs on its finalizers.
run_controllers() {
  exec "$bin/kube-controller-manager" --kubeconfig="$dir/controllers.kubeconfig" \
    --controllers=persistentvolume-binder,pv-protection,pvc-protection,namespace \
    --leader-elect=false --bind-address=127.0.0.1 --secure-port="$controllers_port" --port=0 --cert-dir="$dir" \
    --use-service-account-credentials=false --pvclaimbinder-sync-period=2s \
    --service-account-private-key-file="$dir/pki/service-accounts.key" --root-ca-file="$dir/pki/ca.crt"
}

api() { curl -s -m 10 --cacert "$dir/pki/ca.crt" -H "Authorization: Bearer $token" "$@"; }

ready() { [ "$(api -m 2 "$url/readyz" || true)" = ok ]; }

# until_true SECONDS WHAT COMMAND…
until_true() {
  local deadline=$((SECONDS + $1)) what=$2
  shift 2
  until "$@"; do
    [ $SECONDS -lt $deadline ] || fail "waited in vain for $what"
    sleep 0.05
  done
}

# One document of crds.yaml as a file; the answer 409 says that it is there already.
create_definition() {
  local code
  code=$(api -o "$dir/answer" -w '%{http_code}' -H 'Content-Type: application/yaml' --data-binary "@$1" \
    "$url/apis/apiextensions.k8s.io/v1/customresourcedefinitions")
  case $code in 201 | 409) ;; *) cat "$dir/answer" >&2; fail "creating $1 answered $code" ;; esac
}

served() { [ "$(api -o /dev/null -w '%{http_code}' "$url/apis/${1#*.}/v1/${1%%.*}?limit=1")" = 200 ]; }

install() {
  local file definition
  rm -rf "$dir/definitions"
  mkdir "$dir/definitions"
  awk -v prefix="$dir/definitions/" '/^---$/ {n++; next} {print > (prefix n + 0 ".yaml")}' "$here/crds.yaml"
  for file in "$dir"/definitions/*.yaml; do create_definition "$file"; done
  while read -r definition; do
    until_true 60 "$definition to be served" served "$definition"
  done < <(sed -n 's/^metadata: {name: \([^,}]*\).*/\1/p' "$here/crds.yaml")
}

# start PIECE: in the background; its pid and log in the folder.
start() {
  "$here/cluster.sh" run "$1" "$dir" </dev/null >>"$dir/$1.log" 2>&1 &
  echo $! >"$dir/$1.pid"
}

# Ours only if its command line names this folder: a pid may have gone to another process meanwhile.
running() { tr '\0' ' ' <"/proc/$1/cmdline" 2>/dev/null | grep -qF "$dir"; }

stop() {
  local pid attempt
  pid=$(cat "$dir/$1.pid" 2>/dev/null) || return 0
  if running "$pid"; then kill -CONT "$pid"; kill "$pid"; fi
  for attempt in $(seq 200); do
    running "$pid" || break
    sleep 0.05
    [ "$attempt" -lt 200 ] || kill -9 "$pid"
  done
  rm -f "$dir/$1.pid"
}

up() {
  local piece
  for piece in etcd api; do start $piece; done
  # The API server ends by itself when etcd doesn't come, and then nothing would ever be ready.
  until_true 120 "$name's API server (log: $dir/api.log)" ready
  install
  start controllers
}

[ $# -ge 2 ] || { sed -n '2,/^set/{/^set/!s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}" >&2; exit 2; }
command=$1
shift
case $command in
  prepare) prepare "$@" ;;
  up)
    prepare "$@"
    load "$1"
    up
    ;;
  down)
    load "$1"
    for piece in controllers api etcd; do stop $piece; done
    ;;
  run)
    load "$2"
    case $1 in etcd | api | controllers) "run_$1" ;; *) fail "no such piece: $1" 2 ;; esac
    ;;
  ready) load "$1"; ready ;;
  install) load "$1"; install ;;
  *) fail "no such command: $command" 2 ;;
esac
