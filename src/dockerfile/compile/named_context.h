// Named contexts: trees that the client puts in the place of an image or a stage ("context:<name>" options).
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "cachalot/llb/state.h"
#include "dockerfile/compile/build_context.h"
#include "dockerfile/compile/image_resolver.h"
#include "oci/image.h"
#include "oci/platform.h"

namespace cachalot::dockerfile {

struct NamedContextOptions {
  std::optional<oci::Platform> platform;
  std::string resolve_mode;
  // What the build reads of a directory of the client, complete when the graph is assembled.
  std::shared_ptr<const PathSet> paths;
};

class NamedContext {
 public:
  struct Loaded {
    llb::State state;
    std::optional<oci::ImageConfig> image;
  };

  // None when the client gave no context of that name (for the platform, or for all). "scratch" and "context" are never replaced.
  static absl::StatusOr<std::optional<NamedContext>> Find(BuildContext& build, ImageResolver& images, const std::string& name,
                                                          NamedContextOptions options);

  absl::StatusOr<Loaded> Load() const;

 private:
  NamedContext(BuildContext& build, ImageResolver& images, std::string name, std::string key, NamedContextOptions options)
      : build_(&build), images_(&images), name_(std::move(name)), key_(std::move(key)), options_(std::move(options)) {}
  absl::StatusOr<Loaded> LoadFrom(const std::string& input) const;
  absl::StatusOr<Loaded> LoadImage(const std::string& ref) const;
  absl::StatusOr<Loaded> LoadOciLayout(const std::string& ref) const;
  absl::StatusOr<Loaded> LoadLocal(const std::string& name) const;
  absl::StatusOr<Loaded> LoadInput(const std::string& name) const;
  std::string Named(absl::string_view what) const;

  BuildContext* build_;
  ImageResolver* images_;
  std::string name_;
  std::string key_;  // the name as the client wrote it, perhaps with a platform
  NamedContextOptions options_;
};

}  // namespace cachalot::dockerfile
