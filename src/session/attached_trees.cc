#include "absl/strings/str_cat.h"
#include "base/pattern_matcher.h"
#include "session/attached.h"
#include "session/output_file.h"
#include "session/tree/receive.h"
#include "session/tree/send.h"

namespace cachalot::session {
namespace {

constexpr absl::string_view kFileSyncMethod = "/moby.filesync.v1.FileSync/DiffCopy";

Metadata SyncFields(const SyncRequest& request) {
  Metadata fields;
  AppendEncodedList("dir-name", {request.name}, fields);
  AppendEncodedList("include-patterns", request.include_patterns, fields);
  AppendEncodedList("exclude-patterns", request.exclude_patterns, fields);
  AppendEncodedList("followpaths", request.follow_paths, fields);
  return fields;
}

}  // namespace

absl::StatusOr<SyncStats> AttachedSession::SyncDirectory(const SyncRequest& request, const std::string& dest,
                                                         const std::function<void(const SyncStats&)>& on_progress, const CancelToken& cancel) {
  if (!Offers(kFileSyncMethod)) {
    return absl::NotFoundError("no local sources enabled");
  }
  ReceiveOptions options;
  options.compare = request.compare_metadata;
  options.on_progress = on_progress;
  options.metadata_only = request.metadata_only;
  if (request.metadata_only && !request.metadata_exceptions.empty()) {
    ASSIGN_OR_RETURN(PatternMatcher matcher, PatternMatcher::Create(request.metadata_exceptions));
    options.wanted = [matcher = std::move(matcher)](const std::string& path) { return matcher.Matches(path); };
  }
  ASSIGN_OR_RETURN(const RpcCall call, RpcCall::Start(*connection_, kFileSyncMethod, SyncFields(request), cancel));
  ASSIGN_OR_RETURN(const SyncStats stats, ReceiveTree(*call, dest, options));
  RETURN_IF_ERROR(call->Finish());
  return stats;
}

absl::Status AttachedSession::SendDirectory(const std::vector<OutputTree>& trees, int exporter_id,
                                            const std::function<void(std::int64_t bytes)>& on_progress, const CancelToken& cancel) {
  RETURN_IF_ERROR(NeedsMethod(kFileSendMethod));
  std::vector<TreeSource> sources;
  for (const OutputTree& tree : trees) {
    TreeSource source;
    source.directory = tree.source;
    source.subdirectory = tree.subdirectory;
    source.extra_files = tree.extra_files;
    if (tree.modification_time.has_value()) {
      source.modification_time = absl::ToUnixNanos(*tree.modification_time);
    }
    sources.push_back(std::move(source));
  }
  ASSIGN_OR_RETURN(const RpcCall call, RpcCall::Start(*connection_, kFileSendMethod,
                                                      {{kExporterIdHeader, absl::StrCat(exporter_id)}, {kMultiPlatformHeader, "1"}}, cancel));
  RETURN_IF_ERROR(SendTrees(*call, std::move(sources), on_progress));
  return call->Finish();
}

}  // namespace cachalot::session
