#include "session/byte_stream.h"

#include <algorithm>

#include "base/guarded.h"

namespace cachalot::session {
namespace {

struct Direction {
  std::string bytes;
  bool ended = false;
};

class PairEnd : public ByteStream {
 public:
  PairEnd(std::shared_ptr<Guarded<Direction>> in, std::shared_ptr<Guarded<Direction>> out, std::size_t capacity)
      : in_(std::move(in)), out_(std::move(out)), capacity_(capacity) {}
  ~PairEnd() override { Cancel(); }

  bool Read(std::string& chunk) override {
    chunk.clear();
    {
      auto in = in_->Lock();
      in.Wait([](const Direction& d) { return d.ended || !d.bytes.empty(); });
      std::swap(chunk, in->bytes);
    }
    in_->NotifyAll();
    return !chunk.empty();
  }

  bool Write(absl::string_view bytes) override {
    {
      auto out = out_->Lock();
      out.Wait([&](const Direction& d) { return d.ended || d.bytes.empty() || d.bytes.size() + bytes.size() <= capacity_; });
      if (out->ended) {
        return false;
      }
      out->bytes.append(bytes.data(), bytes.size());
    }
    out_->NotifyAll();
    return true;
  }

  void Cancel() override {
    for (const auto& direction : {in_, out_}) {
      direction->Lock()->ended = true;
      direction->NotifyAll();
    }
  }

 private:
  const std::shared_ptr<Guarded<Direction>> in_, out_;
  const std::size_t capacity_;
};

}  // namespace

std::pair<std::unique_ptr<ByteStream>, std::unique_ptr<ByteStream>> ByteStreamPair(std::size_t capacity) {
  auto there = std::make_shared<Guarded<Direction>>();
  auto back = std::make_shared<Guarded<Direction>>();
  return {std::make_unique<PairEnd>(there, back, capacity), std::make_unique<PairEnd>(back, there, capacity)};
}

}  // namespace cachalot::session
