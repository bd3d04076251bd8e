// What can be told before a key is known: that the store cannot have what would spare a run, so that all that the run needs can begin.
#include "base/status_macros.h"
#include "solver/scheduler.h"

namespace cachalot::solver {

namespace {

// Whether nothing with these parts is ever persisted.
bool Ephemeral(const Node& node, const PartialKey& known) {
  bool ephemeral = node.cache_map.ephemeral;
  for (const KeyInput& input : known.inputs) {
    ephemeral |= input.content.empty() && input.vertex && input.vertex->ephemeral;
  }
  return ephemeral;
}

}  // namespace

PartialKey Scheduler::KnownDefinition(const NodePtr& node) {
  PartialKey known{node->cache_map.op_digest, node->cache_map.other_digests, {}};
  for (size_t i = 0; i < node->vertex->inputs.size(); ++i) {
    const InputKey& described = node->cache_map.inputs[i];
    const NodePtr input = InputOf(node, i);
    const CacheKeyPtr key = input->key_stage == Stage::kDone ? input->key : nullptr;
    known.inputs.push_back({key, node->vertex->inputs[i].output, described.selector, described.content, ""});
  }
  return known;
}

PartialKey Scheduler::KnownKey(const NodePtr& node) {
  PartialKey known = KnownDefinition(node);
  for (size_t i = 0; i < known.inputs.size(); ++i) {
    KeyInput& input = known.inputs[i];
    if (!input.by_content) {
      continue;
    }
    if (node->contents) {
      input.content = (*node->contents)[i];
    } else {
      input.vertex = nullptr;
    }
  }
  return known;
}

void Scheduler::Foresee(const NodePtr& node) {
  if (!node->described || node->key_stage == Stage::kDone) {
    return;
  }
  if (node->foreseeing) {
    node->foresee_again = true;
    return;
  }
  const PartialKey definition = KnownDefinition(node), key = KnownKey(node);
  bool ask_contents = ReadsContents(node->cache_map) && !node->contents_wanted && node->missing_parts > 0;
  if (ask_contents && (Ephemeral(*node, definition) || ReadsAnew(*node))) {
    ask_contents = false;
    WantContents(node);
  }
  bool ask_result = node->result_stage == Stage::kBusy && !node->run_certain;
  if (ask_result && (node->vertex->ignore_cache || Ephemeral(*node, key))) {
    ask_result = false;
    WantInputs(node);
  }
  if (!ask_contents && !ask_result) {
    return;
  }
  struct Possible {
    bool contents = true, result = true;
  };
  node->foreseeing = true;
  Command(
      [store = StoreOf(node), definition, key, ask_contents, ask_result, outputs = OutputsOf(*node)]() -> absl::StatusOr<Possible> {
        Possible possible;
        if (ask_contents) {
          ASSIGN_OR_RETURN(possible.contents, store->MayHaveContents(definition, outputs));
        }
        if (ask_result) {
          ASSIGN_OR_RETURN(possible.result, store->MayHaveResult(key, outputs));
        }
        return possible;
      },
      [this, node](absl::StatusOr<Possible> possible) {
        node->foreseeing = false;
        const bool again = std::exchange(node->foresee_again, false);
        if (node->ended()) {
          return;
        }
        if (!possible.ok()) {
          Fail(node, possible.status());
          return;
        }
        if (!possible->contents && !node->contents_wanted && node->key_stage != Stage::kDone) {
          WantContents(node);
        }
        if (!possible->result && !node->run_certain && node->key_stage != Stage::kDone) {
          WantInputs(node);
        }
        if (again) {
          Foresee(node);
        }
      });
}

void Scheduler::WantInputs(const NodePtr& node) {
  node->run_certain = true;
  for (size_t i = 0; i < node->vertex->inputs.size(); ++i) {
    mailbox_.Post([this, node, i] {
      NeedInput(node, i, [this, node](absl::Status status) {
        // A node whose key is known may have found that another one does its run.
        if (!status.ok() && !node->ended() && node->key_stage != Stage::kDone) {
          Fail(node, std::move(status));
        }
      });
    });
  }
}

}  // namespace cachalot::solver
