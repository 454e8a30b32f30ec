#!/bin/bash
# readme_map.sh: fails when README.md's map of the folders and the tree differ. The map has one row, "| `folder/` | … |", for
# each top folder and for each folder one level below those that are split further.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

on_the_map() { sed -n 's/^| `\([^`]*\)\/` |.*/\1/p' README.md | sort; }

in_the_tree() {
  git ls-files --cached --others --exclude-standard | while read -r file; do [ ! -e "$file" ] || echo "$file"; done |
    awk -F/ 'NF > 1 && $1 !~ /^\./ {print $1} NF > 2 && $1 ~ /^(core|agent-primary|agent-dr|control|tests)$/ {print $1 "/" $2}' | sort -u
}

differences=$(diff <(on_the_map) <(in_the_tree) | sed -n 's/^< \(.*\)/README.md names \1\/, which is not there/p; s/^> \(.*\)/README.md does not name \1\//p' || true)
[ -z "$differences" ] || { echo "$differences"; exit 1; }
