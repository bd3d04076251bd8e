#include "client/attach/content_stores.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/random_id.h"
#include "base/status.h"
#include "base/unique_fd.h"
#include "client/image_layout.h"
#include "codec/sha256.h"
#include "containerd/content.pb.h"
#include "oci/digest.h"
#include "os/file.h"
#include "session/content_store.h"

namespace cachalot::client {
namespace {

namespace content = containerd::services::content::v1;
using session::ReadMessage;
using session::RpcStream;
using session::WriteMessage;

constexpr std::size_t kChunk = 1 << 20;

absl::StatusOr<std::string> DirectoryFor(const ContentStores& stores, const RpcStream& stream) {
  const std::string id = session::FindMetadata(stream.metadata(), session::kContentStoreHeader).value_or("");
  const auto found = stores.find(id);
  if (found == stores.end()) return absl::NotFoundError(absl::StrCat("unknown content store \"", id, "\""));
  return found->second;
}

absl::StatusOr<UniqueFd> OpenBlob(const std::string& directory, const std::string& text) {
  ASSIGN_OR_RETURN(const oci::Digest digest, oci::Digest::Parse(text));
  absl::StatusOr<UniqueFd> fd = os::Open(BlobPathInLayout(directory, digest), O_RDONLY);
  if (absl::IsNotFound(fd.status())) return absl::NotFoundError(absl::StrCat("content ", text, ": not found"));
  return fd;
}

absl::Status Info(const ContentStores& stores, RpcStream& stream) {
  ASSIGN_OR_RETURN(const std::string directory, DirectoryFor(stores, stream));
  content::InfoRequest request;
  RETURN_IF_ERROR(ReadMessage(stream, request).status());
  ASSIGN_OR_RETURN(const UniqueFd fd, OpenBlob(directory, request.digest()));
  ASSIGN_OR_RETURN(const struct stat status, os::Stat(fd.get()));
  content::InfoResponse response;
  response.mutable_info()->set_digest(request.digest());
  response.mutable_info()->set_size(status.st_size);
  return WriteMessage(stream, response);
}

absl::Status Read(const ContentStores& stores, RpcStream& stream) {
  ASSIGN_OR_RETURN(const std::string directory, DirectoryFor(stores, stream));
  content::ReadContentRequest request;
  RETURN_IF_ERROR(ReadMessage(stream, request).status());
  ASSIGN_OR_RETURN(const UniqueFd fd, OpenBlob(directory, request.digest()));
  ASSIGN_OR_RETURN(const struct stat status, os::Stat(fd.get()));
  std::int64_t offset = std::clamp<std::int64_t>(request.offset(), 0, status.st_size);
  const std::int64_t left = status.st_size - offset;
  const std::int64_t end = offset + (request.size() > 0 ? std::min<std::int64_t>(left, request.size()) : left);
  content::ReadContentResponse response;
  while (offset < end) {
    response.set_offset(offset);
    response.mutable_data()->resize(static_cast<std::size_t>(std::min<std::int64_t>(kChunk, end - offset)));
    const ssize_t got = ::pread(fd.get(), response.mutable_data()->data(), response.data().size(), offset);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0)
      return got < 0 ? ErrnoError(absl::StrCat("read ", request.digest())) : absl::DataLossError(absl::StrCat(request.digest(), " shrinks"));
    response.mutable_data()->resize(static_cast<std::size_t>(got));
    RETURN_IF_ERROR(WriteMessage(stream, response));
    offset += got;
  }
  return absl::OkStatus();
}

// One blob that is being written.
class Ingest {
 public:
  static absl::StatusOr<std::unique_ptr<Ingest>> Begin(const std::string& directory, const std::string& expected) {
    ASSIGN_OR_RETURN(oci::Digest digest, oci::Digest::Parse(expected));
    const std::string path = BlobPathInLayout(directory, digest);
    if (os::Lstat(path).ok()) return absl::AlreadyExistsError(absl::StrCat("content ", expected, ": already exists"));
    if (digest.algorithm() != "sha256") return absl::UnimplementedError(absl::StrCat("content ", expected, ": only sha256 can be written"));
    RETURN_IF_ERROR(os::MakeDirectories(absl::StrCat(directory, "/blobs/sha256")));
    RETURN_IF_ERROR(os::MakeDirectories(absl::StrCat(directory, "/ingest")));
    std::string temporary = absl::StrCat(directory, "/ingest/", RandomId());
    ASSIGN_OR_RETURN(UniqueFd fd, os::Open(temporary, O_WRONLY | O_CREAT | O_EXCL, 0644));
    return std::unique_ptr<Ingest>(new Ingest(std::move(digest), path, std::move(temporary), std::move(fd)));
  }
  ~Ingest() { ::unlink(temporary_.c_str()); }

