// Image configurations by reference, each asked for once per build.
#pragma once

#include <future>
#include <map>
#include <mutex>
#include <string>

#include "absl/status/statusor.h"
#include "llb/frontend.h"

namespace cachalot::dockerfile {

// Thread-safe.
class ImageResolver {
 public:
  explicit ImageResolver(llb::FrontendBridge& bridge) : bridge_(bridge) {}

  // As FrontendBridge::ResolveImage; concurrent and repeated calls for the same image share one.
  absl::StatusOr<llb::ResolvedImage> Resolve(const std::string& ref, const llb::ResolveOptions& options);

 private:
  using Result = std::shared_future<absl::StatusOr<llb::ResolvedImage>>;

  llb::FrontendBridge& bridge_;
  std::mutex mutex_;
  std::map<std::string, Result> results_;  // guarded by mutex_
};

}  // namespace cachalot::dockerfile
