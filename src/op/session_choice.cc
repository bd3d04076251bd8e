#include "absl/strings/str_cat.h"
#include "op/environment.h"

namespace cachalot::op {
namespace {

// How long a client that is named in a request may take to attach.
constexpr absl::Duration kPatience = absl::Seconds(5);

}  // namespace

absl::Status OfTheClient(absl::Status status) {
  if (!status.ok()) status.SetPayload(solver::kOnlyThisBuildPayload, absl::Cord());
  return status;
}

absl::StatusOr<session::SessionPtr> SessionFor(const Environment& environment, const std::string& id, const CancelToken& cancel) {
  const session::SessionPtr own = environment.session;
  if (own != nullptr && (id.empty() || own->id() == id)) return own;
  if (!id.empty() && environment.parts.sessions != nullptr) {
    absl::StatusOr<session::SessionPtr> found = environment.parts.sessions->Find(id, kPatience, cancel);
    if (found.ok()) return found;
    if (own == nullptr) return OfTheClient(found.status());
  }
  if (own == nullptr) return OfTheClient(absl::UnavailableError("no active sessions"));
  return own;
}

}  // namespace cachalot::op
