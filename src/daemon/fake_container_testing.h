// A container without processes: it plays the part of build::Container in tests of the services.
#pragma once

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <csignal>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/guarded.h"
#include "build/container.h"
#include "op/errors.h"
#include "os/file.h"

namespace cachalot::daemon {

inline absl::Status FakeExit(int code) {
  absl::Status status = absl::UnknownError(absl::StrCat("exit code: ", code));
  op::SetNumber(status, op::kExitCodePayload, code);
  return status;
}

// Copies its input to its output and its arguments to its error stream, then ends with 0. A signal or a resize ends it at once,
// with 128 and the signal's number, or with the columns.
class FakeProcess final : public build::ContainerProcess {
 public:
  FakeProcess(const build::ProcessRequest& request, runtime::Streams streams) : streams_(std::move(streams)) {
    for (const std::string& arg : request.meta.args) (void)os::WriteAll(streams_.err.get(), arg, "err");
    streams_.err.reset();
    thread_ = std::thread([this] {
      struct pollfd events[2] = {{streams_.in.get(), POLLIN, 0}, {ended_.get(), POLLIN, 0}};
      char buffer[256];
      ssize_t n = 0;
      while (::poll(events, 2, -1) > 0 && events[1].revents == 0 && (n = ::read(streams_.in.get(), buffer, sizeof buffer)) > 0) {
        (void)os::WriteAll(streams_.out.get(), absl::string_view(buffer, static_cast<std::size_t>(n)), "out");
      }
      End(absl::OkStatus());
    });
  }
  ~FakeProcess() override { thread_.join(); }

  absl::Status Wait(const CancelToken& cancel) override {
    const auto wake = cancel.OnCancel([this] { End(absl::CancelledError("context canceled")); });
    auto exit = exit_.Lock();
    exit.Wait([](const auto& e) { return e != nullptr; });
    return **exit;
  }
  absl::Status Signal(int signal) override {
    End(FakeExit(128 + signal));
    return absl::OkStatus();
  }
  absl::Status Resize(int, int columns) override {
    End(FakeExit(columns));
    return absl::OkStatus();
  }

 private:
  void End(const absl::Status& status) {
    {
      auto exit = exit_.Lock();
      if (*exit == nullptr) *exit = std::make_unique<absl::Status>(status);
    }
    exit_.NotifyAll();
    const std::uint64_t one = 1;
    (void)!::write(ended_.get(), &one, sizeof one);
  }

  runtime::Streams streams_;
  UniqueFd ended_{::eventfd(0, EFD_CLOEXEC)};
  std::thread thread_;
  Guarded<std::unique_ptr<absl::Status>> exit_;
};

// One with the id "running" has a first process. Processes start while `may_start`.
class FakeContainer final : public build::Container {
 public:
  explicit FakeContainer(std::string id) : id_(std::move(id)) {}
  static inline Guarded<bool> may_start{true};

  absl::StatusOr<std::unique_ptr<build::ContainerProcess>> Start(const build::ProcessRequest& request, runtime::Streams streams,
                                                                 const CancelToken&) override {
    may_start.Lock().Wait([](bool may) { return may; });
    if (request.security == llb::SecurityMode::kInsecure) return absl::PermissionDeniedError("security.insecure is not allowed");
    return std::make_unique<FakeProcess>(request, std::move(streams));
  }
  bool HasStarted() const override { return id_ == "running"; }
  absl::StatusOr<std::string> ReadFile(int mount, const std::string& path, std::int64_t, std::int64_t) override { return absl::StrCat(mount, path); }
  absl::StatusOr<std::vector<llb::FileStat>> ReadDir(int, const std::string&, const std::string&) override { return std::vector<llb::FileStat>(1); }
  absl::StatusOr<llb::FileStat> StatFile(int, const std::string&) override { return llb::FileStat(); }

 private:
  const std::string id_;
};

}  // namespace cachalot::daemon
