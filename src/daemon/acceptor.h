// Accepts connections on listening sockets, on one thread.
#pragma once

#include <functional>
#include <thread>
#include <vector>

#include "base/unique_fd.h"

namespace cachalot::daemon {

class Acceptor {
 public:
  // Hands every connection to `on_connection`, on the thread of this object. The listeners are non-blocking.
  Acceptor(std::vector<UniqueFd> listeners, std::function<void(UniqueFd)> on_connection);
  ~Acceptor();  // closes the listeners
  Acceptor(const Acceptor&) = delete;

 private:
  void Loop();

  std::vector<UniqueFd> listeners_;
  const std::function<void(UniqueFd)> on_connection_;
  UniqueFd stop_;
  std::thread thread_;
};

}  // namespace cachalot::daemon
