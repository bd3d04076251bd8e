// A client without a connection: it plays the part of session::Session in tests of the services.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "session/bare_session_testing.h"

namespace cachalot::daemon {

// Answers generic calls, and offers nothing else.
class FakeSession final : public session::BareSession {
 public:
  using OnCall = std::function<absl::StatusOr<std::string>(absl::string_view method, absl::string_view request)>;
  FakeSession(std::string id, OnCall on_call) : BareSession(std::move(id)), on_call_(std::move(on_call)) {}

  absl::StatusOr<std::string> Call(absl::string_view method, absl::string_view request, absl::Duration, const CancelToken&) override {
    return on_call_(method, request);
  }

 private:
  const OnCall on_call_;
};

// Knows one session.
class FakeHub final : public session::SessionHub {
 public:
  FakeHub(std::string id, FakeSession::OnCall on_call) : session_(std::make_shared<FakeSession>(std::move(id), std::move(on_call))) {}
  absl::Status Serve(session::SessionMetadata, session::ByteStream&) override { return absl::UnimplementedError("no streams here"); }
  absl::StatusOr<session::SessionPtr> Find(const std::string& id, absl::Duration, const CancelToken&) override {
    if (id != session_->id()) return absl::DeadlineExceededError("no active session for " + id);
    return session_;
  }

 private:
  const session::SessionPtr session_;
};

}  // namespace cachalot::daemon
