// Compressed streams: gzip (RFC 1952) and zstd (RFC 8878) both ways, xz and bzip2 for reading.
#pragma once

#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "codec/stream.h"

namespace cachalot::codec {

enum class Compression { kNone, kGzip, kZstd, kXz, kBzip2 };

// "", "gzip" and "zstd" (the layer compressions), "xz" and "bzip2".
absl::StatusOr<Compression> ParseCompression(absl::string_view name);

// By the magic bytes at the beginning of a stream: at least 6 bytes when it has them.
Compression DetectCompression(absl::string_view beginning);

// The uncompressed bytes of `from`, all its members or frames. An unfinished or damaged stream is a DATA_LOSS error.
std::unique_ptr<Source> NewDecompressor(Compression kind, std::unique_ptr<Source> from);
// The same with the kind detected from the stream itself; `kind`, when not null, receives it.
absl::StatusOr<std::unique_ptr<Source>> NewAutoDecompressor(std::unique_ptr<Source> from, Compression* kind = nullptr);

// Compresses what is written to it. Equal input gives equal output, however it is cut into writes.
class Compressor : public Sink {
 public:
  // Writes out what is pending and the trailer. No Write may follow.
  virtual absl::Status Finish() = 0;
};

// `level` -1 is the kind's default; others are mapped onto what the kind has (gzip 0..9, zstd 1..22). `to` outlives the
// compressor. Only kNone, kGzip and kZstd can be written. Up to `threads` threads compress (0: as many as the process has
// processors); the output does not depend on their number.
absl::StatusOr<std::unique_ptr<Compressor>> NewCompressor(Compression kind, int level, Sink* to, int threads = 0);

}  // namespace cachalot::codec
