// File operations without a process: chains of copy, mkfile, mkdir, rm and symlink for State::File.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "cachalot/llb/state.h"

namespace cachalot::llb {

// Owners: by number; or by "user", "user:group", ":group", numbers or names of the tree that is changed ("root" is 0).
Chown OwnerIds(std::uint32_t uid, std::uint32_t gid);
Chown OwnerNamed(absl::string_view user_and_group);

// Actions that follow each other on one tree; intermediate trees are not kept. Relative paths are taken from the working
// directory of the state: the changed one, for a copy's source the copied one. Modes are the permission bits; the fields for
// owner, time and the copy's many switches are those of llb/op.h.
class FileActions {
 public:
  FileActions& Copy(const State& from, FileCopy copy);
  FileActions& Copy(const State& from, absl::string_view src, absl::string_view dest);
  // Copies from what `actions` make of `base`, within the same operation.
  FileActions& Copy(const FileActions& actions, const State& base, FileCopy copy);
  FileActions& Mkfile(FileMkfile mkfile);
  FileActions& Mkfile(absl::string_view path, int mode, absl::string_view data);
  FileActions& Mkdir(FileMkdir mkdir);
  FileActions& Mkdir(absl::string_view path, int mode, bool make_parents = false);
  FileActions& Rm(FileRm rm);
  FileActions& Rm(absl::string_view path);
  FileActions& Symlink(FileSymlink symlink);
  FileActions& Symlink(absl::string_view oldpath, absl::string_view newpath);

  bool empty() const { return actions_.empty(); }

  // One action with the trees that it names; for the assembly of the operation.
  struct Entry;

 private:
  friend class FileNode;
  std::vector<std::shared_ptr<const Entry>> actions_;
};

}  // namespace cachalot::llb
