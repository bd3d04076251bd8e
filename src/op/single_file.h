// Trees of one file, which web and blob sources yield.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/unique_fd.h"
#include "codec/sha256.h"
#include "oci/digest.h"
#include "op/environment.h"

namespace cachalot::op {

// What a source says of its file.
struct FileOptions {
  std::string filename;
  int perm = 0, uid = 0, gid = 0;  // without permissions it is its owner's alone
};
// Takes the attribute if it is one of "http.filename", "http.perm", "http.uid" and "http.gid"; false if it is another.
absl::StatusOr<bool> ParseFileOption(const std::string& name, const std::string& value, FileOptions& options);

// `name` without what would make it a path; "download" when nothing usable is left.
std::string SafeFileName(absl::string_view name);

// Writes the file of a new tree. What is not committed is dropped. Not thread-safe.
class SingleFileWriter {
 public:
  static absl::StatusOr<std::unique_ptr<SingleFileWriter>> Open(snapshot::Snapshots& snapshots, const std::string& description);
  absl::Status Write(absl::string_view bytes);
  // All that is left to read from `fd`.
  absl::Status CopyFrom(int fd);
  // The digest of what was written.
  oci::Digest digest() const { return digest_; }
  // Names the file and seals the tree.
  absl::StatusOr<snapshot::SnapshotPtr> Commit(const FileOptions& options, absl::Time time);

 private:
  SingleFileWriter(snapshot::Snapshots& snapshots, snapshot::SnapshotPtr active) : snapshots_(snapshots), active_(std::move(active)) {}

  snapshot::Snapshots& snapshots_;
  snapshot::SnapshotPtr active_;
  UniqueFd directory_, file_;
  codec::Sha256 hash_;
  oci::Digest digest_;
};

}  // namespace cachalot::op
