#include "daemon/exec_stream.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <future>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "daemon/output_pump.h"
#include "daemon/translate_container.h"

namespace cachalot::daemon {

namespace {

namespace gateway = moby::buildkit::v1::frontend;

constexpr std::uint32_t kStdin = 0, kStdout = 1, kStderr = 2;

}  // namespace

// A process with its streams. The reading thread feeds it, a second one waits for it, a third one sends.
class ExecStream::Process {
 public:
  static absl::StatusOr<std::shared_ptr<Process>> Create(std::string id, const gateway::InitMessage& init) {
    ASSIGN_OR_RETURN(OutputPump pump, OutputPump::Create());
    auto process = std::shared_ptr<Process>(new Process(std::move(id), std::move(pump)));
    process->stop_input_.reset(::eventfd(0, EFD_CLOEXEC));
    if (!process->stop_input_.valid()) return ErrnoError("eventfd");
    for (const std::uint32_t fd : init.fds()) {
      switch (fd) {
        case kStdin: RETURN_IF_ERROR(OpenPipe(/*parent_reads=*/false, process->input_, process->streams_.in)); break;
        case kStdout: {
          ASSIGN_OR_RETURN(process->streams_.out, process->pump_.AddStream(fd));
          break;
        }
        case kStderr: {
          ASSIGN_OR_RETURN(process->streams_.err, process->pump_.AddStream(fd));
          break;
        }
        default: return absl::InvalidArgumentError(absl::StrCat("fd ", fd, " cannot be passed to a process"));
      }
    }
    process->takes_input_ = process->input_.valid();
    return process;
  }

  void Start(build::Container& container, const absl::StatusOr<build::ProcessRequest>& request, const CancelToken& cancel) {
    runtime::Streams streams = std::move(streams_);
    absl::StatusOr<std::unique_ptr<build::ContainerProcess>> started =
        request.ok() ? container.Start(*request, std::move(streams), cancel) : request.status();
    if (!started.ok()) End(started.status());
    {
      auto running = running_.Lock();
      running->pending = false;
      if (started.ok()) running->process = *std::move(started);
    }
    running_.NotifyAll();
  }

  // Until the process has ended.
  void Wait(const CancelToken& cancel) {
    build::ContainerProcess* const process = running_.Lock()->process.get();
    if (process == nullptr) return;
    const absl::Status exit = process->Wait(cancel);
    // The container can go now, whether or not the client takes what there is to send.
    std::unique_ptr<build::ContainerProcess> ended = std::move(running_.Lock()->process);
    ended.reset();
    End(exit);
  }

  // Until there is nothing more to send, or the client has gone.
  absl::Status Send(ExecCall& call) {
    gateway::ExecMessage message;
    message.set_processid(id_);
    message.mutable_started();
    RETURN_IF_ERROR(call.Write(message));
    RETURN_IF_ERROR(pump_.Run([&](std::uint32_t stream, absl::string_view data) {
      gateway::FdMessage* file = message.mutable_file();
      file->set_fd(stream);
      file->set_data(data.data(), data.size());
      file->set_eof(data.empty());
      return call.Write(message);
    }));
    EncodeExit(exit_.get_future().get(), message.mutable_exit());
    RETURN_IF_ERROR(call.Write(message));
    message.mutable_done();
    return call.Write(message);
  }

  absl::Status Feed(const gateway::FdMessage& file, const CancelToken& cancel) {
    if (file.fd() != kStdin || !takes_input_) return absl::OutOfRangeError(absl::StrCat("fd ", file.fd(), " unavailable to write"));
    if (input_.valid() && !WriteInput(file.data(), cancel)) input_.reset();
    if (file.eof()) input_.reset();
    return absl::OkStatus();
  }

  void Resize(const gateway::ResizeMessage& size) {
    auto running = running_.Lock();
    running.Wait([](const Running& r) { return !r.pending; });
    if (running->process == nullptr) return;
    const absl::Status status = running->process->Resize(static_cast<int>(size.rows()), static_cast<int>(size.cols()));
    if (!status.ok()) LogDebug("resize of process ", id_, ": ", status.message());
  }
  void Signal(int number) {
    auto running = running_.Lock();
    running.Wait([](const Running& r) { return !r.pending; });
    if (running->process == nullptr) return;
    const absl::Status status = running->process->Signal(number);
    if (!status.ok()) LogDebug("signal to process ", id_, ": ", status.message());
  }

