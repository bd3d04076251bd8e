#include "codec/write_behind.h"

#include <algorithm>
#include <utility>

#include "base/status_macros.h"
#include "base/thread.h"

namespace cachalot::codec {

namespace {

constexpr std::size_t kBlocks = 8;

}  // namespace

WriteBehind::WriteBehind(Sink* next) : next_(next), thread_(NewThread([this] { Loop(); })) { block_.reserve(kBlockSize); }

WriteBehind::~WriteBehind() {
  queue_.Lock()->abandoned = true;
  queue_.NotifyAll();
  thread_.join();
}

absl::Status WriteBehind::Write(absl::string_view bytes) {
  while (!bytes.empty()) {
    const std::size_t n = std::min(bytes.size(), kBlockSize - block_.size());
    block_.append(bytes.data(), n);
    bytes.remove_prefix(n);
    if (block_.size() == kBlockSize) RETURN_IF_ERROR(Push());
  }
  return absl::OkStatus();
}

absl::Status WriteBehind::Push() {
  auto queue = queue_.Lock();
  queue.Wait([](const Queue& q) { return q.blocks.size() < kBlocks || q.ended; });
  if (!queue->status.ok()) return queue->status;
  queue->blocks.push_back(std::exchange(block_, std::string()));
  if (!queue->spare.empty()) {
    block_ = std::move(queue->spare.back());
    queue->spare.pop_back();
  }
  block_.reserve(kBlockSize);
  queue_.NotifyAll();
  return absl::OkStatus();
}

absl::Status WriteBehind::Finish() {
  if (!block_.empty()) RETURN_IF_ERROR(Push());
  auto queue = queue_.Lock();
  queue->finishing = true;
  queue_.NotifyAll();
  queue.Wait([](const Queue& q) { return q.ended; });
  return queue->status;
}

void WriteBehind::Loop() {
  while (true) {
    std::string block;
    {
      auto queue = queue_.Lock();
      queue.Wait([](const Queue& q) { return !q.blocks.empty() || q.finishing || q.abandoned; });
      if (queue->abandoned || queue->blocks.empty()) {
        queue->ended = true;
        queue_.NotifyAll();
        return;
      }
      block = std::move(queue->blocks.front());
      queue->blocks.pop_front();
      queue_.NotifyAll();
    }
    absl::Status status = next_->Write(block);
    block.clear();
    auto queue = queue_.Lock();
    queue->spare.push_back(std::move(block));
    if (status.ok()) continue;
    queue->status = std::move(status);
    queue->ended = true;
    queue_.NotifyAll();
    return;
  }
}

}  // namespace cachalot::codec
