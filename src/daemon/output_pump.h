// What a process writes, on its way to a client.
#pragma once

#include <cstdint>
#include <functional>
#include <map>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/unique_fd.h"

namespace cachalot::daemon {

// Reads several pipes at once.
class OutputPump {
 public:
  // `data` is empty once, at the end of the stream. An error stops the pump.
  using Sink = std::function<absl::Status(std::uint32_t stream, absl::string_view data)>;

  static absl::StatusOr<OutputPump> Create();
  // The end for the process of a new pipe. `stream` is what the sink is told.
  absl::StatusOr<UniqueFd> AddStream(std::uint32_t stream);

  // Passes on what comes until all streams have ended, or until Stop: then what is there already is still passed on (no more than a
  // pipe holds), and whoever holds an end still (a process that was left behind) is not waited for.
  absl::Status Run(const Sink& sink);
  // From any thread.
  void Stop();

 private:
  OutputPump() = default;
  // False when there is nothing now.
  static absl::StatusOr<bool> ReadOne(std::uint32_t stream, UniqueFd& pipe, const Sink& sink);

  std::map<std::uint32_t, UniqueFd> pipes_;
  UniqueFd stop_;  // an eventfd
};

// A pipe whose `parent` end does not block.
absl::Status OpenPipe(bool parent_reads, UniqueFd& parent, UniqueFd& child);

}  // namespace cachalot::daemon
