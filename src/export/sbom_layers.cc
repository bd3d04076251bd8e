#include "export/sbom_layers.h"

#include <map>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/path.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "codec/compression.h"
#include "codec/tar.h"
#include "export/image_writer.h"
#include "oci/go_json.h"

namespace cachalot::exporting {
namespace {

constexpr std::size_t kMaxBytes = 40 << 20;
constexpr char kTool[] = "Tool: cachalot";

// Finds the topmost layer that has a file; layers are read from the top, as far down as needed.
class LayerFinder {
 public:
  LayerFinder(const std::vector<snapshot::Layer>& layers, const Context& context) : layers_(layers), context_(context), left_(layers.size()) {}

  // Null when no layer has it.
  absl::StatusOr<const snapshot::Layer*> Find(const std::string& filename) {
    const std::string path = RootedPath(filename);
    for (auto found = owners_.find(path);; found = owners_.find(path)) {
      if (found != owners_.end()) return &layers_[found->second];
      if (left_ == 0) return nullptr;
      RETURN_IF_ERROR(ReadNames(--left_));
    }
  }

 private:
  absl::Status ReadNames(std::size_t index) {
    const snapshot::Layer& layer = layers_[index];
    RETURN_IF_ERROR(EnsureLocal(layer, context_));
    ASSIGN_OR_RETURN(UniqueFd fd, context_.blobs->Open(layer.blob.digest));
    const std::string name = absl::StrCat("layer ", layer.blob.digest.str());
    ASSIGN_OR_RETURN(const std::unique_ptr<codec::Source> source, codec::NewAutoDecompressor(std::make_unique<codec::FdSource>(std::move(fd), name)));
    codec::TarReader reader(source.get());
    codec::TarEntry entry;
    while (true) {
      RETURN_IF_ERROR(context_.cancel.status());
      const absl::StatusOr<bool> more = reader.Next(&entry);
      if (!more.ok()) return Annotate(more.status(), name);
      if (!*more) return absl::OkStatus();
      const std::string path = RootedPath(entry.path);
      if (!absl::StartsWith(BaseName(path), ".wh.")) owners_.emplace(path, index);
    }
  }

  const std::vector<snapshot::Layer>& layers_;
  const Context& context_;
  std::size_t left_;  // layers not read yet
  std::map<std::string, std::size_t> owners_;
};

bool IsAboutTheImage(const Attestation& attestation) {
  if (attestation.bundle || attestation.predicate_type != kSpdxPredicate) return false;
  const auto core = attestation.metadata.find(kAttestationSbomCore);
  if (core == attestation.metadata.end()) return false;
  const std::string name = BaseName(attestation.path);
  return name.substr(0, name.find('.')) == core->second;
}

bool IsSpdx(const oci::Json& document) {
  if (!document.is_object()) return false;
  const auto version = document.find("spdxVersion");
  return version != document.end() && version->is_string() && absl::StartsWith(version->get_ref<const std::string&>(), "SPDX-2.");
}

absl::Status CommentFiles(LayerFinder& layers, oci::Json& document) {
  const auto files = document.find("files");
  if (files == document.end() || !files->is_array()) return absl::OkStatus();
  for (oci::Json& file : *files) {
    if (!file.is_object()) continue;
    const auto comment = file.find("comment");
    const auto name = file.find("fileName");
    if (name == file.end() || !name->is_string()) continue;
    if (comment != file.end() && !(comment->is_string() && comment->get_ref<const std::string&>().empty())) continue;
    ASSIGN_OR_RETURN(const snapshot::Layer* layer, layers.Find(name->get<std::string>()));
    if (layer != nullptr) file["comment"] = absl::StrCat("layerID: ", layer->blob.digest.str());
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Attestation> NameLayersOfFiles(const Attestation& attestation, const std::vector<snapshot::Layer>& layers, const Context& context) {
  if (!IsAboutTheImage(attestation)) return attestation;
  ASSIGN_OR_RETURN(const std::string text, ReadPredicate(attestation, context));
  absl::StatusOr<oci::Json> document = oci::ParseJson(text, attestation.path, kMaxBytes);
  // What is no SPDX document is passed on: scanners may know newer forms.
  if (!document.ok() || !IsSpdx(*document)) return attestation;
  LayerFinder finder(layers, context);
  RETURN_IF_ERROR(CommentFiles(finder, *document));
  oci::Json& info = (*document)["creationInfo"];
  if (!info.is_object()) info = oci::Json::object();
  if (!info["creators"].is_array()) info["creators"] = oci::Json::array();
  info["creators"].push_back(kTool);
  Attestation out = attestation;
  out.tree = nullptr;
  out.content = [text = oci::DumpGo(*document)] { return text; };
  return out;
}

}  // namespace cachalot::exporting
