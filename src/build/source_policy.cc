#include "build/source_policy.h"

#include <algorithm>
#include <map>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/path.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "base/worker_pool.h"
#include "llb/sources.h"
#include "oci/digest.h"
#include "oci/reference.h"

namespace cachalot::build {
namespace {

constexpr int kMaxQuestions = 10;   // to the verifier about one source
constexpr int kMaxConcurrent = 64;  // sources that wait for the verifier

// Rules must not be evaded by another spelling of the same source.
std::string Canonical(const std::string& identifier) {
  absl::string_view rest = identifier;
  if (absl::ConsumePrefix(&rest, "docker-image://")) {
    const absl::StatusOr<oci::Reference> reference = oci::Reference::ParseNormalized(rest);
    return reference.ok() ? absl::StrCat("docker-image://", reference->str()) : identifier;
  }
  if (absl::StartsWith(identifier, "git://")) {
    const std::size_t fragment = identifier.find('#');
    const std::size_t colon = fragment == std::string::npos ? fragment : identifier.find(':', fragment);
    if (colon == std::string::npos) return identifier;
    const std::string directory = RootedPath(identifier.substr(colon + 1)).substr(1);
    return absl::StrCat(identifier.substr(0, colon), directory.empty() ? "" : ":", directory);
  }
  return identifier;
}

bool SameSource(const llb::SourceOp& a, const llb::SourceOp& b) { return a.identifier == b.identifier && a.attrs == b.attrs; }

absl::Status Evaluate(policy::Evaluator& rules, llb::SourceOp& source) {
  policy::Source judged{Canonical(source.identifier), std::move(source.attrs)};
  const absl::Status status = rules.Apply(judged).status();
  source = {std::move(judged.identifier), std::move(judged.attrs)};
  return status;
}

}  // namespace

std::shared_ptr<policy::Evaluator> SourcePolicy::RulesWith(const std::vector<policy::Policy>& more) const {
  if (more.empty()) return rules_;
  std::vector<policy::Policy> all = rules_->policies();
  all.insert(all.end(), more.begin(), more.end());
  return std::make_shared<policy::Evaluator>(std::move(all));
}

absl::Status SourcePolicy::ApplyRules(llb::SourceOp& source, const std::vector<policy::Policy>& more) { return Evaluate(*RulesWith(more), source); }

absl::Status SourcePolicy::Apply(llb::SourceOp& source, const std::optional<oci::Platform>& platform, const std::vector<policy::Policy>& more,
                                 llb::FrontendBridge& metadata, const CancelToken& cancel) {
  return Judge(*RulesWith(more), source, platform, metadata, cancel);
}

absl::Status SourcePolicy::Judge(policy::Evaluator& rules, llb::SourceOp& source, const std::optional<oci::Platform>& platform,
                                 llb::FrontendBridge& metadata, const CancelToken& cancel) {
  int budget = kMaxQuestions;
  while (true) {
    RETURN_IF_ERROR(Evaluate(rules, source));
    if (verifier_ == nullptr) return absl::OkStatus();
    ASSIGN_OR_RETURN(const bool allowed, verifier_->Check(source, platform, metadata, budget, cancel));
    if (allowed) return absl::OkStatus();
  }
}

absl::StatusOr<llb::Edge> SourcePolicy::Apply(const llb::Edge& edge, const std::vector<policy::Policy>& more, llb::FrontendBridge& metadata,
                                              const CancelToken& cancel) {
  if (empty(more)) return edge;
  const std::vector<llb::VertexPtr> sources = llb::SourcesOf(edge);
  const std::shared_ptr<policy::Evaluator> rules = RulesWith(more);
  std::vector<llb::SourceOp> judged(sources.size());
  std::vector<absl::Status> verdicts(sources.size());
  const auto judge = [&](std::size_t i) {
    judged[i] = std::get<llb::SourceOp>(sources[i]->op);
    verdicts[i] = Judge(*rules, judged[i], sources[i]->platform, metadata, cancel);
  };
  if (verifier_ == nullptr) {
    for (std::size_t i = 0; i < sources.size(); ++i) judge(i);
  } else {
    WorkerPool pool("source-policy", kMaxConcurrent);  // its end waits for all
    for (std::size_t i = 0; i < sources.size(); ++i) pool.Run([&judge, i] { judge(i); });
  }
  std::map<oci::Digest, llb::SourceOp> replacements;
  for (std::size_t i = 0; i < sources.size(); ++i) {
    if (!verdicts[i].ok()) return Annotate(verdicts[i], "error evaluating the source policy");
    if (!SameSource(judged[i], std::get<llb::SourceOp>(sources[i]->op))) replacements[sources[i]->digest] = std::move(judged[i]);
  }
  return llb::ReplaceSources(edge, replacements);
}

}  // namespace cachalot::build
