#include "snapshot/flights.h"

namespace cachalot::snapshot {

absl::Status Flights::Once(const std::string& name, const CancelToken& cancel, const std::function<absl::Status()>& work) {
  // Taking the lock makes sure that a waiter is either before its check or already waiting.
  const CancelToken::Registration wake = cancel.OnCancel([this] {
    { auto board = board_.Lock(); }
    board_.NotifyAll();
  });
  std::shared_ptr<Flight> own;
  while (own == nullptr) {
    auto board = board_.Lock();
    if (cancel.cancelled()) return cancel.status();
    auto [entry, inserted] = board->try_emplace(name, nullptr);
    if (inserted) {
      own = entry->second = std::make_shared<Flight>();
      break;
    }
    const std::shared_ptr<Flight> other = entry->second;
    board.Wait([&](const Board&) { return other->landed || cancel.cancelled(); });
    if (other->landed && other->status.ok()) return absl::OkStatus();
  }
  const absl::Status status = work();
  auto board = board_.Lock();
  board->erase(name);
  own->landed = true;
  own->status = status;
  board_.NotifyAll();
  return status;
}

}  // namespace cachalot::snapshot
