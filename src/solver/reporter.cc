#include "solver/reporter.h"

#include <algorithm>

namespace cachalot::solver {
namespace {

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
}

void Reporter::Status(StatusEvent event) {
  std::lock_guard lock(mutex_);
  for (const Listener& listener : listeners_) {
    event.vertex = listener.vertex->digest;
    listener.sink->OnStatus(event);
  }
}

void Reporter::Log(int stream, absl::string_view data) {
  std::lock_guard lock(mutex_);
  const absl::Time now = clock_->Now();
  for (const Listener& listener : listeners_) {
    listener.sink->OnLog({listener.vertex->digest, stream, std::string(data), now});
  }
}

void Reporter::Warning(WarningEvent event) {
  std::lock_guard lock(mutex_);
  for (const Listener& listener : listeners_) {
    event.vertex = listener.vertex->digest;
    listener.sink->OnWarning(event);
  }
}

}  // namespace cachalot::solver
