// Random graphs in simulated time with as many hands as there is work: the schedule is as wide as the graph, and runs nothing that
// the cache makes unnecessary. CACHALOT_SOLVER_SEEDS is the number of graphs, CACHALOT_SOLVER_SEED the first (one, if it stands alone).
#include <algorithm>
#include <cstdlib>
#include <map>
#include <optional>
#include <random>
#include <set>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "gtest/gtest.h"
#include "solver/fakes_testing.h"
#include "solver/simulated_executor_testing.h"

namespace cachalot::solver {
namespace {

using Time = std::int64_t;

// A vertex of a graph, as tests think of it.
struct Plan {
  struct Input {
    int vertex = 0;
    bool content = false;
  };
  std::string op;
  std::string yields;  // whatever the inputs are; empty: a text that tells them
  std::vector<Input> inputs;
  bool ephemeral = false, ignore_cache = false, fails = false;
  Time describe = 0, digest = 0, run = 0;
};
using Graph = std::vector<Plan>;  // inputs come first; the last one is asked for

std::string TextOfPlan(const Graph& graph, int index) {
  const Plan& plan = graph[index];
  if (!plan.yields.empty()) return plan.yields;
  const auto format = [&](std::string* out, const Plan::Input& input) { *out += TextOfPlan(graph, input.vertex); };
  return absl::StrCat(plan.op, "(", absl::StrJoin(plan.inputs, ",", format), ")");
}

std::string ContentOf(const std::string& text) { return "content:" + text; }

// The canonical keys, inputs first: what the contents are is known here.
std::vector<CacheKeyPtr> KeysOf(const Graph& graph, bool canonical) {
  std::vector<CacheKeyPtr> keys, definitions;
  for (const Plan& plan : graph) {
    std::vector<KeyInput> inputs, named;
    for (const Plan::Input& input : plan.inputs) {
      named.push_back({keys[input.vertex], 0, "", input.content, ""});
      inputs.push_back(named.back());
      if (input.content) inputs.back().content = RecordDigest(ContentOf(TextOfPlan(graph, input.vertex)), -1);
    }
    keys.push_back(NewCacheKey(plan.op, {}, std::move(inputs), plan.ephemeral));
    definitions.push_back(NewCacheKey(plan.op, {}, std::move(named), plan.ephemeral));
  }
  return canonical ? keys : definitions;
}

struct OneRun {
  int build = 0, vertex = 0;
  std::string key;
  Time start = 0, end = 0;
  bool ok = false, was_stored = false, ignore_cache = false, ephemeral = false;
};

// Asks whether the schedule may not know more than it must: always yes.
class PatientStore : public MemoryStore {
 public:
  explicit PatientStore(const MemoryStore& from) : MemoryStore(from) {}
  absl::StatusOr<bool> MayHaveContents(const PartialKey&, const std::vector<int>&) override { return true; }
  absl::StatusOr<bool> MayHaveResult(const PartialKey&, const std::vector<int>&) override { return true; }
};

class PlannedOp : public Operation {
 public:
  struct World {
    SimulatedExecutor* executor;
    MemoryStore* store;
    std::vector<OneRun>* runs;
  };
  PlannedOp(World world, const Plan& plan, OneRun run, CacheKeyPtr key, std::string text)
      : world_(world), plan_(plan), run_(std::move(run)), key_(std::move(key)), text_(std::move(text)) {}

  absl::StatusOr<CacheMap> DescribeCache(const OpContext&) override {
    const Use use(this);
    world_.executor->Sleep(plan_.describe);
    CacheMap map{plan_.op, {}, {}, plan_.ephemeral};
    for (const Plan::Input& input : plan_.inputs) map.inputs.push_back({"", input.content});
    return map;
  }
  absl::StatusOr<std::string> ContentDigest(int, const ResultPtr& input, const OpContext&) override {
    const Use use(this);
    world_.executor->Sleep(plan_.digest);
    return ContentOf(TextOf(input));
  }
  absl::StatusOr<std::vector<ResultPtr>> Run(const std::vector<ResultPtr>& inputs, const OpContext& context) override {
    const Use use(this);
    OneRun run = run_;
    run.start = world_.executor->now();
    run.was_stored = *world_.store->Load(key_, 0) != nullptr;
    world_.executor->Sleep(plan_.run);
    run.end = world_.executor->now();
    run.ok = !context.cancel.cancelled() && !plan_.fails;
    world_.runs->push_back(run);
    if (context.cancel.cancelled()) return context.cancel.status();
    if (plan_.fails) return absl::UnknownError(plan_.op + " fails");
    return std::vector<ResultPtr>{std::make_shared<TextResult>(text_)};
  }

