#include "dockerfile/compile/archive.h"

#include <algorithm>
#include <memory>

#include "codec/compression.h"
#include "codec/tar.h"

namespace cachalot::dockerfile {

bool LooksLikeArchive(absl::string_view head) {
  const codec::Compression kind = codec::DetectCompression(head);
  if (kind != codec::Compression::kNone) return kind != codec::Compression::kZstd;
  codec::StringSource source(head);
  codec::TarReader reader(&source);
  codec::TarEntry entry;
  return reader.Next(&entry).value_or(false);
}

std::optional<absl::Time> LatestFileTime(absl::string_view archive) {
  const auto source = codec::NewAutoDecompressor(std::make_unique<codec::StringSource>(archive));
  if (!source.ok()) return std::nullopt;
  codec::TarReader reader(source->get());
  codec::TarEntry entry;
  std::optional<absl::Time> latest;
  for (;;) {
    const absl::StatusOr<bool> more = reader.Next(&entry);
    if (!more.ok()) return std::nullopt;
    if (!*more) return latest;
    if (entry.type != codec::TarType::kFile) continue;
    const absl::Time time = absl::TimeFromTimespec(entry.mtime);
    latest = latest.has_value() ? std::max(*latest, time) : time;
  }
}

}  // namespace cachalot::dockerfile
