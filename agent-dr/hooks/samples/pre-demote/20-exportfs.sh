#!/bin/sh
# Takes a volume's export away from the clients named in /etc/understudy/clients before it becomes a replica again: the
# other half of post-promote/20-exportfs.sh. An export that isn't there is fine.
set -eu
clients=${1:-/etc/understudy/clients}
path=$(jq -er .volume.replica_path)
while read -r client; do
  [ -n "$client" ] || continue
  exportfs -u "$client:$path" </dev/null || echo "$path wasn't exported to $client"
done <"$clients"
