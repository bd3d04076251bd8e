#include "client/progress/trace.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace cachalot::client::progress {
namespace {

constexpr int kTerminalMargin = 10;             // columns of the screen that a terminal leaves free
constexpr std::size_t kMaxKeptLines = 20'000;   // tty, per step
constexpr std::size_t kMaxOpenLine = 64 << 10;  // tty: bytes kept of a line

// Seconds since `start`, with fewer digits as they grow.
std::string FormatOffset(absl::Duration offset) {
  const double seconds = absl::ToDoubleSeconds(offset);
  return absl::StrFormat("%.*f", seconds < 10 ? 3 : seconds < 100 ? 2 : 1, seconds);
}

bool SameAnnouncement(const solver::VertexEvent& a, const solver::VertexEvent& b) {
  // A run that begins anew is a change, a completion that is taken back is none.
  return a.digest == b.digest && a.name == b.name && a.started == b.started && (!b.completed || a.completed == b.completed) && a.cached == b.cached &&
         a.error == b.error;
}

void SetInterval(absl::Time start, std::optional<absl::Time> stop, Step* step) {
  step->intervals[start] = {start, stop};
  std::vector<Interval> intervals;
  for (const auto& [key, interval] : step->intervals) intervals.push_back(interval);
  step->merged = MergeIntervals(std::move(intervals));
}

}  // namespace

std::vector<Interval> MergeIntervals(std::vector<Interval> intervals) {
  std::stable_sort(intervals.begin(), intervals.end(), [](const Interval& a, const Interval& b) { return a.start < b.start; });
  std::vector<Interval> merged;
  for (const Interval& interval : intervals) {
    if (merged.empty() || (merged.back().stop && *merged.back().stop < interval.start)) {
      merged.push_back(interval);
    } else if (merged.back().stop && (!interval.stop || *interval.stop > *merged.back().stop)) {
      merged.back().stop = interval.stop;
    }
  }
  return merged;
}

bool Step::canceled() const { return absl::EndsWith(error, "context canceled"); }

absl::Duration Step::Length(absl::Time now) const {
  absl::Duration length;
  for (const Interval& interval : merged) length += interval.Length(now);
  return length;
}

Step* Trace::AddStep(const std::string& digest, int width) {
  auto step = std::make_unique<Step>();
  step->digest = digest;
  if (terminal_lines_ > 0) step->terminal.emplace(terminal_lines_, width - kTerminalMargin);
  all_.push_back(std::move(step));
  return all_.back().get();
}

void Trace::SetSkew(absl::Time started) {
  if (!skew_) skew_ = clock_->Now() - started;
}

void Trace::Changed(Step* step) {
  if (step->unprinted == 0) step->waiting_since = clock_->Now();
  ++step->unprinted;
  if (std::find(changed_.begin(), changed_.end(), step) == changed_.end()) changed_.push_back(step);
}

void Trace::Printed(Step* step) { changed_.erase(std::remove(changed_.begin(), changed_.end(), step), changed_.end()); }

void Trace::OnVertex(const solver::VertexEvent& event, int width) {
  Step*& step = by_digest_[event.digest];
  if (step == nullptr) step = AddStep(event.digest, width);
  const bool was_started = step->started();
  if (event.started) {
    if (!step->announced || !SameAnnouncement(*step->announced, event)) Changed(step);
    step->announced = event;
    if (!was_started) {
      SetSkew(*event.started);
      steps_.push_back(step);
    }
    SetInterval(*event.started, event.completed, step);
  }
  // A repeated announcement without a start must not take anything back.
  if (event.started || !was_started) {
    step->name = event.name;
    step->error = event.error;
    step->cached = event.cached;
  }
}

Step* Trace::OnMember(const solver::VertexEvent& event, int width) {
  Step*& group = groups_[event.group->id];
  if (group == nullptr) {
    group = AddStep(event.group->id, width);
    group->name = event.group->name;
    group->hidden = true;
  }
  group->members[event.digest] = event;
  by_digest_[event.digest] = group;
  return group;
}

