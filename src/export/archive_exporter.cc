#include <map>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "codec/tar.h"
#include "export/exporters.h"
#include "export/image_writer.h"
#include "oci/go_json.h"
#include "oci/reference.h"

namespace cachalot::exporting {
namespace {

std::string BlobPath(const oci::Digest& digest) { return absl::StrCat("blobs/", digest.algorithm(), "/", digest.hex()); }

struct ArchiveFile {
  std::string content;  // or, when the digest is set, that blob
  oci::Digest blob;
  std::int64_t size = 0;
  std::uint32_t mode = 0644;
  bool directory = false;
};
// By path: archives list their files in this order, so that equal images give equal archives.
using ArchiveFiles = std::map<std::string, ArchiveFile>;

void AddText(ArchiveFiles& files, const std::string& path, std::string content, std::uint32_t mode) {
  const auto size = static_cast<std::int64_t>(content.size());
  files[path] = {.content = std::move(content), .blob = {}, .size = size, .mode = mode};
}

void AddBlob(ArchiveFiles& files, const oci::Descriptor& descriptor) {
  files[BlobPath(descriptor.digest)] = {.content = "", .blob = descriptor.digest, .size = descriptor.size, .mode = 0444};
}

std::string IndexJson(const WrittenImage& image, const std::vector<oci::Reference>& names) {
  oci::Json manifests = oci::Json::array();
  const auto add = [&](const oci::Descriptor& descriptor) { manifests.push_back(*oci::ParseJson(Serialize(descriptor), "descriptor")); };
  for (const oci::Reference& name : names) {
    oci::Descriptor named = image.root;
    named.annotations["io.containerd.image.name"] = name.str();
    named.annotations["org.opencontainers.image.ref.name"] = name.tag.empty() ? name.str() : name.tag;
    add(named);
  }
  if (names.empty()) add(image.root);
  oci::Json index = oci::Json::object();
  index["schemaVersion"] = 2;
  index["mediaType"] = std::string(oci::kMediaTypeIndex);
  index["manifests"] = std::move(manifests);
  return oci::DumpGo(index);
}

// `docker load` reads this one.
std::string DockerManifestJson(const WrittenManifest& manifest, const std::vector<oci::Reference>& names) {
  oci::Json entry = oci::Json::object();
  entry["Config"] = BlobPath(manifest.manifest.config.digest);
  entry["RepoTags"] = nullptr;
  for (const oci::Reference& name : names) entry["RepoTags"].push_back(name.familiar());
  entry["Layers"] = nullptr;
  for (const oci::Descriptor& layer : manifest.manifest.layers) entry["Layers"].push_back(BlobPath(layer.digest));
  oci::Json out = oci::Json::array();
  out.push_back(std::move(entry));
  return oci::DumpGo(out);
}

ArchiveFiles Layout(const WrittenImage& image, const std::vector<oci::Reference>& names, bool docker) {
  ArchiveFiles files;
  files["blobs/"].directory = true;
  files["blobs/sha256/"].directory = true;
  AddText(files, "oci-layout", R"({"imageLayoutVersion":"1.0.0"})", 0444);
  AddText(files, "index.json", IndexJson(image, names), 0644);
  if (docker) AddText(files, "manifest.json", DockerManifestJson(image.manifests.front(), names), 0644);
  AddBlob(files, image.root);
  for (const WrittenManifest& manifest : image.manifests) {
    AddBlob(files, manifest.descriptor);
    AddBlob(files, manifest.manifest.config);
    for (const oci::Descriptor& layer : manifest.manifest.layers) AddBlob(files, layer);
  }
  return files;
}

absl::Status WriteFile(const ArchiveFile& file, codec::TarWriter& tar, const Context& context) {
  if (file.directory) return absl::OkStatus();
  if (file.blob.empty()) return tar.Write(file.content);
  ASSIGN_OR_RETURN(UniqueFd fd, context.blobs->Open(file.blob));
  codec::FdSource source(std::move(fd), absl::StrCat("blob ", file.blob.str()));
  std::string buffer(codec::kBlockSize, '\0');
  while (true) {
    RETURN_IF_ERROR(context.cancel.status());
    ASSIGN_OR_RETURN(const std::size_t got, source.Read(buffer.data(), buffer.size()));
    if (got == 0) return absl::OkStatus();
    RETURN_IF_ERROR(tar.Write(absl::string_view(buffer.data(), got)));
  }
}

absl::Status WriteArchive(const ArchiveFiles& files, session::ByteSink& sink, const Context& context) {
  codec::FunctionSink to([&](absl::string_view bytes) { return sink.Write(bytes); });
  codec::TarWriter tar(&to);
  for (const auto& [path, file] : files) {
    codec::TarEntry entry;
    entry.path = path;
    entry.type = file.directory ? codec::TarType::kDirectory : codec::TarType::kFile;
    entry.mode = file.directory ? 0755 : file.mode;
    entry.size = file.size;
    RETURN_IF_ERROR(tar.Add(entry));
    RETURN_IF_ERROR(WriteFile(file, tar, context));
  }
  return tar.Finish();
}

// Fills the client's content store: what is named comes before what names it, so that a broken transfer leaves no loose ends.
absl::Status UploadImage(const WrittenImage& image, const Context& context) {
  const auto upload = [&](const oci::Descriptor& blob) { return context.session->UploadBlob("export", blob, *context.blobs, context.cancel); };
  for (const WrittenManifest& manifest : image.manifests) {
    for (const oci::Descriptor& layer : manifest.manifest.layers) RETURN_IF_ERROR(upload(layer));
    RETURN_IF_ERROR(upload(manifest.manifest.config));
    RETURN_IF_ERROR(upload(manifest.descriptor));
  }
  return image.is_index ? upload(image.root) : absl::OkStatus();
}

absl::StatusOr<std::vector<oci::Reference>> ParseNames(const std::string& names) {
  std::vector<oci::Reference> out;
  if (names.empty()) return out;
  for (const absl::string_view name : absl::StrSplit(names, ',')) {
    absl::StatusOr<oci::Reference> ref = oci::Reference::ParseNormalized(name);
    if (!ref.ok()) return Annotate(ref.status(), absl::StrCat("failed to parse ", name));
    out.push_back(*std::move(ref));
  }
  return out;
}

}  // namespace

absl::StatusOr<Response> ExportArchive(ExportOptions options, const Source& source, const Context& context, ExportVertex& vertex) {
  const bool docker = options.kind == Kind::kDocker;
  if (docker && source.multi_platform) {
    return absl::InvalidArgumentError("docker exporter does not currently support exporting manifest lists");
  }
  if (context.session == nullptr) return absl::FailedPreconditionError("no session to export to");
  ASSIGN_OR_RETURN(WrittenImage image, WriteImage(options, source, /*keep_remote=*/false, context, vertex));
  ASSIGN_OR_RETURN(const std::optional<absl::Time> epoch, EpochFor(options, source, ""));
  image.root.annotations.emplace("org.opencontainers.image.created",
                                 absl::FormatTime("%E4Y-%m-%dT%H:%M:%SZ", epoch.has_value() ? *epoch : context.clock->Now(), absl::UTCTimeZone()));
  Response response = ImageResponse(image);
  ASSIGN_OR_RETURN(const std::vector<oci::Reference> names, ParseNames(ImageNames(options, source)));
  if (!names.empty()) {
    response["image.name"] = absl::StrJoin(names, ",", [](std::string* out, const oci::Reference& ref) { absl::StrAppend(out, ref.str()); });
  }
  if (!options.tar) {
    RETURN_IF_ERROR(UploadImage(image, context));
    return response;
  }
  ASSIGN_OR_RETURN(const std::unique_ptr<session::ByteSink> sink, context.session->OpenOutputFile(response, context.exporter_id, context.cancel));
  const absl::Status status = vertex.Run("sending tarball", [&]() -> absl::Status {
    RETURN_IF_ERROR(WriteArchive(Layout(image, names, docker), *sink, context));
    return sink->Close();
  });
  // The client has this image already and wants no more of it.
  if (!status.ok() && !absl::IsAlreadyExists(status)) return status;
  return response;
}

}  // namespace cachalot::exporting
