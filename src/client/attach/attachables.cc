#include "client/attach/attachables.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <optional>

#include "absl/strings/str_cat.h"
#include "base/guarded.h"
#include "base/random_id.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "buildkit/secrets.pb.h"
#include "buildkit/upload.pb.h"
#include "client/attach/auth.h"
#include "client/attach/content_stores.h"
#include "client/attach/outputs.h"
#include "client/attach/ssh.h"
#include "os/file.h"
#include "session/rpc/call.h"
#include "session/tree/path_order.h"
#include "session/tree/send.h"

namespace cachalot::client {
namespace {

using session::RpcHandlers;
using session::RpcStream;

constexpr std::size_t kMaxSecretBytes = 500 * 1024;
constexpr std::size_t kUploadChunk = 1 << 20;
constexpr absl::string_view kServing("\x08\x01", 2);  // grpc.health.v1.HealthCheckResponse{status: SERVING}

// What a pipe holds, which can be read only once; nothing of a regular file, which is read when it is asked for. CANCELLED when `stop_fd` is
// readable first.
absl::StatusOr<std::optional<std::string>> ReadSecret(const std::string& path, int stop_fd) {
  ASSIGN_OR_RETURN(const UniqueFd fd, os::Open(path, O_RDONLY | O_NONBLOCK));
  struct stat st;
  if (::fstat(fd.get(), &st) != 0) return ErrnoError(absl::StrCat("stat ", path));
  if (S_ISDIR(st.st_mode)) return ErrnoError(absl::StrCat("read ", path), EISDIR);
  if (S_ISREG(st.st_mode)) {
    if (st.st_size > static_cast<off_t>(kMaxSecretBytes)) return absl::ResourceExhaustedError(path);
    return std::nullopt;
  }
  std::string content, buffer(kMaxSecretBytes + 1, '\0');
  while (content.size() <= kMaxSecretBytes) {
    pollfd polled[] = {{fd.get(), POLLIN, 0}, {stop_fd, POLLIN, 0}};  // a pipe that nobody writes to yet is not ready
    if (::poll(polled, 2, -1) < 0) {
      if (errno != EINTR) return ErrnoError("poll");
      continue;
    }
    if (polled[1].revents != 0) return absl::CancelledError("context canceled");
    const ssize_t got = ::read(fd.get(), buffer.data(), buffer.size());
    if (got == 0) return content;
    if (got < 0 && errno != EAGAIN && errno != EINTR) return ErrnoError(absl::StrCat("read ", path));
    if (got > 0) content.append(buffer, 0, static_cast<std::size_t>(got));
  }
  return absl::ResourceExhaustedError(path);
}

// What the sender of file trees says in the call's headers.
session::TreeSource SourceFor(const std::string& directory, const RpcStream& stream) {
  session::TreeSource source;
  source.directory = directory;
  source.patterns.include = session::DecodedList(stream.metadata(), "include-patterns");
  source.patterns.exclude = session::DecodedList(stream.metadata(), "exclude-patterns");
  source.patterns.follow = session::DecodedList(stream.metadata(), "followpaths");
  // Who owns the working copy must not matter to the build.
  source.anonymous = true;
  source.marks_changes = true;
  return source;
}

class Attached : public Attachables {
 public:
  explicit Attached(AttachOptions options) : options_(std::move(options)) {}

  absl::Status Prepare() {
    for (SecretSource& secret : options_.secrets) {
      RETURN_IF_ERROR(PrepareSecret(secret));
    }
    ASSIGN_OR_RETURN(ssh_, SshAgents::Create(options_.ssh_agents));
    auth_ = Auth::Create(options_.docker_config_directory);
    AddHandlers();
    return absl::OkStatus();
  }

  const std::string& id() const override { return id_; }

  std::vector<std::pair<std::string, std::string>> headers() const override {
    std::vector<std::pair<std::string, std::string>> headers = {{"x-docker-expose-session-uuid", id_},
                                                                {"x-docker-expose-session-sharedkey", options_.shared_key}};
    for (const auto& [method, handler] : handlers_) {
      headers.emplace_back("x-docker-expose-session-grpc-method", method);
    }
    return headers;
  }

  std::string AddUpload(UploadReader reader) override {
    const std::string name = RandomId();
    (*uploads_.Lock())[name] = std::move(reader);
    return absl::StrCat("http://buildkit-session/", name);
  }

  absl::Status Serve(session::ByteStream& stream, const CancelToken& cancel) override { return session::ServeRpc(stream, handlers_, cancel); }

