#include "solver/reporter.h"

#include <algorithm>

namespace cachalot::solver {
namespace {

constexpr std::size_t kMaxKeptLog = 2 << 20;      // as much as a step's log has when nothing else is asked for
constexpr std::size_t kMaxKept = 1000;            // warnings, statuses
constexpr char kCanceled[] = "context canceled";  // clients look for these words at the end of an error

}  // namespace

VertexEvent Announcement(const Vertex& vertex) {
  VertexEvent event;
  event.digest = vertex.digest;
  event.name = vertex.name;
  event.group = vertex.group;
  for (const VertexInput& input : vertex.inputs) {
    if (std::find(event.inputs.begin(), event.inputs.end(), input.vertex->digest) == event.inputs.end()) {
      event.inputs.push_back(input.vertex->digest);
    }
  }
  return event;
}

void Reporter::Listen(const std::shared_ptr<ProgressSink>& sink, const VertexPtr& vertex) {
  std::lock_guard lock(mutex_);
  listeners_.push_back({sink, vertex});
  if (!started_ && !done_) return;
  VertexEvent event = Announcement(*vertex);
  event.started = started_ ? started_ : done_;
  event.completed = done_;
  event.cached = done_.has_value();  // it was there when this one came
  sink->OnVertex(std::move(event));
  Repeat(listeners_.back());
}

void Reporter::Repeat(const Listener& listener) const {
  const std::string& digest = listener.vertex->digest;
  for (const auto& [id, kept] : statuses_) {
    StatusEvent event = kept;
    event.vertex = digest;
    listener.sink->OnStatus(std::move(event));
  }
  for (LogEvent event : logs_) {
    event.vertex = digest;
    listener.sink->OnLog(std::move(event));
  }
  for (WarningEvent event : warnings_) {
    event.vertex = digest;
    listener.sink->OnWarning(std::move(event));
  }
}

void Reporter::Leave(const ProgressSink* sink, bool needed) {
  std::lock_guard lock(mutex_);
  const absl::Time now = clock_->Now();
  for (const Listener& listener : listeners_) {
    if (listener.sink.get() != sink || (needed && !started_) || done_) continue;
    VertexEvent event = Announcement(*listener.vertex);
    event.started = started_.value_or(now);
    event.completed = now;
    event.cached = !needed;
    if (needed) event.error = kCanceled;
    listener.sink->OnVertex(std::move(event));
  }
  std::erase_if(listeners_, [sink](const Listener& listener) { return listener.sink.get() == sink; });
}

void Reporter::Started() {
  std::lock_guard lock(mutex_);
  started_ = clock_->Now();
  done_.reset();
  for (const Listener& listener : listeners_) {
    VertexEvent event = Announcement(*listener.vertex);
    event.started = started_;
    listener.sink->OnVertex(std::move(event));
  }
}

void Reporter::Completed(const absl::Status& status, bool cached) {
  std::lock_guard lock(mutex_);
  const absl::Time now = clock_->Now();
  for (const Listener& listener : listeners_) {
    VertexEvent event = Announcement(*listener.vertex);
    event.started = started_.value_or(now);
    event.completed = now;
    event.cached = cached;
    event.error = std::string(status.message());
    listener.sink->OnVertex(std::move(event));
  }
  started_.reset();
  if (status.ok()) done_ = now;
  Forget();
}

void Reporter::Forget() {
  logs_.clear();
  log_bytes_ = 0;
  statuses_.clear();
  warnings_.clear();
}

void Reporter::Status(StatusEvent event) {
  std::lock_guard lock(mutex_);
  for (const Listener& listener : listeners_) {
    event.vertex = listener.vertex->digest;
    listener.sink->OnStatus(event);
  }
  if (statuses_.size() < kMaxKept || statuses_.contains(event.id)) statuses_[event.id] = std::move(event);
}

void Reporter::Log(int stream, absl::string_view data) {
  std::lock_guard lock(mutex_);
  const absl::Time now = clock_->Now();
  for (const Listener& listener : listeners_) {
    listener.sink->OnLog({listener.vertex->digest, stream, std::string(data), now});
  }
  logs_.push_back({"", stream, std::string(data), now});
  for (log_bytes_ += data.size(); log_bytes_ > kMaxKeptLog; logs_.pop_front()) log_bytes_ -= logs_.front().data.size();
}

void Reporter::Warning(WarningEvent event) {
  std::lock_guard lock(mutex_);
  for (const Listener& listener : listeners_) {
    event.vertex = listener.vertex->digest;
    listener.sink->OnWarning(event);
  }
  if (warnings_.size() < kMaxKept) warnings_.push_back(std::move(event));
}

}  // namespace cachalot::solver
