// Where images and single blobs are had from: registries, and OCI layouts of the client.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "base/cancel.h"
#include "llb/op.h"
#include "oci/image.h"
#include "oci/reference.h"
#include "op/environment.h"
#include "registry/client.h"
#include "store/blobs.h"

namespace cachalot::op {

// Thread-safe.
class ImageOrigin {
 public:
  virtual ~ImageOrigin() = default;
  // Tells origins apart: the same name may mean different images in two of them.
  virtual std::string id() const = 0;
  // Whether a layer can be fetched by anybody at any time; if not, it has to be taken while the client that has it is there.
  virtual bool lasting() const = 0;
  // The descriptor that `ref` points at now.
  virtual absl::StatusOr<oci::Descriptor> Resolve(const oci::Reference& ref, const CancelToken& cancel) = 0;
  // Brings a document or layer into the blob store, verified. No-op when that has it.
  virtual absl::Status Fetch(const oci::Reference& ref, const oci::Descriptor& descriptor, store::BlobStore& blobs,
                             const std::function<void(std::int64_t done)>& on_progress, const CancelToken& cancel) = 0;
};

class RegistryOrigin : public ImageOrigin {
 public:
  RegistryOrigin(registry::Client* registry, std::shared_ptr<registry::Credentials> credentials)
      : registry_(registry), credentials_(std::move(credentials)) {}
  std::string id() const override { return ""; }
  bool lasting() const override { return true; }
  absl::StatusOr<oci::Descriptor> Resolve(const oci::Reference& ref, const CancelToken& cancel) override;
  absl::Status Fetch(const oci::Reference& ref, const oci::Descriptor& descriptor, store::BlobStore& blobs,
                     const std::function<void(std::int64_t done)>& on_progress, const CancelToken& cancel) override;

 private:
  registry::Client* const registry_;
  const std::shared_ptr<registry::Credentials> credentials_;
};

// The OCI layout that a client offers under `store`. References into it need a digest.
class LayoutOrigin : public ImageOrigin {
 public:
  // `session` is the client's, or empty for the build's own.
  LayoutOrigin(const Environment& environment, std::string session, std::string store)
      : environment_(environment), session_(std::move(session)), store_(std::move(store)) {}
  std::string id() const override;
  bool lasting() const override { return false; }
  absl::StatusOr<oci::Descriptor> Resolve(const oci::Reference& ref, const CancelToken& cancel) override;
  absl::Status Fetch(const oci::Reference& ref, const oci::Descriptor& descriptor, store::BlobStore& blobs,
                     const std::function<void(std::int64_t done)>& on_progress, const CancelToken& cancel) override;

 private:
  const Environment& environment_;  // outlives this
  const std::string session_, store_;
};

// The reference of a source in an OCI layout: a name of any form, and a digest.
absl::StatusOr<oci::Reference> ParseLayoutReference(absl::string_view text);

// The origin that a source of scheme docker-image, oci-layout or their "+blob" forms means, with its reference.
struct OriginAndReference {
  std::shared_ptr<ImageOrigin> origin;
  oci::Reference ref;
};
absl::StatusOr<OriginAndReference> OriginOf(const llb::SourceOp& source, const Environment& environment);

// The media type of an index or manifest that is known by its bytes alone; empty for anything else.
std::string DetectMediaType(absl::string_view json);

}  // namespace cachalot::op
