#!/bin/bash
# tidy.sh: clang-tidy over every source file, with clang's thread-safety analysis as part of its diagnostics.
#
# Uses a build folder of its own (build/lint), configured for clang and never compiled but for the generated headers.
# A file that was clean is not looked at again until its text after preprocessing, its command line, the list of
# checks or clang-tidy changes: an empty file named by the digest of all these stays in ~/.cache/understudy/tidy.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
build=$PWD/build/lint
export build cache=${XDG_CACHE_HOME:-$HOME/.cache}/understudy/tidy
mkdir -p "$build" "$cache"

# The whole list costs as much time again as parsing does. What includes gRPC or GoogleTest, whose headers are huge, gets the
# diagnostics and the checks that find faults rather than habits.
export short_list='-*,clang-diagnostic-*,bugprone-use-after-move,bugprone-unused-raii,performance-move-const-arg,performance-for-range-copy,modernize-use-override,google-explicit-constructor'

check_one() {
  local file=$1 command preprocessed key checks=()
  command=$(jq -r --arg file "$PWD/$file" 'first(.[] | select(.file == $file)).command' "$build/compile_commands.json")
  preprocessed=$(mktemp)
  # The last -o and what follows it name the output and the source.
  eval "${command% -o *} -E -P -dI -o $preprocessed $PWD/$file" 2>/dev/null || true
  if grep -qE '#include.*(grpcpp|gtest|gmock)/' "$preprocessed"; then checks=("--checks=$short_list"); fi
  key=$({ clang-tidy --version; cat .clang-tidy "$file"; echo "${command//$PWD/.} ${checks[*]}"; cat "$preprocessed"; } | sha256sum | cut -d' ' -f1)
  rm -f "$preprocessed"
  if [ -e "$cache/$key" ]; then
    touch "$cache/$key"
    return 0
  fi
  local output
  if output=$(clang-tidy -p "$build" --quiet "${checks[@]}" "$file" 2>&1); then
    touch "$cache/$key"
  else
    grep -vE '^[0-9]+ warnings? (treated|generated)|^Suppressed|^Use -header-filter' <<<"$output"
    return 1
  fi
}

configure() {
  cmake -G Ninja -S . -B "$build" -DCMAKE_BUILD_TYPE=RelWithDebInfo -DCMAKE_CXX_COMPILER=clang++ -DCMAKE_C_COMPILER=clang \
    -DCMAKE_DISABLE_PRECOMPILE_HEADERS=ON
  ninja -C "$build" cmake_object_order_depends_target_understudy_proto
}

configure >"$build/configure.log" 2>&1 || { cat "$build/configure.log"; exit 1; }
# Forget what no run has asked for in a month.
find "$cache" -type f -mtime +30 -delete
export -f check_one
jq -r '.[].file' "$build/compile_commands.json" | sed "s,^$PWD/,," | grep -v '^/\|^build/' | sort -u |
  xargs -r -P "$(nproc)" -I{} bash -c 'set -euo pipefail; check_one {}'
