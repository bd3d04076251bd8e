// Software bills of materials: a scanner image runs over the result and leaves its findings as an attestation.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "dockerfile/compile/build_context.h"
#include "dockerfile/compile/compiler.h"
#include "dockerfile/compile/image_resolver.h"
#include "llb/frontend.h"

namespace cachalot::dockerfile {

class SbomScanner {
 public:
  // Resolves the scanner's image and its command.
  static absl::StatusOr<SbomScanner> Create(const BuildContext& context, ImageResolver& images, const Config& config);

  // The attestation for the result of platform `id`; it is made when it is read.
  absl::StatusOr<llb::Attestation> Scan(const BuildContext& context, const std::string& id, const Compiled& compiled) const;

 private:
  SbomScanner(std::string image, oci::ImageConfig config, oci::Platform platform, std::map<std::string, std::string> parameters)
      : image_(std::move(image)), config_(std::move(config)), platform_(std::move(platform)), parameters_(std::move(parameters)) {}

  std::string image_;
  oci::ImageConfig config_;
  oci::Platform platform_;
  std::map<std::string, std::string> parameters_;
};

}  // namespace cachalot::dockerfile
