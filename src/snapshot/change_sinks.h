// Where a layer's changes go: into a tar archive, or into another layer's directory.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/unique_fd.h"
#include "codec/tar.h"
#include "snapshot/layer_walk.h"

namespace cachalot::snapshot {

// Writes the changes as an OCI layer: whiteouts as ".wh." files, times cut to seconds, of the extended attributes capabilities
// and user.*. Equal changes give equal bytes.
class TarChangeSink : public ChangeSink {
 public:
  explicit TarChangeSink(codec::TarWriter* tar) : tar_(tar), buffer_(codec::kBlockSize) {}
  absl::Status OnEntry(const std::string& path, int dir_fd, const std::string& name, const struct stat& status, const std::string& link) override;
  absl::Status OnDeleted(const std::string& path) override;

 private:
  absl::Status WriteData(int dir_fd, const std::string& name, std::int64_t size);

  codec::TarWriter* tar_;
  std::vector<char> buffer_;
};

// Puts the changes into the directory of a new layer, files as hard links where possible (or as copies), deletions as whiteouts. A whiteout
// with nothing to hide would show in listings: such deletions are only counted up.
class LinkChangeSink : public ChangeSink {
 public:
  // `lowers`: the layers below the new one, or nothing when they are not there yet.
  // `sources`: layer directories (topmost first) in which the files of a merged view are found, for linking; may be empty.
  enum class Files { kLinked, kCopied };
  LinkChangeSink(std::string target, std::optional<std::vector<std::string>> lowers, std::vector<std::string> sources, Files files = Files::kLinked)
      : target_(std::move(target)), lowers_(std::move(lowers)), sources_(std::move(sources)), files_(files) {}
  absl::Status OnEntry(const std::string& path, int dir_fd, const std::string& name, const struct stat& status, const std::string& link) override;
  absl::Status OnDeleted(const std::string& path) override;
  // Sets the directories' times. Last.
  absl::Status Finish();
  bool any() const { return any_; }
  // The deletions of what is not below.
  const std::vector<std::string>& deleted() const { return deleted_; }

 private:
  // The directories of one path, for those that come one after the other.
  struct Parents {
    std::string path;
    UniqueFd target;
    std::vector<UniqueFd> sources;  // invalid where a layer has no such directory; as many as were asked for
  };
  absl::Status Enter(const std::string& directory);
  absl::StatusOr<UniqueFd> OpenTarget(const std::string& directory);
  absl::Status LinkAgain(const std::string& link, const std::string& name);
  absl::Status Place(const std::string& path, int dir_fd, const std::string& name, const struct stat& status);
  absl::StatusOr<bool> LinkFromSources(const std::string& name, const struct stat& status);
  absl::Status Copy(int dir_fd, const std::string& name, const struct stat& status);

  const std::string target_;
  const std::optional<std::vector<std::string>> lowers_;
  const std::vector<std::string> sources_;
  const Files files_;
  UniqueFd root_;  // target_, once something was put there
  Parents parents_;
  std::vector<std::pair<std::string, timespec>> directory_times_;
  std::vector<std::string> deleted_;
  bool any_ = false;
};

}  // namespace cachalot::snapshot
