#!/bin/bash
# build.sh: builds kube-apiserver and kube-controller-manager, once for each user, for the tests and the demo.
#
# Debian has no package of these programs but has their source package, with every dependency inside. The two programs and
# their digests end in ${XDG_CACHE_HOME:-~/.cache}/understudy/kube/bin; a finished cache is recognised by the digests, and
# a build that was interrupted goes on where it was. Two runs at once: the second waits for the first. Needs what
# `./dev setup` installs. Prints one line when there is something to build, and nothing otherwise.
set -euo pipefail

cache=${XDG_CACHE_HOME:-$HOME/.cache}/understudy/kube
work=$cache/work  # source, Go's cache (1.4 GB), logs: gone when the build is done
bin=$cache/bin
programs=(kube-apiserver kube-controller-manager)
# Raise it whenever what is built would be another thing than before.
recipe=1

finished() {
  [ "$(cat "$bin/recipe" 2>/dev/null)" = "$recipe" ] && (cd "$bin" && sha256sum --status --check digests 2>/dev/null)
}

# apt, asked for source packages, with lists and caches of its own: neither the machine's settings nor its state change.
private_apt() {
  apt-get -q -o Dir::Etc::sourcelist=/dev/null -o Dir::Etc::sourceparts="$work/sources" -o Dir::State::Lists="$work/lists" \
    -o Dir::Cache="$work/apt" -o APT::Sandbox::User="$(id -un)" -o Acquire::Retries=3 "$@"
}

# The machine's own Debian mirrors, as sources of source packages and of packages.
write_sources() {
  mkdir -p "$work"/{sources,lists/partial,apt/archives/partial}
  local file name count=0
  for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources; do
    grep -qs bookworm "$file" || continue
    grep -Eq '/debian(-security)?(/| |$)' "$file" || continue
    count=$((count + 1))
    name=$work/sources/$count
    case $file in
      *.sources) sed 's/^Types:.*/Types: deb deb-src/' "$file" >"$name.sources" ;;
      *) grep -E '^deb .*/debian(-security)?/? ' "$file" | sed -E 'p; s/^deb /deb-src /' >"$name.list" ;;
    esac
  done
  if [ $count = 0 ]; then
    cat >"$work/sources/debian.sources" <<'TEXT'
Types: deb deb-src
URIs: http://deb.debian.org/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
TEXT
  fi
}

# Leaves the source tree, ready to build, at $work/go/src/k8s.io/kubernetes: the place that Go's GOPATH mode wants.
fetch_source() {
  local tree=$work/go/src/k8s.io/kubernetes
  [ ! -d "$tree" ] || return 0
  rm -rf "$work/fetch"
  mkdir -p "$work/fetch" "$(dirname "$tree")"
  write_sources
  private_apt update
  cd "$work/fetch"
  private_apt source kubernetes/bookworm  # applies Debian's security patches too
  # The reflect2 inside crashes both programs under Go 1.18 and later; Debian's package of it is mended.
  private_apt download golang-github-modern-go-reflect2-dev
  dpkg -x golang-github-modern-go-reflect2-dev_*.deb reflect2
  local source reflect
  source=$(find . -maxdepth 1 -type d -name 'kubernetes-1.*')
  reflect=$source/vendor/github.com/modern-go/reflect2
  rm -f "$reflect"/*.go "$reflect"/*.s
  cp reflect2/usr/share/gocode/src/github.com/modern-go/reflect2/* "$reflect/"
  cd "$work"
  mv "fetch/$source" "$tree"
  rm -rf fetch
}

# The one generated file that the source package leaves out.
generate_openapi() {
  local generated=pkg/generated/openapi/zz_generated.openapi.go inputs
  [ ! -s $generated ] || return 0
  go build -o "$work/openapi-gen" k8s.io/kubernetes/vendor/k8s.io/kube-openapi/cmd/openapi-gen
  inputs=$(find -L vendor/k8s.io pkg cmd -name '*.go' -not -path '*/testdata/*' -not -path 'vendor/k8s.io/code-generator/*' \
    -not -path 'vendor/k8s.io/sample-apiserver/*' -print0 | { xargs -0 grep -l '^// +k8s:openapi-gen=true' || true; } |
    xargs -n1 dirname | LC_ALL=C sort -u | sed 's,^,k8s.io/kubernetes/,' | paste -sd,)
  GOROOT=$(go env GOROOT) "$work/openapi-gen" --logtostderr -i "$inputs" -p k8s.io/kubernetes/pkg/generated/openapi \
    -O zz_unfinished -h vendor/k8s.io/code-generator/hack/boilerplate.go.txt -r "$work/violations"
  mv pkg/generated/openapi/zz_unfinished.go $generated
}

# What `--version` answers and the API server's /version says; two packages hold a copy each.
version_flags() {
  local package flag
  for package in component-base/version client-go/pkg/version; do
    for flag in gitVersion=v1.20.2 gitMajor=1 gitMinor=20 gitTreeState=clean gitCommit=debian buildDate=2021-01-13T00:00:00Z; do
      printf ' -X k8s.io/kubernetes/vendor/k8s.io/%s.%s' $package $flag
    done
  done
}

build() {
  fetch_source
  mkdir -p "$work/tmp"
  cd "$work/go/src/k8s.io/kubernetes"
  export GOPATH=$work/go GOCACHE=$work/gocache GOTMPDIR=$work/tmp GO111MODULE=off GOPROXY=off CGO_ENABLED=0 GOFLAGS=-trimpath
  generate_openapi
  local program
  for program in "${programs[@]}"; do
    [ ! -x "$work/$program" ] || continue
    go build -ldflags "-s -w$(version_flags)" -o "$work/$program.unfinished" "k8s.io/kubernetes/cmd/$program"
    mv "$work/$program.unfinished" "$work/$program"
  done
  # Both go in together with their digests: no program is ever used that isn't the one that was built.
  rm -rf "$bin.new"
  mkdir "$bin.new"
  mv "${programs[@]/#/$work/}" "$bin.new/"
  (cd "$bin.new" && sha256sum "${programs[@]}" >digests && echo $recipe >recipe)
  rm -rf "$bin"
  mv "$bin.new" "$bin"
}

mkdir -p "$cache"
exec 9>"$cache/lock"
if ! flock -n 9; then
  echo "Waiting for another run that builds the Kubernetes programs for the tests." >&2
  flock 9
fi
if finished; then exit 0; fi
for tool in go apt-get dpkg-source sha256sum; do
  command -v $tool >/dev/null || { echo "build.sh: there is no $tool; run ./dev setup" >&2; exit 2; }
done
mkdir -p "$work"
echo "Building kube-apiserver and kube-controller-manager 1.20 from Debian's source package: once, about $((8 / $(nproc) + 2)) minutes (log: $work/log)." >&2
set +e  # inside a condition, build's own `set -e` would count for nothing
(set -e; build) >>"$work/log" 2>&1
result=$?
set -e
if [ $result != 0 ]; then
  tail -n 20 "$work/log" >&2
  echo "build.sh: building the Kubernetes programs failed (see above; all of it in $work/log); running it again goes on from here" >&2
  exit 1
fi
rm -rf "$work"
