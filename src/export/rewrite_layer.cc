#include "export/rewrite_layer.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "codec/compression.h"
#include "codec/sha256.h"
#include "codec/tar.h"

namespace cachalot::exporting {
namespace {

// Copies the archive, entry by entry.
absl::Status CopyArchive(codec::Source& from, codec::Sink& to, absl::Time epoch, const CancelToken& cancel) {
  codec::TarReader reader(&from);
  codec::TarWriter writer(&to);
  std::vector<char> buffer(codec::kBlockSize);
  const timespec limit = absl::ToTimespec(epoch);
  codec::TarEntry entry;
  while (true) {
    RETURN_IF_ERROR(cancel.status());
    ASSIGN_OR_RETURN(const bool more, reader.Next(&entry));
    if (!more) break;
    if (absl::TimeFromTimespec(entry.mtime) > epoch) entry.mtime = limit;
    RETURN_IF_ERROR(writer.Add(entry));
    while (true) {
      ASSIGN_OR_RETURN(const std::size_t got, reader.Read(buffer.data(), buffer.size()));
      if (got == 0) break;
      RETURN_IF_ERROR(writer.Write(absl::string_view(buffer.data(), got)));
    }
  }
  return writer.Finish();
}

}  // namespace

absl::StatusOr<snapshot::Layer> RewriteLayer(const snapshot::Layer& layer, absl::Time epoch, const snapshot::Compression& compression,
                                             store::BlobStore& blobs, const CancelToken& cancel) {
  ASSIGN_OR_RETURN(UniqueFd file, blobs.Open(layer.blob.digest));
  const std::string name = absl::StrCat("layer ", layer.blob.digest.str());
  ASSIGN_OR_RETURN(const std::unique_ptr<codec::Source> source, codec::NewAutoDecompressor(std::make_unique<codec::FdSource>(std::move(file), name)));
  ASSIGN_OR_RETURN(const std::unique_ptr<store::BlobWriter> blob, blobs.NewWriter());
  codec::FunctionSink to_blob([&](absl::string_view bytes) { return blob->Write(bytes); });
  ASSIGN_OR_RETURN(const codec::Compression kind, codec::ParseCompression(compression.type));
  ASSIGN_OR_RETURN(const std::unique_ptr<codec::Compressor> compressor, codec::NewCompressor(kind, compression.level, &to_blob));
  codec::DigestingSink tar(compressor.get());
  if (absl::Status status = CopyArchive(*source, tar, epoch, cancel); !status.ok()) return Annotate(status, name);
  RETURN_IF_ERROR(compressor->Finish());

  snapshot::Layer out = layer;
  out.diff_id = oci::Digest::FromSha256Hex(tar.FinishHex());
  out.sources.clear();
  out.blob = oci::Descriptor{};
  out.blob.media_type = oci::LayerMediaType(compression.type, true);
  out.blob.size = blob->written();
  out.blob.annotations["buildkit/rewritten-timestamp"] = absl::StrCat(absl::ToUnixSeconds(epoch));
  ASSIGN_OR_RETURN(out.blob.digest, blob->Commit());
  return out;
}

}  // namespace cachalot::exporting
