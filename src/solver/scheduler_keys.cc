// Keys: from an operation's description and its inputs' keys or contents to the vertex's canonical key.
#include <algorithm>

#include "base/status.h"
#include "base/status_macros.h"
#include "solver/scheduler.h"

namespace cachalot::solver {

bool Scheduler::ReadsContents(const CacheMap& cache_map) {
  return std::any_of(cache_map.inputs.begin(), cache_map.inputs.end(), [](const InputKey& input) { return input.content; });
}

bool Scheduler::ReadsAnew(const Node& node) {
  for (size_t i = 0; i < node.cache_map.inputs.size(); ++i) {
    if (node.cache_map.inputs[i].content && node.vertex->inputs[i].vertex->ignore_cache) return true;
  }
  return false;
}

void Scheduler::NeedKey(const NodePtr& node, StatusCallback done) {
  if (node->failure || node->key_stage == Stage::kDone) {
    mailbox_.Post([done = std::move(done), status = node->failure.value_or(absl::OkStatus())] { done(status); });
    return;
  }
  node->key_waiters.push_back(std::move(done));
  if (std::exchange(node->key_stage, Stage::kBusy) == Stage::kBusy) {
    return;
  }
  const size_t inputs = node->vertex->inputs.size();
  node->missing_parts = inputs + 1;
  Describe(node);
  for (size_t i = 0; i < inputs; ++i) {
    // Through the mailbox: a deep graph must not become a deep stack.
    mailbox_.Post([this, node, i] {
      if (!node->ended()) {
        NeedKey(InputOf(node, i), Gather(node, 1, [this, node] { OnPart(node); }));
      }
    });
  }
}

void Scheduler::Describe(const NodePtr& node) {
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
  if (node->ended()) {
    return;
  }
  if (cache_map.ok() && cache_map->inputs.size() != node->vertex->inputs.size()) {
    cache_map = absl::InternalError("operation describes another number of inputs than its vertex has");
  }
  if (!cache_map.ok()) {
    Fail(node, cache_map.status());
    return;
  }
  node->cache_map = *std::move(cache_map);
  node->described = true;
  OnPart(node);
}

void Scheduler::OnPart(const NodePtr& node) {
  if (--node->missing_parts == 0) {
    OnDefinition(node);
  } else {
    Foresee(node);
  }
}

void Scheduler::OnDefinition(const NodePtr& node) {
  PartialKey whole = KnownDefinition(node);
  node->definition = NewCacheKey(std::move(whole.op_digest), std::move(whole.other_digests), std::move(whole.inputs), node->cache_map.ephemeral);
  if (!ReadsContents(node->cache_map)) {
    SetKey(node, node->definition);
  } else if (node->contents) {
    OnContents(node);
  } else if (node->contents_wanted) {
    Foresee(node);
  } else if (node->definition->ephemeral || ReadsAnew(*node)) {
    WantContents(node);
  } else {
    Command([store = StoreOf(node), key = node->definition, outputs = OutputsOf(*node)] { return store->LoadContents(key, outputs); },
            [this, node](absl::StatusOr<CacheStore::Contents> contents) {
              if (node->ended() || node->contents_wanted) {
                return;
              }
              if (!contents.ok()) {
                Fail(node, contents.status());
              } else if (!contents->has_value() || (*contents)->size() != node->definition->inputs.size()) {
                WantContents(node);
              } else {
                SetKey(node, WithContents(*node->definition, node->cache_map.ephemeral, **contents));
              }
            });
  }
}

void Scheduler::WantContents(const NodePtr& node) {
  node->contents_wanted = true;
  const auto& inputs = node->cache_map.inputs;
  const size_t count = std::count_if(inputs.begin(), inputs.end(), [](const InputKey& input) { return input.content; });
  const StatusCallback gather = Gather(node, count, [this, node] { OnContentInputs(node); });
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (inputs[i].content) {
      mailbox_.Post([this, node, i, gather] { NeedInput(node, i, gather); });
    }
  }
  Foresee(node);
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
        if (node->ended()) {
          return;
        }
        if (!contents.ok()) {
          Fail(node, contents.status());
          return;
        }
        node->contents = *std::move(contents);
        node->missing_parts == 0 ? OnContents(node) : Foresee(node);
      });
}

void Scheduler::OnContents(const NodePtr& node) {
  CacheKeyPtr key = WithContents(*node->definition, node->cache_map.ephemeral, *node->contents);
  if (node->definition->ephemeral) {
    SetKey(node, std::move(key));
    return;
  }
  Command([store = StoreOf(node), definition = node->definition, contents = *node->contents] { return store->SaveContents(definition, contents); },
          [this, node, key = std::move(key)](absl::Status saved) {
            if (node->ended()) {
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
