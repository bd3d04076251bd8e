#include "daemon/translate_gateway.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "daemon/timestamps.h"
#include "daemon/translate_policy.h"
#include "daemon/translate_solve.h"
#include "llb/caps.h"
#include "llb/definition.h"
#include "llb/wire.h"

namespace cachalot::daemon {

namespace {

namespace gateway = moby::buildkit::v1::frontend;

void EncodeRef(const llb::RefPtr& ref, build::GatewayBuild& build, gateway::Ref* message) {
  if (ref == nullptr) {
    return;
  }
  message->set_id(build.Keep(ref));
  if (ref->edge().vertex != nullptr) {
    message->mutable_def()->ParseFromString(llb::SaveDefinition(ref->edge()));
  }
}

// An empty id stands for the empty tree.
absl::StatusOr<llb::RefPtr> FindRef(const std::string& id, build::GatewayBuild& build) {
  if (id.empty()) {
    return llb::RefPtr();
  }
  return build.Find(id);
}

void EncodeAttestation(const llb::Attestation& attestation, build::GatewayBuild& build, gateway::Attestation* message) {
  message->set_kind(static_cast<gateway::AttestationKind>(attestation.kind));
  message->mutable_metadata()->insert(attestation.metadata.begin(), attestation.metadata.end());
  if (attestation.ref != nullptr) {
    EncodeRef(attestation.ref, build, message->mutable_ref());
  }
  message->set_path(attestation.path);
  message->set_intotopredicatetype(attestation.predicate_type);
  for (const auto& subject : attestation.subjects) {
    auto* encoded = message->add_intotosubjects();
    encoded->set_kind(subject.self ? gateway::Self : gateway::Raw);
    encoded->mutable_digest()->Add(subject.digests.begin(), subject.digests.end());
    encoded->set_name(subject.name);
  }
}

absl::StatusOr<llb::Attestation> DecodeAttestation(const gateway::Attestation& message, build::GatewayBuild& build) {
  llb::Attestation attestation;
  attestation.kind = message.kind();
  attestation.metadata.insert(message.metadata().begin(), message.metadata().end());
  if (message.has_ref()) {
    ASSIGN_OR_RETURN(attestation.ref, FindRef(message.ref().id(), build));
  }
  attestation.path = message.path();
  attestation.predicate_type = message.intotopredicatetype();
  for (const auto& subject : message.intotosubjects()) {
    attestation.subjects.push_back({subject.kind() == gateway::Self, {subject.digest().begin(), subject.digest().end()}, subject.name()});
  }
  return attestation;
}

absl::Status DecodeRefs(const gateway::Result& message, build::GatewayBuild& build, llb::FrontendResult& result) {
  switch (message.result_case()) {
    case gateway::Result::kRefDeprecated: {
      ASSIGN_OR_RETURN(result.ref, FindRef(message.refdeprecated(), build));
      break;
    }
    case gateway::Result::kRef: {
      ASSIGN_OR_RETURN(result.ref, FindRef(message.ref().id(), build));
      break;
    }
    case gateway::Result::kRefsDeprecated:
      for (const auto& [platform, id] : message.refsdeprecated().refs()) {
        ASSIGN_OR_RETURN(result.refs[platform], FindRef(id, build));
      }
      break;
    case gateway::Result::kRefs:
      for (const auto& [platform, ref] : message.refs().refs()) {
        ASSIGN_OR_RETURN(result.refs[platform], FindRef(ref.id(), build));
      }
      break;
    case gateway::Result::RESULT_NOT_SET: break;
  }
  return absl::OkStatus();
}

std::string ChecksumAlgorithm(gateway::ChecksumRequest::ChecksumAlgo algorithm) {
  switch (algorithm) {
    case gateway::ChecksumRequest::CHECKSUM_ALGO_SHA256: return "sha256";
    case gateway::ChecksumRequest::CHECKSUM_ALGO_SHA384: return "sha384";
    case gateway::ChecksumRequest::CHECKSUM_ALGO_SHA512: return "sha512";
    default: return absl::StrCat(static_cast<int>(algorithm));
  }
}

void EncodeChain(const llb::AttestationChain& chain, gateway::AttestationChain* message) {
  message->set_root(chain.root.str());
  message->set_imagemanifest(chain.image_manifest.str());
  message->set_attestationmanifest(chain.attestation_manifest.str());
  for (const oci::Digest& signature : chain.signature_manifests) message->add_signaturemanifests(signature.str());
  for (const auto& [digest, blob] : chain.blobs) {
    gateway::Blob& encoded = (*message->mutable_blobs())[digest.str()];
    encoded.set_data(blob.data);
    auto* descriptor = encoded.mutable_blob_descriptor();
    descriptor->set_media_type(blob.descriptor.media_type);
    descriptor->set_digest(digest.str());
    descriptor->set_size(blob.descriptor.size);
    descriptor->mutable_annotations()->insert(blob.descriptor.annotations.begin(), blob.descriptor.annotations.end());
  }
}

}  // namespace

absl::StatusOr<llb::SolveRequest> DecodeGatewaySolve(const gateway::SolveRequest& message) {
  RETURN_IF_ERROR(llb::CheckTexts(message));
  llb::SolveRequest request;
  if (message.has_definition()) {
    request.definition = message.definition().SerializeAsString();
  }
  request.frontend = message.frontend();
  request.options.insert(message.frontendopt().begin(), message.frontendopt().end());
  for (const auto& [name, definition] : message.frontendinputs()) {
    request.inputs[name] = definition.SerializeAsString();
  }
  request.evaluate = message.evaluate();
  for (const auto& entry : message.cacheimports()) {
    request.cache_imports.push_back({entry.type(), {entry.attrs().begin(), entry.attrs().end()}});
  }
  ASSIGN_OR_RETURN(request.policies, DecodePolicies(message.sourcepolicies()));
  return request;
}

void EncodeResult(const llb::FrontendResult& result, bool with_definitions, build::GatewayBuild& build, gateway::Result* message) {
  message->mutable_metadata()->insert(result.metadata.begin(), result.metadata.end());
  if (!result.refs.empty()) {
    for (const auto& [platform, ref] : result.refs) {
      if (with_definitions) {
        EncodeRef(ref, build, &(*message->mutable_refs()->mutable_refs())[platform]);
      } else {
        (*message->mutable_refsdeprecated()->mutable_refs())[platform] = ref == nullptr ? "" : build.Keep(ref);
      }
    }
  } else if (with_definitions) {
    EncodeRef(result.ref, build, message->mutable_ref());
  } else {
    message->set_refdeprecated(result.ref == nullptr ? "" : build.Keep(result.ref));
  }
  for (const auto& [platform, attestations] : result.attestations) {
    auto& encoded = (*message->mutable_attestations())[platform];
    for (const auto& attestation : attestations) {
      EncodeAttestation(attestation, build, encoded.add_attestation());
    }
  }
}

absl::StatusOr<llb::FrontendResult> DecodeResult(const gateway::Result& message, build::GatewayBuild& build) {
  llb::FrontendResult result;
  result.metadata.insert(message.metadata().begin(), message.metadata().end());
  RETURN_IF_ERROR(DecodeRefs(message, build, result));
  for (const auto& [platform, list] : message.attestations()) {
    for (const auto& encoded : list.attestation()) {
      ASSIGN_OR_RETURN(auto attestation, DecodeAttestation(encoded, build));
      result.attestations[platform].push_back(std::move(attestation));
    }
  }
  return result;
}

absl::StatusOr<llb::ResolveOptions> DecodeResolve(const gateway::ResolveImageConfigRequest& message) {
  llb::ResolveOptions options;
  if (message.has_platform()) {
    options.platform = DecodePlatform(message.platform());
  }
  options.resolve_mode = message.resolvemode();
  options.log_name = message.logname();
  ASSIGN_OR_RETURN(options.policies, DecodePolicies(message.sourcepolicies()));
  options.store_session = message.sessionid();
  options.store_id = message.storeid();
  return options;
}

absl::StatusOr<llb::ResolveOptions> DecodeResolve(const gateway::ResolveSourceMetaRequest& message) {
  llb::ResolveOptions options;
  if (message.has_platform()) {
    options.platform = DecodePlatform(message.platform());
  }
  options.resolve_mode = message.resolvemode();
  options.log_name = message.logname();
  ASSIGN_OR_RETURN(options.policies, DecodePolicies(message.sourcepolicies()));
  options.no_config = message.image().noconfig();
  options.attestation_chain = message.image().attestationchain();
  options.attestations = {message.image().resolveattestations().begin(), message.image().resolveattestations().end()};
  options.git_objects = message.git().returnobject();
  if (message.http().has_checksumrequest()) {
    const gateway::ChecksumRequest& request = message.http().checksumrequest();
    options.checksum = llb::ChecksumRequest{ChecksumAlgorithm(request.algo()), request.suffix()};
  }
  return options;
}

void EncodeSource(const llb::ResolvedSource& resolved, const gateway::ResolveSourceMetaRequest& request,
                  gateway::ResolveSourceMetaResponse* response) {
  response->mutable_source()->set_identifier(resolved.source.identifier);
  response->mutable_source()->mutable_attrs()->insert(resolved.source.attrs.begin(), resolved.source.attrs.end());
  if (resolved.image.has_value()) {
    response->mutable_image()->set_digest(resolved.image->digest.str());
    response->mutable_image()->set_config(resolved.image->config);
  }
  if (resolved.attestations.has_value()) EncodeChain(*resolved.attestations, response->mutable_image()->mutable_attestationchain());
  if (resolved.git.has_value()) {
    auto* git = response->mutable_git();
    git->set_checksum(resolved.git->checksum);
    git->set_ref(resolved.git->ref);
    git->set_commitchecksum(resolved.git->commit_checksum);
    git->set_commitobject(resolved.git->commit_object);
    git->set_tagobject(resolved.git->tag_object);
  }
  if (!resolved.http.has_value()) return;
  auto* http = response->mutable_http();
  http->set_checksum(resolved.http->digest.str());
  http->set_filename(resolved.http->filename);
  if (resolved.http->last_modified.has_value()) EncodeTime(*resolved.http->last_modified, http->mutable_lastmodified());
  if (resolved.http->checksum.empty()) return;
  http->mutable_checksumresponse()->set_digest(resolved.http->checksum.str());
  http->mutable_checksumresponse()->set_suffix(request.http().checksumrequest().suffix());
}

void EncodeStat(const llb::FileStat& stat, fsutil::types::Stat* message) {
  message->set_path(stat.path);
  message->set_mode(stat.mode);
  message->set_uid(stat.uid);
  message->set_gid(stat.gid);
  message->set_size(stat.size);
  message->set_modtime(stat.mod_time_ns);
  message->set_linkname(stat.link_name);
}

void EncodeCaps(gateway::PongResponse* message) {
  for (const absl::string_view id : llb::GatewayCaps()) {
    auto* cap = message->add_frontendapicaps();
    cap->set_id(std::string(id));
    cap->set_enabled(true);
    cap->set_deprecated(id == "solve.inlinereturn");
  }
  for (const absl::string_view id : llb::LlbCaps()) {
    auto* cap = message->add_llbcaps();
    cap->set_id(std::string(id));
    cap->set_enabled(true);
  }
}

}  // namespace cachalot::daemon
