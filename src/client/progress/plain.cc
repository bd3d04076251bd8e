#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/progress/displays.h"
#include "client/progress/text.h"
#include "client/progress/trace.h"

namespace cachalot::client::progress {
namespace {

// One step is printed at a time, the current one, so that its lines stay together. Another one takes over when the current one is
// done, when it has waited for kMaxWait, or when the current one has had its share of the output for kMinTurn or longer.
constexpr absl::Duration kMinTurn = absl::Seconds(5);
constexpr absl::Duration kMaxWait = absl::Seconds(10);
// A sub-task's progress is printed again after this much more of it, or this much later.
constexpr double kMinStatusProgress = 0.05;
constexpr absl::Duration kMinStatusInterval = absl::Seconds(5);
constexpr std::size_t kTailLines = 10;  // of output, repeated when the step has failed
constexpr std::size_t kNameLimit = 72;

class PlainDisplay : public Display {
 public:
  PlainDisplay(Output* output, Clock* clock, Options options)
      : output_(output), clock_(clock), options_(std::move(options)), trace_(clock, 0), limiter_(clock, options_.min_interval) {}

  void Update(const Batch& batch) override {
    trace_.Update(batch, 80);
    if (limiter_.Allow()) Refresh();
  }
  void Refresh() override;
  void Finish() override {
    Refresh();
    text_ += trace_.ErrorLogs();
    Flush();
  }

 private:
  struct PrintedStatus {
    std::int64_t current = 0;
    absl::Time timestamp;
  };
  struct Competitor {
    Step* step;
    absl::Duration waited;
    double speed;  // changes per second
    bool too_long;
  };

  void PrintChanged();
  // Whose turn it is among the running steps that have changes; null when `current`, which may be null itself, goes on.
  Step* ChooseNext(const std::vector<Step*>& running, Step* current);
  void Print(Step* step);
  void PrintHeading(Step* step);
  bool PrintStatuses(Step* step);
  bool WorthPrinting(const solver::StatusEvent& status) const;
  void PrintOutput(Step* step);
  void PrintEnd(Step* step);
  template <typename... Parts>
  void Line(const Step* step, const Parts&... parts) {
    absl::StrAppend(&text_, "#", step->number, " ", parts..., "\n");
  }
  void Flush();

