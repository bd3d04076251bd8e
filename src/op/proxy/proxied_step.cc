#include "op/proxy/proxied_step.h"

#include <sys/socket.h>

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/random_id.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "os/network_namespace.h"

namespace cachalot::op {
namespace {

constexpr int kStandardError = 2;

// Sockets in the namespace at `path`; empty: in ours.
registry::HttpTransport::OpenSocket SocketsIn(const std::string& path) {
  if (path.empty()) return [](int family, int type, int protocol) { return ::socket(family, type, protocol); };
  return [path](int family, int type, int protocol) {
    int fd = -1;
    absl::Status status = os::RunInNetworkNamespace(path, [&]() -> absl::Status {
      fd = ::socket(family, type, protocol);
      return fd < 0 ? ErrnoError("socket") : absl::OkStatus();
    });
    if (!status.ok()) LogWarning("request of a step: ", status.message());
    return fd;
  };
}

void SetVariable(std::vector<std::string>& env, const std::string& variable) {
  const absl::string_view name = absl::string_view(variable).substr(0, variable.find('=') + 1);
  std::erase_if(env, [&](const std::string& other) { return absl::StartsWith(other, name); });
  env.push_back(variable);
}

}  // namespace

absl::StatusOr<ProxyAuthority*> ProxiedSteps::Authority() {
  std::lock_guard lock(mutex_);
  if (authority_ == nullptr) {
    ASSIGN_OR_RETURN(authority_, ProxyAuthority::Create());
  }
  return authority_.get();
}

absl::StatusOr<std::unique_ptr<ProxiedSteps::Step>> ProxiedSteps::Start(runtime::ContainerSpec& spec, ProxyCheck check) {
  auto step = std::make_unique<Step>();
  ASSIGN_OR_RETURN(ProxyAuthority * authority, Authority());
  ASSIGN_OR_RETURN(step->egress_, runtime_->Connect(spec.network));
  const std::string path = absl::StrCat(directory_, "/net-", RandomId());
  RETURN_IF_ERROR(os::PinNetworkNamespace(path));
  step->namespace_path_ = path;
  ExecProxy::Options options;
  options.authority = authority;
  options.listen_namespace = path;
  options.open_socket = SocketsIn(step->egress_->namespace_path());
  options.check = std::move(check);
  ASSIGN_OR_RETURN(step->proxy_, ExecProxy::Start(std::move(options)));
  ASSIGN_OR_RETURN(step->certificate_, AddedCertificate::Add(spec.rootfs, authority->certificate()));
  spec.network_namespace = path;
  for (const std::string& variable : step->proxy_->env()) SetVariable(spec.process.env, variable);
  return step;
}

absl::StatusOr<std::vector<ProxyRecord>> ProxiedSteps::Step::Finish(solver::OpProgress& progress) {
  std::vector<ProxyRecord> records = proxy_->records();
  std::string text;
  for (const ProxyRecord& record : records) absl::StrAppend(&text, "- ", record.method, " ", record.url, " -> ", record.status, "\n");
  if (!text.empty()) progress.Log(kStandardError, absl::StrCat("proxy network requests:\n", text));
  RETURN_IF_ERROR(certificate_.Remove());
  return records;
}

ProxiedSteps::Step::~Step() {
  proxy_.reset();
  if (namespace_path_.empty()) return;
  if (absl::Status status = os::UnpinNetworkNamespace(namespace_path_); !status.ok()) LogWarning(status.message());
}

}  // namespace cachalot::op
