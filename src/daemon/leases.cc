#include "daemon/leases.h"

#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <utility>

#include "base/status.h"
#include "base/status_macros.h"
#include "base/thread.h"

namespace cachalot::daemon {

namespace {

constexpr char kServed = 'W', kOthersRemain = 'S', kFailed = 'E';
constexpr std::size_t kMaxMessage = 64 << 10;
constexpr char kHere = 'c';  // accompanies a client's connection

void Signal(int event_fd) {
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = ::write(event_fd, &one, sizeof one);
}

void Send(int socket, absl::string_view bytes) {
  while (::send(socket, bytes.data(), bytes.size(), MSG_NOSIGNAL) < 0 && errno == EINTR) {
  }
}

absl::Status SendDescriptor(int socket, int fd) {
  char byte = kHere;
  iovec vector = {&byte, 1};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr message = {};
  message.msg_iov = &vector;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  cmsghdr* const header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof(int));
  std::memcpy(CMSG_DATA(header), &fd, sizeof fd);
  if (::sendmsg(socket, &message, MSG_NOSIGNAL) != 1) return absl::UnavailableError(ErrnoError("ask the engine").message());
  return absl::OkStatus();
}

// Not valid when the message brings none.
UniqueFd ReceiveDescriptor(int socket) {
  char byte;
  iovec vector = {&byte, 1};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr message = {};
  message.msg_iov = &vector;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  if (::recvmsg(socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) != 1) return UniqueFd();
  const cmsghdr* const header = CMSG_FIRSTHDR(&message);
  if (header == nullptr || header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS || header->cmsg_len != CMSG_LEN(sizeof(int))) {
    return UniqueFd();
  }
  int fd = -1;
  std::memcpy(&fd, CMSG_DATA(header), sizeof fd);
  return UniqueFd(fd);
}

// One byte from the engine: 0 at the end of the stream.
absl::StatusOr<char> AwaitByte(int socket, int stop_fd) {
  pollfd polled[] = {{socket, POLLIN, 0}, {stop_fd, POLLIN, 0}};
  while (::poll(polled, 2, -1) < 0) {
    if (errno != EINTR) return ErrnoError("poll");
  }
  if (polled[1].revents != 0) return absl::CancelledError("context canceled");
  char byte = 0;
  ssize_t got;
  while ((got = ::recv(socket, &byte, 1, 0)) < 0 && errno == EINTR) {
  }
  return got == 1 ? byte : 0;
}

}  // namespace

Leases::Leases(UniqueFd listener, Serve serve)
    : listener_(std::move(listener)),
      serve_(std::move(serve)),
      wake_(::eventfd(0, EFD_CLOEXEC)),
      unused_(::eventfd(0, EFD_CLOEXEC)),
      thread_(NewThread([this] { Loop(); })) {}

Leases::~Leases() {
  state_.Lock()->stopping = true;
  Wake();
  thread_.join();
}

void Leases::Wake() { Signal(wake_.get()); }

void Leases::Add(UniqueFd lease, UniqueFd connection) {
  serve_(std::move(connection));
  state_.Lock()->arrived.push_back({std::move(lease), /*served=*/true});
  Wake();
}

void Leases::AwaitLast(int stop_fd) {
  state_.Lock()->leave_unused = true;
  Wake();
  pollfd polled[] = {{unused_.get(), POLLIN, 0}, {stop_fd, POLLIN, 0}};
  while (::poll(polled, 2, -1) < 0 && errno == EINTR) {
  }
}

bool Leases::Admit(int lease) {
  UniqueFd connection = ReceiveDescriptor(lease);
  if (!connection.valid()) return false;
  serve_(std::move(connection));
  Send(lease, {&kServed, 1});
  return true;
}

