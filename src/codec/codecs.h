// The single codecs behind codec/compression.h; for that file alone.
#pragma once

#include <memory>

#include "codec/compression.h"

namespace cachalot::codec {

std::unique_ptr<Source> NewGzipReader(std::unique_ptr<Source> from);
std::unique_ptr<Compressor> NewGzipWriter(int level, int threads, Sink* to);
std::unique_ptr<Source> NewZstdReader(std::unique_ptr<Source> from);
absl::StatusOr<std::unique_ptr<Compressor>> NewZstdWriter(int level, int threads, Sink* to);
// Whatever single-file filter libarchive recognises (xz, bzip2).
std::unique_ptr<Source> NewFilterReader(std::unique_ptr<Source> from);

}  // namespace cachalot::codec
