// The scheduler: takes graphs of abstract operations, finds what is cached, runs the rest once, shares equal work.
//
// Pure logic: no I/O, no clocks of its own, no knowledge of what an operation does. All state changes in one serial mailbox;
// commands go out to an Executor and come back as messages, so that a seeded test can deliver completions in any order.
//
// Keys (cache_key.h). Every vertex has one canonical key, found without running anything when possible:
//   definition key  D = H(operation digest, [canonical key of each input + selector])
//   content key     C = H(operation digest, [for inputs with `content`: their content digest, else as above])
// and "<key>/<output>" names one output's result. A vertex without content inputs has the canonical key D. Otherwise it is C:
// with the contents that the store remembers for D if it does, else computed from the inputs' results (which therefore have
// to be produced first). A hit is a result stored under the canonical key. Keys that rest on an ephemeral operation (one that
// says so, such as a local source) are good for sharing and content matches in one build only, and are not persisted.
//
// The graph runs as wide as it is. A key can take long to find: contents are known after runs. What a vertex needs is under way
// before its key is known, as soon as nothing that the store has fits the parts that are known (CacheStore::MayHave*): then
// neither can what is still unknown make its run unnecessary.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/cancel.h"
#include "base/clock.h"
#include "solver/cache_key.h"
#include "solver/progress.h"

namespace cachalot::solver {

// What an operation yields for one output. Shared, immutable; holding it keeps the data alive.
class Result {
 public:
  virtual ~Result() = default;
};
using ResultPtr = std::shared_ptr<const Result>;

// One input's part in an operation's keys.
struct InputKey {
  std::string selector;  // distinguishes uses of the same input (a path)
  bool content = false;  // the operation can digest just what it reads: ContentDigest()
};

struct CacheMap {
  std::string op_digest;                        // covers everything about the operation but its inputs
  std::vector<std::string> other_digests = {};  // that other caches may know the same operation by
  std::vector<InputKey> inputs;                 // one per input
  bool ephemeral = false;                       // the digest means something in this build only: never persist aliases from it
};

// What an operation gets while it works. Thread-safe; outlives the call.
struct OpContext {
  CancelToken cancel;
  std::shared_ptr<OpProgress> progress;
};

// One vertex's work. Calls are made from worker threads, one at a time per object, and may block. An object can outlive its
// job: another job may wait for work that it began.
class Operation {
 public:
  virtual ~Operation() = default;
  // Describes the operation for keys; resolves symbolic references (tags) first. Called at most once per build.
  virtual absl::StatusOr<CacheMap> DescribeCache(const OpContext& context) = 0;
  // The digest of what the operation reads from input `index`, whose result is given.
  virtual absl::StatusOr<std::string> ContentDigest(int index, const ResultPtr& input, const OpContext& context) = 0;
  // Does the work. `inputs` has one result per input; the return has one per output (may be null for unrequested ones).
  virtual absl::StatusOr<std::vector<ResultPtr>> Run(const std::vector<ResultPtr>& inputs, const OpContext& context) = 0;
  // Whether a result that the cache has under the operation's key may stand for its output. Asked after DescribeCache.
  virtual absl::StatusOr<bool> Accepts(int output, const ResultPtr& cached) { return true; }
  // Whether work of this operation started by one build may serve another that waits for the same key.
  virtual bool Shareable() const { return true; }
};

struct Vertex;
using VertexPtr = std::shared_ptr<const Vertex>;

struct VertexInput {
  VertexPtr vertex;
  int output = 0;
};

// A node of one build's graph. Immutable once handed to the solver.
struct Vertex {
  Vertex() = default;
  Vertex(const Vertex&) = delete;
  ~Vertex();  // safe for graphs of any depth

