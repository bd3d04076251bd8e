// SHA-256 over streams.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/strings/string_view.h"
#include "codec/stream.h"

struct evp_md_ctx_st;

namespace cachalot::codec {

class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(Sha256&&) noexcept = default;
  Sha256& operator=(Sha256&&) noexcept = default;

  void Update(absl::string_view bytes);
  // The 64 lower-case hex digits of all bytes so far. The object is fresh again afterwards.
  std::string FinishHex();
  // The same as 32 bytes.
  std::string FinishBytes();

 private:
  struct Free {
    void operator()(evp_md_ctx_st* context) const;
  };
  std::unique_ptr<evp_md_ctx_st, Free> context_;
};

// Passes bytes on and digests them on the way.
class DigestingSink : public Sink {
 public:
  explicit DigestingSink(Sink* next) : next_(next) {}
  absl::Status Write(absl::string_view bytes) override;
  std::int64_t size() const { return size_; }
  std::string FinishHex() { return hash_.FinishHex(); }

 private:
  Sink* next_;  // may be null: digest only
  Sha256 hash_;
  std::int64_t size_ = 0;
};

class DigestingSource : public Source {
 public:
  explicit DigestingSource(std::unique_ptr<Source> from) : from_(std::move(from)) {}
  absl::StatusOr<std::size_t> Read(char* buffer, std::size_t size) override;
  std::int64_t size() const { return size_; }
  // Of what was read. Call when nothing reads any more.
  std::string FinishHex() { return hash_.FinishHex(); }

 private:
  std::unique_ptr<Source> from_;
  Sha256 hash_;
  std::int64_t size_ = 0;
};

}  // namespace cachalot::codec