 private:
  struct Use {
    explicit Use(PlannedOp* op) : op(op) { EXPECT_FALSE(std::exchange(op->in_use_, true)) << "two calls at once"; }
    ~Use() { op->in_use_ = false; }
    PlannedOp* op;
  };
  const World world_;
  const Plan plan_;
  const OneRun run_;
  const CacheKeyPtr key_;
  const std::string text_;
  bool in_use_ = false;
};

struct Build {
  Graph graph;
  Time begin = 0;
  std::optional<Time> cancel;
};

struct Trace {
  std::vector<OneRun> runs;
  std::vector<std::optional<absl::StatusOr<ResultPtr>>> answers;
  std::vector<Time> ends;
};

VertexPtr MakeGraph(const Graph& graph, int build, const PlannedOp::World& world) {
  const std::vector<CacheKeyPtr> keys = KeysOf(graph, true);
  std::vector<VertexPtr> vertices;
  for (size_t i = 0; i < graph.size(); ++i) {
    auto vertex = std::make_shared<Vertex>();
    vertex->digest = absl::StrCat(i);
    vertex->ignore_cache = graph[i].ignore_cache;
    for (const Plan::Input& input : graph[i].inputs) vertex->inputs.push_back({vertices[input.vertex], 0});
    OneRun run;
    run.build = build;
    run.vertex = static_cast<int>(i);
    run.key = keys[i]->id;
    run.ignore_cache = graph[i].ignore_cache;
    run.ephemeral = keys[i]->ephemeral;
    vertex->op = std::make_shared<PlannedOp>(world, graph[i], run, keys[i], TextOfPlan(graph, static_cast<int>(i)));
    vertices.push_back(vertex);
  }
  return vertices.back();
}

Trace Play(const std::vector<Build>& builds, MemoryStore& store, unsigned seed) {
  class NoSink : public ProgressSink {
    void OnVertex(VertexEvent) override {}
    void OnStatus(StatusEvent) override {}
    void OnLog(LogEvent) override {}
    void OnWarning(WarningEvent) override {}
  };
  Trace trace;
  trace.answers.resize(builds.size());
  trace.ends.resize(builds.size());
  SimulatedExecutor executor(seed);
  std::unique_ptr<Solver> solver = Solver::Create(&store, &executor, &Clock::System());
  std::vector<std::unique_ptr<Job>> jobs(builds.size());
  std::vector<CancelSource> cancels(builds.size());
  for (size_t i = 0; i < builds.size(); ++i) {
    executor.At(builds[i].begin, [&, i] {
      jobs[i] = solver->NewJob(std::make_shared<NoSink>());
      const VertexPtr root = MakeGraph(builds[i].graph, static_cast<int>(i), {&executor, &store, &trace.runs});
      jobs[i]->SolveAsync(root, 0, cancels[i].token(), [&, i](absl::StatusOr<ResultPtr> answer) {
        EXPECT_FALSE(trace.answers[i].has_value()) << "answered twice";
        trace.answers[i] = std::move(answer);
        trace.ends[i] = executor.now();
      });
    });
    if (builds[i].cancel) executor.At(*builds[i].cancel, [&, i] { cancels[i].Cancel(); });
  }
  executor.Drain();
  return trace;
}

// When everything must happen, told from the store as it is at the beginning. Vertices have operations of their own.
class Oracle {
 public:
  Oracle(const Graph& graph, MemoryStore store)
      : graph_(graph), store_(std::move(store)), keys_(KeysOf(graph, true)), definitions_(KeysOf(graph, false)) {
    facts_.resize(graph.size());
    Time now = 0;
    Reach(static_cast<int>(graph.size()) - 1);
    while (true) {
      while (Derive(now)) {
      }
      if (facts_.back().result <= now || failure_.has_value()) break;
      Time next = kNever;
      for (const Fact& fact : facts_) {
        for (const Time time : {fact.described, fact.contents, fact.result}) {
          if (time > now) next = std::min(next, time);
        }
      }
      if (next == kNever) break;
      now = next;
      for (size_t i = 0; i < graph.size(); ++i) {
        if (graph[i].fails && facts_[i].started != kNever && facts_[i].result == now) failure_ = now;
      }
    }
    end = now;
  }

