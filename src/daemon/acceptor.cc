#include "daemon/acceptor.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstdint>
#include <utility>

#include "base/log.h"
#include "base/status.h"
#include "base/thread.h"

namespace cachalot::daemon {

namespace {
// While descriptors have run out, accepting again at once would spin.
constexpr int kOutOfDescriptorsPauseMs = 100;
}  // namespace

Acceptor::Acceptor(std::vector<Listener> listeners, OnConnection on_connection)
    : listeners_(std::move(listeners)),
      on_connection_(std::move(on_connection)),
      stop_(eventfd(0, EFD_CLOEXEC)),
      thread_(NewThread([this] { Loop(); })) {}

Acceptor::~Acceptor() {
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = write(stop_.get(), &one, sizeof(one));
  thread_.join();
}

void Acceptor::Loop() {
  pthread_setname_np(pthread_self(), "accept");
  std::vector<pollfd> polled = {{stop_.get(), POLLIN, 0}};
  for (const Listener& listener : listeners_) {
    polled.push_back({listener.socket.get(), POLLIN, 0});
  }
  while (true) {
    if (poll(polled.data(), polled.size(), -1) < 0 && errno != EINTR) {
      LogError(ErrnoError("poll of the listening sockets").message());
      return;
    }
    if (polled[0].revents != 0) {
      return;
    }
    for (std::size_t i = 1; i < polled.size(); ++i) {
      if (polled[i].revents == 0) {
        continue;
      }
      UniqueFd connection(accept4(polled[i].fd, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
      if (connection.valid()) {
        // For TCP; other sockets have no such delay.
        const int on = 1;
        setsockopt(connection.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        on_connection_(std::move(connection), listeners_[i - 1]);
      } else if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) {
        LogWarning(ErrnoError("accepting a connection").message());
        poll(polled.data(), 1, kOutOfDescriptorsPauseMs);
      }
    }
  }
}

}  // namespace cachalot::daemon
