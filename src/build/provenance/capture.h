// What a tree was made from, as far as its graph tells.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "build/provenance/request_trace.h"
#include "llb/op.h"
#include "oci/digest.h"
#include "oci/platform.h"
#include "op/proxy/proxy_use.h"

namespace cachalot::build {

struct BlobMaterial {
  std::string ref;
  oci::Digest digest;
  bool local = false;
};
struct GitMaterial {
  std::string url;  // without credentials; "#ref" at the end if one was asked for
  std::string commit;
  std::string bundle;  // where the commits came from if not from the repository: "docker-image+blob://<ref>@<digest>"
};
struct HttpMaterial {
  std::string url;  // without credentials
  std::string digest;
};

// A request of a step through its proxy whose answer is no material.
struct ProxyGap {
  std::string op, name;  // the step: its vertex's digest, its command
  std::string method, url, reason;
};

struct Capture {
  std::vector<ConsultedImage> images;
  std::vector<BlobMaterial> blobs;
  std::vector<GitMaterial> git;
  std::vector<HttpMaterial> http;
  std::set<std::string> locals;
  std::map<std::string, bool> secrets, ssh;  // id to whether it was optional everywhere
  bool network_access = false;
  bool proxied = false;  // steps reached the network through proxies only
  std::vector<ProxyGap> proxy_gaps;
  bool incomplete = false;  // there is more than this knows of

  void AddHttp(const HttpMaterial& material);
  void AddImage(const ConsultedImage& image);
  void AddSecret(const std::string& id, bool optional);
  void AddSsh(const std::string& id, bool optional);
  void Merge(const Capture& other);
  // Drops images by digest that are there by tag as well, and sorts.
  void Tidy();
};

using PinOf = std::function<std::string(const llb::Vertex&)>;
// All vertices beneath `edge`. `pin_of` tells what sources were resolved to; `proxy` is null unless steps are proxied.
Capture CaptureGraph(const llb::Edge& edge, const PinOf& pin_of, op::ProxyUse* proxy);

// `url` with "xxxxx" for a user's name and password in it.
std::string RedactUrl(const std::string& url);

}  // namespace cachalot::build
