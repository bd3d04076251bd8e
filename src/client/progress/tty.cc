#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/progress/displays.h"
#include "client/progress/text.h"
#include "client/progress/trace.h"

namespace cachalot::client::progress {
namespace {

constexpr int kMinColumns = 12;      // left for a name; narrower lines are not shown
constexpr int kTerminalMargin = 10;  // columns beside a step's output
constexpr int kReservedLines = 2;    // the first line and the cursor's
constexpr int kShownBonus = 50;      // bytes of output that a step gains by having been shown, so that the choice is steady
constexpr absl::string_view kPrefix = " => ";

// One line of the screen.
struct Row {
  std::string name;
  std::string status;
  std::vector<Interval> intervals;  // in local time
  bool completed = true;
  bool has_error = false;
  bool canceled = false;
  Step* step = nullptr;  // for the line of a step
  bool show_output = false;
};

class TtyDisplay : public Display {
 public:
  TtyDisplay(Output* output, Clock* clock, Options options)
      : output_(output), clock_(clock), options_(std::move(options)), trace_(clock, options_.log_lines), limiter_(clock, options_.min_interval) {}

  void Update(const Batch& batch) override {
    trace_.Update(batch, output_->GetSize().width);
    if (limiter_.Allow()) Refresh();
  }
  void Refresh() override { Draw(false); }
  void Finish() override {
    Draw(true);
    const std::string logs = trace_.ErrorLogs();
    if (!logs.empty()) output_->Write(logs);
  }

 private:
  void Draw(bool final);
  std::vector<Row> Rows() const;
  void AddStep(Step* step, std::vector<Row>& rows) const;
  // Decides whose output is shown, then drops rows from the top until the rest fits; running ones stay.
  void Fit(int height, bool final, std::vector<Row>& rows) const;
  std::string FirstLine(int width, bool final) const;
  std::string DrawRow(const Row& row, int width) const;
  std::string DrawOutput(Step* step, int width, int* lines) const;

