# How many times as fast, as bars on a logarithmic scale (SVG).
[to_entries[] | select(.value.machine) | .value.results[] | select(.times_faster)] as $bars
| ([$bars[].times_faster, 10] | max | log10 | ceil) as $decades
| (380 / $decades) as $step
| 26 as $high
| "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"780\" height=\"\(($bars | length) * $high + 40)\" font-family=\"sans-serif\" font-size=\"12\">",
  "<rect width=\"100%\" height=\"100%\" fill=\"white\"/>",
  (range(0; $decades + 1)
    | "<line x1=\"\(330 + . * $step)\" y1=\"8\" x2=\"\(330 + . * $step)\" y2=\"\(($bars | length) * $high + 14)\" stroke=\"#ccc\"/>",
      "<text x=\"\(330 + . * $step)\" y=\"\(($bars | length) * $high + 30)\" text-anchor=\"middle\">\(pow(10; .)) ×</text>"),
  ($bars | to_entries[]
    | (.key * $high + 12) as $y
    | ([.value.times_faster, 1.02] | max | log10 * $step) as $width
    | "<text x=\"322\" y=\"\($y + 13)\" text-anchor=\"end\">\(.value.work), \(.value.filesystem), against \(.value.against)</text>",
      "<rect x=\"330\" y=\"\($y)\" width=\"\($width)\" height=\"16\" fill=\"#2a6f97\"/>",
      "<text x=\"\(336 + $width)\" y=\"\($y + 13)\">\(.value.times_faster * 10 | round / 10)</text>"),
  "</svg>"
