#include <algorithm>
#include <deque>
#include <thread>
#include <vector>

#include "base/guarded.h"
#include "base/thread.h"
#include "codec/stream.h"

namespace cachalot::codec {

namespace {

constexpr std::size_t kBlocks = 8;

class ReadAhead : public Source {
 public:
  explicit ReadAhead(std::unique_ptr<Source> source) : source_(std::move(source)), thread_(NewThread([this] { Fill(); })) {}

  ~ReadAhead() override {
    queue_.Lock()->abandoned = true;
    queue_.NotifyAll();
    thread_.join();
  }

  absl::StatusOr<std::size_t> Read(char* buffer, std::size_t size) override {
    if (taken_ == current_.size()) {
      auto queue = queue_.Lock();
      if (!current_.empty()) {
        queue->spare.push_back(std::move(current_));
        current_.clear();
      }
      taken_ = 0;
      queue.Wait([](const Queue& q) { return !q.full.empty() || q.ended; });
      if (queue->full.empty()) {
        if (!queue->status.ok()) return queue->status;
        return 0;
      }
      current_ = std::move(queue->full.front());
      queue->full.pop_front();
      queue_.NotifyAll();
    }
    const std::size_t n = std::min(size, current_.size() - taken_);
    std::copy_n(current_.data() + taken_, n, buffer);
    taken_ += n;
    return n;
  }

 private:
  struct Queue {
    std::deque<std::vector<char>> full;
    std::vector<std::vector<char>> spare;
    absl::Status status;
    bool ended = false;
    bool abandoned = false;
  };

  void Fill() {
    while (true) {
      std::vector<char> block;
      {
        auto queue = queue_.Lock();
        queue.Wait([](const Queue& q) { return q.full.size() < kBlocks || q.abandoned; });
        if (queue->abandoned) return;
        if (!queue->spare.empty()) {
          block = std::move(queue->spare.back());
          queue->spare.pop_back();
        }
      }
      block.resize(kBlockSize);
      const absl::StatusOr<std::size_t> n = ReadFully(*source_, block.data(), block.size());
      auto queue = queue_.Lock();
      if (n.ok() && *n > 0) {
        block.resize(*n);
        queue->full.push_back(std::move(block));
      }
      if (!n.ok() || *n < kBlockSize) {
        queue->status = n.status();
        queue->ended = true;
      }
      queue_.NotifyAll();
      if (queue->ended) return;
    }
  }

  std::unique_ptr<Source> source_;
  Guarded<Queue> queue_;
  std::vector<char> current_;  // the block being consumed, from taken_ on
  std::size_t taken_ = 0;
  std::thread thread_;
};

}  // namespace

std::unique_ptr<Source> NewReadAhead(std::unique_ptr<Source> source) { return std::make_unique<ReadAhead>(std::move(source)); }

}  // namespace cachalot::codec
