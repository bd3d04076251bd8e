#include "daemon/translate_solve.h"

#include <map>
#include <set>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status_macros.h"
#include "daemon/timestamps.h"
#include "daemon/translate_policy.h"
#include "daemon/version.h"
#include "dockerfile/frontend.h"
#include "llb/wire.h"

namespace cachalot::daemon {

namespace {

namespace control = moby::buildkit::v1;
using StringMap = google::protobuf::Map<std::string, std::string>;

std::map<std::string, std::string> Plain(const StringMap& map) { return {map.begin(), map.end()}; }

// What makes two cache exports the same target.
std::string CacheKey(const build::ExportRequest& entry) {
  const auto ref = entry.attrs.find("ref");
  if (entry.type == "registry" && ref != entry.attrs.end() && !ref->second.empty()) {
    return ref->second;
  }
  return absl::StrCat(entry.type, ":", absl::StrJoin(entry.attrs, "\n", absl::PairFormatter("=")));
}

absl::Status DecodeCacheExports(const control::CacheOptions& cache, build::BuildRequest& request) {
  std::vector<build::ExportRequest> all;
  for (const auto& entry : cache.exports()) {
    all.push_back({entry.type(), Plain(entry.attrs())});
  }
  if (!cache.exportrefdeprecated().empty()) {
    build::ExportRequest entry{"registry", Plain(cache.exportattrsdeprecated())};
    entry.attrs["ref"] = cache.exportrefdeprecated();
    all.push_back(std::move(entry));
  }
  std::set<std::string> seen;
  std::vector<std::string> duplicates;
  bool has_inline = false;
  for (auto& entry : all) {
    if (entry.type == "inline" && std::exchange(has_inline, true)) {
      continue;
    }
    if (!seen.insert(CacheKey(entry)).second) {
      duplicates.push_back(entry.type);
    }
    request.cache_exports.push_back(std::move(entry));
  }
  if (!duplicates.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("duplicate cache exports [", absl::StrJoin(duplicates, " "), "]"));
  }
  return absl::OkStatus();
}

void DecodeExports(const control::SolveRequest& message, build::BuildRequest& request) {
  for (const auto& exporter : message.exporters()) {
    request.exports.push_back({exporter.type(), Plain(exporter.attrs())});
  }
  if (request.exports.empty() && !message.exporterdeprecated().empty()) {
    request.exports.push_back({message.exporterdeprecated(), Plain(message.exporterattrsdeprecated())});
  }
  const auto epoch = request.options.find("build-arg:SOURCE_DATE_EPOCH");
  // "context" and the like are for the frontend; an empty value takes what the frontend says away from the exporters.
  std::int64_t seconds = 0;
  if (epoch != request.options.end() && (epoch->second.empty() || absl::SimpleAtoi(epoch->second, &seconds))) {
    for (auto& exporter : request.exports) {
      exporter.attrs.emplace("source-date-epoch", epoch->second);
    }
  }
}

// The frontend "image" that stands for the built-in frontend, unless the client puts something in its place.
void UseBuiltInFrontend(build::BuildRequest& request) {
  constexpr char kBuiltIn[] = "dockerfile.v0";
  const auto source = request.options.find("source");
  if (request.frontend != "gateway.v0" || source == request.options.end() || source->second != kBuiltIn) return;
  const std::string context = absl::StrCat("context:", kBuiltIn);
  for (const auto& [name, value] : request.options) {
    if (name == context || absl::StartsWith(name, context + "::")) return;
  }
  request.frontend = kBuiltIn;
  request.options.erase(source);
}

}  // namespace