  // The starts of runs that end, by vertex.
  std::map<int, Time> Starts() const {
    std::map<int, Time> starts;
    for (size_t i = 0; i < facts_.size(); ++i) {
      if (facts_[i].started != kNever) starts[static_cast<int>(i)] = facts_[i].started;
    }
    return starts;
  }
  bool failed() const { return failure_.has_value(); }
  Time end = 0;

 private:
  static constexpr Time kNever = std::numeric_limits<Time>::max();
  struct Fact {
    bool reached = false;
    Time described = kNever, key = kNever, contents = kNever, started = kNever, result = kNever;
    bool reads = false;    // its contents have to be told by its inputs
    bool wanted = false;   // its result
    bool certain = false;  // it has to run
  };

  void Reach(int index) {
    if (std::exchange(facts_[index].reached, true)) return;
    facts_[index].described = graph_[index].describe;
    for (const Plan::Input& input : graph_[index].inputs) Reach(input.vertex);
  }

  bool HasContents(int index) const {
    return std::any_of(graph_[index].inputs.begin(), graph_[index].inputs.end(), [](const Plan::Input& input) { return input.content; });
  }
  PartialKey Known(int index, bool by_content, Time now) const {
    PartialKey known{graph_[index].op, {}, {}};
    for (const Plan::Input& input : graph_[index].inputs) {
      KeyInput part{nullptr, 0, "", input.content, ""};
      if (!input.content || !by_content) {
        if (facts_[input.vertex].key <= now) part.vertex = keys_[input.vertex];
      } else if (facts_[index].contents <= now) {
        part.content = RecordDigest(ContentOf(TextOfPlan(graph_, input.vertex)), -1);
      }
      known.inputs.push_back(part);
    }
    return known;
  }
  static bool Ephemeral(const Plan& plan, const PartialKey& known) {
    return plan.ephemeral ||
           std::any_of(known.inputs.begin(), known.inputs.end(), [](const KeyInput& part) { return part.vertex && part.vertex->ephemeral; });
  }
  bool AllInputs(int index, Time Fact::*when, Time now, bool content_only) const {
    return std::all_of(graph_[index].inputs.begin(), graph_[index].inputs.end(),
                       [&](const Plan::Input& input) { return (content_only && !input.content) || facts_[input.vertex].*when <= now; });
  }

  bool Derive(Time now) {
    bool changed = false;
    for (int index = 0; index < static_cast<int>(graph_.size()); ++index) {
      if (facts_[index].reached && facts_[index].described <= now) changed |= DeriveOne(index, now);
    }
    return changed;
  }
  bool DeriveOne(int index, Time now) {
    Fact& fact = facts_[index];
    const Plan& plan = graph_[index];
    const Fact before = fact;
    const bool defined = AllInputs(index, &Fact::key, now, false);
    if (HasContents(index) && !fact.reads && fact.key == kNever) {
      const bool anew = std::any_of(plan.inputs.begin(), plan.inputs.end(),
                                    [&](const Plan::Input& input) { return input.content && graph_[input.vertex].ignore_cache; });
      const bool stored = defined && !anew && !definitions_[index]->ephemeral && store_.contents.contains(definitions_[index]->id);
      const PartialKey known = Known(index, false, now);
      if (stored) fact.key = now;
      fact.reads = !stored && (defined || anew || Ephemeral(plan, known) || !*store_.MayHaveContents(known, {0}));
    }
    if (fact.reads && fact.contents == kNever && AllInputs(index, &Fact::result, now, true)) {
      fact.contents =
          now + plan.digest * std::count_if(plan.inputs.begin(), plan.inputs.end(), [](const Plan::Input& input) { return input.content; });
    }
    if (fact.key == kNever && defined && (!HasContents(index) || fact.contents <= now)) fact.key = now;
    fact.wanted |= index == static_cast<int>(graph_.size()) - 1;
    const bool known = fact.key <= now;
    const bool never_stored = plan.ignore_cache || (known ? keys_[index]->ephemeral : Ephemeral(plan, Known(index, true, now)));
    const bool stored = known && store_.results.contains(OutputKey(keys_[index]->id, 0));
    if (fact.wanted && !fact.certain && fact.result == kNever) {
      if (known && stored && !never_stored) fact.result = now;
      fact.certain = never_stored || (known ? !stored : !*store_.MayHaveResult(Known(index, true, now), {0}));
    }
    if (fact.certain && known && fact.started == kNever && AllInputs(index, &Fact::result, now, false)) {
      fact.started = now;
      fact.result = now + plan.run;
    }
    bool changed = false;
    for (const Plan::Input& input : plan.inputs) {
      if (fact.certain || (fact.reads && input.content)) changed |= !std::exchange(facts_[input.vertex].wanted, true);
    }
    const auto all = [](const Fact& f) { return std::make_tuple(f.key, f.contents, f.started, f.result, f.reads, f.wanted, f.certain); };
    return changed || all(before) != all(fact);
  }

