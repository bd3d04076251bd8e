#include "daemon/history_records.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "daemon/rpc_error.h"
#include "daemon/timestamps.h"

namespace cachalot::daemon {

namespace {

namespace control = moby::buildkit::v1;

constexpr char kErrorMediaType[] = "application/vnd.googeapis.google.rpc.status+proto";  // spelled so on the wire

void AddBlobs(const control::BuildResultInfo& result, std::vector<std::string>& digests) {
  digests.push_back(result.resultdeprecated().digest());
  for (const auto& attestation : result.attestations()) digests.push_back(attestation.digest());
  for (const auto& [exporter, descriptor] : result.results()) digests.push_back(descriptor.digest());
}

std::vector<std::string> BlobsOf(const control::BuildHistoryRecord& record) {
  std::vector<std::string> digests = {record.logs().digest(), record.trace().digest(), record.externalerror().digest()};
  AddBlobs(record.result(), digests);
  for (const auto& [platform, result] : record.results()) AddBlobs(result, digests);
  return digests;
}

absl::StatusOr<control::BuildHistoryRecord> Decode(const store::BuildRecord& stored) {
  control::BuildHistoryRecord record;
  if (!record.ParseFromString(stored.record)) {
    return absl::DataLossError(absl::StrCat("the record of build ", stored.ref, " cannot be read"));
  }
  return record;
}

}  // namespace

absl::Status HistoryRecords::Save(const Record& record) {
  std::vector<oci::Digest> blobs;
  for (const std::string& text : BlobsOf(record)) {
    const absl::StatusOr<oci::Digest> digest = oci::Digest::Parse(text);
    if (digest.ok() && engine_.blobs().Has(*digest)) blobs.push_back(*digest);
  }
  return engine_.build_records().Save({record.ref(), DecodeTime(record.completedat()), record.pinned(), record.SerializeAsString()}, blobs);
}

absl::StatusOr<std::optional<HistoryRecords::Record>> HistoryRecords::Find(const std::string& ref) {
  ASSIGN_OR_RETURN(const auto stored, engine_.build_records().Find(ref));
  if (!stored.has_value()) return std::nullopt;
  ASSIGN_OR_RETURN(Record record, Decode(*stored));
  return record;
}

absl::StatusOr<std::vector<HistoryRecords::Record>> HistoryRecords::All() {
  std::vector<Record> records;
  ASSIGN_OR_RETURN(const auto all, engine_.build_records().All());
  for (const store::BuildRecord& stored : all) {
    ASSIGN_OR_RETURN(Record record, Decode(stored));
    records.push_back(std::move(record));
  }
  return records;
}

absl::StatusOr<bool> HistoryRecords::Delete(const std::string& ref) { return engine_.build_records().Delete(ref); }

absl::StatusOr<std::vector<std::string>> HistoryRecords::Expired(int keep, absl::Time limit) { return engine_.build_records().Expired(keep, limit); }

HistoryRecords::Record NewRecord(const build::BuildRequest& request, absl::Time now) {
  HistoryRecords::Record record;
  record.set_ref(request.ref);
  record.set_frontend(request.frontend);
  record.mutable_frontendattrs()->insert(request.options.begin(), request.options.end());
  for (const auto& exporter : request.exports) {
    auto* encoded = record.add_exporters();
    encoded->set_type(exporter.type);
    encoded->mutable_attrs()->insert(exporter.attrs.begin(), exporter.attrs.end());
  }
  EncodeTime(now, record.mutable_createdat());
  return record;
}

void EncodeDescriptor(const oci::Descriptor& descriptor, control::Descriptor* message) {
  message->set_media_type(descriptor.media_type);
  message->set_digest(descriptor.digest.str());
  message->set_size(descriptor.size);
  message->mutable_annotations()->insert(descriptor.annotations.begin(), descriptor.annotations.end());
}

void EncodeResponse(const build::BuildResponse& response, HistoryRecords::Record& record) {
  record.mutable_exporterresponse()->insert(response.exporter_response.begin(), response.exporter_response.end());
  record.mutable_exporterresponse()->insert(response.metadata.begin(), response.metadata.end());
  for (const auto& [exporter, descriptor] : response.results) {
    auto& result = *record.mutable_result();
    EncodeDescriptor(descriptor, &(*result.mutable_results())[exporter]);
    // Older clients know one result.
    if (!result.has_resultdeprecated()) EncodeDescriptor(descriptor, result.mutable_resultdeprecated());
  }
  for (const auto& [platform, attestations] : response.attestations) {
    auto& result = platform.empty() ? *record.mutable_result() : (*record.mutable_results())[platform];
    for (const oci::Descriptor& attestation : attestations) EncodeDescriptor(attestation, result.add_attestations());
  }
}

absl::StatusOr<std::shared_ptr<store::BlobPin>> EncodeFailure(const absl::Status& failure, store::BlobStore& blobs, HistoryRecords::Record& record) {
  google::rpc::Status error = EncodeBuildFailure(failure);
  const std::string bytes = error.SerializeAsString();
  error.clear_details();
  *record.mutable_error() = std::move(error);
  ASSIGN_OR_RETURN(const oci::Digest digest, blobs.Put(bytes));
  std::shared_ptr<store::BlobPin> pin = blobs.Pin(digest);
  EncodeDescriptor({.media_type = kErrorMediaType, .digest = digest, .size = static_cast<std::int64_t>(bytes.size())},
                   record.mutable_externalerror());
  return pin;
}

}  // namespace cachalot::daemon
