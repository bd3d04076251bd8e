// Calls of CNI plugins. Internal to the room.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "runtime/network.h"

namespace cachalot::runtime {

// A list of plugins that together make one network interface.
class CniPlugins {
 public:
  static absl::StatusOr<CniPlugins> Load(const CniConfig& config);
  // Takes the text of a configuration or of a list.
  static absl::StatusOr<CniPlugins> Parse(absl::string_view text, const std::string& plugin_dir);

  struct Attachment {
    std::string container_id;
    std::string netns;  // path, empty when it is gone
    std::string hostname;
  };
  // Runs the plugins in order; each gets the result of the one before. Returns the last result. After a failure what was done is undone.
  absl::StatusOr<std::string> Add(const Attachment& attachment) const;
  // Runs them in reverse order. `result` is what Add returned, empty when unknown. All are run; the first error is returned.
  absl::Status Delete(const Attachment& attachment, const std::string& result) const;

 private:
  // The output of one plugin.
  absl::StatusOr<std::string> Call(const char* command, const nlohmann::json& plugin, const Attachment& attachment,
                                   const std::string& previous) const;

  std::string plugin_dir_, name_, version_;
  std::vector<nlohmann::json> plugins_;
};

}  // namespace cachalot::runtime
