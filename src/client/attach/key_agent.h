// An SSH agent for the key files that a user names.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/temporary_directory.h"
#include "os/process.h"

namespace cachalot::client {

// OpenSSH's agent, holding these keys in its memory, as long as this object lives.
class KeyAgent {
 public:
  // An error names the file that holds no private key, or one with a passphrase, or the program that is missing.
  static absl::StatusOr<std::unique_ptr<KeyAgent>> Start(const std::vector<std::string>& key_files);
  // The path of its socket.
  const std::string& socket() const { return socket_; }

 private:
  KeyAgent(TemporaryDirectory directory, std::string socket, os::ChildProcess process)
      : directory_(std::move(directory)), socket_(std::move(socket)), process_(std::move(process)) {}
  absl::Status Add(const std::string& key_file) const;

  TemporaryDirectory directory_;
  const std::string socket_;
  os::ChildProcess process_;
};

}  // namespace cachalot::client