 private:
  absl::Status PrepareSecret(SecretSource& secret) {
    if (secret.id.empty()) {
      return absl::InvalidArgumentError("secret missing ID");
    }
    if (secret.file.empty() && secret.env.empty()) {
      (std::getenv(secret.id.c_str()) != nullptr ? secret.env : secret.file) = secret.id;
    }
    if (!secret.file.empty()) {
      absl::StatusOr<std::optional<std::string>> content = ReadSecret(secret.file, options_.stop_fd);
      if (absl::IsResourceExhausted(content.status())) {
        return absl::InvalidArgumentError(absl::StrCat("secret ", secret.id, " too big. max size 500KB"));
      }
      if (!content.ok()) return Annotate(content.status(), absl::StrCat("secret ", secret.id));
      if (content->has_value()) piped_secrets_[secret.id] = **std::move(content);
    }
    return absl::OkStatus();
  }

  void AddHandlers() {
    handlers_["/grpc.health.v1.Health/Check"] = [](RpcStream& stream) -> absl::Status {
      RETURN_IF_ERROR(stream.Read().status());
      return stream.Write(kServing);
    };
    handlers_["/moby.filesync.v1.FileSync/DiffCopy"] = [this](RpcStream& stream) { return SyncDirectory(stream); };
    handlers_["/moby.upload.v1.Upload/Pull"] = [this](RpcStream& stream) { return Upload(stream); };
    using moby::buildkit::secrets::v1::GetSecretRequest;
    using moby::buildkit::secrets::v1::GetSecretResponse;
    handlers_["/moby.buildkit.secrets.v1.Secrets/GetSecret"] = session::UnaryHandler<GetSecretRequest, GetSecretResponse>(
        [this](const GetSecretRequest& request, GetSecretResponse* response) { return GetSecret(request.id(), response->mutable_data()); });
    if (!options_.outputs.empty()) {
      handlers_["/moby.filesync.v1.FileSend/DiffCopy"] = [this](RpcStream& stream) { return ReceiveOutput(options_.outputs, stream); };
    }
    AddContentHandlers(options_.content_stores, handlers_);
    ssh_->AddHandlers(handlers_);
    auth_->AddHandlers(handlers_);
  }

  absl::Status SyncDirectory(RpcStream& stream) {
    const std::vector<std::string> names = session::DecodedList(stream.metadata(), "dir-name");
    const std::string name = names.empty() ? "" : names.front();
    const auto found = options_.directories.find(name);
    if (found == options_.directories.end()) {
      return absl::NotFoundError(absl::StrCat("no access allowed to dir \"", name, "\""));
    }
    return session::SendTrees(stream, {SourceFor(found->second, stream)});
  }

  absl::Status GetSecret(const std::string& id, std::string* data) {
    const auto secret = std::find_if(options_.secrets.begin(), options_.secrets.end(), [&](const auto& s) { return s.id == id; });
    if (secret == options_.secrets.end()) {
      return absl::NotFoundError("not found");
    }
    if (const auto piped = piped_secrets_.find(id); piped != piped_secrets_.end()) {
      *data = piped->second;
    } else if (!secret->env.empty()) {
      const char* value = std::getenv(secret->env.c_str());
      *data = value == nullptr ? "" : value;
    } else {
      ASSIGN_OR_RETURN(*data, os::ReadFile(secret->file, kMaxSecretBytes));
    }
    return data->size() <= kMaxSecretBytes ? absl::OkStatus() : absl::InvalidArgumentError(absl::StrCat("invalid secret size ", data->size()));
  }

  absl::Status Upload(RpcStream& stream) {
    const std::string name(session::NameOf(session::FindMetadata(stream.metadata(), "urlpath").value_or("")));
    UploadReader reader;
    {
      auto uploads = uploads_.Lock();
      const auto found = uploads->find(name);
      if (found == uploads->end()) {
        return absl::UnknownError(absl::StrCat("no http response from session for ", name));
      }
      reader = std::move(found->second);
      uploads->erase(found);
    }
    moby::upload::v1::BytesMessage message;
    std::string chunk;
    for (;;) {
      ASSIGN_OR_RETURN(const bool more, reader(chunk));
      if (!more) {
        return absl::OkStatus();
      }
      for (absl::string_view rest = chunk; !rest.empty(); rest.remove_prefix(std::min(rest.size(), kUploadChunk))) {
        const absl::string_view piece = rest.substr(0, kUploadChunk);
        message.set_data(piece.data(), piece.size());
        RETURN_IF_ERROR(session::WriteMessage(stream, message));
      }
    }
  }

  AttachOptions options_;
  std::map<std::string, std::string> piped_secrets_;  // by id
  const std::string id_ = RandomId();
  std::unique_ptr<SshAgents> ssh_;
  std::unique_ptr<Auth> auth_;
  Guarded<std::map<std::string, UploadReader>> uploads_;
  RpcHandlers handlers_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Attachables>> Attachables::Create(AttachOptions options) {
  auto attached = std::make_unique<Attached>(std::move(options));
  RETURN_IF_ERROR(attached->Prepare());
  return attached;
}

}  // namespace cachalot::client
