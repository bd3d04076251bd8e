#include <isa-l/igzip_lib.h>

#include <algorithm>
#include <cstdint>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "codec/codecs.h"

namespace cachalot::codec {

namespace {

// One deflate call gets exactly this much input, so that the output does not depend on how the input was cut.
constexpr std::size_t kDeflateBlock = 128 * 1024;
constexpr std::size_t kDeflateOutput = 512 * 1024;
constexpr int kDefaultLevel = 2;

class GzipReader : public Source {
 public:
  explicit GzipReader(std::unique_ptr<Source> from) : from_(std::move(from)), input_(kBlockSize) { Restart(); }

  absl::StatusOr<std::size_t> Read(char* buffer, std::size_t size) override {
    while (size > 0) {
      if (state_.avail_in == 0 && !input_ended_) RETURN_IF_ERROR(Fill());
      if (state_.block_state == ISAL_BLOCK_FINISH) {  // another member may follow
        if (state_.avail_in == 0) {
          if (input_ended_) return 0;
          continue;
        }
        Restart();
      }
      state_.next_out = reinterpret_cast<std::uint8_t*>(buffer);
      state_.avail_out = static_cast<std::uint32_t>(std::min<std::size_t>(size, 1U << 30));
      const std::uint32_t room = state_.avail_out;
      const int code = isal_inflate(&state_);
      if (code < 0 || code == ISAL_NEED_DICT) return absl::DataLossError(absl::StrCat("gzip: invalid data (code ", code, ")"));
      if (state_.avail_out < room) return room - state_.avail_out;
      if (state_.avail_in == 0 && input_ended_ && state_.block_state != ISAL_BLOCK_FINISH) return absl::DataLossError("gzip: unexpected end of data");
    }
    return 0;
  }

 private:
  void Restart() {
    std::uint8_t* const next = state_.next_in;
    const std::uint32_t left = state_.avail_in;
    isal_inflate_init(&state_);
    state_.crc_flag = ISAL_GZIP;
    state_.next_in = next;
    state_.avail_in = left;
  }

  absl::Status Fill() {
    ASSIGN_OR_RETURN(const std::size_t n, from_->Read(input_.data(), input_.size()));
    input_ended_ = n == 0;
    state_.next_in = reinterpret_cast<std::uint8_t*>(input_.data());
    state_.avail_in = static_cast<std::uint32_t>(n);
    return absl::OkStatus();
  }

  std::unique_ptr<Source> from_;
  std::vector<char> input_;
  bool input_ended_ = false;
  inflate_state state_{};
};

class GzipWriter : public Compressor {
 public:
  GzipWriter(int level, Sink* to) : to_(to), input_(kDeflateBlock), output_(kDeflateOutput) {
    isal_deflate_init(&stream_);
    stream_.level = level;
    constexpr std::uint32_t kSizes[] = {ISAL_DEF_LVL0_DEFAULT, ISAL_DEF_LVL1_DEFAULT, ISAL_DEF_LVL2_DEFAULT, ISAL_DEF_LVL3_DEFAULT};
    level_buffer_.resize(kSizes[level]);
    stream_.level_buf = level_buffer_.data();
    stream_.level_buf_size = kSizes[level];
    stream_.gzip_flag = IGZIP_GZIP;  // a header without name and time
  }

  absl::Status Write(absl::string_view bytes) override {
    while (!bytes.empty()) {
      if (filled_ == input_.size()) RETURN_IF_ERROR(Deflate(false));
      const std::size_t n = std::min(bytes.size(), input_.size() - filled_);
      std::copy_n(bytes.data(), n, input_.data() + filled_);
      filled_ += n;
      bytes.remove_prefix(n);
    }
    return absl::OkStatus();
  }

  absl::Status Finish() override { return Deflate(true); }

 private:
  absl::Status Deflate(bool last) {
    stream_.next_in = reinterpret_cast<std::uint8_t*>(input_.data());
    stream_.avail_in = static_cast<std::uint32_t>(filled_);
    stream_.end_of_stream = last ? 1 : 0;
    do {
      stream_.next_out = reinterpret_cast<std::uint8_t*>(output_.data());
      stream_.avail_out = static_cast<std::uint32_t>(output_.size());
      if (const int code = isal_deflate(&stream_); code != COMP_OK)
        return absl::InternalError(absl::StrCat("gzip: deflate failed (code ", code, ")"));
      RETURN_IF_ERROR(to_->Write(absl::string_view(output_.data(), output_.size() - stream_.avail_out)));
    } while (stream_.avail_in > 0 || stream_.avail_out == 0 || (last && stream_.internal_state.state != ZSTATE_END));
    filled_ = 0;
    return absl::OkStatus();
  }

  Sink* to_;
  std::vector<char> input_;
  std::size_t filled_ = 0;
  std::vector<char> output_;
  std::vector<std::uint8_t> level_buffer_;
  isal_zstream stream_{};
};

}  // namespace

std::unique_ptr<Source> NewGzipReader(std::unique_ptr<Source> from) { return std::make_unique<GzipReader>(std::move(from)); }

std::unique_ptr<Compressor> NewGzipWriter(int level, Sink* to) {
  const int own = level < 0 ? kDefaultLevel : level < 2 ? level : level < 6 ? 2 : 3;
  return std::make_unique<GzipWriter>(own, to);
}

}  // namespace cachalot::codec
