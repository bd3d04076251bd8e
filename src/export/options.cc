#include "export/options.h"

#include <algorithm>
#include <functional>
#include <regex>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "oci/platform.h"

namespace cachalot::exporting {
namespace {

// What Go's strconv.ParseBool takes.
absl::StatusOr<bool> ParseBool(const std::string& key, const std::string& value, bool empty_is_true) {
  if (value.empty() && empty_is_true) return true;
  for (const char* yes : {"1", "t", "T", "TRUE", "true", "True"}) {
    if (value == yes) return true;
  }
  for (const char* no : {"0", "f", "F", "FALSE", "false", "False"}) {
    if (value == no) return false;
  }
  return absl::InvalidArgumentError(absl::StrCat("non-bool value specified for ", key, ": \"", absl::CEscape(value), "\" is neither true nor false"));
}

absl::StatusOr<std::optional<absl::Time>> ParseEpoch(const std::string& what, const std::string& value) {
  if (value.empty()) return std::optional<absl::Time>();
  std::int64_t seconds = 0;
  if (!absl::SimpleAtoi(value, &seconds)) {
    return absl::InvalidArgumentError(absl::StrCat("invalid ", what, ": \"", absl::CEscape(value), "\" is no number of seconds"));
  }
  return std::optional<absl::Time>(absl::FromUnixSeconds(seconds));
}

absl::Status ParseCompression(const std::string& value, snapshot::Compression& compression) {
  if (value == "uncompressed") {
    compression.type = "";
  } else if (value == "gzip" || value == "zstd") {
    compression.type = value;
  } else {
    return absl::InvalidArgumentError(absl::StrCat("unsupported compression type ", absl::CEscape(value)));
  }
  return absl::OkStatus();
}

absl::Status ParseLevel(const std::string& value, snapshot::Compression& compression) {
  if (absl::SimpleAtoi(value, &compression.level)) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("non-integer value ", absl::CEscape(value), " specified for compression-level"));
}

using Setter = std::function<absl::Status(const std::string& key, const std::string& value, ExportOptions& options)>;

Setter Flag(bool ExportOptions::*member, bool empty_is_true) {
  return [member, empty_is_true](const std::string& key, const std::string& value, ExportOptions& options) -> absl::Status {
    ASSIGN_OR_RETURN(options.*member, ParseBool(key, value, empty_is_true));
    return absl::OkStatus();
  };
}

Setter Checked(bool empty_is_true) {
  return [empty_is_true](const std::string& key, const std::string& value, ExportOptions&) { return ParseBool(key, value, empty_is_true).status(); };
}

Setter Text(std::string ExportOptions::*member) {
  return [member](const std::string&, const std::string& value, ExportOptions& options) {
    options.*member = value;
    return absl::OkStatus();
  };
}

using Setters = std::map<std::string, Setter>;

const Setters& CommonSetters() {
  static const Setters* setters =
      new Setters{{"source-date-epoch", [](const std::string& key, const std::string& value, ExportOptions& options) -> absl::Status {
                     options.has_epoch = true;
                     ASSIGN_OR_RETURN(options.epoch, ParseEpoch(key, value));
                     return absl::OkStatus();
                   }}};
  return *setters;
}

// Attributes of every image-shaped exporter.
const Setters& ImageSetters() {
  static const Setters* setters =
      new Setters{{"name", Text(&ExportOptions::name)},
                  {"oci-mediatypes", Flag(&ExportOptions::oci_types, false)},
                  {"rewrite-timestamp", Flag(&ExportOptions::rewrite_timestamp, false)},
                  {"oci-artifact", Flag(&ExportOptions::oci_artifact, false)},
                  {"attestation-inline", Flag(&ExportOptions::force_attestations, false)},
                  {"prefer-nondist-layers",
                   [](const std::string& key, const std::string& value, ExportOptions& options) -> absl::Status {
                     ASSIGN_OR_RETURN(options.compression.keep_foreign, ParseBool(key, value, false));
                     return absl::OkStatus();
                   }},
                  {"compression",
                   [](const std::string&, const std::string& value, ExportOptions& options) { return ParseCompression(value, options.compression); }},
                  {"compression-level",
                   [](const std::string&, const std::string& value, ExportOptions& options) { return ParseLevel(value, options.compression); }},
                  {"force-compression", [](const std::string& key, const std::string& value, ExportOptions& options) -> absl::Status {
                     ASSIGN_OR_RETURN(options.compression.force, ParseBool(key, value, true));
                     return absl::OkStatus();
                   }}};
  return *setters;
}

// Attributes of the exporter that knows registries and image stores.
const Setters& RegistrySetters() {
  static const Setters* setters = new Setters{{"push", Flag(&ExportOptions::push, true)},
                                              {"push-by-digest", Flag(&ExportOptions::push_by_digest, true)},
                                              {"registry.insecure", Flag(&ExportOptions::insecure, true)},
                                              {"name-canonical", Flag(&ExportOptions::name_canonical, true)},
                                              {"danging-name-empty-only", Flag(&ExportOptions::dangling_empty_only, true)},
                                              {"dangling-name-prefix", Text(&ExportOptions::dangling_prefix)},
                                              {"unpack", Checked(true)},
                                              {"store", Checked(true)}};
  return *setters;
}

const Setters& ArchiveSetters() {
  static const Setters* setters = new Setters{{"tar", Flag(&ExportOptions::tar, true)}};
  return *setters;
}

const Setters& FileSetters() {
  static const Setters* setters =
      new Setters{{"platform-split",
                   [](const std::string& key, const std::string& value, ExportOptions& options) -> absl::Status {
                     ASSIGN_OR_RETURN(options.platform_split, ParseBool(key, value, false));
                     return absl::OkStatus();
                   }},
                  {"attestation-prefix", Text(&ExportOptions::attestation_prefix)},
                  {"mode", [](const std::string&, const std::string& value, ExportOptions& options) -> absl::Status {
                     const std::string mode = absl::AsciiStrToLower(absl::StripAsciiWhitespace(value));
                     if (!mode.empty() && mode != "copy" && mode != "delete") {
                       return absl::InvalidArgumentError(absl::StrCat("invalid local exporter mode \"", absl::CEscape(value), "\""));
                     }
                     options.delete_mode = mode == "delete";
                     return absl::OkStatus();
                   }}};
  return *setters;
}

absl::StatusOr<Kind> ParseKind(const std::string& type) {
  static const std::map<std::string, Kind>* kinds = new std::map<std::string, Kind>{
      {"image", Kind::kImage}, {"oci", Kind::kOci}, {"docker", Kind::kDocker}, {"tar", Kind::kTar}, {"local", Kind::kLocal}};
  const auto it = kinds->find(type);
  if (it == kinds->end()) return absl::InvalidArgumentError(absl::StrCat("exporter \"", absl::CEscape(type), "\" could not be found"));
  return it->second;
}

std::vector<const Setters*> SettersOf(Kind kind) {
  switch (kind) {
    case Kind::kImage: return {&CommonSetters(), &ImageSetters(), &RegistrySetters()};
    case Kind::kOci:
    case Kind::kDocker: return {&CommonSetters(), &ImageSetters(), &ArchiveSetters()};
    default: return {&CommonSetters(), &FileSetters()};
  }
}

}  // namespace

