#include "build/export_source.h"

#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "base/value_of.h"
#include "build/bridge.h"
#include "oci/go_json.h"
#include "op/result.h"

namespace cachalot::build {
namespace {

constexpr char kPlatforms[] = "refs.platforms";
constexpr char kConfig[] = "containerimage.config";

oci::Platform PlatformFrom(const oci::Json& json, const std::string& where, absl::Status& status) {
  oci::ObjectReader reader(json, where, status);
  oci::Platform platform;
  platform.os = reader.String("os");
  platform.architecture = reader.String("architecture");
  platform.variant = reader.String("variant");
  platform.os_version = reader.String("os.version");
  platform.os_features = reader.Strings("os.features");
  return oci::Normalize(platform);
}

absl::StatusOr<std::vector<exporting::PlatformResult>> ParsePlatforms(const std::string& text) {
  ASSIGN_OR_RETURN(const oci::Json json, oci::ParseJson(text, kPlatforms));
  if (json.is_null()) return absl::InvalidArgumentError("invalid empty platforms index for exporter");
  std::vector<exporting::PlatformResult> platforms;
  absl::Status status;
  oci::ObjectReader reader(json, kPlatforms, status);
  reader.Each("Platforms", [&](const oci::Json& item, const std::string& where) {
    oci::ObjectReader entry(item, where, status);
    exporting::PlatformResult& platform = platforms.emplace_back();
    platform.id = entry.String("ID");
    if (const oci::Json* value = entry.Find("Platform"); value != nullptr) platform.platform = PlatformFrom(*value, where, status);
  });
  RETURN_IF_ERROR(status);
  if (platforms.empty()) return absl::InvalidArgumentError("invalid empty platforms index for exporter");
  for (const exporting::PlatformResult& platform : platforms) {
    if (platform.id.empty()) return absl::InvalidArgumentError("invalid empty platform key for exporter");
    if (!platform.platform.has_value() || platform.platform->os.empty() || platform.platform->architecture.empty()) {
      return absl::InvalidArgumentError(absl::StrCat("invalid platform value of ", platform.id, " for exporter"));
    }
  }
  return platforms;
}

// For a result that does not list its platforms.
absl::StatusOr<exporting::PlatformResult> OnlyPlatform(const llb::FrontendResult& result, const oci::Platform& default_platform) {
  exporting::PlatformResult only;
  only.platform = default_platform;
  if (const std::string text = ValueOf(result.metadata, kConfig); !text.empty() && text != "null") {
    ASSIGN_OR_RETURN(const oci::ImageConfig config, oci::ParseImageConfig(text));
    const oci::Platform& platform = config.platform;
    if (platform.os.empty() != platform.architecture.empty()) {
      return absl::InvalidArgumentError("invalid image config: os and architecture must be specified together");
    }
    if (!platform.os.empty()) only.platform = oci::Normalize(platform);
  }
  return only;
}

absl::StatusOr<exporting::Attestation> ConvertAttestation(const llb::Attestation& from) {
  constexpr int kBundle = 1;
  exporting::Attestation out;
  out.bundle = from.kind == kBundle;
  out.metadata = from.metadata;
  out.path = from.path;
  out.predicate_type = from.predicate_type;
  for (const llb::InTotoSubject& subject : from.subjects) {
    exporting::Subject& converted = out.subjects.emplace_back();
    converted.self = subject.self;
    converted.name = subject.name;
    for (const std::string& digest : subject.digests) {
      ASSIGN_OR_RETURN(converted.digests.emplace_back(), oci::Digest::Parse(digest));
    }
  }
  return out;
}

}  // namespace

std::vector<llb::RefPtr> AllRefsOf(const llb::FrontendResult& result) {
  std::vector<llb::RefPtr> refs;
  if (result.ref != nullptr) refs.push_back(result.ref);
  for (const auto& [platform, ref] : result.refs) refs.push_back(ref);
  for (const auto& [platform, attestations] : result.attestations) {
    for (const llb::Attestation& attestation : attestations) {
      if (attestation.ref != nullptr) refs.push_back(attestation.ref);
    }
  }
  return refs;
}

absl::StatusOr<exporting::Source> DescribeResult(const llb::FrontendResult& result, const oci::Platform& default_platform) {
  exporting::Source source;
  source.metadata = result.metadata;
  source.multi_platform = !result.refs.empty();
  if (const std::string text = ValueOf(result.metadata, kPlatforms); !text.empty()) {
    ASSIGN_OR_RETURN(source.platforms, ParsePlatforms(text));
  } else if (source.multi_platform) {
    return absl::InvalidArgumentError(absl::StrCat("unable to export multiple refs, missing platforms mapping"));
  } else {
    ASSIGN_OR_RETURN(exporting::PlatformResult only, OnlyPlatform(result, default_platform));
    source.platforms.push_back(std::move(only));
  }
  for (exporting::PlatformResult& platform : source.platforms) {
    platform.config = ValueOf(result.metadata, absl::StrCat(kConfig, "/", platform.id));
    if (platform.config.empty()) platform.config = ValueOf(result.metadata, kConfig);
    if (source.multi_platform && result.refs.count(platform.id) == 0) {
      return absl::InvalidArgumentError(absl::StrCat("failed to find ref for ID ", platform.id));
    }
  }
  return source;
}

absl::Status SolveResult(BuildCore& core, const llb::FrontendResult& result) { return SolveAll(core, AllRefsOf(result), core.cancel()).status(); }

absl::StatusOr<exporting::Source> MakeExportSource(BuildCore& core, const llb::FrontendResult& result) {
  const op::Environment& environment = *core.environment();
  ASSIGN_OR_RETURN(exporting::Source source, DescribeResult(result, environment.platform));
  const std::vector<llb::RefPtr> refs = AllRefsOf(result);
  ASSIGN_OR_RETURN(const std::vector<solver::ResultPtr> results, SolveAll(core, refs, core.cancel()));
  std::map<llb::RefPtr, snapshot::SnapshotPtr> trees;
  for (std::size_t i = 0; i < refs.size(); ++i) {
    ASSIGN_OR_RETURN(trees[refs[i]], op::CommittedTreeOf(results[i], *environment.parts.snapshots));
  }
  for (exporting::PlatformResult& platform : source.platforms) {
    platform.tree = trees[source.multi_platform ? result.refs.at(platform.id) : result.ref];
    const std::string id = platform.id.empty() ? oci::FormatPlatform(*platform.platform, /*with_version=*/true) : platform.id;
    const auto attestations = result.attestations.find(id);
    if (attestations == result.attestations.end()) continue;
    for (const llb::Attestation& attestation : attestations->second) {
      ASSIGN_OR_RETURN(exporting::Attestation converted, ConvertAttestation(attestation));
      converted.tree = trees[attestation.ref];
      platform.attestations.push_back(std::move(converted));
    }
  }
  return source;
}

}  // namespace cachalot::build
