// The image layouts among a build's caches and outputs: what the daemon is told of them, and what gets a name in them afterwards.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "buildkit/control.pb.h"
#include "client/attach/content_stores.h"
#include "client/build_options.h"

namespace cachalot::client {

class LayoutUses {
 public:
  // Caches of type local: directories for what is exported are made; imports of what is not there are taken out, with a warning on stderr.
  absl::Status AddCaches(moby::buildkit::v1::CacheOptions& caches);
  // An output of type oci or docker with tar=false; there can be one.
  absl::Status AddOutput(const OutputSpec& output);

  const ContentStores& stores() const { return stores_; }
  // Once all is written: index.json of each directory names what the build's response tells of.
  absl::Status NameResults(const std::map<std::string, std::string>& exporter_response) const;

 private:
  ContentStores stores_;
  std::vector<std::pair<std::string, std::string>> cache_exports_;  // directory and tag
  std::string output_;
};

}  // namespace cachalot::client
