#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "registry/registry_client.h"
#include "registry/retry.h"

namespace cachalot::registry {
namespace {

std::string AcceptAll() {
  return absl::StrJoin({oci::kDockerManifest, oci::kDockerManifestList, oci::kMediaTypeManifest, oci::kMediaTypeIndex, absl::string_view("*/*")},
                       ", ");
}

std::string AcceptFor(const std::string& media_type) { return media_type.empty() ? AcceptAll() : absl::StrCat(media_type, ", */*"); }

std::string MediaTypeOf(const HttpResponse& response) {
  const std::string type = response.Header("Content-Type");
  return std::string(absl::StripAsciiWhitespace(absl::string_view(type).substr(0, type.find(';'))));
}

absl::Status PullDenied(const absl::Status& status) {
  return Annotate(status, "pull access denied, repository does not exist or may require authorization");
}

bool IsDenial(const absl::Status& status) { return absl::IsPermissionDenied(status) || absl::IsUnauthenticated(status); }

absl::Status TooLarge(std::int64_t size, const oci::Reference& ref) {
  return absl::ResourceExhaustedError(absl::StrCat("rejecting ", size, " byte manifest for ", ref.str()));
}

bool IsManifestLike(const oci::Descriptor& descriptor) { return oci::IsManifest(descriptor.media_type) || oci::IsIndex(descriptor.media_type); }

absl::Status DigestMismatch(absl::string_view what, const oci::Digest& expected, const oci::Digest& got) {
  return absl::DataLossError(absl::StrCat(what, ": unexpected digest ", got.str(), ", expected ", expected.str()));
}

// One blob arriving, over as many connections as it takes.
struct Arrival {
  const oci::Descriptor& descriptor;
  store::BlobWriter& writer;
  const Options& options;
  std::int64_t skip = 0;  // bytes to drop: the server ignored our range

  absl::Status OnHead(const HttpResponse& response) {
    skip = 0;
    const std::int64_t have = writer.written();
    if (have == 0) return absl::OkStatus();
    if (response.status != 206) {
      skip = have;
      return absl::OkStatus();
    }
    const std::string range = response.Header("Content-Range");
    if (!range.empty() && !absl::StartsWith(range, absl::StrCat("bytes ", have, "-"))) {
      return absl::UnavailableError(absl::StrCat("unhandled content range in response: ", range));
    }
    return absl::OkStatus();
  }

