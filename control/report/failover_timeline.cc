#include "control/report/failover_timeline.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <string_view>

#include "control/report/failover_render.h"
#include "control/report/failover_words.h"
#include "control/report/render.h"
#include "control/report/run_facts.h"
#include "control/report/time_scale.h"

namespace understudy::control {
namespace {

// In the picture's own units, which are pixels where it is shown at its full width.
constexpr double kWidth = 960;
constexpr double kPlotLeft = 130;
constexpr double kPlotWidth = 610;
constexpr double kRowsTop = 52;
constexpr double kRowHeight = 22;
constexpr double kBarHeight = 14;
constexpr double kThinnestBar = 2;
constexpr double kClosestTicks = 88;
constexpr double kNarrowestLabelledGap = 40;

constexpr std::string_view kRed = "#b00020";
constexpr std::string_view kAmber = "#a15c00";
constexpr std::string_view kBlue = "#2a6496";

std::string_view ColourOf(const FailoverReport& report, const StepRecord& step) {
  const ItemState state = step.State();
  if (state == ItemState::kFailed) return kRed;
  if (state == ItemState::kRunning) return report.run.state == RunState::kRunning ? kAmber : kRed;
  const bool in_part =
      std::any_of(step.items.begin(), step.items.end(), [](const ItemRecord& item) { return HasFailed(item.state); });
  return in_part ? kAmber : kBlue;
}

// A colour that says so much only to who sees colours isn't enough.
std::string LabelOf(const FailoverReport& report, const StepRecord& step) {
  if (!step.begun_at) return StateOfStep(report, step);
  uint32_t attempts = 0;
  for (const ItemRecord& item : step.items) attempts = std::max(attempts, item.attempts);
  return fmt::format("{}, {}{}", StateOfStep(report, step), DurationText(*EndOfStep(report, step) - *step.begun_at),
                     attempts > 1 ? fmt::format(", {} attempts", attempts) : "");
}

std::string Description(const FailoverReport& report) {
  std::string text;
  for (const StepRecord& step : report.run.steps) {
    text += fmt::format("{}: {}{}. ", step.name, LabelOf(report, step),
                        step.begun_at ? ", from " + ClockText(report, step.begun_at) : "");
  }
  for (const RunGap& gap : report.gaps) text += GapText(report, gap) + ". ";
  return text;
}

class Picture {
 public:
  explicit Picture(const FailoverReport& report)
      : report_(report),
        scale_(report.run.spec.started_at, EndOf(report), report.gaps, kPlotWidth),
        rows_bottom_(kRowsTop + kRowHeight * static_cast<double>(report.run.steps.size())) {}

  std::string Draw() {
    Open();
    DrawAxis();
    double top = kRowsTop;
    for (const StepRecord& step : report_.run.steps) {
      DrawStep(step, top);
      top += kRowHeight;
    }
    for (const RunGap& gap : report_.gaps) DrawGap(gap);
    for (const RunNote& note : report_.run.notes) DrawNote(note);
    return std::move(svg_) + "</svg>\n";
  }

 private:
  template <class... Arguments>
  void Add(fmt::format_string<Arguments...> format, Arguments&&... arguments) {
    fmt::format_to(std::back_inserter(svg_), format, std::forward<Arguments>(arguments)...);
  }
  [[nodiscard]] double X(absl::Time time) const { return kPlotLeft + scale_.X(time); }

  void Open() {
    Add("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {:.0f}\" width=\"100%\" role=\"img\" "
        "aria-labelledby=\"timeline-title timeline-desc\" font-family=\"sans-serif\" font-size=\"12\">\n"
        "<title id=\"timeline-title\">Timeline of run {}</title>\n<desc id=\"timeline-desc\">{}</desc>\n"
        "<defs><pattern id=\"gap\" width=\"8\" height=\"8\" patternUnits=\"userSpaceOnUse\" "
        "patternTransform=\"rotate(45)\"><rect width=\"8\" height=\"8\" fill=\"#ffffff\"/>"
        "<rect width=\"3\" height=\"8\" fill=\"#d5d5d5\"/></pattern></defs>\n",
        kWidth, rows_bottom_ + 8, EscapeHtml(report_.run.spec.id), EscapeHtml(Description(report_)));
  }

