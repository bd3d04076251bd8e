#include "op/log_pump.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdlib>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "base/thread.h"

namespace cachalot::op {
namespace {

constexpr std::size_t kTailBytes = 256 << 10;

absl::Status OpenPipe(UniqueFd& read, UniqueFd& write) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return ErrnoError("pipe");
  read.reset(ends[0]);
  write.reset(ends[1]);
  // Only our end: the process's must block.
  if (::fcntl(read.get(), F_SETFL, O_NONBLOCK) != 0) return ErrnoError("fcntl");
  return absl::OkStatus();
}

// "2MiB", "200KiB", "1.5KiB", "100B".
std::string FormatBound(std::int64_t bytes) {
  if (bytes >= 1 << 20) return absl::StrFormat("%gMiB", static_cast<double>(bytes) / (1 << 20));
  if (bytes >= 1 << 10) return absl::StrFormat("%gKiB", static_cast<double>(bytes) / (1 << 10));
  return absl::StrCat(bytes, "B");
}

}  // namespace

LogBounds LogBounds::FromEnvironment(const std::function<const char*(const char*)>& get) {
  LogBounds bounds;
  const auto read = [&get](const char* name, std::int64_t& bound) {
    const char* text = get(name);
    std::int32_t number = 0;
    if (text != nullptr && absl::SimpleAtoi(text, &number)) bound = number;
  };
  read("BUILDKIT_STEP_LOG_MAX_SIZE", bounds.max_bytes);
  read("BUILDKIT_STEP_LOG_MAX_SPEED", bounds.max_bytes_per_second);
  return bounds;
}

std::string LogLimit::Pass(absl::string_view data, Seconds elapsed) {
  const std::int64_t size = static_cast<std::int64_t>(data.size());
  std::int64_t bound = bounds_.max_bytes;
  bool too_fast = false;
  if (bound >= 0 && bounds_.max_bytes_per_second >= 0) {
    const std::int64_t by_speed = static_cast<std::int64_t>(std::ceil(elapsed.count())) * bounds_.max_bytes_per_second;
    too_fast = by_speed <= bound;
    bound = std::min(bound, by_speed);
  }
  const std::int64_t passed = bound < 0 ? size : std::clamp<std::int64_t>(bound - total_, 0, size);
  total_ += size;
  if (passed < size) keeping_ = true;
  if (keeping_) {
    tail_.append(data.data(), data.size());
    if (tail_.size() > 2 * kTailBytes) tail_.erase(0, tail_.size() - kTailBytes);
  }
  std::string shown(data.substr(0, passed));
  if (passed < size && !clipping_) {
    absl::StrAppend(&shown, "\n[output clipped, log limit ",
                    too_fast ? FormatBound(bounds_.max_bytes_per_second) + "/s" : FormatBound(bounds_.max_bytes), " reached]\n");
  }
  clipping_ = passed < size;
  return shown;
}

std::string LogLimit::TakeTail() {
  if (tail_.size() > kTailBytes) tail_.erase(0, tail_.size() - kTailBytes);
  keeping_ = false;
  return std::exchange(tail_, "");
}

absl::StatusOr<std::unique_ptr<LogPump>> LogPump::Start(std::shared_ptr<solver::OpProgress> progress) {
  static const LogBounds bounds = LogBounds::FromEnvironment([](const char* name) { return std::getenv(name); });
  auto pump = std::unique_ptr<LogPump>(new LogPump(bounds));
  pump->progress_ = std::move(progress);
  RETURN_IF_ERROR(OpenPipe(pump->read_[0], pump->streams_.out));
  RETURN_IF_ERROR(OpenPipe(pump->read_[1], pump->streams_.err));
  pump->stop_.reset(::eventfd(0, EFD_CLOEXEC));
  if (!pump->stop_.valid()) return ErrnoError("eventfd");
  pump->started_ = std::chrono::steady_clock::now();
  pump->thread_ = NewThread([raw = pump.get()] { raw->Loop(); });
  return pump;
}

LogPump::~LogPump() { Finish(false); }

void LogPump::Finish(bool failed) {
  if (!thread_.joinable()) return;
  streams_ = {};
  // Whoever still holds the other ends (nobody should) must not keep the step from ending.
  const std::uint64_t one = 1;
  (void)!::write(stop_.get(), &one, sizeof one);
  thread_.join();
  for (int i = 0; failed && i < 2; ++i) {
    const std::string tail = limits_[i].TakeTail();
    if (!tail.empty()) progress_->Log(i + 1, tail);
  }
}

bool LogPump::ReadOne(int stream) {
  char buffer[32768];
  const ssize_t n = ::read(read_[stream].get(), buffer, sizeof buffer);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return false;
  if (n <= 0) {
    read_[stream].reset();
    return false;
  }
  const std::string shown = limits_[stream].Pass(absl::string_view(buffer, static_cast<std::size_t>(n)), std::chrono::steady_clock::now() - started_);
  if (!shown.empty()) progress_->Log(stream + 1, shown);
  return true;
}

void LogPump::Loop() {
  bool stopping = false;
  while (!stopping && (read_[0].valid() || read_[1].valid())) {
    struct pollfd fds[3] = {{read_[0].get(), POLLIN, 0}, {read_[1].get(), POLLIN, 0}, {stop_.get(), POLLIN, 0}};
    if (::poll(fds, 3, -1) < 0 && errno != EINTR) return;
    stopping = (fds[2].revents & POLLIN) != 0;
    for (int stream = 0; stream < 2; ++stream) {
      if (!read_[stream].valid() || (fds[stream].revents == 0 && !stopping)) continue;
      while (ReadOne(stream) && stopping) {
      }
    }
  }
}

}  // namespace cachalot::op
