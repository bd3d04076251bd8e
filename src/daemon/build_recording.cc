#include "daemon/build_recording.h"

#include <cstdint>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "codec/stream.h"
#include "daemon/translate_progress.h"

namespace cachalot::daemon {

namespace {

namespace control = moby::buildkit::v1;

constexpr char kLogMediaType[] = "application/vnd.buildkit.status.v0";
constexpr std::size_t kSizeBytes = 4;
constexpr std::uint32_t kMaxMessageBytes = 16 << 20;

std::string EncodeSize(std::uint32_t size) {
  std::string bytes;
  for (std::size_t i = 0; i < kSizeBytes; ++i) bytes.push_back(static_cast<char>(size >> (8 * i)));
  return bytes;
}

std::uint32_t DecodeSize(const char* bytes) {
  std::uint32_t size = 0;
  for (std::size_t i = 0; i < kSizeBytes; ++i) size |= static_cast<std::uint32_t>(static_cast<unsigned char>(bytes[i])) << (8 * i);
  return size;
}

}  // namespace

absl::Status BuildRecording::Write(const control::StatusResponse& message) {
  if (writer_ == nullptr) {
    ASSIGN_OR_RETURN(writer_, blobs_.NewWriter());
  }
  const std::string bytes = message.SerializeAsString();
  RETURN_IF_ERROR(writer_->Write(EncodeSize(static_cast<std::uint32_t>(bytes.size()))));
  return writer_->Write(bytes);
}

void BuildRecording::Count(const solver::VertexEvent& event) {
  const auto [known, is_new] = index_.try_emplace(event.digest, summary_.vertices.size());
  if (is_new) {
    summary_.vertices.push_back(event);
    return;
  }
  solver::VertexEvent& vertex = summary_.vertices[known->second];
  const bool cached = vertex.cached || event.cached;
  const std::optional<absl::Time> started = vertex.started.has_value() ? vertex.started : event.started;
  vertex = event;
  vertex.cached = cached;
  vertex.started = started;
}

void BuildRecording::Add(const build::ProgressBatch& batch) {
  for (const solver::VertexEvent& event : batch.vertexes) Count(event);
  summary_.warnings += static_cast<int>(batch.warnings.size());
  for (const control::StatusResponse& message : EncodeProgress(batch)) {
    if (status_.ok()) status_ = Write(message);
  }
}

absl::StatusOr<BuildRecording::Summary> BuildRecording::Finish() {
  RETURN_IF_ERROR(status_);
  if (writer_ == nullptr) {
    ASSIGN_OR_RETURN(writer_, blobs_.NewWriter());
  }
  summary_.logs.media_type = kLogMediaType;
  summary_.logs.size = writer_->written();
  ASSIGN_OR_RETURN(summary_.logs.digest, writer_->Commit());
  summary_.pin = blobs_.Pin(summary_.logs.digest);
  summary_.total_steps = static_cast<int>(summary_.vertices.size());
  for (const solver::VertexEvent& vertex : summary_.vertices) {
    summary_.cached_steps += vertex.cached ? 1 : 0;
    summary_.completed_steps += vertex.completed.has_value() ? 1 : 0;
  }
  return std::move(summary_);
}

absl::Status ReplayLog(store::BlobStore& blobs, const oci::Digest& log,
                       const std::function<absl::Status(const control::StatusResponse&)>& on_message) {
  ASSIGN_OR_RETURN(UniqueFd blob, blobs.Open(log));
  codec::FdSource source(std::move(blob), log.str());
  while (true) {
    char header[kSizeBytes];
    ASSIGN_OR_RETURN(const std::size_t read, codec::ReadFully(source, header, sizeof header));
    if (read == 0) return absl::OkStatus();
    const std::uint32_t size = read == sizeof header ? DecodeSize(header) : kMaxMessageBytes + 1;
    if (size > kMaxMessageBytes) return absl::DataLossError(absl::StrCat("log ", log.str(), " is damaged"));
    std::string bytes(size, '\0');
    ASSIGN_OR_RETURN(const std::size_t length, codec::ReadFully(source, bytes.data(), size));
    control::StatusResponse message;
    if (length != size || !message.ParseFromString(bytes)) return absl::DataLossError(absl::StrCat("log ", log.str(), " is damaged"));
    RETURN_IF_ERROR(on_message(message));
  }
}

}  // namespace cachalot::daemon
