#include "remotecache/key_matcher.h"

#include <algorithm>
#include <iterator>

namespace cachalot::remotecache {
namespace {

void Sort(std::vector<int>& records) {
  std::sort(records.begin(), records.end());
  records.erase(std::unique(records.begin(), records.end()), records.end());
}

}  // namespace

KeyMatcher::KeyMatcher(CacheConfig config) : config_(std::move(config)), targets_(config_.records.size()) {
  for (std::size_t i = 0; i < config_.records.size(); ++i) {
    const Record& record = config_.records[i];
    (record.inputs.empty() ? roots_ : steps_)[record.digest].push_back(static_cast<int>(i));
    for (std::size_t input = 0; input < record.inputs.size(); ++input) {
      for (const RecordLink& link : record.inputs[input]) {
        targets_[link.record][{static_cast<int>(input), record.digest, link.selector}].push_back(static_cast<int>(i));
      }
    }
  }
}

const KeyMatcher::Records& KeyMatcher::Roots(const std::string& digest) const {
  static const auto* const none = new Records();
  const auto found = roots_.find(digest);
  return found == roots_.end() ? *none : found->second;
}

void KeyMatcher::AddTargets(const Records& from, const Step& step, Records& out) const {
  for (const int record : from) {
    const auto found = targets_[record].find(step);
    if (found != targets_[record].end()) out.insert(out.end(), found->second.begin(), found->second.end());
  }
}

const KeyMatcher::Records* KeyMatcher::Known(const solver::CacheKey& key, int output) const {
  const auto found = found_.find(solver::OutputKey(key.id, output));
  return found == found_.end() ? nullptr : &found->second;
}

// Records with this digest that have all the inputs that are known; the records of those are.
KeyMatcher::Records KeyMatcher::Join(const std::string& digest, const std::vector<solver::KeyInput>& inputs) const {
  const auto steps = steps_.find(digest);
  Records common = steps == steps_.end() ? Records() : steps->second;
  for (std::size_t i = 0; i < inputs.size() && !common.empty(); ++i) {
    const solver::KeyInput& input = inputs[i];
    if (input.vertex == nullptr && input.content.empty()) continue;
    Records targets;
    if (input.vertex != nullptr) AddTargets(*Known(*input.vertex, input.output), {static_cast<int>(i), digest, input.selector}, targets);
    if (!input.content.empty()) AddTargets(Roots(input.content), {static_cast<int>(i), digest, ""}, targets);
    Sort(targets);
    Records both;
    std::set_intersection(common.begin(), common.end(), targets.begin(), targets.end(), std::back_inserter(both));
    common = std::move(both);
  }
  return common;
}

// The inputs' records are known.
KeyMatcher::Records KeyMatcher::Match(const solver::CacheKey& key, int output) {
  Records records;
  std::vector<std::string> digests = key.other_digests;
  digests.push_back(key.op_digest);
  for (const std::string& op_digest : digests) {
    const std::string digest = solver::RecordDigest(op_digest, output);
    if (key.inputs.empty()) {
      const Records& roots = Roots(digest);
      records.insert(records.end(), roots.begin(), roots.end());
      continue;
    }
    const Records common = Join(digest, key.inputs);
    records.insert(records.end(), common.begin(), common.end());
  }
  Sort(records);
  return records;
}

std::vector<int> KeyMatcher::Find(const solver::CacheKeyPtr& key, int output) {
  std::lock_guard lock(mutex_);
  // Keys can be deep: no recursion.
  std::vector<std::pair<const solver::CacheKey*, int>> pending = {{key.get(), output}};
  while (!pending.empty()) {
    const auto [next, next_output] = pending.back();
    if (Known(*next, next_output) != nullptr) {
      pending.pop_back();
      continue;
    }
    const std::size_t before = pending.size();
    for (const solver::KeyInput& input : next->inputs) {
      if (Known(*input.vertex, input.output) == nullptr) pending.emplace_back(input.vertex.get(), input.output);
    }
    if (pending.size() > before) continue;
    found_[solver::OutputKey(next->id, next_output)] = Match(*next, next_output);
    pending.pop_back();
  }
  return *Known(*key, output);
}

bool KeyMatcher::AnyFits(const solver::PartialKey& known, const std::vector<int>& outputs) {
  for (const solver::KeyInput& input : known.inputs) {
    if (input.vertex != nullptr) Find(input.vertex, input.output);
  }
  std::vector<std::string> digests = known.other_digests;
  digests.push_back(known.op_digest);
  std::lock_guard lock(mutex_);
  for (const std::string& op_digest : digests) {
    for (const int output : outputs) {
      if (!Join(solver::RecordDigest(op_digest, output), known.inputs).empty()) return true;
    }
  }
  return false;
}

// A content is a root that the input's own key does not lead to.
std::string KeyMatcher::ContentOf(const Record& record, std::size_t input, const Records& by_key) const {
  for (const RecordLink& link : record.inputs[input]) {
    const Record& from = config_.records[link.record];
    if (link.selector.empty() && from.inputs.empty() && from.results.empty() && !std::binary_search(by_key.begin(), by_key.end(), link.record)) {
      return from.digest;
    }
  }
  return "";
}

std::optional<std::vector<std::string>> KeyMatcher::ContentsOf(const solver::CacheKeyPtr& definition, const std::vector<int>& outputs) {
  for (const int output : outputs) {
    for (const int index : Find(definition, output)) {
      const Record& record = config_.records[index];
      std::vector<std::string> contents(definition->inputs.size());
      bool complete = true;
      for (std::size_t i = 0; i < contents.size(); ++i) {
        const solver::KeyInput& input = definition->inputs[i];
        if (!input.by_content) continue;
        contents[i] = ContentOf(record, i, Find(input.vertex, input.output));
        complete &= !contents[i].empty();
      }
      if (complete || !record.results.empty() || !record.chains.empty()) return contents;
    }
  }
  return std::nullopt;
}

}  // namespace cachalot::remotecache
