// A container's pseudo terminal as the runtime hands it over, joined to a caller's descriptors.
#pragma once

#include <memory>
#include <string>
#include <thread>

#include "absl/status/statusor.h"
#include "base/guarded.h"
#include "base/unique_fd.h"

namespace cachalot::runtime {

// Listens on a socket for the terminal's master end, then copies: `in` to the terminal, the terminal to `out`. Ends with the terminal.
class Terminal {
 public:
  // The socket is made in `directory`; `in` or `out` may be invalid.
  static absl::StatusOr<std::unique_ptr<Terminal>> Listen(const std::string& directory, UniqueFd in, UniqueFd out);
  // As Finish().
  ~Terminal();

  const std::string& socket_path() const { return socket_path_; }
  // Kept until the terminal is there when it is not yet.
  absl::Status Resize(int rows, int columns);
  // To be called when the process has ended: copies what is left of its output and lets go of everything.
  void Finish();

 private:
  struct State {
    UniqueFd master;
    int rows = 0, columns = 0;
  };

  Terminal(std::string socket_path, UniqueFd listener, UniqueFd stop, UniqueFd in, UniqueFd out);
  void Loop();
  bool ReceiveMaster();
  void Copy(int master);

  const std::string socket_path_;
  UniqueFd listener_, stop_, in_, out_;
  Guarded<State> state_;
  std::thread thread_;
};

}  // namespace cachalot::runtime