  const Graph graph_;
  MemoryStore store_;
  const std::vector<CacheKeyPtr> keys_, definitions_;
  std::vector<Fact> facts_;
  std::optional<Time> failure_;
};

class Generator {
 public:
  explicit Generator(unsigned seed) : random_(seed * 2654435761u + 17) {}
  bool Chance(int percent) { return static_cast<int>(random_() % 100) < percent; }
  int Below(int bound) { return static_cast<int>(random_() % bound); }
  Time SomeTime(int longest) { return 1 + Below(longest) * 1000 + Below(1000); }

  Graph NewGraph() {
    Graph graph(2 + Below(13));
    const int content = Below(90), oddities = Chance(50) ? 0 : 12;
    for (int i = 0; i < static_cast<int>(graph.size()); ++i) {
      Plan& plan = graph[i];
      plan.op = absl::StrCat("op", i);
      for (int k = i == 0 || Chance(15) ? 0 : 1 + Below(3); k > 0; --k) plan.inputs.push_back({Chance(50) ? i - 1 : Below(i), Chance(content)});
      plan.ephemeral = Chance(plan.inputs.empty() ? oddities : oddities / 4);
      plan.ignore_cache = Chance(oddities / 2);
      plan.fails = Chance(oddities / 4);
      if (Chance(30)) plan.yields = absl::StrCat("constant", i);
      plan.describe = Chance(50) ? 1 + Below(20) : SomeTime(3);
      plan.digest = SomeTime(1);
      plan.run = SomeTime(10);
    }
    return graph;
  }
  // As a user edits: some operations are other ones, which may yield what they yielded before.
  void Edit(Graph& graph) {
    for (Plan& plan : graph) {
      if (Chance(15)) plan.op += "'";
    }
  }
  void Prune(MemoryStore& store) {
    const int results = Chance(50) ? 0 : Below(100), contents = Chance(70) ? 0 : Below(100);
    std::erase_if(store.results, [&](const auto&) { return Chance(results); });
    std::erase_if(store.contents, [&](const auto&) { return Chance(contents); });
    std::erase_if(store.keys, [&](const auto& entry) { return !store.results.contains(entry.first) && !store.contents.contains(entry.first); });
  }
  unsigned Seed() { return static_cast<unsigned>(random_()); }

