#include <unistd.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "registry/registry_client.h"
#include "registry/retry.h"

namespace cachalot::registry {
namespace {

absl::Status PushDenied(const absl::Status& status) {
  if (!absl::IsPermissionDenied(status) && !absl::IsUnauthenticated(status)) return status;
  return Annotate(status, "push access denied, repository does not exist or may require authorization");
}

bool IsTransient(const absl::Status& status) { return FailureOf(status) == HttpFailure::kTransient; }

// The scopes that a mount from `repository` needs beside our own.
Target WithPullFrom(Target target, const std::string& repository) {
  target.scopes.push_back(absl::StrCat("repository:", repository, ":pull"));
  return target;
}

// The repository of "registry/repository" when it is another one of the same registry, else empty.
std::string MountableFrom(const oci::Reference& ref, const std::string& source) {
  const std::string prefix = absl::StrCat(ref.registry, "/");
  if (!absl::StartsWith(source, prefix)) return "";
  const std::string repository = source.substr(prefix.size());
  return repository == ref.repository ? "" : repository;
}

}  // namespace

std::unique_ptr<Client> Client::Create(HostConfigs configs) { return std::make_unique<RegistryClient>(std::move(configs), HttpTransport::Create()); }

Target RegistryClient::PushTarget(const oci::Reference& ref, const Options& options) const {
  return {HostsOf(configs_, ref.registry, options.insecure, /*mirrors=*/false).front(), {absl::StrCat("repository:", ref.repository, ":pull,push")}};
}

absl::Status RegistryClient::PushBlob(const oci::Reference& ref, const oci::Descriptor& descriptor, store::BlobStore& blobs,
                                      const std::vector<std::string>& mount_from, const Options& options) {
  const Target target = PushTarget(ref, options);
  Backoff backoff;
  while (true) {
    std::optional<absl::Duration> pause;
    const absl::Status status = TryPushBlob(target, ref, descriptor, blobs, mount_from, options, pause);
    if (status.ok()) return status;
    if (!pause.has_value()) return Published(PushDenied(status));
    // An upload session cannot be trusted after a failure: the next try begins with a new one.
    ASSIGN_OR_RETURN(const bool again, backoff.Again(options.cancel, *pause));
    if (!again) return Published(status);
  }
}

absl::Status RegistryClient::TryPushBlob(const Target& target, const oci::Reference& ref, const oci::Descriptor& descriptor, store::BlobStore& blobs,
                                         const std::vector<std::string>& mount_from, const Options& options, std::optional<absl::Duration>& pause) {
  const std::string blob_url = target.host.Url(ref.repository, absl::StrCat("blobs/", descriptor.digest.str()));
  ASSIGN_OR_RETURN(const HttpResponse head, caller_.SendWithRetries(target, NewRequest(target.host, "HEAD", blob_url, options), options));
  if (head.ok()) {
    if (options.on_progress) options.on_progress(descriptor, descriptor.size);
    return absl::OkStatus();
  }
  if (head.status != 404) return UnexpectedStatus(head);
  ASSIGN_OR_RETURN(const std::string location, StartUpload(target, ref, descriptor, mount_from, options));
  if (location.empty()) {
    if (options.on_progress) options.on_progress(descriptor, descriptor.size);
    return absl::OkStatus();
  }
  const absl::StatusOr<HttpResponse> response = Upload(target, location, descriptor, blobs, options);
  if (!response.ok()) {
    if (IsTransient(response.status())) pause = absl::ZeroDuration();
    return response.status();
  }
  if (response->ok()) return absl::OkStatus();
  // 404: the upload session got lost, 416: it holds part of a broken try.
  if (IsTransientStatus(response->status) || response->status == 404 || response->status == 416) pause = RetryAfter(*response);
  return UnexpectedStatus(*response);
}

absl::StatusOr<std::string> RegistryClient::StartUpload(const Target& target, const oci::Reference& ref, const oci::Descriptor& descriptor,
                                                        const std::vector<std::string>& mount_from, const Options& options) {
  absl::StatusOr<HttpResponse> response = absl::NotFoundError("no mount was tried");
  for (const std::string& source : mount_from) {
    const std::string repository = MountableFrom(ref, source);
    if (repository.empty()) continue;
    const std::string what = absl::StrCat("blobs/uploads/?mount=", EscapeQuery(descriptor.digest.str()), "&from=", EscapeQuery(repository));
    response = caller_.SendWithRetries(WithPullFrom(target, repository),
                                       NewRequest(target.host, "POST", target.host.Url(ref.repository, what), options), options);
    RETURN_IF_ERROR(options.cancel.status());
    if (response.ok() && response->status == 201) return std::string();
    break;  // one failed guess is enough: the upload itself always works
  }
  if (!response.ok() || response->status != 202) {
    const std::string url = target.host.Url(ref.repository, "blobs/uploads/");
    response = caller_.SendWithRetries(target, NewRequest(target.host, "POST", url, options), options);
  }
  if (!response.ok()) return response.status();
  if (!response->ok()) return UnexpectedStatus(*response);
  const std::string location = response->Header("Location");
  if (location.empty()) return absl::UnavailableError(absl::StrCat("upload to ", RedactUrl(response->url), ": the registry named no location"));
  return ResolveUrl(response->url, location);
}

absl::StatusOr<HttpResponse> RegistryClient::Upload(const Target& target, const std::string& location, const oci::Descriptor& descriptor,
                                                    store::BlobStore& blobs, const Options& options) {
  ASSIGN_OR_RETURN(const UniqueFd file, blobs.Open(descriptor.digest));
  HttpRequest request =
      NewRequest(target.host, "PUT",
                 absl::StrCat(location, absl::StrContains(location, "?") ? "&" : "?", "digest=", EscapeQuery(descriptor.digest.str())), options);
  request.headers.emplace_back("Content-Type", "application/octet-stream");
  ASSIGN_OR_RETURN(request.body_size, blobs.Size(descriptor.digest));
  request.body = [&](std::int64_t offset, char* out, std::size_t room) -> absl::StatusOr<std::size_t> {
    const ssize_t got = pread(file.get(), out, room, offset);
    if (got < 0) return ErrnoError(absl::StrCat("read blob ", descriptor.digest.str()));
    if (options.on_progress) options.on_progress(descriptor, offset + got);
    return static_cast<std::size_t>(got);
  };
  // A location at another server (a CDN) carries its own authorization.
  const bool at_home = OriginOf(location) == OriginOf(target.host.Url("x", "")) ||
                       (target.host.http_fallback && OriginOf(location) == absl::StrCat("http://", target.host.authority));
  Target destination = target;
  if (!at_home) destination.scopes.clear();
  return caller_.Send(destination, std::move(request), options);
}

absl::Status RegistryClient::PushManifest(const oci::Reference& ref, const oci::Descriptor& descriptor, absl::string_view bytes, bool by_digest,
                                          const Options& options) {
  const Target target = PushTarget(ref, options);
  const std::string name = by_digest || ref.tag.empty() ? descriptor.digest.str() : ref.tag;
  const std::string url = target.host.Url(ref.repository, absl::StrCat("manifests/", name));
  HttpRequest check = NewRequest(target.host, "HEAD", url, options);
  check.headers.emplace_back("Accept", absl::StrCat(descriptor.media_type, ", */*"));
  absl::StatusOr<HttpResponse> response = caller_.SendWithRetries(target, check, options);
  if (!response.ok()) return Published(PushDenied(response.status()));
  // Registries with immutable tags refuse to be told what they already know.
  if (response->ok() && response->Header("Docker-Content-Digest") == descriptor.digest.str()) return absl::OkStatus();

  HttpRequest put = NewRequest(target.host, "PUT", url, options);
  put.headers.emplace_back("Content-Type", descriptor.media_type);
  SetBody(put, bytes);
  response = caller_.SendWithRetries(target, put, options);
  if (!response.ok()) return Published(PushDenied(response.status()));
  if (!response->ok()) return PushDenied(UnexpectedStatus(*response));
  return absl::OkStatus();
}

}  // namespace cachalot::registry
