// Where a file system puts unrelated directories.
#pragma once

#include <string>

namespace cachalot::os {

// Tells the file system that directories made in `path` from now on have nothing to do with each other, where it can use that: ext2 to
// ext4 then put each into a group of blocks and inodes of its own.
void SpreadDirectories(const std::string& path);

}  // namespace cachalot::os
