// Network namespaces that live as long as a file: a mount keeps them.
#pragma once

#include <functional>
#include <string>

#include "absl/status/status.h"

namespace cachalot::os {

// Makes a network namespace, with its loopback interface up, and mounts it on `path`, a file that is made.
absl::Status PinNetworkNamespace(const std::string& path);
// Undoes that; OK when nothing is there.
absl::Status UnpinNetworkNamespace(const std::string& path);

// Runs `work` on a thread inside the namespace pinned at `path`: sockets that it opens belong there.
absl::Status RunInNetworkNamespace(const std::string& path, const std::function<absl::Status()>& work);

// Whether this process's network namespace has an interface of that name.
bool InterfaceExists(const std::string& name);
// Takes a bridge down and removes it.
absl::Status RemoveBridge(const std::string& name);

}  // namespace cachalot::os
