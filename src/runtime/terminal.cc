#include "runtime/terminal.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <string>
#include <utility>

#include "base/status.h"
#include "base/status_macros.h"
#include "base/thread.h"
#include "os/file.h"

namespace cachalot::runtime {
namespace {

void SetSize(int master, int rows, int columns) {
  struct winsize size = {};
  size.ws_row = static_cast<unsigned short>(rows);
  size.ws_col = static_cast<unsigned short>(columns);
  (void)::ioctl(master, TIOCSWINSZ, &size);
}

// One descriptor sent over `socket`.
UniqueFd ReceiveDescriptor(int socket) {
  char name[256];
  alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))];
  struct iovec data = {name, sizeof name};
  struct msghdr message = {};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  if (::recvmsg(socket, &message, MSG_CMSG_CLOEXEC) < 0) return UniqueFd();
  struct cmsghdr* header = CMSG_FIRSTHDR(&message);
  if (header == nullptr || header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) return UniqueFd();
  int fd = -1;
  std::memcpy(&fd, CMSG_DATA(header), sizeof fd);
  return UniqueFd(fd);
}

// Writes all, waiting as long as it takes; but once `stop` is readable, a second for a reader that does not read.
bool WriteUntilStopped(int to, absl::string_view bytes, int stop) {
  struct pollfd events[2] = {{to, POLLOUT, 0}, {stop, POLLIN, 0}};
  while (!bytes.empty()) {
    int ready = ::poll(events, 2, -1);
    if (ready < 0 && errno == EINTR) continue;
    if (events[0].revents == 0) {
      events[1].fd = -1;
      if (::poll(events, 1, 1000) <= 0) return false;
    }
    ssize_t n = ::write(to, bytes.data(), bytes.size());
    if (n < 0 && errno != EINTR && errno != EAGAIN) return false;
    if (n > 0) bytes.remove_prefix(static_cast<std::size_t>(n));
  }
  return true;
}

// False at the end.
bool CopyOnce(int from, int to, int stop) {
  char buffer[4096];  // what a pipe that is ready takes without blocking
  ssize_t n = ::read(from, buffer, sizeof buffer);
  if (n < 0) return errno == EINTR || errno == EAGAIN;
  if (n == 0) return false;
  return to < 0 || WriteUntilStopped(to, absl::string_view(buffer, static_cast<std::size_t>(n)), stop);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Terminal>> Terminal::Listen(const std::string& directory, UniqueFd in, UniqueFd out) {
  UniqueFd listener(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  UniqueFd stop(::eventfd(0, EFD_CLOEXEC));
  if (!listener.valid() || !stop.valid()) return ErrnoError("terminal socket");
  ASSIGN_OR_RETURN(UniqueFd directory_fd, os::OpenDirectory(directory));
  struct sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  // The directory's own path may be longer than a socket's name can be.
  std::string short_path = absl::StrCat(os::DescriptorPath(directory_fd.get()), "/tty");
  std::memcpy(address.sun_path, short_path.c_str(), short_path.size() + 1);
  if (::bind(listener.get(), reinterpret_cast<struct sockaddr*>(&address), sizeof address) != 0 || ::listen(listener.get(), 1) != 0) {
    return ErrnoError(absl::StrCat("terminal socket ", directory, "/tty"));
  }
  return std::unique_ptr<Terminal>(new Terminal(directory + "/tty", std::move(listener), std::move(stop), std::move(in), std::move(out)));
}

Terminal::Terminal(std::string socket_path, UniqueFd listener, UniqueFd stop, UniqueFd in, UniqueFd out)
    : socket_path_(std::move(socket_path)), listener_(std::move(listener)), stop_(std::move(stop)), in_(std::move(in)), out_(std::move(out)) {
  thread_ = NewThread([this] { Loop(); });
}

Terminal::~Terminal() { Finish(); }

absl::Status Terminal::Resize(int rows, int columns) {
  auto state = state_.Lock();
  state->rows = rows;
  state->columns = columns;
  if (state->master.valid()) SetSize(state->master.get(), rows, columns);
  return absl::OkStatus();
}

void Terminal::Finish() {
  if (!thread_.joinable()) return;
  std::uint64_t one = 1;
  (void)!::write(stop_.get(), &one, sizeof one);
  thread_.join();
  state_.Lock()->master.reset();
  in_.reset();
  out_.reset();
}

bool Terminal::ReceiveMaster() {
  struct pollfd events[2] = {{listener_.get(), POLLIN, 0}, {stop_.get(), POLLIN, 0}};
  while (events[0].revents == 0) {
    if (events[1].revents != 0) return false;
    if (::poll(events, 2, -1) < 0 && errno != EINTR) return false;
  }
  UniqueFd peer(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
  UniqueFd master = peer.valid() ? ReceiveDescriptor(peer.get()) : UniqueFd();
  if (!master.valid()) return false;
  auto state = state_.Lock();
  if (state->rows > 0) SetSize(master.get(), state->rows, state->columns);
  state->master = std::move(master);
  return true;
}

void Terminal::Copy(int master) {
  struct pollfd events[3] = {{master, POLLIN, 0}, {in_.valid() ? in_.get() : -1, POLLIN, 0}, {stop_.get(), POLLIN, 0}};
  bool open = true;
  while (open && (events[2].revents == 0 || events[0].revents != 0)) {
    // Once stopped, what is there already is still copied.
    if (::poll(events, 3, events[2].revents != 0 ? 0 : -1) < 0 && errno != EINTR) return;
    if (events[0].revents != 0) open = CopyOnce(master, out_.get(), stop_.get());
    if (events[1].revents != 0 && !CopyOnce(in_.get(), master, stop_.get())) events[1].fd = -1;
  }
}

void Terminal::Loop() {
  if (!ReceiveMaster()) return;
  int master = state_.Lock()->master.get();
  Copy(master);
}

}  // namespace cachalot::runtime
