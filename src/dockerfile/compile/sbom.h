// Software bills of materials: a scanner image runs over the result and leaves its findings as an attestation.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "cachalot/llb/state.h"
#include "llb/frontend.h"
#include "oci/image.h"

namespace cachalot::dockerfile {

class SbomScanner {
 public:
  // `image` is the scanner's, as resolved for `platform`; `parameters` reach it as BUILDKIT_SCAN_<name>.
  static absl::StatusOr<SbomScanner> Create(const llb::ResolvedImage& image, const oci::Platform& platform,
                                            std::map<std::string, std::string> parameters);

  struct Target {
    std::string id;  // of the platform, for people
    llb::State tree;
    std::map<std::string, llb::State> extras;  // stages and contexts to look at as well
    bool ignore_cache = false;
  };
  // The attestation for a result; it is made when it is read.
  absl::StatusOr<llb::Attestation> Scan(llb::FrontendBridge& bridge, const Target& target) const;

 private:
  SbomScanner(std::string image, oci::ImageConfig config, oci::Platform platform, std::map<std::string, std::string> parameters)
      : image_(std::move(image)), config_(std::move(config)), platform_(std::move(platform)), parameters_(std::move(parameters)) {}

  std::string image_;
  oci::ImageConfig config_;
  oci::Platform platform_;
  std::map<std::string, std::string> parameters_;
};

}  // namespace cachalot::dockerfile
