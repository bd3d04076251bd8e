#include <isa-l/igzip_lib.h>
#include <libdeflate.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <future>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "base/worker_pool.h"
#include "codec/codecs.h"

namespace cachalot::codec {

namespace {

// A gzip stream of several members, as RFC 1952 has it, each compressed for itself: so all cores work on a layer, and the output does not
// depend on how many there are. Members of this size are within 0.2% of one member for all.
constexpr std::size_t kMemberInput = 1024 * 1024;

// The default is no larger than level 6 of zlib and of Go, which other builders have. On programs libdeflate's level 4 is that already, on
// text only its level 7 is. What a member is made of shows in how far some pieces of it shrink, compressed in haste.
constexpr int kHastyLevel = 1;
constexpr std::size_t kPieces = 4, kPieceSize = 16 * 1024;

int DefaultLevel(std::size_t input, std::size_t hasty_output) {
  if (input * 10 > hasty_output * 28) return 7;
  if (input * 10 > hasty_output * 22) return 5;
  return 4;
}

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
      if (next_ != nullptr && next_->input.size() == kMemberInput) RETURN_IF_ERROR(Submit());
      if (next_ == nullptr) next_ = NewMember();
      const std::size_t n = std::min(bytes.size(), kMemberInput - next_->input.size());
      next_->input.append(bytes.data(), n);
      bytes.remove_prefix(n);
    }
    return absl::OkStatus();
  }

  absl::Status Finish() override {
    if (next_ == nullptr) next_ = NewMember();  // of nothing there is one member
    if (members_.empty()) {                     // too little for other threads
      RETURN_IF_ERROR(Deflate(next_.get()));
      return to_->Write(next_->Output());
    }
    RETURN_IF_ERROR(Submit());
    while (!members_.empty()) RETURN_IF_ERROR(PassOn());
    return absl::OkStatus();
  }

 private:
  struct Free {
    void operator()(libdeflate_compressor* compressor) const { libdeflate_free_compressor(compressor); }
  };
  // Members are used again with their memory: to touch new pages for each costs as much as a third of the compression.
  struct Member {
    absl::string_view Output() const { return absl::string_view(room).substr(0, output_size); }

    std::map<int, std::unique_ptr<libdeflate_compressor, Free>> deflaters;  // by level
    std::string input;
    std::string room;  // for the output; never shrinks
    std::size_t output_size = 0;
    std::future<absl::Status> done;
  };

  std::unique_ptr<Member> NewMember() {
    if (spare_.empty()) {
      auto member = std::make_unique<Member>();
      member->input.reserve(kMemberInput);
      return member;
    }
    std::unique_ptr<Member> member = std::move(spare_.back());
    spare_.pop_back();
    member->input.clear();
    return member;
  }

  // Gives `next_` to the pool.
  absl::Status Submit() {
    while (members_.size() >= static_cast<std::size_t>(threads_) + 1) RETURN_IF_ERROR(PassOn());
    auto done = std::make_shared<std::promise<absl::Status>>();
    next_->done = done->get_future();
    pool_.Run([this, member = next_.get(), done] { done->set_value(Deflate(member)); });
    members_.push_back(std::move(next_));
    return absl::OkStatus();
  }

  // Writes the oldest member, once it is there.
  absl::Status PassOn() {
    std::unique_ptr<Member> member = std::move(members_.front());
    members_.pop_front();
    RETURN_IF_ERROR(member->done.get());
    RETURN_IF_ERROR(to_->Write(member->Output()));
    spare_.push_back(std::move(member));
    return absl::OkStatus();
  }

  absl::Status Deflate(Member* member) const {
    if (level_ >= 0) return DeflateAt(level_, member->input, member);
    std::string pieces;
    const std::size_t stride = member->input.size() / kPieces;
    for (std::size_t i = 0; i < kPieces; ++i) pieces.append(member->input, i * stride, std::min(stride, kPieceSize));
    RETURN_IF_ERROR(DeflateAt(kHastyLevel, pieces, member));
    return DeflateAt(DefaultLevel(pieces.size(), member->output_size), member->input, member);
  }

  // The output becomes the member's.
  static absl::Status DeflateAt(int level, absl::string_view input, Member* member) {
    auto& deflater = member->deflaters[level];
    if (deflater == nullptr) deflater.reset(libdeflate_alloc_compressor(level));
    if (deflater == nullptr) return absl::ResourceExhaustedError("gzip: no memory for a compressor");
    const std::size_t bound = libdeflate_gzip_compress_bound(deflater.get(), input.size());
    if (member->room.size() < bound) member->room.resize(bound);
    // The header has neither name nor time.
    member->output_size = libdeflate_gzip_compress(deflater.get(), input.data(), input.size(), member->room.data(), member->room.size());
    return member->output_size != 0 ? absl::OkStatus() : absl::InternalError("gzip: deflate failed");
  }

  const int level_;  // negative: what is best for each member
  const int threads_;
  Sink* const to_;
  std::unique_ptr<Member> next_;                 // being filled; null until there is something for it
  std::deque<std::unique_ptr<Member>> members_;  // in order, those being compressed
  std::vector<std::unique_ptr<Member>> spare_;
  WorkerPool pool_;  // ends first: its work uses the rest
};

}  // namespace

std::unique_ptr<Source> NewGzipReader(std::unique_ptr<Source> from) { return std::make_unique<GzipReader>(std::move(from)); }

std::unique_ptr<Compressor> NewGzipWriter(int level, int threads, Sink* to) { return std::make_unique<GzipWriter>(std::min(level, 9), threads, to); }

}  // namespace cachalot::codec
