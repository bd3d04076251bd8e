#include "session/output_file.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "buildkit/filesync.pb.h"

namespace cachalot::session {
namespace {

// Clients refuse messages above 4 MiB. Small enough for the next to be made while the client works on one.
constexpr std::size_t kChunk = 256 << 10;

class OutputFile : public ByteSink {
 public:
  explicit OutputFile(RpcCall call) : call_(std::move(call)) {}

  absl::Status Write(absl::string_view bytes) override {
    while (!bytes.empty()) {
      const std::size_t take = std::min(bytes.size(), kChunk - message_.data().size());
      message_.mutable_data()->append(bytes.data(), take);
      bytes.remove_prefix(take);
      if (message_.data().size() == kChunk) {
        RETURN_IF_ERROR(Flush());
      }
    }
    return absl::OkStatus();
  }

  absl::Status Close() override {
    RETURN_IF_ERROR(Flush());
    return call_->Finish();
  }

 private:
  absl::Status Flush() {
    if (message_.data().empty()) {
      return absl::OkStatus();
    }
    const absl::Status status = WriteMessage(*call_, message_);
    message_.mutable_data()->clear();
    return status;
  }

  RpcCall call_;
  moby::filesync::v1::BytesMessage message_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<ByteSink>> OpenSessionOutputFile(RpcConnection& connection, const std::map<std::string, std::string>& metadata,
                                                                int exporter_id, const CancelToken& cancel) {
  Metadata fields = {{kExporterIdHeader, absl::StrCat(exporter_id)}};
  for (const auto& [name, value] : metadata) {
    fields.emplace_back(absl::StrCat(kExporterMetadataPrefix, absl::AsciiStrToLower(name)), value);
  }
  ASSIGN_OR_RETURN(RpcCall call, RpcCall::Start(connection, kFileSendMethod, fields, cancel));
  return std::make_unique<OutputFile>(std::move(call));
}

}  // namespace cachalot::session