void Trace::RefreshGroup(Step* group) {
  const bool was_hidden = group->hidden;
  const bool was_cached = group->cached;
  const std::string old_error = group->error;
  const std::vector<Interval> old_intervals = group->merged;
  group->cached = true;
  for (const auto& [digest, member] : group->members) {
    if (member.started) {
      SetSkew(*member.started);
      SetInterval(*member.started, member.completed, group);
      if (!member.group->weak) group->hidden = false;
    }
    group->cached = group->cached && member.cached;
    if (group->error.empty()) group->error = member.error;
  }
  if (!group->error.empty()) group->hidden = false;
  if (group->hidden) return;
  if (was_hidden) steps_.push_back(group);
  if (was_hidden || group->cached != was_cached || group->error != old_error || group->merged != old_intervals) Changed(group);
}

void Trace::OnStatus(const solver::StatusEvent& event) {
  const auto found = by_digest_.find(event.vertex);
  if (found == by_digest_.end()) return;
  Step* step = found->second;
  solver::StatusEvent& known = step->statuses[event.id];
  if (event.started && !known.started) step->started_statuses.push_back(event.id);
  known = event;
  step->touched_statuses.insert(event.id);
  Changed(step);
}

void Trace::OnLog(const solver::LogEvent& event, int width) {
  const auto found = by_digest_.find(event.vertex);
  if (found == by_digest_.end() || event.data.empty()) return;
  Step* step = found->second;
  if (step->terminal) {
    if (step->terminal->width() != width - kTerminalMargin) step->terminal->Resize(terminal_lines_, width - kTerminalMargin);
    step->terminal->Write(event.data);
    step->terminal_bytes += static_cast<std::int64_t>(event.data.size());
  }
  absl::string_view rest = event.data;
  while (!rest.empty()) {
    const std::size_t end = rest.find('\n');
    const absl::string_view text = rest.substr(0, end);
    if (!step->line_open || step->lines.empty()) {
      const absl::Time start = step->started() ? step->merged.back().start : event.timestamp;
      step->lines.push_back(absl::StrCat(FormatOffset(event.timestamp - start), " "));
    }
    std::string& line = step->lines.back();
    absl::StrAppend(&line, step->terminal ? text.substr(0, kMaxOpenLine - std::min(kMaxOpenLine, line.size())) : text);
    step->line_open = end == absl::string_view::npos;
    rest.remove_prefix(step->line_open ? rest.size() : end + 1);
  }
  // Plain prints every line and then forgets it. A screen shows the last ones, and all that is kept only if the step fails.
  if (step->terminal && step->lines.size() > kMaxKeptLines) {
    const std::size_t excess = step->lines.size() - kMaxKeptLines / 2;
    step->lines.erase(step->lines.begin(), step->lines.begin() + static_cast<std::ptrdiff_t>(excess));
    step->dropped_lines += excess;
  }
  Changed(step);
}

void Trace::Update(const Batch& batch, int width) {
  std::vector<Step*> groups;
  for (const solver::VertexEvent& event : batch.vertexes) {
    if (!first_start_) first_start_ = event.started;
    if (!event.group) {
      OnVertex(event, width);
      continue;
    }
    Step* group = OnMember(event, width);
    if (std::find(groups.begin(), groups.end(), group) == groups.end()) groups.push_back(group);
  }
  for (Step* group : groups) RefreshGroup(group);
  for (const solver::StatusEvent& event : batch.statuses) OnStatus(event);
  for (const solver::WarningEvent& event : batch.warnings) {
    const auto found = by_digest_.find(event.vertex);
    if (found == by_digest_.end()) continue;
    found->second->warnings.push_back(event.brief);
    Changed(found->second);
  }
  for (const solver::LogEvent& event : batch.logs) OnLog(event, width);
}

absl::Time Trace::start() const { return first_start_ ? *first_start_ + skew() : clock_->Now(); }

std::string Trace::ErrorLogs() const {
  std::string text;
  for (const Step* step : steps_) {
    if (step->error.empty() || step->canceled()) continue;
    absl::StrAppend(&text, "------\n > ", step->name, ":\n");
    if (step->dropped_lines > 0) absl::StrAppend(&text, "(", step->dropped_lines, " lines before)\n");
    for (const std::string& line : step->tail) absl::StrAppend(&text, line, "\n");
    for (const std::string& line : step->lines) absl::StrAppend(&text, line, "\n");
    absl::StrAppend(&text, "------\n");
  }
  return text;
}

}  // namespace cachalot::client::progress
