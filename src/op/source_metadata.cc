#include "op/source_metadata.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <unistd.h>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "op/attestation_chain.h"
#include "op/git/git_signature.h"
#include "op/git/git_source.h"
#include "op/http_source.h"
#include "op/image_origin.h"
#include "op/image_resolver.h"
#include "os/file.h"

namespace cachalot::op {
namespace {

constexpr std::size_t kMaxSuffixBytes = 4 << 10;

absl::Status ResolveImageSource(const Environment& environment, const llb::ResolveOptions& options, const CancelToken& cancel,
                                llb::ResolvedSource& resolved) {
  llb::SourceOp source = resolved.source;
  if (!options.store_id.empty()) source.attrs["oci.store"] = options.store_id;
  if (!options.store_session.empty()) source.attrs["oci.session"] = options.store_session;
  ASSIGN_OR_RETURN(const OriginAndReference from, OriginOf(source, environment));
  const oci::Platform platform = options.platform.has_value() ? oci::Normalize(*options.platform) : environment.platform;
  llb::ResolvedImage image{from.ref.str(), {}, ""};
  if (!options.no_config) {
    ASSIGN_OR_RETURN(const ResolvedManifestPtr manifest, environment.images->Resolve(from.ref, *from.origin, platform, cancel));
    image.digest = manifest->digest;
    image.config = manifest->config_json;
  }
  if (options.attestation_chain || !options.attestations.empty()) {
    ASSIGN_OR_RETURN(resolved.attestations, FindAttestationChain(*environment.images, from, platform, options.attestations, cancel));
  }
  if (image.digest.empty()) {
    ASSIGN_OR_RETURN(const oci::Descriptor target, environment.images->FindTarget(from.ref, *from.origin, cancel));
    image.digest = target.digest;
  }
  resolved.image = std::move(image);
  return absl::OkStatus();
}

// The digest of a resource's file with the request's suffix behind it.
absl::StatusOr<oci::Digest> ChecksumOf(const HttpResource& resource, const llb::ChecksumRequest& request, const Environment& environment) {
  if (request.suffix.size() > kMaxSuffixBytes) {
    return absl::InvalidArgumentError(absl::StrCat("http checksum request suffix exceeds max size ", kMaxSuffixBytes));
  }
  const EVP_MD* algorithm = EVP_get_digestbyname(request.algorithm.c_str());
  if (algorithm == nullptr) return absl::InvalidArgumentError(absl::StrCat("unsupported checksum algorithm ", request.algorithm));
  ASSIGN_OR_RETURN(const std::shared_ptr<snapshot::MountedTree> tree, environment.parts.snapshots->MountTree(resource.tree, true));
  ASSIGN_OR_RETURN(const UniqueFd root, os::OpenDirectory(tree->path()));
  ASSIGN_OR_RETURN(const UniqueFd file, os::OpenBeneath(root.get(), resource.filename, O_RDONLY | O_NOFOLLOW));
  const std::unique_ptr<EVP_MD_CTX, void (*)(EVP_MD_CTX*)> context(EVP_MD_CTX_new(), &EVP_MD_CTX_free);
  EVP_DigestInit_ex(context.get(), algorithm, nullptr);
  char buffer[1 << 16];
  ssize_t n = 0;
  while ((n = ::read(file.get(), buffer, sizeof buffer)) > 0) EVP_DigestUpdate(context.get(), buffer, static_cast<std::size_t>(n));
  if (n < 0) return ErrnoError(absl::StrCat("read ", resource.filename));
  EVP_DigestUpdate(context.get(), request.suffix.data(), request.suffix.size());
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned size = 0;
  EVP_DigestFinal_ex(context.get(), digest, &size);
  return oci::Digest::Parse(
      absl::StrCat(request.algorithm, ":", absl::BytesToHexString(absl::string_view(reinterpret_cast<const char*>(digest), size))));
}

absl::Status ResolveHttpSource(const Environment& environment, const llb::ResolveOptions& options, const CancelToken& cancel,
                               llb::ResolvedSource& resolved) {
  ASSIGN_OR_RETURN(const HttpIdentifier identifier, HttpIdentifier::Parse(resolved.source));
  ASSIGN_OR_RETURN(HttpResourcePtr resource, ResolveHttp(identifier, environment, cancel));
  llb::ResolvedHttp http;
  if (options.checksum.has_value()) {
    ASSIGN_OR_RETURN(resource, environment.web->Get(identifier, environment, cancel));
    ASSIGN_OR_RETURN(http.checksum, ChecksumOf(*resource, *options.checksum, environment));
  }
  http.digest = resource->digest;
  http.filename = resource->filename;
  http.last_modified = resolved.time = resource->last_modified;
  resolved.http = std::move(http);
  return absl::OkStatus();
}

absl::Status ResolveGitSource(const Environment& environment, const llb::ResolveOptions& options, const CancelToken& cancel,
                              llb::ResolvedSource& resolved) {
  ASSIGN_OR_RETURN(GitIdentifier id, GitIdentifier::Parse(resolved.source));
  const bool keep_git_dir = id.keep_git_dir;
  ASSIGN_OR_RETURN(const std::unique_ptr<GitInquiry> inquiry, GitInquiry::Open(std::move(id), environment, nullptr, cancel));
  ASSIGN_OR_RETURN(const GitTarget target, inquiry->Resolve());
  resolved.git = llb::ResolvedGit{target.ref, target.object, keep_git_dir ? "" : target.commit, "", ""};
  if (!options.git_objects) return absl::OkStatus();
  ASSIGN_OR_RETURN(resolved.git, inquiry->ReadObjects(target));
  const absl::StatusOr<absl::Time> time = CommitTime(resolved.git->commit_object);
  if (time.ok()) resolved.time = *time;
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<llb::ResolvedSource> ResolveSource(const Environment& environment, const llb::SourceOp& source, const llb::ResolveOptions& options,
                                                  const CancelToken& cancel) {
  llb::ResolvedSource resolved;
  resolved.source = source;
  const absl::string_view scheme = absl::string_view(source.identifier).substr(0, source.identifier.find("://"));
  if (scheme == "docker-image" || scheme == "oci-layout") RETURN_IF_ERROR(ResolveImageSource(environment, options, cancel, resolved));
  if (scheme == "http" || scheme == "https") RETURN_IF_ERROR(ResolveHttpSource(environment, options, cancel, resolved));
  if (scheme == "git") RETURN_IF_ERROR(ResolveGitSource(environment, options, cancel, resolved));
  return resolved;
}

}  // namespace cachalot::op