  Output* output_;
  Clock* clock_;
  Options options_;
  Trace trace_;
  Limiter limiter_;
  Step* current_ = nullptr;
  int last_number_ = 0;
  bool printed_any_ = false;
  absl::flat_hash_map<std::string, PrintedStatus> printed_statuses_;  // by id
  std::string text_;                                                  // to write
};

void PlainDisplay::Flush() {
  if (!text_.empty()) output_->Write(text_);
  text_.clear();
}

void PlainDisplay::Refresh() {
  PrintChanged();
  Flush();
}

void PlainDisplay::PrintChanged() {
  std::vector<Step*> completed, running;
  for (Step* step : trace_.changed()) {
    if (!step->hidden) (step->completed() ? completed : running).push_back(step);
  }
  std::stable_sort(completed.begin(), completed.end(), [](const Step* a, const Step* b) { return *a->merged.back().stop < *b->merged.back().stop; });
  // Printing a completed step leaves no current one; whose turn it was still counts.
  Step* current = current_;
  if (current != nullptr && current->completed()) {
    if (std::find(completed.begin(), completed.end(), current) != completed.end()) Print(current);
    current = nullptr;
  }
  for (Step* step : completed) {
    if (std::find(trace_.changed().begin(), trace_.changed().end(), step) != trace_.changed().end()) Print(step);
  }
  if (!running.empty()) {
    if (Step* next = ChooseNext(running, current)) Print(next);
    return;
  }
  if (current != nullptr) return;
  for (const auto& step : trace_.all()) {
    if (step->started() && !step->completed() && !step->hidden) return Print(step.get());
  }
}

Step* PlainDisplay::ChooseNext(const std::vector<Step*>& running, Step* current) {
  std::vector<Step*> steps = running;
  if (current != nullptr) {
    if (std::find(steps.begin(), steps.end(), current) == steps.end()) {
      steps.push_back(current);
    } else {
      Print(current);
    }
  }
  const absl::Time now = clock_->Now();
  double total = 0;
  std::vector<Competitor> competitors;
  for (Step* step : steps) {
    const absl::Duration waited = now - step->waiting_since.value_or(now);
    const double speed = step->unprinted / std::max(absl::ToDoubleSeconds(waited), 1e-3);
    total += speed;
    competitors.push_back({step, waited, speed, waited > kMaxWait && step != current});
  }
  const Competitor* fastest = &competitors[0];
  for (const Competitor& competitor : competitors) {
    if (competitor.too_long || competitor.speed > fastest->speed) fastest = &competitor;
  }
  if (current == nullptr) return fastest->step;
  for (const Competitor& competitor : competitors) {
    if (competitor.too_long) return competitor.step;
  }
  const auto own = std::find_if(competitors.begin(), competitors.end(), [current](const Competitor& c) { return c.step == current; });
  const double share = total > 0 ? own->speed / total : 1;
  return kMinTurn / std::max(1 - share, 1e-9) < own->waited ? fastest->step : nullptr;
}

void PlainDisplay::PrintHeading(Step* step) {
  if (current_ != nullptr) {
    if (current_->line_open) text_ += "\n";
    current_->open_printed = 0;
    current_->unprinted = 0;
    absl::StrAppend(&text_, "#", current_->number, " ...\n");
  }
  if (printed_any_) {
    text_ += "\n";
  } else if (!options_.description.empty()) {
    absl::StrAppend(&text_, "#0 ", options_.description, "\n\n");
  }
  printed_any_ = true;
  if (options_.truncate_names && step->name.size() > kNameLimit) {
    Line(step, step->name.substr(0, kNameLimit), "...");
  } else {
    Line(step, step->name);
  }
}

bool PlainDisplay::WorthPrinting(const solver::StatusEvent& status) const {
  const auto printed = printed_statuses_.find(status.id);
  if (printed == printed_statuses_.end() || status.completed) return true;
  const double progress = status.total > 0 ? static_cast<double>(status.current - printed->second.current) / static_cast<double>(status.total) : 0;
  return progress >= kMinStatusProgress || status.timestamp - printed->second.timestamp >= kMinStatusInterval;
}

// Returns whether a printed one is still open: then the step is not over even if its vertex is.
bool PlainDisplay::PrintStatuses(Step* step) {
  bool open = false;
  for (const std::string& id : step->started_statuses) {
    const solver::StatusEvent& status = step->statuses.at(id);
    if (!step->touched_statuses.contains(id) || !WorthPrinting(status)) continue;
    printed_statuses_[id] = {status.current, status.timestamp};
    std::string amount;
    if (status.total != 0) {
      amount = absl::StrCat(" ", FormatBytes(status.current), " / ", FormatBytes(status.total));
    } else if (status.current != 0) {
      amount = absl::StrCat(" ", FormatBytes(status.current));
    }
    std::string time;
    if (status.started) {
      const double seconds = absl::ToDoubleSeconds(status.completed.value_or(status.timestamp) - *status.started);
      if (seconds > 0.01) time = absl::StrFormat(" %.1fs", seconds);
    }
    open = open || !status.completed;
    Line(step, id, amount, time, status.completed ? " done" : "");
  }
  step->touched_statuses.clear();
  return open;
}

void PlainDisplay::PrintOutput(Step* step) {
  for (std::size_t i = 0; i < step->lines.size(); ++i) {
    const std::string& line = step->lines[i];
    const bool open = step->line_open && i + 1 == step->lines.size();
    if (i == 0 && step->open_printed > 0) {
      absl::StrAppend(&text_, absl::string_view(line).substr(std::min(step->open_printed, line.size())));
    } else {
      absl::StrAppend(&text_, "#", step->number, " ", line);
    }
    if (open) {
      step->open_printed = line.size();
      continue;
    }
    step->open_printed = 0;
    text_ += "\n";
    step->tail.push_back(line);
    if (step->tail.size() > kTailLines) step->tail.pop_front();
  }
  if (step->lines.empty()) return;
  step->lines.erase(step->lines.begin(), step->lines.end() - (step->line_open ? 1 : 0));
}

void PlainDisplay::PrintEnd(Step* step) {
  if (step->line_open) text_ += "\n";
  step->open_printed = 0;
  if (step->canceled()) {
    Line(step, "CANCELED");
  } else if (!step->error.empty()) {
    Line(step, "ERROR: ", step->error);
  } else if (step->cached) {
    Line(step, "CACHED");
  } else {
    Line(step, "DONE", absl::StrFormat(" %.1fs", absl::ToDoubleSeconds(step->Length(clock_->Now()))));
  }
}

void PlainDisplay::Print(Step* step) {
  if (step->number == 0) step->number = ++last_number_;
  if (step != current_) PrintHeading(step);
  const bool open_status = PrintStatuses(step);
  for (; step->warnings_printed < step->warnings.size(); ++step->warnings_printed) {
    Line(step, "WARN: ", step->warnings[step->warnings_printed]);
  }
  PrintOutput(step);
  current_ = step;
  if (step->completed() && !open_status) {
    PrintEnd(step);
    current_ = nullptr;
    step->unprinted = 0;
  }
  trace_.Printed(step);
}

}  // namespace

std::unique_ptr<Display> NewPlainDisplay(Output* output, Clock* clock, Options options) {
  return std::make_unique<PlainDisplay>(output, clock, std::move(options));
}

}  // namespace cachalot::client::progress