absl::StatusOr<build::BuildRequest> DecodeSolve(const control::SolveRequest& message) {
  RETURN_IF_ERROR(llb::CheckTexts(message));
  build::BuildRequest request;
  request.ref = message.ref();
  request.session = message.session();
  if (message.has_definition()) {
    request.definition = message.definition().SerializeAsString();
    request.scratch_definition = request.definition.empty();
  }
  request.frontend = message.frontend();
  request.options = Plain(message.frontendattrs());
  UseBuiltInFrontend(request);
  for (const auto& [name, definition] : message.frontendinputs()) {
    request.inputs[name] = definition.SerializeAsString();
  }
  DecodeExports(message, request);
  for (const auto& entry : message.cache().imports()) {
    request.cache_imports.push_back({entry.type(), Plain(entry.attrs())});
  }
  for (const auto& ref : message.cache().importrefsdeprecated()) {
    request.cache_imports.push_back({"registry", {{"ref", ref}}});
  }
  RETURN_IF_ERROR(DecodeCacheExports(message.cache(), request));
  request.entitlements.assign(message.entitlements().begin(), message.entitlements().end());
  request.internal = message.internal();
  request.compatibility_version = static_cast<int>(message.compatibilityversion());
  request.session_exporter = message.enablesessionexporter();
  if (message.has_sourcepolicy()) {
    ASSIGN_OR_RETURN(policy::Policy policy, DecodePolicy(message.sourcepolicy()));
    request.source_policies.push_back(std::move(policy));
  }
  request.proxy_network = message.proxynetwork();
  return request;
}

void EncodeUsage(const snapshot::UsageRecord& record, control::UsageRecord* message) {
  message->set_id(record.id);
  message->set_mutable_(record.mutable_);
  message->set_inuse(record.in_use);
  message->set_size(record.size);
  EncodeTime(record.created_at, message->mutable_createdat());
  if (record.last_used_at.has_value()) {
    EncodeTime(*record.last_used_at, message->mutable_lastusedat());
  }
  message->set_usagecount(record.usage_count);
  message->set_description(record.label.description);
  message->set_recordtype(record.label.record_type);
  message->set_shared(record.shared);
  message->mutable_parents()->Add(record.parents.begin(), record.parents.end());
}

snapshot::PrunePolicy DecodePrune(const control::PruneRequest& message) {
  snapshot::PrunePolicy policy;
  policy.all = message.all();
  policy.keep_duration = absl::Nanoseconds(message.keepduration());
  policy.reserved_space = message.reservedspace();
  policy.max_used_space = message.maxusedspace();
  policy.min_free_space = message.minfreespace();
  policy.filters.assign(message.filter().begin(), message.filter().end());
  return policy;
}

void EncodeWorker(const build::WorkerInfo& worker, control::types::WorkerRecord* message) {
  message->set_id(worker.id);
  message->mutable_labels()->insert(worker.labels.begin(), worker.labels.end());
  for (const auto& platform : worker.platforms) {
    EncodePlatform(platform, message->add_platforms());
  }
  for (const auto& policy : worker.gc_policies) {
    auto* encoded = message->add_gcpolicy();
    encoded->set_all(policy.all);
    encoded->set_keepduration(absl::ToInt64Nanoseconds(policy.keep_duration));
    encoded->mutable_filters()->Add(policy.filters.begin(), policy.filters.end());
    encoded->set_reservedspace(policy.reserved_space);
    encoded->set_maxusedspace(policy.max_used_space);
    encoded->set_minfreespace(policy.min_free_space);
  }
  for (const runtime::CdiDevice& device : worker.devices) {
    auto* encoded = message->add_cdidevices();
    encoded->set_name(device.name);
    encoded->set_autoallow(device.auto_allow);
    encoded->mutable_annotations()->insert(device.annotations.begin(), device.annotations.end());
  }
  EncodeVersion(message->mutable_buildkitversion());
}

void EncodeVersion(control::types::BuildkitVersion* message) {
  message->set_package(kPackage);
  message->set_version(kProtocolVersion);
  message->set_dockerfileversion(dockerfile::kVersion);
  message->set_revision(absl::StrCat("cachalot-", kVersion));
}

oci::Platform DecodePlatform(const pb::Platform& message) {
  oci::Platform platform;
  platform.os = message.os();
  platform.architecture = message.architecture();
  platform.variant = message.variant();
  platform.os_version = message.osversion();
  platform.os_features.assign(message.osfeatures().begin(), message.osfeatures().end());
  return platform;
}

void EncodePlatform(const oci::Platform& platform, pb::Platform* message) {
  message->set_os(platform.os);
  message->set_architecture(platform.architecture);
  message->set_variant(platform.variant);
  message->set_osversion(platform.os_version);
  message->mutable_osfeatures()->Add(platform.os_features.begin(), platform.os_features.end());
}

}  // namespace cachalot::daemon
