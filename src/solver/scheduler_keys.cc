// Keys: from an operation's description and its inputs' keys or contents to the vertex's canonical key.
#include <algorithm>

#include "base/status.h"
#include "base/status_macros.h"
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
  std::vector<KeyInput> inputs;
  for (size_t i = 0; i < node->vertex->inputs.size(); ++i) {
    const InputKey& described = node->cache_map.inputs[i];
    inputs.push_back({InputOf(node, i)->key, node->vertex->inputs[i].output, described.selector, described.content, ""});
  }
  node->definition = NewCacheKey(node->cache_map.op_digest, node->cache_map.other_digests, std::move(inputs), node->cache_map.ephemeral);
  if (std::none_of(node->definition->inputs.begin(), node->definition->inputs.end(), [](const KeyInput& input) { return input.by_content; })) {
    SetKey(node, node->definition);
    return;
  }
  if (node->definition->ephemeral) {
    NeedContentKey(node);
    return;
  }
  Command([store = StoreOf(node), key = node->definition,
           outputs = std::vector<int>(node->outputs.begin(), node->outputs.end())] { return store->LoadContents(key, outputs); },
          [this, node](absl::StatusOr<CacheStore::Contents> contents) {
            if (node->dead) {
              return;
            }
            if (!contents.ok()) {
              Fail(node, contents.status());
            } else if (!contents->has_value() || (*contents)->size() != node->definition->inputs.size()) {
              NeedContentKey(node);
            } else {
              SetKey(node, WithContents(*node->definition, node->cache_map.ephemeral, **contents));
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
  auto reporter = std::make_shared<Reporter>(clock_);
  const OpContext context = ContextOf(node, reporter);
  Command(
      [op = node->vertex->op, context, reporter, results, map = node->cache_map]() -> absl::StatusOr<std::vector<std::string>> {
        std::vector<std::string> contents(results.size());
        for (size_t i = 0; i < results.size(); ++i) {
          if (!map.inputs[i].content) {
            continue;
          }
          absl::StatusOr<std::string> digest = op->ContentDigest(static_cast<int>(i), results[i], context);
          if (!digest.ok()) {
            reporter->Started();
            reporter->Completed(digest.status(), false);
            return Annotate(digest.status(), "failed to compute cache key");
          }
          contents[i] = RecordDigest(*digest, -1);
        }
        return contents;
      },
      [this, node](absl::StatusOr<std::vector<std::string>> contents) {
        if (node->dead) {
          return;
        }
        contents.ok() ? OnContents(node, *contents) : Fail(node, contents.status());
      });
}

void Scheduler::OnContents(const NodePtr& node, const std::vector<std::string>& contents) {
  CacheKeyPtr key = WithContents(*node->definition, node->cache_map.ephemeral, contents);
  if (node->definition->ephemeral) {
    SetKey(node, std::move(key));
    return;
  }
  Command([store = StoreOf(node), definition = node->definition, contents] { return store->SaveContents(definition, contents); },
          [this, node, key = std::move(key)](absl::Status saved) {
            if (node->dead) {
              return;
            }
            saved.ok() ? SetKey(node, key) : Fail(node, std::move(saved));
          });
}

void Scheduler::SetKey(const NodePtr& node, CacheKeyPtr key) {
  node->key = std::move(key);
  node->key_stage = Stage::kDone;
  for (StatusCallback& waiter : std::exchange(node->key_waiters, {})) {
    mailbox_.Post([waiter = std::move(waiter)] { waiter(absl::OkStatus()); });
  }
}

}  // namespace cachalot::solver
