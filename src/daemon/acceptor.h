// Accepts connections on listening sockets, on one thread.
#pragma once

#include <functional>
#include <thread>
#include <vector>

#include "base/unique_fd.h"

namespace cachalot::daemon {

class Acceptor {
 public:
  struct Listener {
    UniqueFd socket;  // non-blocking
    bool tls = false;
  };
  // Hands every connection (non-blocking) with its listener to `on_connection`, on the thread of this object.
  using OnConnection = std::function<void(UniqueFd, const Listener&)>;
  Acceptor(std::vector<Listener> listeners, OnConnection on_connection);
  ~Acceptor();  // closes the listeners
  Acceptor(const Acceptor&) = delete;

 private:
  void Loop();

  std::vector<Listener> listeners_;
  const OnConnection on_connection_;
  UniqueFd stop_;
  std::thread thread_;
};

}  // namespace cachalot::daemon
