// Makes a directory equal to a tree whose entries arrive one by one.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "base/unique_fd.h"
#include "session/tree/file_writers.h"
#include "session/tree/stat.h"

namespace cachalot::session {

struct TreeWriterOptions {
  bool merge = false;   // what is there besides stays; every file counts as changed
  bool compare = true;  // false: every file counts as changed
};

// Enters directories as the entries lead there and leaves nothing open behind; each is opened relative to its parent without
// following links, so that nothing outside the root is touched whatever the tree or the directory holds.
class TreeWriter {
 public:
  static absl::StatusOr<std::unique_ptr<TreeWriter>> Open(const std::string& root, const TreeWriterOptions& options);

  // Takes the next entry, in the order that PathOrder checks. What differs is removed and made anew. A file whose data is
  // needed is returned, to be passed to WriteData; null for all others.
  absl::StatusOr<std::shared_ptr<NewFile>> Add(const Stat& stat);
  absl::Status WriteData(const std::shared_ptr<NewFile>& file, absl::string_view data, bool last) { return writers_->Write(file, data, last); }
  // No more entries: removes what is left over.
  absl::Status EndOfEntries();
  // Once all data is written: makes hard links and sets the directories' attributes.
  absl::Status Finish();
  // After that: the directories ("" for the root) of which an entry is not as it was before; some may be named twice.
  std::vector<std::string> TouchedDirectories() const;

 private:
  struct Level {
    std::string path;
    UniqueFd fd;
    std::vector<std::string> old_names;  // ascending; what was here before
    std::size_t next_old = 0;
    std::optional<Stat> stat;  // of the directory, unless it is the root
    bool changed = false;      // its attributes differ or its modification time will
  };
  struct HardLink {
    std::string path, target;
  };

  TreeWriter(UniqueFd root, const TreeWriterOptions& options);
  absl::Status LeaveLevel();
  // Removes old entries up to `name` and says whether `name` itself is there.
  absl::StatusOr<bool> TakeOld(Level& level, const std::string& name, struct stat* st);
  absl::Status AddDirectory(const Stat& stat, const std::string& name, const struct stat* old);
  absl::StatusOr<std::shared_ptr<NewFile>> AddFile(const Stat& stat, const std::string& name, const struct stat* old);
  absl::Status MakeSpecial(int directory, const std::string& name, const Stat& stat);
  bool IsUnchanged(int directory, const std::string& name, const Stat& stat, const struct stat& old);
  bool IsUnchangedLink(const Stat& stat, const struct stat& old) const;
  absl::Status MakeHardLink(const HardLink& link);

  const TreeWriterOptions options_;
  const UniqueFd root_;
  std::vector<Level> levels_;
  std::vector<Stat> changed_directories_;
  bool root_changed_ = false;
  std::vector<HardLink> links_;
  absl::flat_hash_map<std::string, std::uint64_t> files_;   // path -> inode of an unchanged file, 0 of a new one
  absl::flat_hash_map<std::uint64_t, std::string> owners_;  // inode with several names -> the first path that keeps it
  std::unique_ptr<FileWriters> writers_;
};

}  // namespace cachalot::session
