// Devices that build steps can ask for, as files of the Container Device Interface describe them
// (https://github.com/cncf-tags/container-device-interface, SPEC.md).
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "runtime/device_edits.h"

namespace cachalot::runtime {

struct CdiDevice {
  std::string name;  // "vendor.com/class=device"
  bool auto_allow = false;
  std::map<std::string, std::string> annotations;  // its own over those of its file
};

// The devices at one moment. A value; cheap to copy.
class CdiCatalog {
 public:
  // By name.
  std::vector<CdiDevice> List() const;
  // The names of the devices that `request` means: "vendor/class=name", "vendor/class" (the first), "vendor/class=*" (all), or the
  // class that an annotation (org.mobyproject.buildkit.device.class) gives to devices. Empty for an optional one that is not there.
  absl::StatusOr<std::vector<std::string>> Find(const std::string& request, bool optional) const;
  // What the named devices, which exist, change, with what their files change for all of their devices.
  DeviceEdits EditsOf(const std::vector<std::string>& names) const;
  bool AutoAllowed(const std::string& name) const;

 private:
  friend class CdiDevices;
  struct File {
    DeviceEdits edits;
  };
  struct Entry {
    CdiDevice device;
    DeviceEdits edits;
    std::shared_ptr<const File> file;
    std::size_t priority = 0;
    bool conflict = false;  // two files of one directory have it: nobody can
  };
  std::map<std::string, Entry> entries_;
};

// Thread-safe.
class CdiDevices {
 public:
  struct Config {
    bool disabled = false;
    std::vector<std::string> spec_dirs = {"/etc/cdi", "/var/run/cdi", "/etc/buildkit/cdi"};  // later ones win
    std::vector<std::string> auto_allowed = {};                                              // names and kinds ("vendor/class")
  };
  explicit CdiDevices(Config config) : config_(std::move(config)) {}

  // Reads the files: they come and go while the daemon runs. Those that cannot be read are logged and left out.
  CdiCatalog Read() const;

 private:
  absl::Status AddFile(const std::string& path, std::size_t priority, CdiCatalog& catalog) const;
  bool IsAutoAllowed(const CdiDevice& device) const;

  const Config config_;
};

}  // namespace cachalot::runtime
