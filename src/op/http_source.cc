#include "op/http_source.h"

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "oci/go_json.h"
#include "op/cache_digest.h"
#include "op/http_time.h"
#include "op/openpgp.h"
#include "op/result.h"

namespace cachalot::op {
namespace {

// The same text as BuildKit's, so that caches can be exchanged.
std::string CacheKey(const HttpIdentifier& identifier, const HttpResource& resource) {
  oci::Json json = {{"Filename", resource.filename},
                    {"Perm", identifier.file.perm},
                    {"UID", identifier.file.uid},
                    {"GID", identifier.file.gid},
                    {"Checksum", resource.digest.str()}};
  if (resource.last_modified.has_value()) json["LastModTime"] = FormatHttpTime(*resource.last_modified);
  if (!identifier.auth_secret.empty()) json["AuthHeaderSecret"] = identifier.auth_secret;
  for (const auto& [name, value] : identifier.headers) json["Header"].push_back(oci::Json{{"Name", name}, {"Value", value}});
  return oci::Digest::Of(oci::DumpGo(json)).str();
}

absl::Status VerifySignature(const HttpIdentifier& identifier, const HttpResource& resource, const Environment& environment,
                             const CancelToken& cancel) {
  ASSIGN_OR_RETURN(const std::shared_ptr<snapshot::MountedTree> tree, environment.parts.snapshots->MountTree(resource.tree, true));
  const absl::Status verified = VerifyOpenPgp(
      {absl::StrCat(tree->path(), "/", resource.filename), identifier.signature, identifier.public_key, environment.parts.work_dir}, cancel);
  return Annotate(verified, "failed to verify pgp signature");
}

}  // namespace

absl::StatusOr<HttpResourcePtr> ResolveHttp(const HttpIdentifier& identifier, const Environment& environment, const CancelToken& cancel) {
  if (!identifier.checksum.empty() && identifier.signature.empty()) {
    // Known beforehand: nobody has to be asked when the file is cached.
    return std::make_shared<HttpResource>(
        HttpResource{identifier.checksum, HttpFilename(identifier.url, identifier.file.filename, ""), std::nullopt, nullptr});
  }
  ASSIGN_OR_RETURN(HttpResourcePtr resource, environment.web->Get(identifier, environment, cancel));
  if (!identifier.signature.empty()) RETURN_IF_ERROR(VerifySignature(identifier, *resource, environment, cancel));
  return resource;
}

absl::StatusOr<solver::CacheMap> HttpSource::DescribeCache(const solver::OpContext& context) {
  ASSIGN_OR_RETURN(const HttpIdentifier identifier, HttpIdentifier::Parse(std::get<llb::SourceOp>(vertex_->op)));
  ASSIGN_OR_RETURN(const HttpResourcePtr resource, ResolveHttp(identifier, *environment_, context.cancel));
  solver::CacheMap map;
  map.op_digest = SourceOpDigest(CacheKey(identifier, *resource));
  pin_ = resource->digest.str();
  return map;
}

absl::StatusOr<std::string> HttpSource::ContentDigest(int, const solver::ResultPtr&, const solver::OpContext&) {
  return absl::InternalError("a web source has no inputs");
}

absl::StatusOr<std::vector<solver::ResultPtr>> HttpSource::Run(const std::vector<solver::ResultPtr>&, const solver::OpContext& context) {
  ASSIGN_OR_RETURN(const HttpIdentifier identifier, HttpIdentifier::Parse(std::get<llb::SourceOp>(vertex_->op)));
  ASSIGN_OR_RETURN(const HttpResourcePtr resource, environment_->web->Get(identifier, *environment_, context.cancel));
  return std::vector<solver::ResultPtr>{std::make_shared<TreeResult>(resource->tree)};
}

}  // namespace cachalot::op
