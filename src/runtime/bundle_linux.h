// The Linux part of a bundle's description: namespaces, devices, limits, what of /proc and /sys is hidden. Internal to the room.
#pragma once

#include <string>

#include "runtime/bundle_config.h"

namespace cachalot::runtime {

// Appends "linux":{...}.
void AppendLinux(std::string& json, const ContainerSpec& spec, const User& user, const BundleInput& input);

}  // namespace cachalot::runtime
