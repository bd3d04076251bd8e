#include <fcntl.h>

#include <functional>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "base/status_macros.h"
#include "codec/tar.h"
#include "export/exporters.h"
#include "export/file_statements.h"
#include "export/image_writer.h"
#include "export/tree_tar.h"
#include "os/file.h"
#include "tree/path_walk.h"

namespace cachalot::exporting {
namespace {

constexpr absl::Duration kReportInterval = absl::Milliseconds(100);

// One platform's files, mounted.
struct Tree {
  std::string platform;
  std::shared_ptr<snapshot::MountedTree> mount;
  std::optional<absl::Time> epoch;
  std::map<std::string, std::string> statements;  // attestations: name to content

  std::string Subdirectory() const { return absl::StrReplaceAll(platform, {{"/", "_"}}); }
};

absl::StatusOr<std::vector<Tree>> MountTrees(const ExportOptions& options, const Source& source, bool split, const Context& context) {
  if (!source.multi_platform && source.platforms.size() > 1) {
    return absl::InvalidArgumentError("unable to export multiple platforms without map");
  }
  std::vector<Tree> trees;
  for (const PlatformResult& result : source.platforms) {
    Tree tree;
    ASSIGN_OR_RETURN(tree.platform, PlatformId(result, result.config));
    ASSIGN_OR_RETURN(tree.epoch, EpochFor(options, source, tree.platform));
    RETURN_IF_ERROR(context.snapshots->Materialize(result.tree, *context.fetcher, context.cancel));
    ASSIGN_OR_RETURN(tree.mount, context.snapshots->MountTree(result.tree, /*readonly=*/true));
    ASSIGN_OR_RETURN(tree.statements, StatementsAboutFiles(options, result, tree.mount->path(),
                                                           source.multi_platform && !split ? tree.platform : std::string(), context));
    trees.push_back(std::move(tree));
  }
  return trees;
}

absl::Status WriteTrees(const std::vector<Tree>& trees, bool split, session::ByteSink& sink, const Context& context) {
  codec::FunctionSink to([&](absl::string_view bytes) { return sink.Write(bytes); });
  codec::TarWriter tar(&to);
  for (const Tree& tree : trees) {
    TreeTarOptions options{.prefix = "", .modification_time = tree.epoch};
    if (split) {
      options.prefix = absl::StrCat(tree.Subdirectory(), "/");
      codec::TarEntry directory;
      directory.path = options.prefix;
      directory.type = codec::TarType::kDirectory;
      directory.mode = 0755;
      if (tree.epoch.has_value()) directory.mtime = absl::ToTimespec(*tree.epoch);
      RETURN_IF_ERROR(tar.Add(directory));
    }
    RETURN_IF_ERROR(AddTree(tree.mount->path(), options, tar, context.cancel));
    const absl::Time now = absl::FromUnixSeconds(absl::ToUnixSeconds(context.clock->Now()));
    for (const auto& [name, content] : tree.statements) {
      codec::TarEntry entry;
      entry.path = absl::StrCat(options.prefix, name);
      entry.mode = 0600;
      entry.size = static_cast<std::int64_t>(content.size());
      entry.mtime = absl::ToTimespec(tree.epoch.value_or(now));
      RETURN_IF_ERROR(tar.Add(entry));
      RETURN_IF_ERROR(tar.Write(content));
    }
  }
  return tar.Finish();
}

// Notes every file of the directory; one that another platform has as well is an error.
absl::Status CheckOverlap(int dir_fd, const std::string& path, const std::string& platform, const CancelToken& cancel,
                          std::map<std::string, std::string>& seen) {
  RETURN_IF_ERROR(cancel.status());
  RETURN_IF_ERROR(tree::CheckPathLength("lstat", path));
  ASSIGN_OR_RETURN(const std::vector<os::DirectoryEntry> entries, os::ListDirectory(dir_fd));
  for (const os::DirectoryEntry& entry : entries) {
    const std::string name = absl::StrCat(path, entry.name);
    absl::StatusOr<UniqueFd> below = os::OpenBeneath(dir_fd, entry.name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    if (below.ok()) {
      RETURN_IF_ERROR(CheckOverlap(below->get(), absl::StrCat(name, "/"), platform, cancel, seen));
      continue;
    }
    const auto [first, is_new] = seen.emplace(name, platform);
    if (!is_new) {
      return absl::AlreadyExistsError(
          absl::StrCat("cannot overwrite ", name, " from ", first->second, " with ", platform, " when split option is disabled"));
    }
  }
  return absl::OkStatus();
}

absl::Status Send(const std::vector<session::OutputTree>& trees, const std::string& label, const Context& context, ExportVertex& vertex) {
  std::optional<absl::Time> started = vertex.Report(label, "transferring", 0, std::nullopt, /*done=*/false);
  absl::Time last = *started;
  std::int64_t total = 0;
  const auto on_progress = [&](std::int64_t bytes) {
    total = bytes;
    if (context.clock->Now() - last < kReportInterval) return;
    last = context.clock->Now();
    vertex.Report(label, "transferring", bytes, started, /*done=*/false);
  };
  const absl::Status status = context.session->SendDirectory(trees, context.exporter_id, on_progress, context.cancel);
  vertex.Report(label, "transferring", total, started, /*done=*/true);
  return status;
}

session::OutputTree OutputOf(const Tree& tree, bool split) {
  session::OutputTree out;
  out.source = tree.mount->path();
  if (split) out.subdirectory = tree.Subdirectory();
  out.modification_time = tree.epoch;
  out.extra_files = tree.statements;
  return out;
}

// The files of all platforms, which do not overlap, in one tree: what the client has beside them goes.
absl::StatusOr<Tree> MergeTrees(const Source& source, const std::vector<Tree>& trees, const Context& context) {
  std::vector<snapshot::SnapshotPtr> layers;
  Tree merged;
  for (std::size_t i = 0; i < trees.size(); ++i) {
    if (source.platforms[i].tree != nullptr) layers.push_back(source.platforms[i].tree);
    merged.statements.insert(trees[i].statements.begin(), trees[i].statements.end());
  }
  merged.epoch = trees.front().epoch;
  snapshot::Label label;
  label.description = "files of several platforms";
  snapshot::SnapshotPtr tree;
  if (!layers.empty()) {
    ASSIGN_OR_RETURN(tree, context.snapshots->Merge(layers, label));
  }
  RETURN_IF_ERROR(context.snapshots->Materialize(tree, *context.fetcher, context.cancel));
  ASSIGN_OR_RETURN(merged.mount, context.snapshots->MountTree(tree, /*readonly=*/true));
  return merged;
}

}  // namespace

absl::StatusOr<Response> ExportTar(const ExportOptions& options, const Source& source, const Context& context, ExportVertex& vertex) {
  if (context.session == nullptr) return absl::FailedPreconditionError("no session to export to");
  ASSIGN_OR_RETURN(const std::vector<Tree> trees, MountTrees(options, source, options.platform_split.value_or(source.multi_platform), context));
  ASSIGN_OR_RETURN(const std::unique_ptr<session::ByteSink> sink, context.session->OpenOutputFile({}, context.exporter_id, context.cancel));
  RETURN_IF_ERROR(vertex.Run("sending tarball", [&]() -> absl::Status {
    RETURN_IF_ERROR(WriteTrees(trees, source.multi_platform, *sink, context));
    return sink->Close();
  }));
  return Response{};
}

absl::StatusOr<Response> ExportLocal(const ExportOptions& options, const Source& source, const Context& context, ExportVertex& vertex) {
  if (context.session == nullptr) return absl::FailedPreconditionError("no session to export to");
  const bool split = options.platform_split.value_or(source.multi_platform);
  ASSIGN_OR_RETURN(const std::vector<Tree> trees, MountTrees(options, source, split, context));
  if (split && options.delete_mode) {
    // What the client has beside these files goes, so they have to come in one transfer.
    std::vector<session::OutputTree> outputs;
    for (const Tree& tree : trees) outputs.push_back(OutputOf(tree, split));
    RETURN_IF_ERROR(Send(outputs, "copying files", context, vertex));
    return Response{};
  }
  if (!split && trees.size() > 1) {
    std::map<std::string, std::string> seen;
    for (const Tree& tree : trees) {
      ASSIGN_OR_RETURN(const UniqueFd directory, os::OpenDirectory(tree.mount->path()));
      RETURN_IF_ERROR(CheckOverlap(directory.get(), "", tree.platform, context.cancel, seen));
    }
    if (options.delete_mode) {
      ASSIGN_OR_RETURN(const Tree merged, MergeTrees(source, trees, context));
      RETURN_IF_ERROR(Send({OutputOf(merged, split)}, "copying files", context, vertex));
      return Response{};
    }
  }
  for (const Tree& tree : trees) {
    RETURN_IF_ERROR(Send({OutputOf(tree, split)}, split ? absl::StrCat("copying files ", tree.platform) : "copying files", context, vertex));
  }
  return Response{};
}

}  // namespace cachalot::exporting