  std::string digest;  // of the operation with its inputs, as the client names it
  std::string name;    // for progress
  std::vector<VertexInput> inputs;
  std::shared_ptr<Operation> op;
  bool ignore_cache = false;
  std::optional<ProgressGroup> group;
};

// Memory of keys that outlives builds. Calls come from worker threads and may block.
class CacheStore {
 public:
  virtual ~CacheStore() = default;
  // The result of output `output` of the vertex with this key, or null. A result that cannot be loaded any more is dropped and
  // null is returned.
  virtual absl::StatusOr<ResultPtr> Load(const CacheKeyPtr& key, int output) = 0;
  virtual absl::Status Save(const CacheKeyPtr& key, int output, const ResultPtr& result) = 0;
  // What a vertex with this definition key reads, if that is known: one KeyInput::content per input, where an empty one says
  // that the input counts by its key after all. `outputs` are those of the vertex that its build may ask for.
  using Contents = std::optional<std::vector<std::string>>;
  virtual absl::StatusOr<Contents> LoadContents(const CacheKeyPtr& definition, const std::vector<int>& outputs) = 0;
  virtual absl::Status SaveContents(const CacheKeyPtr& definition, const std::vector<std::string>& contents) = 0;
  // Whether LoadContents may know a definition key, or Load a key, that has these parts. What they know must not be denied; where
  // they know nothing, a yes costs the build's steps the chance to run side by side.
  virtual absl::StatusOr<bool> MayHaveContents(const PartialKey& known, const std::vector<int>& outputs) = 0;
  virtual absl::StatusOr<bool> MayHaveResult(const PartialKey& known, const std::vector<int>& outputs) = 0;
};

// Runs work on other threads. Tests substitute one that runs it in a seeded order.
class Executor {
 public:
  virtual ~Executor() = default;
  virtual void Run(std::function<void()> work) = 0;
};

// Details of a failed vertex travel as payloads of its Status; this one names the vertex (the digest is the payload).
inline constexpr char kFailedVertexPayload[] = "cachalot/vertex";

// An operation's failure with this payload is for want of something that only its own build could have given, as a secret of its client.
// Other builds that wait for the same result run their own operation then.
inline constexpr char kOnlyThisBuildPayload[] = "cachalot/only-this-build";

// One with this payload: what an input's result stands for is gone from the places that had it. The inputs are looked for once more, and made
// again if the cache has no other.
inline constexpr char kLostInputPayload[] = "cachalot/lost-input";

// A build's handle on the solver: its vertices, its progress, its cancellation. Destruction leaves all its work.
class Job {
 public:
  using Callback = std::function<void(absl::StatusOr<ResultPtr>)>;

  virtual ~Job() = default;
  // Calls `done` once, from any thread, when output `output` of `vertex` is there. Equal vertices (by digest) of one job are
  // solved once; calls may overlap. The error is that of the first vertex that failed, with kFailedVertexPayload. When the
  // last call of a job has ended (also by `cancel`), whatever the job still has under way is left.
  virtual void SolveAsync(const VertexPtr& vertex, int output, const CancelToken& cancel, Callback done) = 0;
  // The canonical key of a vertex whose result was delivered; null before.
  virtual CacheKeyPtr KeyOf(const VertexPtr& vertex) = 0;

  // The blocking form.
  absl::StatusOr<ResultPtr> Solve(const VertexPtr& vertex, int output, const CancelToken& cancel);
};

class Solver {
 public:
  // All arguments outlive the solver and its jobs. Destruction waits for what its jobs left running; a job may go later, and
  // from any thread.
  static std::unique_ptr<Solver> Create(CacheStore* store, Executor* executor, Clock* clock);
  virtual ~Solver() = default;
  // `progress` receives the events of the job's vertices. `store` is the job's own view of what is cached; the solver's if null.
  virtual std::unique_ptr<Job> NewJob(std::shared_ptr<ProgressSink> progress, std::shared_ptr<CacheStore> store = nullptr) = 0;
  // Waits until no result is held any more for jobs that are gone; a job that is there meanwhile ends the wait. Not for the executor's
  // threads.
  virtual void AwaitClosedJobs() = 0;
};

}  // namespace cachalot::solver
