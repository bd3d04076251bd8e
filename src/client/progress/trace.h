// What a display knows about a build: its steps, from the events so far.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/time/time.h"
#include "client/progress/display.h"
#include "client/progress/terminal.h"

namespace cachalot::client::progress {

struct Interval {
  absl::Time start;
  std::optional<absl::Time> stop;

  absl::Duration Length(absl::Time now) const { return (stop ? *stop : now) - start; }
  friend bool operator==(const Interval&, const Interval&) = default;
};
// Joins intervals that overlap or touch; one that has not stopped takes all that start after it. Sorted by start.
std::vector<Interval> MergeIntervals(std::vector<Interval> intervals);

// A vertex, or a progress group: one line of the display with its details.
struct Step {
  std::string digest;  // of the vertex; the id of a group
  std::string name;
  std::string error;
  bool cached = false;
  // Groups show nothing until a member that is not weak has started.
  bool hidden = false;
  std::map<std::string, solver::VertexEvent> members;  // of a group, by digest

  std::map<absl::Time, Interval> intervals;  // by start: a later event of one run replaces the earlier
  std::vector<Interval> merged;
  std::optional<solver::VertexEvent> announced;  // the last event that counted as a change

  std::map<std::string, solver::StatusEvent> statuses;
  std::vector<std::string> started_statuses;  // ids, in the order of their start
  std::set<std::string> touched_statuses;     // since plain printed them
  std::vector<std::string> warnings;
  std::size_t warnings_printed = 0;

  std::vector<std::string> lines;  // of output, each with its time; plain drops what it has printed
  bool line_open = false;          // the last one goes on
  std::size_t open_printed = 0;    // bytes of the first line that plain has printed
  std::deque<std::string> tail;    // the last lines that plain printed
  std::size_t dropped_lines = 0;   // tty: forgotten, to bound memory

  std::optional<Terminal> terminal;  // tty
  std::int64_t terminal_bytes = 0;
  int times_shown = 0;

  int number = 0;     // plain: "#1"; 0 until it is printed
  int unprinted = 0;  // plain: changes that wait
  std::optional<absl::Time> waiting_since;

  bool started() const { return !merged.empty(); }
  bool completed() const { return started() && merged.back().stop.has_value(); }
  bool canceled() const;
  absl::Duration Length(absl::Time now) const;
};

class Trace {
 public:
  // With `terminal_lines`, steps get a terminal of that many lines, and keep their output.
  Trace(Clock* clock, int terminal_lines) : clock_(clock), terminal_lines_(terminal_lines) {}

  void Update(const Batch& batch, int width);

  // In the order in which they started.
  const std::vector<Step*>& steps() const { return steps_; }
  const std::vector<std::unique_ptr<Step>>& all() const { return all_; }
  // Those with changes that plain has not printed, in the order of the changes.
  const std::vector<Step*>& changed() const { return changed_; }
  void Printed(Step* step);
  // The build's start in local time, and what to add to its times to get local ones.
  absl::Time start() const;
  absl::Duration skew() const { return skew_.value_or(absl::ZeroDuration()); }
  // The output of failed steps.
  std::string ErrorLogs() const;

 private:
  Step* AddStep(const std::string& digest, int width);
  void OnVertex(const solver::VertexEvent& event, int width);
  Step* OnMember(const solver::VertexEvent& event, int width);
  void RefreshGroup(Step* group);
  void OnStatus(const solver::StatusEvent& event);
  void OnLog(const solver::LogEvent& event, int width);
  void Changed(Step* step);
  void SetSkew(absl::Time started);

  Clock* clock_;
  const int terminal_lines_;
  std::vector<std::unique_ptr<Step>> all_;
  absl::flat_hash_map<std::string, Step*> by_digest_;  // of vertices; members lead to their group
  absl::flat_hash_map<std::string, Step*> groups_;
  std::vector<Step*> steps_;
  std::vector<Step*> changed_;
  std::optional<absl::Time> first_start_;
  std::optional<absl::Duration> skew_;
};

}  // namespace cachalot::client::progress
