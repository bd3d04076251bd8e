// Source policy decided by the client: the PolicyVerifier service of its session.
#pragma once

#include <string>

#include "build/source_verifier.h"
#include "session/session.h"

namespace cachalot::daemon {

class SessionVerifier final : public build::SourceVerifier {
 public:
  // Asks the session `id` of `hub`, which outlives this.
  SessionVerifier(session::SessionHub& hub, std::string id) : hub_(hub), id_(std::move(id)) {}

  absl::StatusOr<bool> Check(llb::SourceOp& source, const std::optional<oci::Platform>& platform, llb::FrontendBridge& metadata, int& budget,
                             const CancelToken& cancel) override;

 private:
  session::SessionHub& hub_;
  const std::string id_;
};

}  // namespace cachalot::daemon
