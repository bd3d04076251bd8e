// The display of a build's progress, in the looks that users of buildx know.
#pragma once

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "build/engine.h"

namespace cachalot::client::progress {

using Batch = build::ProgressBatch;

struct Size {
  int width = 80, height = 10;
};

// Where a display writes.
class Output {
 public:
  virtual ~Output() = default;
  virtual void Write(absl::string_view text) = 0;
  virtual Size GetSize() const = 0;
};

// Writes to a descriptor that it does not own; errors are dropped, since a build does not fail for a closed terminal.
std::unique_ptr<Output> NewFdOutput(int fd);

enum class Mode {
  kAuto,     // kTty on a terminal, else kPlain
  kPlain,    // lines, each one final: for logs
  kTty,      // a screen that is redrawn
  kRawJson,  // one JSON object per batch, as BuildKit's clients print their SolveStatus
  kQuiet,    // nothing
};
// "auto", "plain", "tty", "rawjson", "quiet" or "" (auto). Error as buildx's: "invalid progress mode x".
absl::StatusOr<Mode> ParseMode(absl::string_view text);

// Escape sequences that start a colour; empty for none.
struct Colors {
  std::string run = "\x1b[34m", cancel = "\x1b[33m", error = "\x1b[31m";
};

struct Options {
  std::string phase = "Building";  // the verb in the tty's first line
  std::string description;         // plain: printed first, as "#0 ..."; tty: at the right of the first line
  Colors colors;
  int log_lines = 6;                                      // tty: lines of a running step's output
  bool truncate_names = false;                            // plain: names of vertices end after 72 bytes
  absl::Duration min_interval = absl::Milliseconds(100);  // between two updates of the screen
};
// Options from NO_COLOR, BUILDKIT_COLORS, BUILDKIT_TTY_LOG_LINES, PROGRESS_NO_TRUNC and TTY_DISPLAY_RATE (milliseconds); what
// cannot be read is ignored. `get` returns the value of a variable, or null.
Options OptionsFromEnvironment(const std::function<const char*(const char*)>& get);

// One build's display. Not thread-safe.
class Display {
 public:
  virtual ~Display() = default;
  // Takes events in; shows them unless something was shown less than Options::min_interval ago.
  virtual void Update(const Batch& batch) = 0;
  // Shows what has changed meanwhile, timers included.
  virtual void Refresh() = 0;
  // Shows the final state, then the output of the vertices that failed. The last call.
  virtual void Finish() = 0;
};

// `output` and `clock` outlive the display. kAuto is kPlain here: the caller knows whether it has a terminal.
std::unique_ptr<Display> NewDisplay(Mode mode, Output* output, Clock* clock, Options options = {});

// A display that any thread may feed and that refreshes itself.
class LiveDisplay {
 public:
  explicit LiveDisplay(std::unique_ptr<Display> display, absl::Duration interval = absl::Milliseconds(150));
  ~LiveDisplay();
  void Update(const Batch& batch);
  // Stops refreshing and shows the final state; later updates are dropped.
  void Finish();

 private:
  void RefreshUntilFinished();

  const absl::Duration interval_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::unique_ptr<Display> display_;  // guarded by mutex_
  bool updated_ = false;              // guarded by mutex_: since the refresher last looked
  bool finished_ = false;             // guarded by mutex_
  std::thread refresher_;
};

}  // namespace cachalot::client::progress
