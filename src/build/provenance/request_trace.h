// Who asked for what during a build: provenance names the request behind each tree of the result.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/guarded.h"
#include "llb/frontend.h"
#include "oci/digest.h"
#include "oci/platform.h"

namespace cachalot::build {

// A request to a frontend.
struct FrontendRequest {
  std::string frontend;
  std::map<std::string, std::string> options;
  std::map<std::string, llb::Definition> inputs;

  bool empty() const { return frontend.empty() && options.empty() && inputs.empty(); }
};

// An image whose configuration a frontend has asked for.
struct ConsultedImage {
  std::string ref;
  std::optional<oci::Platform> platform;
  oci::Digest digest;
  bool local = false;  // from a layout of the client
};

class RequestTrace;

// Which request produced a graph, for as long as its build runs: another request, of any build, may take the graph as an input.
// Thread-safe.
class ProducerIndex {
 public:
  void Add(const oci::Digest& vertex, const std::weak_ptr<const RequestTrace>& producer);
  void Forget(const oci::Digest& vertex, const RequestTrace* producer);
  std::vector<std::shared_ptr<const RequestTrace>> Find(const oci::Digest& vertex) const;

 private:
  struct Entry {
    const RequestTrace* id;
    std::weak_ptr<const RequestTrace> producer;
  };
  mutable Guarded<std::map<oci::Digest, std::vector<Entry>>> entries_;
};

// One request and what came of it. A build's own trace has no request of a frontend but the root's. Thread-safe.
class RequestTrace : public std::enable_shared_from_this<RequestTrace> {
 public:
  // Of a build. `producers` outlives every trace.
  static std::shared_ptr<RequestTrace> OfBuild(FrontendRequest root, ProducerIndex* producers);
  ~RequestTrace();

  // A request that was made while this one was served.
  std::shared_ptr<RequestTrace> AddNested(FrontendRequest request);
  // Trees that this request yielded.
  void AddResult(const llb::FrontendResult& result);
  void AddImage(ConsultedImage image);

  const std::optional<FrontendRequest>& request() const { return request_; }
  // What the client asked for at first.
  const FrontendRequest& root() const { return root_; }
  ProducerIndex& producers() const { return *producers_; }

  // The innermost request that yielded the tree, this one included; null for a tree from elsewhere.
  std::shared_ptr<const RequestTrace> FindProducer(const llb::RefPtr& ref) const;
  // Everything that this request and nested ones yielded and consulted.
  std::vector<llb::RefPtr> AllRefs() const;
  std::vector<ConsultedImage> AllImages() const;

 private:
  struct State {
    std::vector<std::shared_ptr<RequestTrace>> nested;
    std::vector<llb::RefPtr> refs;
    std::vector<ConsultedImage> images;
    std::vector<oci::Digest> produced;  // known to the index
  };
  RequestTrace(std::optional<FrontendRequest> request, FrontendRequest root, ProducerIndex* producers)
      : request_(std::move(request)), root_(std::move(root)), producers_(producers) {}

  const std::optional<FrontendRequest> request_;
  const FrontendRequest root_;
  ProducerIndex* const producers_;
  mutable Guarded<State> state_;
};

}  // namespace cachalot::build