absl::StatusOr<bool> AnnotationGroup::Take(const std::string& key, const std::string& value) {
  static const std::regex* pattern = new std::regex(R"(annotation(?:-([a-z-]+))?(?:\[([A-Za-z0-9_/-]+)\])?\.(\S+))");
  std::smatch match;
  if (key.size() > 4096 || !std::regex_match(key, match, *pattern)) return false;
  std::string platform;
  if (match[2].length() > 0) {
    ASSIGN_OR_RETURN(const oci::Platform parsed, oci::ParsePlatform(match[2].str()));
    platform = oci::FormatPlatform(parsed, true);
  }
  AnnotationSet& set = by_platform_[platform];
  const std::string where = match[1].str();
  if (where.empty() || where == "manifest") {
    set.manifest[match[3].str()] = value;
  } else if (where == "manifest-descriptor") {
    set.manifest_descriptor[match[3].str()] = value;
  } else if (where == "index") {
    set.index[match[3].str()] = value;
  } else if (where == "index-descriptor") {
    set.index_descriptor[match[3].str()] = value;
  } else {
    return absl::InvalidArgumentError(absl::StrCat("unrecognized annotation type ", where));
  }
  return true;
}

AnnotationSet AnnotationGroup::For(const std::string& platform) const {
  AnnotationSet out;
  for (const auto& [name, set] : by_platform_) {
    for (const auto& [key, value] : set.index) out.index[key] = value;
    for (const auto& [key, value] : set.index_descriptor) out.index_descriptor[key] = value;
    if (!name.empty() && name != platform) continue;  // "" sorts first: the platform's own overwrite it
    for (const auto& [key, value] : set.manifest) out.manifest[key] = value;
    for (const auto& [key, value] : set.manifest_descriptor) out.manifest_descriptor[key] = value;
  }
  return out;
}