bool Leases::Visit(std::vector<Guest>& guests, const std::vector<bool>& ready, bool leave_unused) {
  const auto served = [&] { return std::count_if(guests.begin(), guests.end(), [](const Guest& guest) { return guest.served; }); };
  for (std::size_t i = 0; i < ready.size(); ++i) {
    if (!ready[i]) continue;
    Guest& guest = guests[i];
    if (!guest.served) {
      guest.served = Admit(guest.lease.get());
      if (!guest.served) guest.lease.reset();
      continue;
    }
    guest.served = false;  // nothing but its end comes from a client that is served
    if (leave_unused && served() == 0) {
      // Closed by the end of the process; its client waits for that.
      static_cast<void>(guest.lease.release());
      return true;
    }
    Send(guest.lease.get(), {&kOthersRemain, 1});
    guest.lease.reset();
  }
  guests.erase(std::remove_if(guests.begin(), guests.end(), [](const Guest& guest) { return !guest.lease.valid(); }), guests.end());
  return leave_unused && served() == 0;
}

void Leases::Loop() {
  ::pthread_setname_np(::pthread_self(), "leases");
  std::vector<Guest> guests;
  while (true) {
    std::vector<pollfd> polled = {{wake_.get(), POLLIN, 0}, {listener_.get(), POLLIN, 0}};
    for (const Guest& guest : guests) polled.push_back({guest.lease.get(), POLLIN, 0});
    if (::poll(polled.data(), polled.size(), -1) < 0) continue;
    std::uint64_t count;
    if (polled[0].revents != 0) [[maybe_unused]]
      const ssize_t got = ::read(wake_.get(), &count, sizeof count);
    std::vector<bool> ready;
    for (std::size_t i = 2; i < polled.size(); ++i) ready.push_back(polled[i].revents != 0);
    bool leave_unused = false;
    {
      auto state = state_.Lock();
      if (state->stopping) return;
      leave_unused = state->leave_unused;
      for (Guest& guest : state->arrived) guests.push_back(std::move(guest));
      state->arrived.clear();
    }
    if (polled[1].revents != 0) {
      if (UniqueFd arrived(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC)); arrived.valid()) {
        guests.push_back({std::move(arrived), false});
      } else if (errno == EMFILE || errno == ENFILE) {
        ::poll(polled.data(), 1, 100);  // accepting again at once would spin
      }
    }
    if (!Visit(guests, ready, leave_unused)) continue;
    listener_.reset();  // who waits there sees that, and comes back for the lock
    Signal(unused_.get());
    return;
  }
}

absl::StatusOr<UniqueFd> TakeLease(UniqueFd socket, UniqueFd connection, int stop_fd) {
  RETURN_IF_ERROR(SendDescriptor(socket.get(), connection.get()));
  connection.reset();
  ASSIGN_OR_RETURN(const char answer, AwaitByte(socket.get(), stop_fd));
  if (answer != kServed) return absl::UnavailableError("the engine is leaving");
  return socket;
}

void ReportStart(int lease, const absl::Status& status) {
  if (status.ok()) return Send(lease, {&kServed, 1});
  Send(lease, std::string{kFailed, static_cast<char>(status.code())} + std::string(status.message().substr(0, kMaxMessage)));
}

absl::Status AwaitStart(int lease, int stop_fd) {
  ASSIGN_OR_RETURN(const char answer, AwaitByte(lease, stop_fd));
  if (answer == kServed) return absl::OkStatus();
  if (answer != kFailed) return absl::AbortedError("the engine's process ended while it started");
  std::string rest(kMaxMessage + 1, '\0');
  std::size_t size = 0;
  ssize_t got;
  while (size < rest.size() && (got = ::recv(lease, rest.data() + size, rest.size() - size, 0)) > 0) size += static_cast<std::size_t>(got);
  if (size == 0) return absl::AbortedError("the engine's process ended while it started");
  return absl::Status(static_cast<absl::StatusCode>(rest[0]), absl::string_view(rest).substr(1, size - 1));
}

bool EndLease(UniqueFd lease) {
  ::shutdown(lease.get(), SHUT_WR);
  const absl::StatusOr<char> answer = AwaitByte(lease.get(), -1);
  return !answer.ok() || *answer != kOthersRemain;
}

}  // namespace cachalot::daemon
