#include "daemon/content_service.h"

#include <unistd.h>

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/filter.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "daemon/rpc_error.h"

namespace cachalot::daemon {

namespace {

namespace content = containerd::services::content::v1;

constexpr std::int64_t kMaxChunk = 1 << 20;
constexpr int kMaxListed = 1000;  // in one message

absl::Status Send(store::BlobStore& blobs, const content::ReadContentRequest& request, StreamCall<content::ReadContentResponse>& stream) {
  ASSIGN_OR_RETURN(const oci::Digest digest, oci::Digest::Parse(request.digest()));
  ASSIGN_OR_RETURN(const UniqueFd blob, blobs.Open(digest));
  ASSIGN_OR_RETURN(const std::int64_t size, blobs.Size(digest));
  std::int64_t offset = request.offset();
  if (offset < 0 || request.size() < 0 || offset > size || request.size() > size - offset) {
    return absl::OutOfRangeError(absl::StrCat("read beyond content length ", size, " bytes"));
  }
  const std::int64_t end = request.size() == 0 ? size : offset + request.size();
  content::ReadContentResponse response;
  while (offset < end) {
    std::string& data = *response.mutable_data();
    data.resize(std::min(kMaxChunk, end - offset));
    const ssize_t count = pread(blob.get(), data.data(), data.size(), offset);
    if (count <= 0) {
      return count < 0 ? ErrnoError(absl::StrCat("read blob ", digest.str())) : absl::DataLossError(absl::StrCat("blob ", digest.str(), " is short"));
    }
    data.resize(count);
    response.set_offset(offset);
    RETURN_IF_ERROR(stream.Write(response));
    offset += count;
  }
  return absl::OkStatus();
}

absl::Status SendList(store::BlobStore& blobs, const std::vector<std::string>& filters, StreamCall<content::ListContentResponse>& stream) {
  ASSIGN_OR_RETURN(const Filter filter, Filter::Parse(filters));
  content::ListContentResponse response;
  for (const auto& blob : blobs.List()) {
    const auto field = [&](const std::vector<std::string>& name) -> std::optional<std::string> {
      return name.front() == "digest" ? std::optional(blob.digest.str()) : std::nullopt;
    };
    if (!filter.Matches(field)) continue;
    content::Info* info = response.add_info();
    info->set_digest(blob.digest.str());
    info->set_size(blob.size);
    if (response.info_size() < kMaxListed) continue;
    RETURN_IF_ERROR(stream.Write(response));
    response.Clear();
  }
  return response.info_size() == 0 ? absl::OkStatus() : stream.Write(response);
}

}  // namespace

grpc::ServerUnaryReactor* ContentService::Info(grpc::CallbackServerContext*, const content::InfoRequest* request, content::InfoResponse* response) {
  return RunUnary(calls_, [=, this](const CancelToken&) {
    const auto describe = [&]() -> absl::Status {
      ASSIGN_OR_RETURN(const oci::Digest digest, oci::Digest::Parse(request->digest()));
      ASSIGN_OR_RETURN(const std::int64_t size, engine_.blobs().Size(digest));
      response->mutable_info()->set_digest(digest.str());
      response->mutable_info()->set_size(size);
      return absl::OkStatus();
    };
    return ToGrpcStatus(describe());
  });
}

grpc::ServerWriteReactor<content::ListContentResponse>* ContentService::List(grpc::CallbackServerContext*,
                                                                             const content::ListContentRequest* request) {
  return RunStream<content::ListContentResponse>(calls_, [=, this](auto& stream, const CancelToken&) {
    return ToGrpcStatus(SendList(engine_.blobs(), {request->filters().begin(), request->filters().end()}, stream));
  });
}

grpc::ServerWriteReactor<content::ReadContentResponse>* ContentService::Read(grpc::CallbackServerContext*,
                                                                             const content::ReadContentRequest* request) {
  return RunStream<content::ReadContentResponse>(
      calls_, [=, this](auto& stream, const CancelToken&) { return ToGrpcStatus(Send(engine_.blobs(), *request, stream)); });
}

}  // namespace cachalot::daemon