std::vector<std::string> AnnotationGroup::Platforms() const {
  std::vector<std::string> out;
  for (const auto& [name, set] : by_platform_) {
    if (!name.empty()) out.push_back(name);
  }
  return out;
}

bool AnnotationGroup::TouchesMoreThanManifests() const {
  for (const auto& [name, set] : by_platform_) {
    if (!set.index.empty() || !set.index_descriptor.empty() || !set.manifest_descriptor.empty()) return true;
  }
  return false;
}

absl::StatusOr<ExportOptions> ParseOptions(const std::string& type, const std::map<std::string, std::string>& attrs) {
  ExportOptions options;
  ASSIGN_OR_RETURN(options.kind, ParseKind(type));
  options.force_attestations = options.kind == Kind::kImage;
  const bool image = options.kind == Kind::kImage || options.kind == Kind::kOci || options.kind == Kind::kDocker;
  for (const auto& [key, value] : attrs) {
    if (image) {
      ASSIGN_OR_RETURN(const bool taken, options.annotations.Take(key, value));
      if (taken) continue;
    }
    bool known = false;
    for (const Setters* setters : SettersOf(options.kind)) {
      const auto it = setters->find(key);
      if (it == setters->end()) continue;
      RETURN_IF_ERROR(it->second(key, value, options));
      known = true;
    }
    if (!known) options.other[key] = value;
  }
  if (const auto artifact = attrs.find("oci-artifact"); !options.oci_types && artifact != attrs.end() && options.oci_artifact) {
    return absl::InvalidArgumentError("exporter option \"oci-artifact=true\" conflicts with \"oci-mediatypes=false\"");
  }
  options.chose_oci_types = attrs.count("oci-mediatypes") > 0;
  options.chose_oci_artifact = attrs.count("oci-artifact") > 0;
  options.oci_artifact &= options.oci_types;
  options.compression.oci_media_types = options.oci_types;
  return options;
}

absl::Status ApplyCompatibility(int version, const std::string& type, const Source& source, ExportOptions& options) {
  if (version >= kCompatibilityCurrent) return absl::OkStatus();
  if (version == kCompatibility013 && options.compression.type == "zstd") {
    return absl::InvalidArgumentError(absl::StrCat("unsupported compatibility-version ", version, " feature ", type, " exporter compression=zstd"));
  }
  const bool has_attestations =
      std::any_of(source.platforms.begin(), source.platforms.end(), [](const PlatformResult& result) { return !result.attestations.empty(); });
  if (!options.chose_oci_types) options.oci_types = options.kind == Kind::kOci || has_attestations;
  if (!options.chose_oci_artifact) options.oci_artifact = false;
  options.compression.oci_media_types = options.oci_types;
  return absl::OkStatus();
}

absl::StatusOr<std::optional<absl::Time>> EpochFor(const ExportOptions& options, const Source& source, const std::string& platform) {
  if (options.has_epoch) return options.epoch;
  for (const std::string& key : {absl::StrCat("source.date.epoch/", platform), std::string("source.date.epoch")}) {
    if (const auto it = source.metadata.find(key); it != source.metadata.end()) return ParseEpoch("SOURCE_DATE_EPOCH from frontend", it->second);
  }
  return std::optional<absl::Time>();
}

std::string ExporterTitle(Kind kind) {
  switch (kind) {
    case Kind::kImage: return "exporting to image";
    case Kind::kOci: return "exporting to oci image format";
    case Kind::kDocker: return "exporting to docker image format";
    case Kind::kTar: return "exporting to client tarball";
    case Kind::kLocal: return "exporting to client directory";
  }
  return "exporting";
}

}  // namespace cachalot::exporting
