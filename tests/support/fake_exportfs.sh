#!/bin/bash
# fake_exportfs.sh: stands in for exportfs(8) where there is no NFS server. A test links to it from a folder of its own:
#   exports, exports.d/*.exports   what it reads; one line a path, clients behind it, as exports(5)
#   etab                           what it writes
#   calls                          its arguments, a line a call
#   behaviour                      absent, or: fail (exit code 1, nothing done), hang (until killed), warn (words on
#                                  stderr, exit code 0), reexport_fails (-r ends with 1 and does nothing),
#                                  reexport_hangs (-r does its work and hangs), flush_fails (-f ends with 1), crash_before, crash_after (kills its
#                                  parent before or after it does its work)
# As the real one: a line with an unknown option is left out and makes the exit code 1 although the others are done; a folder
# that is missing makes it 1 and is exported all the same; -r forgets what -o exported; -i doesn't read the files.
set -u
root=$(dirname "$0")
echo "$*" >>"$root/calls"
behaviour=$(cat "$root/behaviour" 2>/dev/null)
case $behaviour in
  fail) echo "exportfs: can't do anything today" >&2; exit 1 ;;
  hang) exec sleep 1000 ;;
  warn) echo "exportfs: /etc/exports [1]: Neither 'subtree_check' or 'no_subtree_check' specified" >&2 ;;
  crash_before) kill -KILL $PPID; exit 1 ;;
esac
result=0
reexport() {
  local file line path client
  : >"$root/etab.new"
  for file in "$root"/exports "$root"/exports.d/*.exports; do
    [ -f "$file" ] || continue
    while IFS= read -r line; do
      case $line in '#'* | '') continue ;; esac
      if [[ $line == *bogus* ]]; then
        echo "exportfs: $file: unknown keyword \"bogus\"" >&2
        result=1
        continue
      fi
      path=${line%% *}
      if [ ! -d "$(printf '%b' "${path//\\/\\0}")" ]; then
        echo "exportfs: Failed to stat $path: No such file or directory" >&2
        result=1
      fi
      set -f
      # shellcheck disable=SC2086 # a word for each client
      for client in ${line#* }; do
        printf '%s\t%s,anonuid=65534,sec=sys,%s)\n' "$path" "${client%)}" "$([[ $client == *'(rw'* ]] && echo rw || echo ro)" >>"$root/etab.new"
      done
      set +f
    done <"$file"
  done
  mv "$root/etab.new" "$root/etab"
}
case ${1:-} in
  -r) if [ "$behaviour" = reexport_fails ]; then echo "exportfs: can't reexport" >&2; exit 1; fi; reexport ;;
  -f) if [ "$behaviour" = flush_fails ]; then echo "exportfs: can't flush" >&2; exit 1; fi ;;
  -i) printf '%s\t%s(%s)\n' "${4#*:}" "${4%%:*}" "$3" >>"$root/etab" ;;
esac
if [ "$behaviour" = reexport_hangs ] && [ "${1:-}" = -r ]; then exec sleep 1000; fi
if [ "$behaviour" = crash_after ]; then kill -KILL $PPID; fi
exit $result
