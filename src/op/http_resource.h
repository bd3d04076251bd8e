// Files of the web: asking for them, and what is remembered of them.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "op/environment.h"
#include "op/single_file.h"
#include "registry/http.h"

namespace cachalot::op {

// What a web source asks for.
struct HttpIdentifier {
  std::string url;
  FileOptions file;
  oci::Digest checksum;               // that it must have, or empty
  std::string auth_secret;            // names the secret that is the Authorization header
  registry::HttpHeaders headers;      // sorted
  std::string public_key, signature;  // OpenPGP, armored: both or none

  static absl::StatusOr<HttpIdentifier> Parse(const llb::SourceOp& source);
  // Equal for sources whose downloads are alike.
  std::string Key() const;
};

// What is known of a web resource once it was asked for.
struct HttpResource {
  oci::Digest digest;
  std::string filename;
  std::optional<absl::Time> last_modified;
  snapshot::SnapshotPtr tree;  // with the file; null while only the digest is known
};
using HttpResourcePtr = std::shared_ptr<const HttpResource>;

// One build's web resources: each is asked for once and means the same for the whole build. Thread-safe.
class HttpResources {
 public:
  // With its tree. When an earlier build's download still is what the server has, it is not downloaded again. An error when it has
  // another digest than the identifier's.
  absl::StatusOr<HttpResourcePtr> Get(const HttpIdentifier& identifier, const Environment& environment, const CancelToken& cancel);

 private:
  struct Entry {
    std::mutex mutex;  // held while asking
    HttpResourcePtr resource;
  };
  std::mutex mutex_;
  std::map<std::string, std::shared_ptr<Entry>> entries_;
};

// The name that a resource is stored under: `wanted`, or what Content-Disposition says, or the URL's last component, or "download".
std::string HttpFilename(const std::string& url, const std::string& wanted, const std::string& content_disposition);

}  // namespace cachalot::op
