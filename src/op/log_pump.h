// What a build step prints, on its way to whoever follows the build.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "absl/status/statusor.h"
#include "base/unique_fd.h"
#include "runtime/runtime.h"
#include "solver/progress.h"

namespace cachalot::op {

// How much of a step's output is shown, for each of its two streams.
struct LogBounds {
  std::int64_t max_bytes = 2 << 20;               // -1: no bound at all, whatever the speed
  std::int64_t max_bytes_per_second = 200 << 10;  // -1: any speed

  // From buildkitd's variables BUILDKIT_STEP_LOG_MAX_SIZE and BUILDKIT_STEP_LOG_MAX_SPEED; what is no number of 32 bits is ignored.
  // `get` returns the value of a variable, or null.
  static LogBounds FromEnvironment(const std::function<const char*(const char*)>& get);
};

// One output stream and its bounds. When they are reached the output is clipped, with a note; the last 256 KiB are kept for the
// case that the step fails.
class LogLimit {
 public:
  using Seconds = std::chrono::duration<double>;

  explicit LogLimit(LogBounds bounds) : bounds_(bounds) {}

  // What to show of `data` (and of the note), `elapsed` after the start.
  std::string Pass(absl::string_view data, Seconds elapsed);
  // What was printed last, when anything was clipped.
  std::string TakeTail();

 private:
  const LogBounds bounds_;
  std::int64_t total_ = 0;
  bool clipping_ = false, keeping_ = false;
  std::string tail_;
};

class LogPump {
 public:
  static absl::StatusOr<std::unique_ptr<LogPump>> Start(std::shared_ptr<solver::OpProgress> progress);
  ~LogPump();

  // The ends for the process; to be taken once.
  runtime::Streams TakeStreams() { return std::move(streams_); }
  // Waits until what was written has been passed on. After a failure the clipped tail is shown as well.
  void Finish(bool failed);

 private:
  explicit LogPump(LogBounds bounds) : limits_{LogLimit(bounds), LogLimit(bounds)} {}
  void Loop();
  bool ReadOne(int stream);

  std::shared_ptr<solver::OpProgress> progress_;
  runtime::Streams streams_;
  UniqueFd read_[2];
  UniqueFd stop_;  // an eventfd: the process has ended, take what is there and leave
  LogLimit limits_[2];
  std::chrono::steady_clock::time_point started_;
  std::thread thread_;
};

}  // namespace cachalot::op