  Output* output_;
  Clock* clock_;
  Options options_;
  Trace trace_;
  Limiter limiter_;
  int drawn_lines_ = -1;  // beneath the first line; -1: nothing is drawn yet
};

std::vector<Interval> Shifted(std::vector<Interval> intervals, absl::Duration by) {
  for (Interval& interval : intervals) {
    interval.start += by;
    if (interval.stop) *interval.stop += by;
  }
  return intervals;
}

void TtyDisplay::AddStep(Step* step, std::vector<Row>& rows) const {
  Row& row = rows.emplace_back();
  row.name = OneLine(step->name);
  row.intervals = Shifted(step->merged, trace_.skew());
  row.completed = step->completed();
  row.step = step;
  row.canceled = step->canceled();
  row.has_error = !step->error.empty() && !row.canceled;
  if (row.canceled) row.name = "CANCELED " + row.name;
  if (row.has_error) row.name = "ERROR " + row.name;
  if (step->cached) row.name = "CACHED " + row.name;
  for (const std::string& id : step->started_statuses) {
    const solver::StatusEvent& status = step->statuses.at(id);
    Row& detail = rows.emplace_back();
    detail.name = absl::StrCat("=> ", OneLine(id));
    if (status.started) detail.intervals = Shifted({{*status.started, status.completed}}, trace_.skew());
    detail.completed = status.completed.has_value();
    if (status.total != 0) {
      detail.status = absl::StrCat(FormatBytes(status.current), " / ", FormatBytes(status.total));
    } else if (status.current != 0) {
      detail.status = FormatBytes(status.current);
    }
  }
  for (const std::string& warning : step->warnings) {
    Row& detail = rows.emplace_back();
    detail.name = absl::StrCat("WARN: ", OneLine(warning));
    if (step->started()) detail.intervals = Shifted({step->merged.back()}, trace_.skew());
    detail.canceled = true;
  }
}

std::vector<Row> TtyDisplay::Rows() const {
  std::vector<Row> rows;
  for (Step* step : trace_.steps()) AddStep(step, rows);
  return rows;
}

void TtyDisplay::Fit(int height, bool final, std::vector<Row>& rows) const {
  std::vector<Row*> candidates;
  int running = 0;
  for (Row& row : rows) {
    if (row.completed) continue;
    ++running;
    if (row.step != nullptr && row.step->terminal_bytes > 0) candidates.push_back(&row);
  }
  const auto weight = [](const Row* row) { return row->step->terminal_bytes + std::int64_t{row->step->times_shown} * kShownBonus; };
  std::stable_sort(candidates.begin(), candidates.end(), [&](const Row* a, const Row* b) { return weight(a) > weight(b); });
  const int per_output = options_.log_lines + 3;
  int free = height - kReservedLines - running;
  int taken = 0;
  for (Row* row : candidates) {
    if (free <= per_output) break;
    row->show_output = true;
    taken += static_cast<int>(row->step->terminal->Lines().size());
    free -= per_output;
  }
  const int limit = std::max(height - kReservedLines - taken, 0);
  const int excess = static_cast<int>(rows.size()) - limit;
  if (final || excess <= 0) return;
  // Completed rows go first, oldest first; running ones only when nothing else is left.
  int to_drop = excess;
  const auto drop = [&](const Row& row) { return to_drop > 0 && row.completed && to_drop-- > 0; };
  rows.erase(std::remove_if(rows.begin(), rows.end(), drop), rows.end());
  if (to_drop > 0) rows.erase(rows.begin(), rows.begin() + to_drop);
}

std::string TtyDisplay::FirstLine(int width, bool final) const {
  int total = 0, completed = 0;
  for (const auto& step : trace_.all()) {
    if (step->hidden) continue;
    ++total;
    if (step->completed()) ++completed;
  }
  const bool finished = final && completed > 0 && completed == total;
  const std::string text = absl::StrFormat("[+] %s %.1fs (%d/%d) %s", options_.phase, absl::ToDoubleSeconds(clock_->Now() - trace_.start()),
                                           completed, total, finished ? "FINISHED" : "");
  const std::string line = options_.description.empty() ? Align(text, "", width) : Align(text, options_.description, width - 1);
  return CutToColumns(line, width);
}

std::string TtyDisplay::DrawRow(const Row& row, int width) const {
  absl::Duration length;
  for (const Interval& interval : row.intervals) length += interval.Length(clock_->Now());
  if (length < absl::Milliseconds(50)) length = absl::ZeroDuration();
  const std::string timer = absl::StrFormat(" %3.1fs", absl::ToDoubleSeconds(length));
  int left = width - static_cast<int>(kPrefix.size() + timer.size()) - 2;
  std::string status;
  if (!row.status.empty() && left + static_cast<int>(row.status.size()) > 20) {
    status = absl::StrCat(" ", row.status);
    left -= static_cast<int>(status.size());
  }
  if (left < kMinColumns) return "";
  const std::string line = Align(absl::StrCat(kPrefix, CutToColumns(row.name, left), status), timer, width - 1);
  if (!row.completed) return line + "\n";
  const std::string& color = row.canceled ? options_.colors.cancel : row.has_error ? options_.colors.error : options_.colors.run;
  return color.empty() ? line + "\n" : absl::StrCat(color, line, "\n\x1b[0m");
}

std::string TtyDisplay::DrawOutput(Step* step, int width, int* lines) const {
  step->terminal->Resize(options_.log_lines, width - kTerminalMargin);
  std::string text;
  for (const std::string& line : step->terminal->Lines()) {
    absl::StrAppend(&text, "\x1b[2K\x1b[2m => => # ", line, "\n\x1b[0m");
    ++*lines;
  }
  ++step->times_shown;
  return text;
}

void TtyDisplay::Draw(bool final) {
  const Size size = output_->GetSize();
  std::vector<Row> rows = Rows();
  Fit(size.height, final, rows);
  // One write per frame, with the cursor hidden, so that nobody sees half of it.
  std::string frame = "\x1b[?25l";
  if (drawn_lines_ >= 0) absl::StrAppend(&frame, "\x1b[", drawn_lines_ + 1, "A");
  absl::StrAppend(&frame, "\x1b[0G", FirstLine(size.width, final), "\n");
  int lines = 0;
  for (const Row& row : rows) {
    if (row.intervals.empty()) continue;
    const std::string line = DrawRow(row, size.width);
    if (line.empty()) continue;
    // What stood there may have been longer than a line drawn without padding.
    absl::StrAppend(&frame, "\x1b[2K", line);
    ++lines;
    if (row.show_output) frame += DrawOutput(row.step, size.width, &lines);
  }
  drawn_lines_ = lines;
  absl::StrAppend(&frame, "\x1b[0J\x1b[?25h");
  output_->Write(frame);
}

}  // namespace

std::unique_ptr<Display> NewTtyDisplay(Output* output, Clock* clock, Options options) {
  return std::make_unique<TtyDisplay>(output, clock, std::move(options));
}

}  // namespace cachalot::client::progress
