#include "build/gateway.h"

#include "absl/strings/str_cat.h"
#include "base/random_id.h"
#include "base/status_macros.h"

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
  std::map<std::string, llb::RefPtr> refs;
  refs.swap(*refs_.Lock());
}

}  // namespace cachalot::build