  absl::Status OnData(absl::string_view bytes) {
    const auto drop = static_cast<std::size_t>(std::min<std::int64_t>(skip, static_cast<std::int64_t>(bytes.size())));
    skip -= static_cast<std::int64_t>(drop);
    bytes.remove_prefix(drop);
    RETURN_IF_ERROR(store::WriteWithin(descriptor.size, descriptor.digest, bytes, writer));
    if (options.on_progress) options.on_progress(descriptor, writer.written());
    return absl::OkStatus();
  }
};

}  // namespace

std::vector<Target> RegistryClient::PullTargets(const oci::Reference& ref, const Options& options) const {
  std::vector<Target> targets;
  for (Host& host : HostsOf(configs_, ref.registry, options.insecure, /*mirrors=*/true)) {
    targets.push_back({std::move(host), {absl::StrCat("repository:", ref.repository, ":pull")}});
  }
  return targets;
}

absl::StatusOr<oci::Descriptor> RegistryClient::Resolve(const oci::Reference& ref, const Options& options) {
  HostErrors errors;
  std::vector<std::string> places = {absl::StrCat("manifests/", ref.digest.empty() ? ref.tag : ref.digest.str())};
  if (!ref.digest.empty()) places.push_back(absl::StrCat("blobs/", ref.digest.str()));
  for (const std::string& place : places) {
    if (errors.weight() > HostErrors::kNotFound) break;
    for (const Target& target : PullTargets(ref, options)) {
      RETURN_IF_ERROR(options.cancel.status());
      bool found = false;
      absl::StatusOr<oci::Descriptor> descriptor = ResolveAt(target, ref, place, found, errors, options);
      if (found) return descriptor;
    }
  }
  RETURN_IF_ERROR(options.cancel.status());
  return Published(errors.status());
}

absl::StatusOr<oci::Descriptor> RegistryClient::ResolveAt(const Target& target, const oci::Reference& ref, const std::string& what, bool& found,
                                                          HostErrors& errors, const Options& options) {
  HttpRequest request = NewRequest(target.host, "HEAD", target.host.Url(ref.repository, what), options);
  request.headers.emplace_back("Accept", AcceptAll());
  absl::StatusOr<HttpResponse> response = caller_.SendWithRetries(target, request, options);
  if (response.ok() && response->status == 405) {
    request.method = "GET";
    response = caller_.SendWithRetries(target, request, options);
  }
  if (!response.ok()) {
    errors.Add(absl::IsPermissionDenied(response.status()) ? PullDenied(response.status()) : response.status(), HostErrors::kUnreachable);
    return response.status();
  }
  if (response->status == 404) {
    errors.Add(absl::NotFoundError(absl::StrCat(ref.str(), ": not found")), HostErrors::kNotFound);
    return errors.status();
  }
  if (!response->ok()) {
    if (request.method == "HEAD" && (response->status == 403 || response->status == 401)) {  // the reason is in a body, which HEAD has not
      request.method = "GET";
      if (absl::StatusOr<HttpResponse> body = caller_.Send(target, request, options); body.ok() && body->status == response->status) {
        response->body = body->body;
      }
    }
    const absl::Status status = UnexpectedStatus(*response);
    errors.Add(IsDenial(status) ? PullDenied(status) : status, HostErrors::kRefused);
    return status;
  }
  oci::Descriptor descriptor;
  descriptor.media_type = MediaTypeOf(*response);
  descriptor.size = response->content_length();
  descriptor.digest = ref.digest;
  if (const std::string header = response->Header("Docker-Content-Digest"); descriptor.digest.empty() && !header.empty() && descriptor.size >= 0) {
    found = true;
    absl::StatusOr<oci::Digest> digest = oci::Digest::Parse(header);
    if (!digest.ok()) return Annotate(digest.status(), absl::StrCat("\"", header, "\" in header not a valid digest"));
    descriptor.digest = *digest;
  }
  if (descriptor.digest.empty() || descriptor.size < 0) {
    found = true;
    return ResolveByGet(target, std::move(request), ref, options);
  }
  const bool manifest = absl::StartsWith(what, "manifests/");
  if (manifest && descriptor.size > static_cast<std::int64_t>(kMaxManifestBytes)) {
    found = false;
    errors.Add(TooLarge(descriptor.size, ref), HostErrors::kBad);
    return errors.status();
  }
  found = true;
  return descriptor;
}

absl::StatusOr<oci::Descriptor> RegistryClient::ResolveByGet(const Target& target, HttpRequest request, const oci::Reference& ref,
                                                             const Options& options) {
  request.method = "GET";
  request.max_body = kMaxManifestBytes;
  absl::StatusOr<HttpResponse> response = caller_.SendWithRetries(target, request, options);
  if (!response.ok()) return Published(response.status());
  if (!response->ok()) return UnexpectedStatus(*response);
  oci::Descriptor descriptor;
  descriptor.media_type = MediaTypeOf(*response);
  descriptor.size = static_cast<std::int64_t>(response->body.size());
  descriptor.digest = oci::Digest::Of(response->body);
  if (!ref.digest.empty() && ref.digest.algorithm() == "sha256" && ref.digest != descriptor.digest) {
    return DigestMismatch(ref.str(), ref.digest, descriptor.digest);
  }
  return descriptor;
}

absl::StatusOr<std::string> RegistryClient::FetchManifest(const oci::Reference& ref, const oci::Descriptor& descriptor, const Options& options) {
  if (descriptor.size > static_cast<std::int64_t>(kMaxManifestBytes)) return TooLarge(descriptor.size, ref);
  if (descriptor.digest.algorithm() != "sha256") {
    return absl::UnimplementedError(absl::StrCat("manifest ", descriptor.digest.str(), " of ", ref.name(), ": only sha256 is verified"));
  }
  HostErrors errors;
  for (const Target& target : PullTargets(ref, options)) {
    RETURN_IF_ERROR(options.cancel.status());
    HttpRequest request =
        NewRequest(target.host, "GET", target.host.Url(ref.repository, absl::StrCat("manifests/", descriptor.digest.str())), options);
    request.headers.emplace_back("Accept", AcceptFor(descriptor.media_type));
    request.max_body = kMaxManifestBytes;
    absl::StatusOr<HttpResponse> response = caller_.SendWithRetries(target, request, options);
    if (!response.ok()) {
      errors.Add(absl::IsPermissionDenied(response.status()) ? PullDenied(response.status()) : response.status(), HostErrors::kUnreachable);
    } else if (response->status == 404) {
      errors.Add(absl::NotFoundError(absl::StrCat(ref.name(), "@", descriptor.digest.str(), ": not found")), HostErrors::kNotFound);
    } else if (!response->ok()) {
      const absl::Status status = UnexpectedStatus(*response);
      errors.Add(IsDenial(status) ? PullDenied(status) : status, HostErrors::kRefused);
    } else if (const oci::Digest got = oci::Digest::Of(response->body); got != descriptor.digest) {
      errors.Add(DigestMismatch(absl::StrCat("manifest of ", ref.str()), descriptor.digest, got), HostErrors::kBad);
    } else {
      return std::move(response->body);
    }
  }
  RETURN_IF_ERROR(options.cancel.status());
  return Published(errors.status());
}

absl::Status RegistryClient::FetchBlobFrom(const Target& target, const std::string& url, const oci::Descriptor& descriptor, store::BlobStore& blobs,
                                           const Options& options) {
  ASSIGN_OR_RETURN(std::unique_ptr<store::BlobWriter> writer, blobs.NewWriter());
  Backoff backoff;
  while (true) {
    const std::int64_t before = writer->written();
    Arrival arrival{.descriptor = descriptor, .writer = *writer, .options = options};
    HttpRequest request = NewRequest(target.host, "GET", url, options);
    request.headers.emplace_back("Accept", AcceptFor(descriptor.media_type.empty() ? "application/octet-stream" : descriptor.media_type));
    if (before > 0) request.headers.emplace_back("Range", absl::StrCat("bytes=", before, "-"));
    request.on_head = [&](const HttpResponse& response) { return arrival.OnHead(response); };
    request.on_data = [&](absl::string_view bytes) { return arrival.OnData(bytes); };
    absl::StatusOr<HttpResponse> response = caller_.Send(target, request, options);
    const bool whole = response.ok() && response->ok() && (descriptor.size < 0 || writer->written() == descriptor.size);
    if (whole) return writer->Commit(descriptor.digest, descriptor.size).status();

    absl::Status failure = response.status();
    bool transient = !response.ok() && FailureOf(failure) == HttpFailure::kTransient;
    if (response.ok()) {
      const bool cut = response->ok();
      transient = cut || IsTransientStatus(response->status);
      failure = cut ? absl::UnavailableError(
                          absl::StrCat("blob ", descriptor.digest.str(), " ended after ", writer->written(), " of ", descriptor.size, " bytes"))
                    : UnexpectedStatus(*response);
    }
    if (!transient) return failure;
    if (writer->written() > before) backoff.Reset();
    ASSIGN_OR_RETURN(const bool again, backoff.Again(options.cancel, response.ok() ? RetryAfter(*response) : absl::ZeroDuration()));
    if (!again) return failure;
  }
}

absl::Status RegistryClient::FetchBlob(const oci::Reference& ref, const oci::Descriptor& descriptor, store::BlobStore& blobs,
                                       const Options& options) {
  if (blobs.Has(descriptor.digest)) return absl::OkStatus();
  HostErrors errors;
  const auto attempt = [&](const Target& target, const std::string& url) {
    const absl::Status status = FetchBlobFrom(target, url, descriptor, blobs, options);
    if (status.ok()) return true;
    const bool missing = absl::IsNotFound(status);
    errors.Add(IsDenial(status) ? PullDenied(status) : status, FailureOf(status) != HttpFailure::kNone ? HostErrors::kUnreachable
                                                               : missing                               ? HostErrors::kNotFound
                                                                                                       : HostErrors::kRefused);
    return false;
  };
  // Layers that registries may not distribute name other places; their servers must not see our credentials.
  for (const std::string& url : descriptor.urls) {
    RETURN_IF_ERROR(options.cancel.status());
    if (!OriginOf(url).empty() && attempt(Target{}, url)) return absl::OkStatus();
  }
  for (const Target& target : PullTargets(ref, options)) {
    RETURN_IF_ERROR(options.cancel.status());
    const std::string what = absl::StrCat(IsManifestLike(descriptor) ? "manifests/" : "blobs/", descriptor.digest.str());
    if (attempt(target, target.host.Url(ref.repository, what))) return absl::OkStatus();
  }
  RETURN_IF_ERROR(options.cancel.status());
  if (errors.weight() == HostErrors::kNotFound) {
    return absl::NotFoundError(
        absl::StrCat("could not fetch content descriptor ", descriptor.digest.str(), " (", descriptor.media_type, ") from remote: not found"));
  }
  return Published(errors.status());
}

}  // namespace cachalot::registry
