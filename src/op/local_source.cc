#include "op/local_source.h"

#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "oci/digest.h"
#include "oci/go_json.h"
#include "op/named_trees.h"
#include "op/result.h"

namespace cachalot::op {
namespace {

constexpr absl::Duration kStatusInterval = absl::Milliseconds(100);

absl::StatusOr<std::vector<std::string>> ParseList(const std::string& name, const std::string& text) {
  ASSIGN_OR_RETURN(const oci::Json json, oci::ParseJson(text, name));
  std::vector<std::string> list;
  if (json.is_null()) return list;
  for (const oci::Json& item : json) {
    if (!item.is_string()) return absl::InvalidArgumentError(absl::StrCat(name, " is not a list of strings"));
    list.push_back(item.get<std::string>());
  }
  return list;
}

}  // namespace

void HeldLocals::Add(const std::string& vertex, const Tree& tree) {
  auto trees = trees_.Lock();
  std::erase_if(*trees, [](const auto& entry) { return entry.second.expired(); });
  (*trees)[vertex] = tree;
}

HeldLocals::Tree HeldLocals::Find(const std::string& vertex) {
  auto trees = trees_.Lock();
  const auto found = trees->find(vertex);
  return found == trees->end() ? nullptr : found->second.lock();
}

LocalSource::LocalSource(llb::VertexPtr vertex, EnvironmentPtr environment)
    : vertex_(std::move(vertex)), environment_(std::move(environment)), held_(environment_->parts.held_locals->Find(vertex_->digest.str())) {}

absl::Status LocalSource::Parse() {
  const auto& op = std::get<llb::SourceOp>(vertex_->op);
  request_ = {};
  request_.name = std::string(absl::StripPrefix(op.identifier, "local://"));
  for (const auto& [name, value] : op.attrs) {
    if (name == "local.session") {
      session_id_ = value;
      if (const std::size_t colon = value.find(':'); colon != std::string::npos) {
        request_.name = absl::StrCat(value.substr(0, colon), "-", request_.name);
        session_id_ = value.substr(colon + 1);
      }
    } else if (name == "local.includepattern") {
      ASSIGN_OR_RETURN(request_.include_patterns, ParseList(name, value));
    } else if (name == "local.excludepatterns") {
      ASSIGN_OR_RETURN(request_.exclude_patterns, ParseList(name, value));
    } else if (name == "local.followpaths") {
      ASSIGN_OR_RETURN(request_.follow_paths, ParseList(name, value));
    } else if (name == "local.sharedkeyhint") {
      key_hint_ = value;
    } else if (name == "local.differ") {
      request_.compare_metadata = value != "none";
    } else if (name == "local.metadatatransfer") {
      request_.metadata_only = value == "true" || value == "1";
    } else if (name == "local.metadatatransferexclude") {
      ASSIGN_OR_RETURN(request_.metadata_exceptions, ParseList(name, value));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<solver::CacheMap> LocalSource::DescribeCache(const solver::OpContext& context) {
  RETURN_IF_ERROR(Parse());
  ASSIGN_OR_RETURN(const session::SessionPtr session, SessionFor(*environment_, session_id_, context.cancel));
  oci::Json key = {{"session", session->id()},
                   {"name", request_.name},
                   {"include", request_.include_patterns},
                   {"exclude", request_.exclude_patterns},
                   {"follow", request_.follow_paths},
                   {"metadata_only", request_.metadata_only},
                   {"exceptions", request_.metadata_exceptions}};
  solver::CacheMap map;
  map.op_digest = absl::StrCat("session:", request_.name, ":", oci::Digest::Of(oci::DumpGo(key)).str());
  map.ephemeral = true;
  return map;
}

absl::StatusOr<std::string> LocalSource::ContentDigest(int, const solver::ResultPtr&, const solver::OpContext&) {
  return absl::InternalError("a local source has no inputs");
}

absl::StatusOr<std::vector<solver::ResultPtr>> LocalSource::Run(const std::vector<solver::ResultPtr>&, const solver::OpContext& context) {
  RETURN_IF_ERROR(Parse());
  absl::StatusOr<HeldLocals::Tree> tree = Receive(context);
  if (absl::IsNotFound(tree.status()) && held_ != nullptr) tree = held_;
  RETURN_IF_ERROR(tree.status());
  environment_->parts.held_locals->Add(vertex_->digest.str(), *tree);
  return std::vector<solver::ResultPtr>{*std::move(tree)};
}

absl::StatusOr<HeldLocals::Tree> LocalSource::Receive(const solver::OpContext& context) {
  ASSIGN_OR_RETURN(const session::SessionPtr session, SessionFor(*environment_, session_id_, context.cancel));
  const Parts& parts = environment_->parts;
  snapshot::Label label;
  label.description = absl::StrCat("local source for ", request_.name);
  label.record_type = "source.local";
  const std::string name =
      absl::StrCat("local:", request_.name, ":", key_hint_, ":", session->shared_key(), request_.metadata_only ? ":metadata" : "");
  ASSIGN_OR_RETURN(const NamedTrees::LeasePtr lease, parts.named_trees->Acquire(name, llb::CacheSharing::kPrivate, nullptr, label, context.cancel));
  solver::StatusEvent status;
  status.id = absl::StrCat("transferring ", request_.name, ":");
  status.name = "transferring";
  status.started = status.timestamp = parts.clock->Now();
  context.progress->Status(status);
  {
    ASSIGN_OR_RETURN(const std::shared_ptr<snapshot::MountedTree> tree, parts.snapshots->MountTree(lease->snapshot(), false));
    auto show = [&](const session::SyncStats& stats) {
      const absl::Time now = parts.clock->Now();
      if (now - status.timestamp < kStatusInterval) return;
      status.timestamp = now;
      status.current = stats.bytes;
      context.progress->Status(status);
    };
    RETURN_IF_ERROR(parts.snapshots->BeginChanges(lease->snapshot()));
    const absl::StatusOr<session::SyncStats> stats = session->SyncDirectory(request_, tree->path(), show, context.cancel);
    const absl::Status noted = parts.snapshots->EndChanges(lease->snapshot(), stats.ok() ? &stats->changed_directories : nullptr);
    // What a full disk has of the directory serves nobody, and others need the room.
    if (absl::IsResourceExhausted(stats.status())) parts.named_trees->Forget(name).IgnoreError();
    RETURN_IF_ERROR(stats.status());
    RETURN_IF_ERROR(noted);
    status.current = stats->bytes;
  }
  status.completed = status.timestamp = parts.clock->Now();
  context.progress->Status(status);
  return std::make_shared<const TreeResult>(lease->snapshot(), lease);
}

}  // namespace cachalot::op
