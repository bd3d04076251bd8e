#include "daemon/policy_session.h"

#include <map>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "build/errors.h"
#include "buildkit/policysession.pb.h"
#include "daemon/gateway_service.h"
#include "daemon/translate_solve.h"
#include "llb/wire.h"

namespace cachalot::daemon {

namespace {

namespace wire = moby::buildkit::v1::sourcepolicy;
using wire::policysession::CheckPolicyRequest;
using wire::policysession::CheckPolicyResponse;
using wire::policysession::DecisionResponse;

constexpr char kMethod[] = "/moby.buildkit.v1.sourcepolicy.policysession.PolicyVerifier/CheckPolicy";
constexpr absl::Duration kSessionPatience = absl::Seconds(5);

absl::StatusOr<CheckPolicyResponse> Ask(session::Session& session, const CheckPolicyRequest& question, const CancelToken& cancel) {
  // A policy may wait for a person: only the build's end or the session's limits it.
  ASSIGN_OR_RETURN(const std::string answer, session.Call(kMethod, question.SerializeAsString(), absl::InfiniteDuration(), cancel));
  CheckPolicyResponse response;
  if (!response.ParseFromString(answer)) {
    return absl::InvalidArgumentError("the policy's answer cannot be read");
  }
  RETURN_IF_ERROR(llb::CheckTexts(response));
  return response;
}

// Adds what the client wants to know about the source to the next question.
absl::Status Resolve(const llb::SourceOp& source, const moby::buildkit::v1::frontend::ResolveSourceMetaRequest& request,
                     llb::FrontendBridge& metadata, CheckPolicyRequest& question) {
  if (request.source().identifier() != source.identifier) {
    return absl::InvalidArgumentError(
        absl::StrCat("policy requested different source identifier: \"", request.source().identifier(), "\" != \"", source.identifier, "\""));
  }
  if (std::map<std::string, std::string>(request.source().attrs().begin(), request.source().attrs().end()) != source.attrs) {
    return absl::InvalidArgumentError("policy requested different source attrs");
  }
  question.clear_source();
  const absl::Status resolved = ResolveSourceMeta(metadata, request, question.mutable_source());
  return Annotate(resolved, "error resolving source metadata from policy request");
}

absl::StatusOr<bool> Decide(const DecisionResponse& decision, llb::SourceOp& source) {
  if (decision.action() == wire::CONVERT) {
    if (!decision.has_update()) {
      return absl::InvalidArgumentError("convert action requires updated source");
    }
    source = {decision.update().identifier(), {decision.update().attrs().begin(), decision.update().attrs().end()}};
    return false;
  }
  if (decision.action() == wire::ALLOW) {
    return true;
  }
  std::vector<std::string> messages;
  for (const auto& message : decision.denymessages()) {
    messages.push_back(message.message());
  }
  const std::string action =
      wire::PolicyAction_IsValid(decision.action()) ? wire::PolicyAction_Name(decision.action()) : absl::StrCat(decision.action());
  absl::Status refusal = absl::FailedPreconditionError(absl::StrCat("source \"", source.identifier, "\" not allowed by policy: action ", action));
  build::AttachDenyMessages(refusal, messages);
  return refusal;
}

}  // namespace

absl::StatusOr<bool> SessionVerifier::Check(llb::SourceOp& source, const std::optional<oci::Platform>& platform, llb::FrontendBridge& metadata,
                                            int& budget, const CancelToken& cancel) {
  ASSIGN_OR_RETURN(const session::SessionPtr session, hub_.Find(id_, kSessionPatience, cancel));
  CheckPolicyRequest question;
  if (platform.has_value()) {
    EncodePlatform(*platform, question.mutable_platform());
  }
  auto* described = question.mutable_source()->mutable_source();
  described->set_identifier(source.identifier);
  described->mutable_attrs()->insert(source.attrs.begin(), source.attrs.end());
  while (budget-- > 0) {
    ASSIGN_OR_RETURN(const CheckPolicyResponse response, Ask(*session, question, cancel));
    if (response.has_request()) {
      RETURN_IF_ERROR(Resolve(source, response.request(), metadata, question));
    } else if (response.has_decision()) {
      return Decide(response.decision(), source);
    } else {
      return absl::InvalidArgumentError("no decision in policy response");
    }
  }
  return absl::FailedPreconditionError("too many policy requests");
}

}  // namespace cachalot::daemon
