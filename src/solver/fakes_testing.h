// A store in memory and results of text, for tests of the solver.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "solver/solver.h"

namespace cachalot::solver {

struct TextResult : Result {
  explicit TextResult(std::string t) : text(std::move(t)) {}
  std::string text;
};

inline std::string TextOf(const ResultPtr& result) { return result ? static_cast<const TextResult&>(*result).text : "(none)"; }

// Denies nothing that it has, and everything else.
class MemoryStore : public CacheStore {
 public:
  absl::StatusOr<ResultPtr> Load(const CacheKeyPtr& key, int output) override {
    const auto found = results.find(OutputKey(key->id, output));
    return found == results.end() ? nullptr : found->second;
  }
  absl::Status Save(const CacheKeyPtr& key, int output, const ResultPtr& result) override {
    results[OutputKey(key->id, output)] = result;
    keys[OutputKey(key->id, output)] = key;
    return absl::OkStatus();
  }
  absl::StatusOr<Contents> LoadContents(const CacheKeyPtr& definition, const std::vector<int>& outputs) override {
    EXPECT_FALSE(outputs.empty());
    const auto found = contents.find(definition->id);
    return found == contents.end() ? Contents() : found->second;
  }
  absl::Status SaveContents(const CacheKeyPtr& definition, const std::vector<std::string>& read) override {
    contents[definition->id] = read;
    keys[definition->id] = definition;
    return absl::OkStatus();
  }
  absl::StatusOr<bool> MayHaveContents(const PartialKey& known, const std::vector<int>& outputs) override {
    EXPECT_FALSE(outputs.empty());
    return AnyFits(known, contents);
  }
  absl::StatusOr<bool> MayHaveResult(const PartialKey& known, const std::vector<int>& outputs) override {
    EXPECT_FALSE(outputs.empty());
    return AnyFits(known, results);
  }

  std::map<std::string, ResultPtr> results;
  std::map<std::string, std::vector<std::string>> contents;
  std::map<std::string, CacheKeyPtr> keys;  // of both

 private:
  static bool Fits(const PartialKey& known, const CacheKey& key) {
    if (known.op_digest != key.op_digest || known.inputs.size() != key.inputs.size()) return false;
    for (size_t i = 0; i < key.inputs.size(); ++i) {
      const KeyInput &part = known.inputs[i], &input = key.inputs[i];
      if (part.vertex == nullptr && part.content.empty()) continue;
      if (part.content != input.content) return false;
      const bool same =
          part.vertex != nullptr && part.vertex->id == input.vertex->id && part.output == input.output && part.selector == input.selector;
      if (part.content.empty() && !same) return false;
    }
    return true;
  }
  template <typename Map>
  bool AnyFits(const PartialKey& known, const Map& stored) const {
    for (const auto& [name, value] : stored) {
      const auto key = keys.find(name);
      if (key == keys.end() || Fits(known, *key->second)) return true;
    }
    return false;
  }
};

}  // namespace cachalot::solver