  absl::Status Write(std::int64_t offset, absl::string_view data) {
    if (offset != size_) return absl::OutOfRangeError(absl::StrCat("content ", digest_.str(), ": byte ", offset, " does not follow byte ", size_));
    RETURN_IF_ERROR(os::WriteAll(fd_.get(), data, temporary_));
    hash_.Update(data);
    size_ += static_cast<std::int64_t>(data.size());
    return absl::OkStatus();
  }

  absl::Status Commit() {
    if (const oci::Digest got = oci::Digest::FromSha256Hex(hash_.FinishHex()); got != digest_) {
      return absl::FailedPreconditionError(absl::StrCat("content ", digest_.str(), ": unexpected digest ", got.str()));
    }
    if (::rename(temporary_.c_str(), path_.c_str()) != 0) return ErrnoError(absl::StrCat("rename ", temporary_, " to ", path_));
    return absl::OkStatus();
  }

  std::int64_t size() const { return size_; }

 private:
  Ingest(oci::Digest digest, std::string path, std::string temporary, UniqueFd fd)
      : digest_(std::move(digest)), path_(std::move(path)), temporary_(std::move(temporary)), fd_(std::move(fd)) {}

  const oci::Digest digest_;
  const std::string path_, temporary_;
  const UniqueFd fd_;
  codec::Sha256 hash_;
  std::int64_t size_ = 0;
};

absl::Status Write(const ContentStores& stores, RpcStream& stream) {
  ASSIGN_OR_RETURN(const std::string directory, DirectoryFor(stores, stream));
  std::unique_ptr<Ingest> ingest;
  content::WriteContentRequest request;
  while (true) {
    ASSIGN_OR_RETURN(const bool more, ReadMessage(stream, request));
    if (!more) return absl::OkStatus();
    if (ingest == nullptr) {
      ASSIGN_OR_RETURN(ingest, Ingest::Begin(directory, request.expected()));
    }
    if (!request.data().empty()) RETURN_IF_ERROR(ingest->Write(request.offset(), request.data()));
    content::WriteContentResponse response;
    response.set_action(request.action());
    response.set_offset(ingest->size());
    response.set_total(request.total());
    if (request.action() == content::COMMIT) {
      RETURN_IF_ERROR(ingest->Commit());
      response.set_digest(request.expected());
      return WriteMessage(stream, response);
    }
    RETURN_IF_ERROR(WriteMessage(stream, response));
  }
}

}  // namespace

void AddContentHandlers(ContentStores stores, session::RpcHandlers& handlers) {
  if (stores.empty()) return;
  const auto shared = std::make_shared<const ContentStores>(std::move(stores));
  const std::string service = "/containerd.services.content.v1.Content/";
  handlers[service + "Info"] = [shared](RpcStream& stream) { return Info(*shared, stream); };
  handlers[service + "Read"] = [shared](RpcStream& stream) { return Read(*shared, stream); };
  handlers[service + "Write"] = [shared](RpcStream& stream) { return Write(*shared, stream); };
}

}  // namespace cachalot::client
