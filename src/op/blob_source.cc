#include "op/blob_source.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "oci/go_json.h"
#include "op/cache_digest.h"
#include "op/result.h"

namespace cachalot::op {

absl::Status BlobSource::Parse() {
  const auto& op = std::get<llb::SourceOp>(vertex_->op);
  if (absl::StartsWith(op.identifier, "oci-layout") && op.attrs.count("oci.store") == 0) {
    return absl::InvalidArgumentError("oci-layout blob source requires store id");
  }
  ASSIGN_OR_RETURN(source_, OriginOf(op, *environment_));
  if (source_.ref.digest.empty()) return absl::InvalidArgumentError(absl::StrCat("invalid reference digest in ", op.identifier));
  for (const auto& [name, value] : op.attrs) {
    RETURN_IF_ERROR(ParseFileOption(name, value, file_).status());
  }
  if (file_.filename.empty()) file_.filename = std::string(source_.ref.digest.hex());
  return absl::OkStatus();
}

absl::StatusOr<solver::CacheMap> BlobSource::DescribeCache(const solver::OpContext&) {
  RETURN_IF_ERROR(Parse());
  const auto& op = std::get<llb::SourceOp>(vertex_->op);
  const auto filename = op.attrs.find("http.filename");
  const oci::Json key = {{"Digest", source_.ref.digest.str()},
                         {"Filename", filename == op.attrs.end() ? "" : file_.filename},
                         {"Perm", file_.perm},
                         {"UID", file_.uid},
                         {"GID", file_.gid}};
  solver::CacheMap map;
  map.op_digest = SourceOpDigest(oci::Digest::Of(oci::DumpGo(key)).str());
  return map;
}

absl::StatusOr<std::string> BlobSource::ContentDigest(int, const solver::ResultPtr&, const solver::OpContext&) {
  return absl::InternalError("a blob source has no inputs");
}

absl::StatusOr<std::vector<solver::ResultPtr>> BlobSource::Run(const std::vector<solver::ResultPtr>&, const solver::OpContext& context) {
  ASSIGN_OR_RETURN(const std::shared_ptr<store::BlobPin> pin, FetchBlob(source_, *environment_->parts.blobs, context.cancel));
  ASSIGN_OR_RETURN(const std::unique_ptr<SingleFileWriter> writer,
                   SingleFileWriter::Open(*environment_->parts.snapshots, absl::StrCat("blob ", source_.ref.str())));
  ASSIGN_OR_RETURN(const UniqueFd blob, environment_->parts.blobs->Open(source_.ref.digest));
  RETURN_IF_ERROR(writer->CopyFrom(blob.get()));
  ASSIGN_OR_RETURN(snapshot::SnapshotPtr tree, writer->Commit(file_, absl::UnixEpoch()));
  return std::vector<solver::ResultPtr>{std::make_shared<TreeResult>(std::move(tree))};
}

absl::StatusOr<std::shared_ptr<store::BlobPin>> FetchBlob(const OriginAndReference& source, store::BlobStore& blobs, const CancelToken& cancel) {
  std::shared_ptr<store::BlobPin> pin = blobs.Pin(source.ref.digest);
  oci::Descriptor descriptor;
  descriptor.digest = source.ref.digest;
  descriptor.size = -1;  // nobody says
  RETURN_IF_ERROR(source.origin->Fetch(source.ref, descriptor, blobs, nullptr, cancel));
  return pin;
}

}  // namespace cachalot::op
