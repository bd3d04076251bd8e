#include "build/gateway.h"

#include "absl/strings/str_cat.h"
#include "base/random_id.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "op/kept_trees.h"

namespace cachalot::build {

void Gateway::Return(absl::StatusOr<llb::FrontendResult> result) {
  {
    auto returned = returned_.Lock();
    if (!returned->has_value()) *returned = std::move(result);
  }
  returned_.NotifyAll();
}

std::string Gateway::Keep(const llb::RefPtr& ref) {
  if (ref == nullptr) return "";
  std::string id = RandomId();
  (*refs_.Lock())[id] = ref;
  return id;
}

absl::StatusOr<llb::RefPtr> Gateway::Find(const std::string& id) {
  auto refs = refs_.Lock();
  auto found = refs->find(id);
  if (found == refs->end()) return absl::NotFoundError(absl::StrCat("no such ref: ", id));
  return found->second;
}

absl::Status Gateway::NewContainer(ContainerRequest request, const CancelToken& cancel) {
  CancelSource either(bridge_.cancel());
  const CancelToken::Registration link = cancel.OnCancel([&] { either.Cancel(cancel.status()); });
  std::vector<FrontendContainers::MountTree> trees;
  for (const llb::Mount& mount : request.mounts) {
    FrontendContainers::MountTree& tree = trees.emplace_back();
    if (mount.result_id.empty()) continue;
    tree.kept = core_->environment()->kept_trees->Find(mount.result_id);
    if (tree.kept != nullptr) continue;
    absl::StatusOr<llb::RefPtr> ref = Find(mount.result_id);
    if (!ref.ok()) return Annotate(ref.status(), absl::StrCat("failed to find ref ", mount.result_id, " for \"", mount.dest, "\" mount"));
    tree.ref = *std::move(ref);
  }
  return containers_.Create(std::move(request), trees, either.token());
}

absl::StatusOr<llb::FrontendResult> Gateway::Wait(const CancelToken& cancel) {
  const CancelToken::Registration wake = cancel.OnCancel([this] {
    returned_.Lock();  // so that the waiter is not between its look at the token and its sleep
    returned_.NotifyAll();
  });
  auto returned = returned_.Lock();
  returned.Wait([&](const auto& result) { return result.has_value() || cancel.cancelled(); });
  RETURN_IF_ERROR(cancel.status());
  return **returned;
}

void Gateway::Close() {
  containers_.ReleaseAll();
  std::map<std::string, llb::RefPtr> refs;
  refs.swap(*refs_.Lock());
}

}  // namespace cachalot::build