 private:
  Process(std::string id, OutputPump pump) : id_(std::move(id)), pump_(std::move(pump)) {}

  void End(const absl::Status& status) {
    const std::uint64_t one = 1;
    (void)!::write(stop_input_.get(), &one, sizeof one);
    exit_.set_value(status);
    pump_.Stop();
  }

  // False when nobody reads any more.
  bool WriteInput(absl::string_view data, const CancelToken& cancel) {
    const CancelToken::Registration wake = cancel.OnCancel([this] {
      const std::uint64_t one = 1;
      (void)!::write(stop_input_.get(), &one, sizeof one);
    });
    while (!data.empty()) {
      struct pollfd events[2] = {{input_.get(), POLLOUT, 0}, {stop_input_.get(), POLLIN, 0}};
      if (::poll(events, 2, -1) < 0 && errno != EINTR) return false;
      if (events[1].revents != 0) return false;
      const ssize_t n = ::write(input_.get(), data.data(), data.size());
      if (n < 0 && errno != EAGAIN && errno != EINTR) return false;
      if (n > 0) data.remove_prefix(static_cast<std::size_t>(n));
    }
    return true;
  }

  const std::string id_;
  runtime::Streams streams_;  // the process's ends, until it starts
  OutputPump pump_;
  UniqueFd input_, stop_input_;
  bool takes_input_ = false;
  struct Running {
    bool pending = true;                               // it is still to be started
    std::unique_ptr<build::ContainerProcess> process;  // null before and after
  };
  Guarded<Running> running_;
  std::promise<absl::Status> exit_;
};

void ExecStream::Spawn(std::function<void()> work) {
  ++*working_.Lock();
  pool_.Run([this, work = std::move(work)] {
    work();
    auto working = working_.Lock();
    --*working;
    working_.NotifyAll();
  });
}

absl::Status ExecStream::Start(const std::string& id, const gateway::InitMessage& init) {
  if (processes_.contains(id)) return absl::AlreadyExistsError(absl::StrCat("Process ", id, " already exists"));
  ASSIGN_OR_RETURN(const build::ContainerPtr container, build_.FindContainer(init.containerid()));
  ASSIGN_OR_RETURN(const std::shared_ptr<Process> process, Process::Create(id, init));
  processes_[id] = process;
  // A client may take nothing of the processes it has until it knows of the next one: that is announced at once, and started while more is
  // read. With the first one the container comes into being, so that one is there when it is announced.
  const auto send = [this, process] { (void)process->Send(call_); };
  if (container->HasStarted()) {
    Spawn(send);
    Spawn([this, process, container, request = DecodeProcess(init)] {
      process->Start(*container, request, call_.cancel());
      process->Wait(call_.cancel());
    });
    return absl::OkStatus();
  }
  process->Start(*container, DecodeProcess(init), call_.cancel());
  Spawn([this, process] { process->Wait(call_.cancel()); });
  Spawn(send);
  return absl::OkStatus();
}

absl::Status ExecStream::Handle(const Message& message) {
  const std::string& id = message.processid();
  if (id.empty()) return absl::InvalidArgumentError("ProcessID required");
  if (message.has_init()) return Start(id, message.init());
  const auto found = processes_.find(id);
  if (found == processes_.end()) return absl::NotFoundError(absl::StrCat("IO for process \"", id, "\" not found"));
  Process& process = *found->second;
  switch (message.Input_case()) {
    case Message::kFile: return process.Feed(message.file(), call_.cancel());
    case Message::kResize: process.Resize(message.resize()); break;
    case Message::kSignal: {
      const std::optional<int> number = SignalNumber(message.signal().name());
      if (!number.has_value()) return absl::InvalidArgumentError(absl::StrCat("Unknown signal ", message.signal().name()));
      process.Signal(*number);
      break;
    }
    default: break;  // the other messages are ours
  }
  return absl::OkStatus();
}

absl::Status ExecStream::Run() {
  absl::Status status;
  Message message;
  while (status.ok() && call_.Read(&message)) status = Handle(message);
  if (!status.ok()) call_.Stop();  // the processes end
  auto working = working_.Lock();
  working.Wait([](int count) { return count == 0; });
  return status;
}

}  // namespace cachalot::daemon
