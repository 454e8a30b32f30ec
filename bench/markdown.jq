# The joined results of ./dev bench as Markdown.
def round(n): (. * pow(10; n) | round) / pow(10; n);
def mib: if . == null then "" else (. / 1048576 | round(1) | tostring) end;
def rows: [to_entries[] | select(.value.machine) | .value.results[]];

([to_entries[] | .value.machine | select(.)] | first) as $machine
| "# Side by side\n",
  "\($machine.cpu), \($machine.cores) cores, \($machine.memory_gib) GiB, \($machine.kernel); both sides on this machine, over its loopback. Medians.\n",
  "![How many times as fast](ratios.svg)\n",
  "| work | on | | seconds | CPU s | wire MiB | peak MiB |",
  "|---|---|---|---|---|---|---|",
  (rows[] | select(.seconds)
    | "| \(.work) | \(.filesystem) | \(.name) | \(.seconds | round(3)) | \(.cpu_seconds | round(2)) | \(.wire_bytes | mib) | \(.peak_mebibytes | round(0)) |"),
  "",
  "| from a write until DR shows it | on | | p50 ms | p99 ms | most ms |",
  "|---|---|---|---|---|---|",
  (rows[] | select(.p50_ms)
    | "| \(.work) | \(.filesystem) | \(.name) | \(.p50_ms | round(1)) | \(.p99_ms | round(1)) | \(.max_ms | if . == null then "" else round(1) end) |"),
  "",
  "| work | on | against | times as fast | times less CPU |",
  "|---|---|---|---|---|",
  (rows[] | select(.times_faster)
    | "| \(.work) | \(.filesystem) | \(.against) | \(.times_faster | round(1)) | \(.times_less_cpu | if . == null then "" else round(1) end) |")
