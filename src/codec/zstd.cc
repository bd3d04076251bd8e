#include <zstd.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "codec/codecs.h"

namespace cachalot::codec {

namespace {

constexpr int kThorough = 16;  // from here on a worker looks back over the whole window
constexpr int kUltra = 20;     // and from here on windows are larger than decoders must accept

// The window that RFC 8878 asks every decoder to have: copies of files stand far apart in a layer.
constexpr int kWindowLog = 23;

// What a worker compresses at a time below kThorough. The library's own choice, four windows, would be 32 MiB for each.
constexpr int kJobSize = 8 << 20;

// Every worker holds a job's input: half a gigabyte from kUltra on.
int WorkersFor(int level, int threads) { return level >= kUltra ? 1 : std::min(threads, level >= kThorough ? 2 : 8); }

class ZstdReader : public Source {
 public:
  explicit ZstdReader(std::unique_ptr<Source> from) : from_(std::move(from)), context_(ZSTD_createDCtx()), input_(kBlockSize) {}

  absl::StatusOr<std::size_t> Read(char* buffer, std::size_t size) override {
    ZSTD_outBuffer out{buffer, size, 0};
    while (out.pos == 0 && size > 0) {
      if (in_.pos == in_.size && !input_ended_ && !output_pending_) {
        ASSIGN_OR_RETURN(const std::size_t n, from_->Read(input_.data(), input_.size()));
        input_ended_ = n == 0;
        in_ = {input_.data(), n, 0};
      }
      if (in_.pos == in_.size && input_ended_ && !output_pending_) {
        if (mid_frame_) return absl::DataLossError("zstd: unexpected end of data");
        return 0;
      }
      const std::size_t code = ZSTD_decompressStream(context_.get(), &out, &in_);
      if (ZSTD_isError(code)) return absl::DataLossError(absl::StrCat("zstd: ", ZSTD_getErrorName(code)));
      mid_frame_ = code != 0;
      output_pending_ = mid_frame_ && out.pos == out.size;
    }
    return out.pos;
  }

 private:
  struct Free {
    void operator()(ZSTD_DCtx* context) const { ZSTD_freeDCtx(context); }
  };
  std::unique_ptr<Source> from_;
  std::unique_ptr<ZSTD_DCtx, Free> context_;
  std::vector<char> input_;
  ZSTD_inBuffer in_{nullptr, 0, 0};
  bool input_ended_ = false;
  bool mid_frame_ = false;
  bool output_pending_ = false;  // the last call filled the caller's buffer and may have more
};

class ZstdWriter : public Compressor {
 public:
  explicit ZstdWriter(Sink* to) : to_(to), context_(ZSTD_createCCtx()), output_(ZSTD_CStreamOutSize()) {}

  // With workers (one at least) the output is the same however many there are.
  absl::Status Configure(int level, int workers) {
    std::vector<std::pair<ZSTD_cParameter, int>> settings = {{ZSTD_c_compressionLevel, level}, {ZSTD_c_checksumFlag, 1}, {ZSTD_c_nbWorkers, workers}};
    if (level < kUltra) settings.emplace_back(ZSTD_c_windowLog, kWindowLog);
    if (level < kThorough) settings.emplace_back(ZSTD_c_jobSize, kJobSize);
    for (const auto& [parameter, value] : settings) {
      const std::size_t code = ZSTD_CCtx_setParameter(context_.get(), parameter, value);
      if (ZSTD_isError(code)) return absl::InvalidArgumentError(absl::StrCat("zstd: ", ZSTD_getErrorName(code)));
    }
    return absl::OkStatus();
  }

  absl::Status Write(absl::string_view bytes) override { return Run(bytes, ZSTD_e_continue); }
  absl::Status Finish() override { return Run({}, ZSTD_e_end); }

 private:
  struct Free {
    void operator()(ZSTD_CCtx* context) const { ZSTD_freeCCtx(context); }
  };

  absl::Status Run(absl::string_view bytes, ZSTD_EndDirective directive) {
    ZSTD_inBuffer in{bytes.data(), bytes.size(), 0};
    while (true) {
      ZSTD_outBuffer out{output_.data(), output_.size(), 0};
      const std::size_t left = ZSTD_compressStream2(context_.get(), &out, &in, directive);
      if (ZSTD_isError(left)) return absl::InternalError(absl::StrCat("zstd: ", ZSTD_getErrorName(left)));
      if (out.pos > 0) RETURN_IF_ERROR(to_->Write(absl::string_view(output_.data(), out.pos)));
      if (directive == ZSTD_e_end ? left == 0 : in.pos == in.size) return absl::OkStatus();
    }
  }

  Sink* to_;
  std::unique_ptr<ZSTD_CCtx, Free> context_;
  std::vector<char> output_;
};

}  // namespace

std::unique_ptr<Source> NewZstdReader(std::unique_ptr<Source> from) { return std::make_unique<ZstdReader>(std::move(from)); }

absl::StatusOr<std::unique_ptr<Compressor>> NewZstdWriter(int level, int threads, Sink* to) {
  auto writer = std::make_unique<ZstdWriter>(to);
  const int own = level < 0 ? ZSTD_CLEVEL_DEFAULT : std::clamp(level, 1, ZSTD_maxCLevel());
  RETURN_IF_ERROR(writer->Configure(own, WorkersFor(own, threads)));
  return writer;
}

}  // namespace cachalot::codec
