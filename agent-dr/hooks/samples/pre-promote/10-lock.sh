#!/bin/sh
# Refuses promotions while somebody has locked them: `touch /etc/understudy/no-promotion`, say while DR is being repaired.
set -eu
lock=${1:-/etc/understudy/no-promotion}
[ ! -e "$lock" ] || {
  echo "promotions are locked: $lock is there"
  exit 1
}
