// Clients that found an engine by its state directory. Each holds a lease: a socket that stays open as long as the client needs the
// engine, over which it handed in the connection that its calls take.
//
// The client sends one byte with the descriptor of its connection, and gets kServed; an engine that is leaving closes instead. A client
// that is done shuts its side down, and gets kOthersRemain, or the end of the stream when the engine's process has ended.
#pragma once

#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "base/guarded.h"
#include "base/unique_fd.h"

namespace cachalot::daemon {

// Thread-safe.
class Leases {
 public:
  using Serve = std::function<void(UniqueFd connection)>;
  // Gives leases to who comes over `listener` (may be invalid: nobody does). `serve` is called on a thread of its own.
  Leases(UniqueFd listener, Serve serve);
  ~Leases();  // ends them all
  Leases(const Leases&) = delete;

  // One more, of a client that has its lease by other ways. Its connection is served.
  void Add(UniqueFd lease, UniqueFd connection);
  // Waits until nobody has a lease, then gives none any more; or until `stop_fd` is readable. The last one's socket stays open until the
  // process ends, so that its client waits for that.
  void AwaitLast(int stop_fd);

 private:
  struct Guest {
    UniqueFd lease;
    bool served = false;
  };
  struct State {
    std::vector<Guest> arrived;
    bool stopping = false;
    bool leave_unused = false;
  };

  void Loop();
  void Wake();
  // Takes a lease's connection and serves it; false when it brought none.
  bool Admit(int lease);
  // True when the last lease went and nobody gets another.
  bool Visit(std::vector<Guest>& guests, const std::vector<bool>& ready, bool leave_unused);

  UniqueFd listener_;
  const Serve serve_;
  UniqueFd wake_, unused_;  // eventfds
  Guarded<State> state_;
  std::thread thread_;
};

// The client's side: a lease for `connection` (the engine's end of it) over `socket`, a connection to the owner of a state directory.
// UNAVAILABLE when the engine leaves; CANCELLED when `stop_fd` (-1: none) is readable first.
absl::StatusOr<UniqueFd> TakeLease(UniqueFd socket, UniqueFd connection, int stop_fd);

// What the process of an engine tells the client that started it, over the lease that this one has without asking: OK is kServed.
void ReportStart(int lease, const absl::Status& status);
// Waits for that. ABORTED when the engine ended without a word, CANCELLED as above.
absl::Status AwaitStart(int lease, int stop_fd);

// Gives a lease back. True when the engine's process has ended, false when it stays for others.
bool EndLease(UniqueFd lease);

}  // namespace cachalot::daemon