  void DrawTick(absl::Time time, std::string_view anchor) {
    Add("<line x1=\"{0:.1f}\" y1=\"20\" x2=\"{0:.1f}\" y2=\"{1:.1f}\" stroke=\"#dddddd\"/>"
        "<text x=\"{0:.1f}\" y=\"14\" text-anchor=\"{2}\" fill=\"#444444\">{3}</text>\n",
        X(time), rows_bottom_, anchor, EscapeHtml(absl::FormatTime("%H:%M:%S", time, absl::UTCTimeZone())));
  }

  void DrawAxis() {
    DrawTick(report_.run.spec.started_at, "start");
    for (const absl::Time time : scale_.Ticks(kClosestTicks)) DrawTick(time, "middle");
    DrawTick(EndOf(report_), "end");
    Add("<text x=\"{:.1f}\" y=\"14\" fill=\"#444444\">UTC</text>\n", kPlotLeft + kPlotWidth + 10);
  }

  void DrawStep(const StepRecord& step, double top) {
    const double baseline = top + kRowHeight - 7;
    Add("<text x=\"0\" y=\"{:.1f}\" fill=\"#222222\">{}</text>\n", baseline, EscapeHtml(step.name));
    if (step.begun_at) {
      const double begin = X(*step.begun_at);
      const double end = X(*EndOfStep(report_, step));
      Add("<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{}\" fill=\"{}\"><title>{}</title></rect>\n",
          begin, top + 4, std::max(end - begin, kThinnestBar), kBarHeight, ColourOf(report_, step),
          EscapeHtml(
              fmt::format("{}: {}, from {}", step.name, LabelOf(report_, step), ClockText(report_, step.begun_at))));
    }
    Add("<text x=\"{:.1f}\" y=\"{:.1f}\" fill=\"{}\">{}</text>\n", kPlotLeft + kPlotWidth + 10, baseline,
        step.begun_at ? ColourOf(report_, step) : "#777777", EscapeHtml(LabelOf(report_, step)));
  }

  // Over the bars, so that a step that was left and taken up again is seen in two pieces.
  void DrawGap(const RunGap& gap) {
    const double begin = X(gap.begin);
    const double width = std::max(X(gap.end) - begin, kThinnestBar);
    Add("<rect x=\"{:.1f}\" y=\"{}\" width=\"{:.1f}\" height=\"{:.1f}\" fill=\"url(#gap)\" stroke=\"#888888\" "
        "stroke-dasharray=\"3 3\"><title>{}</title></rect>\n",
        begin, kRowsTop - 14, width, rows_bottom_ - kRowsTop + 14, EscapeHtml(GapText(report_, gap)));
    if (width < kNarrowestLabelledGap) return;
    Add("<text x=\"{:.1f}\" y=\"{}\" text-anchor=\"middle\" fill=\"#444444\">{}{}</text>\n", begin + width / 2,
        kRowsTop - 20, scale_.IsFolded(gap) ? "≈ " : "", EscapeHtml(DurationText(gap.Length())));
  }

  void DrawNote(const RunNote& note) {
    if (note.at <= report_.run.spec.started_at || note.at > EndOf(report_)) return;
    Add("<line x1=\"{0:.1f}\" y1=\"{1}\" x2=\"{0:.1f}\" y2=\"{2:.1f}\" stroke=\"#222222\" stroke-width=\"1.5\">"
        "<title>{3}</title></line>\n",
        X(note.at), kRowsTop - 14, rows_bottom_, EscapeHtml(ClockText(report_, note.at) + " " + note.text));
  }

  const FailoverReport& report_;
  const TimeScale scale_;
  const double rows_bottom_;
  std::string svg_;
};

}  // namespace

std::string RenderTimeline(const FailoverReport& report) {
  return Picture(report).Draw();
}

}  // namespace understudy::control
