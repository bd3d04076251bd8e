#include "client/layout_uses.h"

#include <iostream>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "base/value_of.h"
#include "client/image_layout.h"
#include "oci/reference.h"
#include "os/file.h"

namespace cachalot::client {
namespace {

namespace control = moby::buildkit::v1;

constexpr char kLocal[] = "local";
constexpr char kOutputStore[] = "export";  // what daemons call it

std::string StoreOf(const std::string& directory) { return absl::StrCat("local:", directory); }

// Fills in the digest of what is to be imported.
absl::Status Resolve(control::CacheOptionsEntry& import) {
  const std::string directory = ValueOf(import.attrs(), "src");
  std::string digest = ValueOf(import.attrs(), "digest");
  if (digest.empty()) {
    ASSIGN_OR_RETURN(const oci::Descriptor found, FindInLayout(directory, ValueOf(import.attrs(), "tag")));
    digest = found.digest.str();
    (*import.mutable_attrs())["digest"] = digest;
  }
  ASSIGN_OR_RETURN(const oci::Digest parsed, oci::Digest::Parse(digest));
  return os::Lstat(BlobPathInLayout(directory, parsed)).status();
}

}  // namespace

absl::Status LayoutUses::AddCaches(control::CacheOptions& caches) {
  for (const control::CacheOptionsEntry& entry : caches.exports()) {
    if (entry.type() != kLocal) continue;
    const std::string directory = ValueOf(entry.attrs(), "dest");
    if (directory.empty()) return absl::InvalidArgumentError("local cache exporter requires dest");
    RETURN_IF_ERROR(os::MakeDirectories(directory));
    stores_[StoreOf(directory)] = directory;
    const std::string tag = ValueOf(entry.attrs(), "tag");
    cache_exports_.emplace_back(directory, tag.empty() ? "latest" : tag);
  }
  auto& imports = *caches.mutable_imports();
  for (int i = 0; i < imports.size();) {
    control::CacheOptionsEntry& entry = imports[i];
    if (entry.type() != kLocal) {
      ++i;
      continue;
    }
    const std::string directory = ValueOf(entry.attrs(), "src");
    if (directory.empty()) return absl::InvalidArgumentError("local cache importer requires src");
    if (const absl::Status status = Resolve(entry); !status.ok()) {
      std::cerr << "WARNING: local cache import at " << directory << " skipped: " << status.message() << "\n";
      imports.erase(imports.begin() + i);
      continue;
    }
    stores_[StoreOf(directory)] = directory;
    ++i;
  }
  return absl::OkStatus();
}

absl::Status LayoutUses::AddOutput(const OutputSpec& output) {
  if (output.dest.empty() || output.dest == "-")
    return absl::InvalidArgumentError(absl::StrCat("dest is required for ", output.type, " output with tar=false"));
  if (!output_.empty()) return absl::InvalidArgumentError("only one output can have tar=false");
  RETURN_IF_ERROR(os::MakeDirectories(output.dest));
  output_ = output.dest;
  stores_[kOutputStore] = output.dest;
  return absl::OkStatus();
}

absl::Status LayoutUses::NameResults(const std::map<std::string, std::string>& exporter_response) const {
  if (const std::string cache = ValueOf(exporter_response, "cache.manifest"); !cache.empty()) {
    ASSIGN_OR_RETURN(const oci::Descriptor manifest, oci::ParseDescriptor(cache));
    for (const auto& [directory, tag] : cache_exports_) RETURN_IF_ERROR(NameInLayout(directory, manifest, {{"", tag}}));
  }
  const std::string encoded = ValueOf(exporter_response, "containerimage.descriptor");
  if (output_.empty() || encoded.empty()) return absl::OkStatus();
  std::string json;
  if (!absl::Base64Unescape(encoded, &json)) return absl::DataLossError("the daemon's description of the image cannot be read");
  ASSIGN_OR_RETURN(const oci::Descriptor image, oci::ParseDescriptor(json));
  std::vector<LayoutName> names;
  for (const absl::string_view name : absl::StrSplit(ValueOf(exporter_response, "image.name"), ',', absl::SkipEmpty())) {
    ASSIGN_OR_RETURN(const oci::Reference reference, oci::Reference::ParseNormalized(name));
    names.push_back({reference.str(), reference.tag});
  }
  if (names.empty()) names.push_back({"", "latest"});
  return NameInLayout(output_, image, names);
}

}  // namespace cachalot::client
