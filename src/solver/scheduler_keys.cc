// Keys: from an operation's description and its inputs' keys or contents to the vertex's canonical key.
#include <algorithm>

#include "base/status_macros.h"
#include "solver/keys.h"
#include "solver/scheduler.h"

namespace cachalot::solver {

void Scheduler::NeedKey(const NodePtr& node, StatusCallback done) {
  if (node->failure || node->key_stage == Stage::kDone) {
    mailbox_.Post([done = std::move(done), status = node->failure.value_or(absl::OkStatus())] { done(status); });
    return;
  }
  node->key_waiters.push_back(std::move(done));
  if (std::exchange(node->key_stage, Stage::kBusy) == Stage::kBusy) {
    return;
  }
  auto reporter = std::make_shared<Reporter>(clock_);
  const OpContext context = ContextOf(node, reporter);
  Command(
      [op = node->vertex->op, context, reporter, source = node->vertex->inputs.empty()] {
        // Describing a source is real work (a tag is resolved, say): clients see it.
        if (source) {
          reporter->Started();
        }
        absl::StatusOr<CacheMap> cache_map = op->DescribeCache(context);
        if (source) {
          reporter->Completed(cache_map.status(), false);
        }
        return cache_map;
      },
      [this, node](absl::StatusOr<CacheMap> cache_map) { OnDescribed(node, std::move(cache_map)); });
}

void Scheduler::OnDescribed(const NodePtr& node, absl::StatusOr<CacheMap> cache_map) {
  if (node->dead) {
    return;
  }
  const size_t inputs = node->vertex->inputs.size();
  if (cache_map.ok() && cache_map->inputs.size() != inputs) {
    cache_map = absl::InternalError("operation describes another number of inputs than its vertex has");
  }
  if (!cache_map.ok()) {
    Fail(node, cache_map.status());
    return;
  }
  node->cache_map = *std::move(cache_map);
  if (inputs == 0) {
    OnInputKeys(node);
    return;
  }
  const StatusCallback gather = Gather(node, inputs, [this, node] { OnInputKeys(node); });
  for (size_t i = 0; i < inputs; ++i) {
    // Through the mailbox: a deep graph must not become a deep stack.
    mailbox_.Post([this, node, i, gather] {
      if (!node->dead) {
        NeedKey(InputOf(node, i), gather);
      }
    });
  }
}

void Scheduler::OnInputKeys(const NodePtr& node) {
  const auto& inputs = node->cache_map.inputs;
  const bool ephemeral = RestsOnEphemeral(node, true);
  std::string definition_key = KeyWith(node, std::vector<std::string>(inputs.size()));
  if (std::none_of(inputs.begin(), inputs.end(), [](const InputKey& input) { return input.content; })) {
    SetKey(node, std::move(definition_key), ephemeral);
    return;
  }
  node->definition_key = std::move(definition_key);
  if (ephemeral) {
    NeedContentKey(node);
    return;
  }
  Command([store = store_, key = node->definition_key] { return store->Alias(key); },
          [this, node](absl::StatusOr<std::string> alias) {
            if (node->dead) {
              return;
            }
            if (!alias.ok()) {
              Fail(node, alias.status());
            } else if (alias->empty()) {
              NeedContentKey(node);
            } else {
              SetKey(node, *std::move(alias), false);
            }
          });
}

void Scheduler::NeedContentKey(const NodePtr& node) {
  const auto& inputs = node->cache_map.inputs;
  const size_t count = std::count_if(inputs.begin(), inputs.end(), [](const InputKey& input) { return input.content; });
  const StatusCallback gather = Gather(node, count, [this, node] { OnContentInputs(node); });
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (inputs[i].content) {
      NeedResult(InputOf(node, i), node->vertex->inputs[i].output, [gather](const absl::StatusOr<ResultPtr>& result) { gather(result.status()); });
    }
  }
}

void Scheduler::OnContentInputs(const NodePtr& node) {
  std::vector<ResultPtr> results;
  for (size_t i = 0; i < node->vertex->inputs.size(); ++i) {
    const bool content = node->cache_map.inputs[i].content;
    results.push_back(content ? InputOf(node, i)->results.at(node->vertex->inputs[i].output) : nullptr);
  }
  const bool ephemeral = RestsOnEphemeral(node, false);
  const bool remember = !ephemeral && !RestsOnEphemeral(node, true);
  auto reporter = std::make_shared<Reporter>(clock_);
  const OpContext context = ContextOf(node, reporter);
  Command(
      [op = node->vertex->op, context, reporter, results, map = node->cache_map]() -> absl::StatusOr<std::vector<std::string>> {
        std::vector<std::string> digests(results.size());
        for (size_t i = 0; i < results.size(); ++i) {
          if (!map.inputs[i].content) {
            continue;
          }
          absl::StatusOr<std::string> digest = op->ContentDigest(static_cast<int>(i), results[i], context);
          if (!digest.ok()) {
            reporter->Started();
            reporter->Completed(digest.status(), false);
            return digest.status();
          }
          digests[i] = *std::move(digest);
        }
        return digests;
      },
      [this, node, ephemeral, remember](absl::StatusOr<std::vector<std::string>> digests) {
        if (node->dead) {
          return;
        }
        if (!digests.ok()) {
          Fail(node, digests.status());
          return;
        }
        std::string key = KeyWith(node, *digests);
        if (!remember) {
          SetKey(node, std::move(key), ephemeral);
          return;
        }
        Command([store = store_, from = node->definition_key, key] { return store->SaveAlias(from, key); },
                [this, node, key](absl::Status saved) {
                  if (node->dead) {
                    return;
                  }
                  saved.ok() ? SetKey(node, key, false) : Fail(node, std::move(saved));
                });
      });
}

void Scheduler::SetKey(const NodePtr& node, std::string key, bool ephemeral) {
  node->key = std::move(key);
  node->ephemeral = ephemeral;
  node->key_stage = Stage::kDone;
  for (StatusCallback& waiter : std::exchange(node->key_waiters, {})) {
    mailbox_.Post([waiter = std::move(waiter)] { waiter(absl::OkStatus()); });
  }
}

// With empty `content_digests` for an input, its key takes part; otherwise its content.
std::string Scheduler::KeyWith(const NodePtr& node, const std::vector<std::string>& content_digests) {
  std::vector<KeyPart> parts;
  for (size_t i = 0; i < content_digests.size(); ++i) {
    if (content_digests[i].empty()) {
      parts.push_back({OutputKey(InputOf(node, i)->key, node->vertex->inputs[i].output), node->cache_map.inputs[i].selector, false});
    } else {
      parts.push_back({content_digests[i], "", true});
    }
  }
  return VertexKey(node->cache_map.op_digest, parts);
}

// Whether the key is good in this build only; inputs that enter by content matter only if `content_counts`.
bool Scheduler::RestsOnEphemeral(const NodePtr& node, bool content_counts) {
  if (node->cache_map.ephemeral) {
    return true;
  }
  for (size_t i = 0; i < node->vertex->inputs.size(); ++i) {
    if ((content_counts || !node->cache_map.inputs[i].content) && InputOf(node, i)->ephemeral) {
      return true;
    }
  }
  return false;
}

}  // namespace cachalot::solver
