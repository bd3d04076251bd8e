#include <isa-l/igzip_lib.h>
#include <libdeflate.h>

#include <algorithm>
#include <cstdint>
#include <deque>
#include <future>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/guarded.h"
#include "base/status_macros.h"
#include "base/worker_pool.h"
#include "codec/codecs.h"

namespace cachalot::codec {

namespace {

// A gzip stream of several members, as RFC 1952 has it, each compressed for itself: so all cores work on a layer, and the output does not
// depend on how many there are. Members of this size are within 0.2% of one member for all.
constexpr std::size_t kMemberInput = 1024 * 1024;
constexpr int kDefaultLevel = 5;  // already smaller than zlib's 6

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
  GzipWriter(int level, int threads, Sink* to) : level_(level), threads_(threads), to_(to), pool_("gzip", threads) {}

  absl::Status Write(absl::string_view bytes) override {
    while (!bytes.empty()) {
      if (input_.size() == kMemberInput) RETURN_IF_ERROR(Submit());
      const std::size_t n = std::min(bytes.size(), kMemberInput - input_.size());
      input_.append(bytes.data(), n);
      bytes.remove_prefix(n);
    }
    return absl::OkStatus();
  }

  absl::Status Finish() override {
    if (members_.empty()) {  // too little for other threads
      RETURN_IF_ERROR(Deflate(input_, &output_));
      return to_->Write(output_);
    }
    RETURN_IF_ERROR(Submit());
    while (!members_.empty()) RETURN_IF_ERROR(PassOn());
    return absl::OkStatus();
  }

 private:
  struct Free {
    void operator()(libdeflate_compressor* compressor) const { libdeflate_free_compressor(compressor); }
  };
  using Deflater = std::unique_ptr<libdeflate_compressor, Free>;
  struct Member {
    std::string input, output;
    std::promise<absl::Status> done;
  };

  absl::Status Submit() {
    while (members_.size() >= static_cast<std::size_t>(threads_) + 1) RETURN_IF_ERROR(PassOn());
    auto member = std::make_shared<Member>();
    member->input = std::exchange(input_, std::string());
    members_.push_back(member);
    pool_.Run([this, member] { member->done.set_value(Deflate(member->input, &member->output)); });
    return absl::OkStatus();
  }

  // Writes the oldest member, once it is there.
  absl::Status PassOn() {
    const std::shared_ptr<Member> member = std::move(members_.front());
    members_.pop_front();
    RETURN_IF_ERROR(member->done.get_future().get());
    RETURN_IF_ERROR(to_->Write(member->output));
    member->input.clear();
    if (input_.empty()) input_ = std::move(member->input);  // for its memory
    return absl::OkStatus();
  }

  absl::Status Deflate(const std::string& input, std::string* output) {
    Deflater deflater;
    {
      auto spare = spare_.Lock();
      if (!spare->empty()) {
        deflater = std::move(spare->back());
        spare->pop_back();
      }
    }
    if (deflater == nullptr) deflater.reset(libdeflate_alloc_compressor(level_));
    if (deflater == nullptr) return absl::ResourceExhaustedError("gzip: no memory for a compressor");
    output->resize(libdeflate_gzip_compress_bound(deflater.get(), input.size()));
    // The header has neither name nor time.
    output->resize(libdeflate_gzip_compress(deflater.get(), input.data(), input.size(), output->data(), output->size()));
    if (output->empty()) return absl::InternalError("gzip: deflate failed");
    spare_.Lock()->push_back(std::move(deflater));
    return absl::OkStatus();
  }

  const int level_;
  const int threads_;
  Sink* const to_;
  std::string input_, output_;
  Guarded<std::vector<Deflater>> spare_;
  std::deque<std::shared_ptr<Member>> members_;  // in order, those being compressed
  WorkerPool pool_;                              // ends first: its work uses the rest
};

}  // namespace

std::unique_ptr<Source> NewGzipReader(std::unique_ptr<Source> from) { return std::make_unique<GzipReader>(std::move(from)); }

std::unique_ptr<Compressor> NewGzipWriter(int level, int threads, Sink* to) {
  return std::make_unique<GzipWriter>(level < 0 ? kDefaultLevel : std::min(level, 9), threads, to);
}

}  // namespace cachalot::codec
