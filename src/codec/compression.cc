#include "codec/compression.h"

#include <algorithm>
#include <array>
#include <thread>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "codec/codecs.h"

namespace cachalot::codec {

namespace {

// Of one stream. Reading and hashing feed no more.
constexpr int kMaxThreads = 16;

class Passing : public Compressor {
 public:
  explicit Passing(Sink* to) : to_(to) {}
  absl::Status Write(absl::string_view bytes) override { return to_->Write(bytes); }
  absl::Status Finish() override { return absl::OkStatus(); }

 private:
  Sink* to_;
};

// Gives back the bytes that detection took before it goes on with the rest.
class Rewound : public Source {
 public:
  Rewound(std::string head, std::unique_ptr<Source> rest) : head_(std::move(head)), rest_(std::move(rest)) {}

  absl::StatusOr<std::size_t> Read(char* buffer, std::size_t size) override {
    if (taken_ == head_.size()) return rest_->Read(buffer, size);
    const std::size_t n = std::min(size, head_.size() - taken_);
    std::copy_n(head_.data() + taken_, n, buffer);
    taken_ += n;
    return n;
  }

 private:
  std::string head_;
  std::size_t taken_ = 0;
  std::unique_ptr<Source> rest_;
};

}  // namespace

absl::StatusOr<Compression> ParseCompression(absl::string_view name) {
  if (name.empty()) return Compression::kNone;
  if (name == "gzip") return Compression::kGzip;
  if (name == "zstd") return Compression::kZstd;
  if (name == "xz") return Compression::kXz;
  if (name == "bzip2") return Compression::kBzip2;
  return absl::InvalidArgumentError(absl::StrCat("unsupported compression type ", name));
}

Compression DetectCompression(absl::string_view beginning) {
  const auto begins = [&](absl::string_view magic) { return absl::StartsWith(beginning, magic); };
  if (begins("\x1F\x8B\x08")) return Compression::kGzip;
  if (begins("\x28\xB5\x2F\xFD")) return Compression::kZstd;
  // A skippable zstd frame, as zstd:chunked writers may begin with: 0x184D2A5? little-endian.
  if (beginning.size() >= 4 && (beginning[0] & 0xF0) == 0x50 && beginning.substr(1, 3) == "\x2A\x4D\x18") return Compression::kZstd;
  if (begins(absl::string_view("\xFD"
                               "7zXZ\0",
                               6))) {
    return Compression::kXz;
  }
  if (begins("BZh")) return Compression::kBzip2;
  return Compression::kNone;
}

std::unique_ptr<Source> NewDecompressor(Compression kind, std::unique_ptr<Source> from) {
  switch (kind) {
    case Compression::kNone: return from;
    case Compression::kGzip: return NewGzipReader(std::move(from));
    case Compression::kZstd: return NewZstdReader(std::move(from));
    case Compression::kXz:
    case Compression::kBzip2: return NewFilterReader(std::move(from));
  }
  return from;
}

absl::StatusOr<std::unique_ptr<Source>> NewAutoDecompressor(std::unique_ptr<Source> from, Compression* kind) {
  std::array<char, 6> head;
  ASSIGN_OR_RETURN(const std::size_t n, ReadFully(*from, head.data(), head.size()));
  const absl::string_view beginning(head.data(), n);
  const Compression detected = DetectCompression(beginning);
  if (kind != nullptr) *kind = detected;
  return NewDecompressor(detected, std::make_unique<Rewound>(std::string(beginning), std::move(from)));
}

absl::StatusOr<std::unique_ptr<Compressor>> NewCompressor(Compression kind, int level, Sink* to, int threads) {
  if (threads <= 0) threads = std::clamp(static_cast<int>(std::thread::hardware_concurrency()), 1, kMaxThreads);
  switch (kind) {
    case Compression::kNone: return std::make_unique<Passing>(to);
    case Compression::kGzip: return NewGzipWriter(level, threads, to);
    case Compression::kZstd: return NewZstdWriter(level, threads, to);
    default: return absl::UnimplementedError("writing xz or bzip2 is not supported");
  }
}

}  // namespace cachalot::codec