 private:
  std::mt19937 random_;
};

std::map<int, Time> StartsOf(const Trace& trace, Time before) {
  std::map<int, Time> starts;
  for (const OneRun& run : trace.runs) {
    if (run.start >= before) continue;
    EXPECT_TRUE(starts.emplace(run.vertex, run.start).second) << "vertex " << run.vertex << " ran twice";
  }
  return starts;
}

std::set<int> Vertices(const std::map<int, Time>& starts) {
  std::set<int> vertices;
  for (const auto& [vertex, start] : starts) vertices.insert(vertex);
  return vertices;
}

void ExpectAnswer(const Trace& trace, size_t build, const Graph& graph) {
  ASSERT_TRUE(trace.answers[build].has_value()) << "a waiter was left";
  const absl::StatusOr<ResultPtr>& answer = *trace.answers[build];
  if (answer.ok()) {
    EXPECT_EQ(TextOf(*answer), TextOfPlan(graph, static_cast<int>(graph.size()) - 1));
    return;
  }
  int failed = -1;
  ASSERT_TRUE(absl::SimpleAtoi(std::string(answer.status().GetPayload(kFailedVertexPayload).value_or(absl::Cord("?"))), &failed)) << answer.status();
  EXPECT_TRUE(graph[failed].fails) << answer.status();
}

// Without a cache a vertex begins at the end of the last thing that it needs: that it is asked for, its description, its inputs' runs,
// and the digests of what it reads.
void ExpectCriticalPath(const Graph& graph, const std::map<int, Time>& starts) {
  std::vector<Time> wanted(graph.size(), std::numeric_limits<Time>::max());
  wanted.back() = 0;
  for (int vertex = static_cast<int>(graph.size()) - 1; vertex >= 0; --vertex) {
    if (!starts.contains(vertex)) continue;
    const Plan& plan = graph[vertex];
    Time ready = std::max(plan.describe, wanted[vertex]);
    const auto contents = std::count_if(plan.inputs.begin(), plan.inputs.end(), [](const Plan::Input& input) { return input.content; });
    for (const Plan::Input& input : plan.inputs) {
      wanted[input.vertex] = std::min(wanted[input.vertex], input.content ? plan.describe : std::max(plan.describe, wanted[vertex]));
      ready = std::max(ready, std::max(plan.describe, starts.at(input.vertex) + graph[input.vertex].run) + contents * plan.digest);
    }
    EXPECT_LE(starts.at(vertex), ready) << "of vertex " << vertex << " in a cold build";
  }
}

// One build, on what earlier ones left in the store: it starts all when it must, and runs no more than one that knows less would.
void CheckOne(Generator& generator, const Graph& graph, const MemoryStore& left) {
  MemoryStore store = left;
  const Trace trace = Play({{graph, 0, {}}}, store, generator.Seed());
  const Oracle oracle(graph, left);
  ExpectAnswer(trace, 0, graph);
  ASSERT_EQ(trace.answers[0]->ok(), !oracle.failed());
  EXPECT_EQ(trace.ends[0], oracle.end);
  const std::map<int, Time> starts = StartsOf(trace, oracle.failed() ? oracle.end : std::numeric_limits<Time>::max());
  std::map<int, Time> expected = oracle.Starts();
  std::erase_if(expected, [&](const auto& entry) { return oracle.failed() && entry.second >= oracle.end; });
  EXPECT_EQ(starts, expected);
  if (oracle.failed()) return;
  PatientStore patient(left);
  const Trace slow = Play({{graph, 0, {}}}, patient, generator.Seed());
  ExpectAnswer(slow, 0, graph);
  EXPECT_EQ(Vertices(starts), Vertices(StartsOf(slow, std::numeric_limits<Time>::max())));
  EXPECT_LE(trace.ends[0], slow.ends[0]);
  if (left.results.empty() && left.contents.empty()) ExpectCriticalPath(graph, starts);
}

// Several builds at once that have work in common, some of them given up.
void CheckShared(Generator& generator, const Graph& graph, MemoryStore& store) {
  std::vector<Build> builds;
  for (int i = 2 + generator.Below(3); i > 0; --i) {
    Build& build = builds.emplace_back(Build{graph, generator.Chance(50) ? 0 : generator.SomeTime(20), {}});
    generator.Edit(build.graph);
    if (generator.Chance(30)) build.graph.resize(1 + generator.Below(static_cast<int>(graph.size())));
    if (generator.Chance(25)) build.cancel = build.begin + generator.SomeTime(20);
  }
  const Trace trace = Play(builds, store, generator.Seed());
  for (size_t i = 0; i < builds.size(); ++i) {
    ASSERT_TRUE(trace.answers[i].has_value()) << "a waiter of build " << i << " was left";
    if (!builds[i].cancel) ExpectAnswer(trace, i, builds[i].graph);
  }
  std::set<std::string> ran;
  for (const OneRun& run : trace.runs) {
    if (run.ignore_cache || run.ephemeral) continue;
    EXPECT_FALSE(run.was_stored) << "vertex " << run.vertex << " of build " << run.build << " is in the cache";
    EXPECT_TRUE(!run.ok || ran.insert(run.key).second) << "vertex " << run.vertex << " of build " << run.build << " ran again";
  }
}

void CheckSeed(unsigned seed) {
  Generator generator(seed);
  Graph graph = generator.NewGraph();
  MemoryStore store;
  for (int i = generator.Below(4); i > 0; --i) {
    Play({{graph, 0, {}}}, store, generator.Seed());
    generator.Edit(graph);
    generator.Prune(store);
  }
  CheckOne(generator, graph, store);
  CheckShared(generator, graph, store);
}

TEST(SolverSimulationTest, TheGraphRunsAsWideAsItIs) {
  const auto number = [](const char* name) {
    unsigned value = 0;
    const char* text = std::getenv(name);
    return text != nullptr && absl::SimpleAtoi(text, &value) ? std::optional<unsigned>(value) : std::nullopt;
  };
  const std::optional<unsigned> first = number("CACHALOT_SOLVER_SEED");
  const unsigned count = number("CACHALOT_SOLVER_SEEDS").value_or(first.has_value() ? 1 : 1000);
  for (unsigned seed = first.value_or(0); seed < first.value_or(0) + count; ++seed) {
    SCOPED_TRACE(absl::StrCat("again with CACHALOT_SOLVER_SEED=", seed));
    CheckSeed(seed);
    if (HasFailure()) return;
  }
}

}  // namespace
}  // namespace cachalot::solver
