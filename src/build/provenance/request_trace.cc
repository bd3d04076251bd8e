#include "build/provenance/request_trace.h"

#include <algorithm>
#include <utility>

namespace cachalot::build {

void ProducerIndex::Add(const oci::Digest& vertex, const std::weak_ptr<const RequestTrace>& producer) {
  (*entries_.Lock())[vertex].push_back({producer.lock().get(), producer});
}

void ProducerIndex::Forget(const oci::Digest& vertex, const RequestTrace* producer) {
  auto entries = entries_.Lock();
  const auto found = entries->find(vertex);
  if (found == entries->end()) return;
  std::vector<Entry>& list = found->second;
  list.erase(std::remove_if(list.begin(), list.end(), [&](const Entry& entry) { return entry.id == producer; }), list.end());
  if (list.empty()) entries->erase(found);
}

std::vector<std::shared_ptr<const RequestTrace>> ProducerIndex::Find(const oci::Digest& vertex) const {
  std::vector<std::shared_ptr<const RequestTrace>> out;
  auto entries = entries_.Lock();
  const auto found = entries->find(vertex);
  if (found == entries->end()) return out;
  for (const Entry& entry : found->second) {
    if (auto producer = entry.producer.lock(); producer != nullptr) out.push_back(std::move(producer));
  }
  return out;
}

std::shared_ptr<RequestTrace> RequestTrace::OfBuild(FrontendRequest root, ProducerIndex* producers) {
  return std::shared_ptr<RequestTrace>(new RequestTrace(std::nullopt, std::move(root), producers));
}

RequestTrace::~RequestTrace() {
  auto state = state_.Lock();
  for (const oci::Digest& vertex : state->produced) producers_->Forget(vertex, this);
}

std::shared_ptr<RequestTrace> RequestTrace::AddNested(FrontendRequest request) {
  // A build whose client serves as the frontend may have been asked for nothing else.
  FrontendRequest root = !root_.empty() || !request_.has_value() ? root_ : *request_;
  auto nested = std::shared_ptr<RequestTrace>(new RequestTrace(std::move(request), std::move(root), producers_));
  state_.Lock()->nested.push_back(nested);
  return nested;
}

void RequestTrace::AddResult(const llb::FrontendResult& result) {
  std::vector<llb::RefPtr> refs = {result.ref};
  for (const auto& [platform, ref] : result.refs) refs.push_back(ref);
  for (const auto& [platform, attestations] : result.attestations) {
    for (const llb::Attestation& attestation : attestations) refs.push_back(attestation.ref);
  }
  for (const llb::RefPtr& ref : refs) {
    if (ref == nullptr) continue;
    state_.Lock()->refs.push_back(ref);
    // Whoever yielded it first is the producer; those who pass it on are not.
    const llb::VertexPtr& vertex = ref->edge().vertex;
    if (vertex == nullptr || !request_.has_value() || FindProducer(ref).get() != this) continue;
    producers_->Add(vertex->digest, weak_from_this());
    state_.Lock()->produced.push_back(vertex->digest);
  }
}

void RequestTrace::AddImage(ConsultedImage image) { state_.Lock()->images.push_back(std::move(image)); }

std::shared_ptr<const RequestTrace> RequestTrace::FindProducer(const llb::RefPtr& ref) const {
  std::vector<std::shared_ptr<RequestTrace>> nested;
  bool here;
  {
    auto state = state_.Lock();
    nested = state->nested;
    here = std::find(state->refs.begin(), state->refs.end(), ref) != state->refs.end();
  }
  for (const auto& child : nested) {
    if (auto found = child->FindProducer(ref); found != nullptr) return found;
  }
  return here ? shared_from_this() : nullptr;
}

std::vector<llb::RefPtr> RequestTrace::AllRefs() const {
  std::vector<std::shared_ptr<RequestTrace>> nested;
  std::vector<llb::RefPtr> out;
  {
    auto state = state_.Lock();
    nested = state->nested;
    out = state->refs;
  }
  for (const auto& child : nested) {
    for (llb::RefPtr& ref : child->AllRefs()) out.push_back(std::move(ref));
  }
  return out;
}

std::vector<ConsultedImage> RequestTrace::AllImages() const {
  std::vector<std::shared_ptr<RequestTrace>> nested;
  std::vector<ConsultedImage> out;
  {
    auto state = state_.Lock();
    nested = state->nested;
    out = state->images;
  }
  for (const auto& child : nested) {
    for (ConsultedImage& image : child->AllImages()) out.push_back(std::move(image));
  }
  return out;
}

}  // namespace cachalot::build
