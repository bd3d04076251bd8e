// What a client offers to the daemon over its session: directories, secrets, SSH agents, registry credentials, places for
// the output, streams to upload.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/cancel.h"
#include "session/byte_stream.h"

namespace cachalot::client {

// A secret from a file or an environment variable. With neither: the variable named like the id, else the file of that path.
struct SecretSource {
  std::string id, file, env;
};

// An agent behind a unix socket, or one that holds the keys of files; without paths: $SSH_AUTH_SOCK. Only listing keys and signing
// get through, unless `raw`, which needs a socket.
struct SshAgent {
  std::string id = "default";
  std::vector<std::string> paths;  // of one socket, or of key files
  bool raw = false;
};

// Takes one output file.
class OutputSink {
 public:
  virtual ~OutputSink() = default;
  virtual absl::Status Write(absl::string_view bytes) = 0;
  virtual absl::Status Close() = 0;  // all of it has come
};

// Where the output of one exporter goes: a directory, or whatever `open` returns for the exporter's metadata.
struct Output {
  int exporter_id = 0;  // its index in the solve request
  std::string directory;
  bool mirror = false;  // the directory becomes equal to the output (mode=delete); else what is there besides stays
  std::function<absl::StatusOr<std::unique_ptr<OutputSink>>(const std::map<std::string, std::string>& metadata)> open;
};
// Outputs into a file, which is created or emptied when its data comes, and into an open descriptor such as stdout.
Output FileOutput(int exporter_id, std::string path);
Output DescriptorOutput(int exporter_id, int fd);

// A stream that the daemon reads once, such as a tar context on stdin. Reads into `chunk`; false at the end.
using UploadReader = std::function<absl::StatusOr<bool>(std::string& chunk)>;

struct AttachOptions {
  std::string shared_key;                          // names the client's working copy, so that the daemon finds what it has of it
  std::map<std::string, std::string> directories;  // "context", "dockerfile" -> path
  std::vector<SecretSource> secrets;
  std::vector<SshAgent> ssh_agents;
  std::vector<Output> outputs;
  int stop_fd = -1;                                   // readable when the user no longer waits for a secret that comes through a pipe
  std::map<std::string, std::string> content_stores;  // what the daemon calls one -> the directory of an image layout
  std::string docker_config_directory;                // empty: $DOCKER_CONFIG or ~/.docker
};

class Attachables {
 public:
  // Checks the options: secrets' files and agents' sockets must be there.
  static absl::StatusOr<std::unique_ptr<Attachables>> Create(AttachOptions options);
  virtual ~Attachables() = default;

  // Of the session; the solve request names it.
  virtual const std::string& id() const = 0;
  // The headers of the Control.Session call.
  virtual std::vector<std::pair<std::string, std::string>> headers() const = 0;
  // Offers a stream; returns its URL, which serves as a remote context.
  virtual std::string AddUpload(UploadReader reader) = 0;
  // Serves over `stream`, the client's end of Control.Session, until the other end goes or `cancel` is cancelled.
  virtual absl::Status Serve(session::ByteStream& stream, const CancelToken& cancel) = 0;
};

}  // namespace cachalot::client
