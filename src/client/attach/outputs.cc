#include "client/attach/outputs.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <memory>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/path.h"
#include "base/random_id.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "base/unique_fd.h"
#include "buildkit/filesync.pb.h"
#include "os/file.h"
#include "os/mount.h"
#include "session/output_file.h"
#include "session/rpc/call.h"
#include "session/tree/receive.h"

namespace cachalot::client {
namespace {

class DescriptorSink : public OutputSink {
 public:
  DescriptorSink(int fd, UniqueFd owned, std::string name) : fd_(fd), owned_(std::move(owned)), name_(std::move(name)) {}
  absl::Status Write(absl::string_view bytes) override { return os::WriteAll(fd_, bytes, name_); }
  absl::Status Close() override { return absl::OkStatus(); }

 private:
  const int fd_;
  const UniqueFd owned_;
  const std::string name_;
};

// A file that is complete or not there: what stood at the path stays until then.
class FileSink : public OutputSink {
 public:
  static absl::StatusOr<std::unique_ptr<OutputSink>> Create(const std::string& path, mode_t mode) {
    auto sink = std::make_unique<FileSink>();
    sink->path_ = path;
    const std::string temporary = JoinPath(DirName(path), absl::StrCat(".cachalot-", RandomId()));
    ASSIGN_OR_RETURN(sink->fd_, os::Open(temporary, O_WRONLY | O_CREAT | O_EXCL, mode));
    sink->temporary_ = temporary;
    return sink;
  }
  ~FileSink() override {
    if (!temporary_.empty()) ::unlink(temporary_.c_str());
  }
  absl::Status Write(absl::string_view bytes) override { return os::WriteAll(fd_.get(), bytes, path_); }
  absl::Status Close() override {
    if (::rename(temporary_.c_str(), path_.c_str()) != 0) return ErrnoError(absl::StrCat("rename ", temporary_, " to ", path_));
    temporary_.clear();
    return absl::OkStatus();
  }

 private:
  UniqueFd fd_;
  std::string path_, temporary_;
};

// Whether a new file can take the place of the one at the path without anybody missing something of that: other names, its owner, a mount.
bool IsReplaceable(const std::string& path, const struct stat& file) {
  return S_ISREG(file.st_mode) && file.st_nlink == 1 && file.st_uid == ::geteuid() && file.st_gid == ::getegid() && (file.st_mode & 07777) == 0644 &&
         !os::IsMountPoint(path).value_or(true);
}

absl::StatusOr<std::unique_ptr<OutputSink>> OpenFile(const std::string& path) {
  const absl::StatusOr<struct stat> there = os::Lstat(path);  // links ("/dev/stdout" is one) are written into, and so are pipes
  if (there.ok() ? IsReplaceable(path, *there) : absl::IsNotFound(there.status())) {
    absl::StatusOr<std::unique_ptr<OutputSink>> sink = FileSink::Create(path, 0644);
    if (sink.ok()) return sink;  // a file may be writable in a directory that is not
  }
  ASSIGN_OR_RETURN(UniqueFd fd, os::Open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644));
  const int number = fd.get();
  return std::make_unique<DescriptorSink>(number, std::move(fd), path);
}

absl::Status ReceiveDirectory(const Output& output, session::RpcStream& stream) {
  if (output.mirror && session::FindMetadata(stream.metadata(), session::kMultiPlatformHeader) != "1") {
    return absl::UnknownError("local exporter mode=delete requires a BuildKit daemon with multi-platform local export support");
  }
  RETURN_IF_ERROR(os::MakeDirectories(output.directory, 0700));
  session::ReceiveOptions options;
  options.merge = !output.mirror;
  options.compare = false;
  options.owner = {getuid(), getgid()};
  return session::ReceiveTree(stream, output.directory, options).status();
}

// "exporter-md-<name>: <value>" as name -> value; repeated ones joined by commas.
std::map<std::string, std::string> ExporterMetadata(const session::Metadata& fields) {
  std::map<std::string, std::string> metadata;
  for (const auto& [name, value] : fields) {
    if (absl::StartsWith(name, session::kExporterMetadataPrefix)) {
      const auto [entry, added] = metadata.try_emplace(name.substr(sizeof(session::kExporterMetadataPrefix) - 1), value);
      if (!added) {
        absl::StrAppend(&entry->second, ",", value);
      }
    }
  }
  return metadata;
}

absl::Status ReceiveFile(const Output& output, session::RpcStream& stream) {
  ASSIGN_OR_RETURN(const auto sink, output.open(ExporterMetadata(stream.metadata())));
  if (sink == nullptr) {
    return absl::AlreadyExistsError("target already exists");
  }
  moby::filesync::v1::BytesMessage message;
  for (;;) {
    ASSIGN_OR_RETURN(const bool more, session::ReadMessage(stream, message));
    if (!more) {
      return sink->Close();
    }
    RETURN_IF_ERROR(sink->Write(message.data()));
  }
}

}  // namespace

absl::Status ReceiveOutput(const std::vector<Output>& outputs, session::RpcStream& stream) {
  int id = 0;
  // Daemons that know only one exporter per build do not number it.
  if (!absl::SimpleAtoi(session::FindMetadata(stream.metadata(), session::kExporterIdHeader).value_or("0"), &id)) {
    id = 0;
  }
  const auto output = std::find_if(outputs.begin(), outputs.end(), [&](const Output& o) { return o.exporter_id == id; });
  if (output == outputs.end()) {
    return absl::UnknownError(absl::StrCat("exporter ", id, " not found"));
  }
  return output->directory.empty() ? ReceiveFile(*output, stream) : ReceiveDirectory(*output, stream);
}

Output FileOutput(int exporter_id, std::string path) {
  Output output;
  output.exporter_id = exporter_id;
  output.open = [path = std::move(path)](const auto&) { return OpenFile(path); };
  return output;
}

Output DescriptorOutput(int exporter_id, int fd) {
  Output output;
  output.exporter_id = exporter_id;
  output.open = [fd](const auto&) -> absl::StatusOr<std::unique_ptr<OutputSink>> {
    return std::make_unique<DescriptorSink>(fd, UniqueFd(), "the output");
  };
  return output;
}

}  // namespace cachalot::client
