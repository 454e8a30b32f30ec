#!/bin/bash
# lint.sh: every check that needs no running program; each says one line, and its findings. Exit code 1 when any found some.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 2

# Files of the project, committed or not yet, that match the patterns.
project_files() { git ls-files --cached --others --exclude-standard -- "$@" | sort -u | while read -r file; do [ ! -f "$file" ] || echo "$file"; done; }

check_format() { project_files '*.h' '*.cc' | xargs -r clang-format --dry-run -Werror; }

check_shell() {
  { project_files '*.sh'; project_files dev .ci/run; } | xargs -r shellcheck --severity=warning
}

result=0
run() {
  local name=$1 start=$SECONDS output
  shift
  if output=$("$@" 2>&1); then
    echo "lint: $name: ok ($((SECONDS - start)) s)"
  else
    printf '%s\n' "$output"
    echo "lint: $name: FAILED"
    result=1
  fi
}

run "formatting" check_format
run "shell scripts" check_shell
run "include direction" tests/lint/include_direction.sh
run "map of the folders in README.md" tests/lint/readme_map.sh
run "clang-tidy and thread safety" tests/lint/tidy.sh
exit $result
