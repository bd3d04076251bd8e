// A session over its client's HTTP/2 connection.
#pragma once

#include <memory>

#include "session/session.h"

namespace cachalot::session {

class AttachedSession : public Session {
 public:
  static std::shared_ptr<AttachedSession> Create(SessionMetadata metadata);
  // Carries the session over `stream`; blocks until the client goes. Call it once.
  virtual absl::Status Run(ByteStream& stream) = 0;
};

}  // namespace cachalot::session
