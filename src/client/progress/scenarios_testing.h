// Builds as displays see them, for tests.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/progress/display.h"

namespace cachalot::client::progress {

// What arrives, and how long after what arrived before.
struct Moment {
  absl::Duration after;
  Batch batch;
};
struct Scenario {
  std::string name;
  std::vector<Moment> moments;
};

// When the scenarios begin, on the builder's clock.
inline absl::Time ScenarioStart() { return absl::FromUnixSeconds(1'700'000'000); }

// Writes a scenario moment by moment; times are milliseconds since its start.
class Script {
 public:
  explicit Script(std::string name) { scenario_.name = std::move(name); }

  Script& At(int ms) {
    scenario_.moments.push_back({absl::Milliseconds(ms - now_), {}});
    now_ = ms;
    return *this;
  }
  Script& Start(const std::string& digest, const std::string& name, std::optional<solver::ProgressGroup> group = {}) {
    solver::VertexEvent& event = names_[digest];
    event.digest = digest;
    event.name = name;
    event.group = std::move(group);
    event.started = Now();
    batch().vertexes.push_back(event);
    return *this;
  }
  Script& Announce(const std::string& digest, const std::string& name) {
    solver::VertexEvent event;
    event.digest = digest;
    event.name = name;
    batch().vertexes.push_back(event);
    return *this;
  }
  Script& Done(const std::string& digest, const std::string& error = "") {
    solver::VertexEvent& event = names_[digest];
    event.completed = Now();
    event.error = error;
    batch().vertexes.push_back(event);
    return *this;
  }
  Script& Cached(const std::string& digest, const std::string& name) {
    Start(digest, name);
    batch().vertexes.pop_back();
    names_[digest].cached = true;
    return Done(digest);
  }
  Script& Log(const std::string& digest, const std::string& text) {
    batch().logs.push_back({digest, 1, text, Now()});
    return *this;
  }
  Script& Status(const std::string& digest, const std::string& id, std::int64_t current, std::int64_t total, int started_ms, bool done) {
    solver::StatusEvent event;
    event.vertex = digest;
    event.id = id;
    event.current = current;
    event.total = total;
    event.timestamp = Now();
    event.started = ScenarioStart() + absl::Milliseconds(started_ms);
    if (done) event.completed = Now();
    batch().statuses.push_back(event);
    return *this;
  }
  Script& Warn(const std::string& digest, const std::string& text) {
    solver::WarningEvent event;
    event.vertex = digest;
    event.brief = text;
    batch().warnings.push_back(event);
    return *this;
  }
  Scenario End() { return std::move(scenario_); }

 private:
  absl::Time Now() const { return ScenarioStart() + absl::Milliseconds(now_); }
  Batch& batch() { return scenario_.moments.back().batch; }

  Scenario scenario_;
  int now_ = 0;
  std::map<std::string, solver::VertexEvent> names_;
};

// Cached steps, two that run at once with output, and an export.
inline Scenario Ordinary() {
  Script script("ordinary");
  script.At(0).Start("sha256:a", "[internal] load build definition from Dockerfile").Status("sha256:a", "transferring dockerfile:", 0, 0, 0, false);
  script.At(120).Status("sha256:a", "transferring dockerfile:", 32, 0, 0, true).Done("sha256:a");
  script.At(240).Announce("sha256:r", "[2/3] RUN make").Announce("sha256:s", "[3/3] RUN make docs");
  script.At(360).Cached("sha256:c", "[1/3] FROM docker.io/library/gcc:12").Start("sha256:b", "[internal] load build context");
  script.At(480).Status("sha256:b", "transferring context:", 1'234'567, 0, 360, false);
  script.At(600).Status("sha256:b", "transferring context:", 2'812'345, 0, 360, true).Done("sha256:b");
  script.At(720).Start("sha256:r", "[2/3] RUN make").Log("sha256:r", "compiling a.c\ncompil");
  script.At(840).Log("sha256:r", "ing b.c\nlinking").Start("sha256:s", "[3/3] RUN make docs").Log("sha256:s", "page 1\n");
  script.At(960).Log("sha256:r", " all\n").Log("sha256:s", "page 2\n");
  script.At(12'000).Log("sha256:r", "10%\r20%\r30%\n").Warn("sha256:r", "clock skew detected");
  script.At(13'000).Done("sha256:r").Log("sha256:s", "page 3\n");
  script.At(14'000).Done("sha256:s").Start("sha256:e", "exporting to image");
  script.At(14'120).Status("sha256:e", "exporting layers", 0, 0, 14'000, false);
  script.At(14'240).Status("sha256:e", "exporting layers", 0, 0, 14'000, true).Status("sha256:e", "pushing layers", 500, 1000, 14'240, false);
  script.At(14'360).Status("sha256:e", "pushing layers", 510, 1000, 14'240, false);
  script.At(14'480).Status("sha256:e", "pushing layers", 1000, 1000, 14'240, true).Done("sha256:e");
  return script.End();
}

inline Scenario Failing() {
  Script script("failing");
  script.At(0).Start("sha256:r", "[2/2] RUN exit 3");
  script.At(120).Log("sha256:r", "before\n");
  std::string many;
  for (int i = 1; i <= 12; ++i) absl::StrAppend(&many, "line ", i, "\n");
  script.At(240).Log("sha256:r", many);
  script.At(360).Done("sha256:r", "process \"/bin/sh -c exit 3\" did not complete successfully: exit code: 3");
  return script.End();
}

inline Scenario Grouped() {
  const solver::ProgressGroup strong{"group1", "[1/2] COPY many", false};
  const solver::ProgressGroup weak{"group2", "weak one", true};
  Script script("grouped");
  script.At(0).Start("sha256:a", "copy 1", strong).Start("sha256:w", "hidden", weak);
  script.At(120).Done("sha256:a").Done("sha256:w");
  script.At(1200).Start("sha256:b", "copy 2", strong);
  script.At(1700).Done("sha256:b");
  return script.End();
}

inline Scenario Cancelled() {
  Script script("cancelled");
  script.At(0).Start("sha256:r", "[1/2] RUN sleep 100").Start("sha256:f", "[1/2] RUN false");
  script.At(120).Log("sha256:r", "zzz");
  script.At(500).Done("sha256:f", "exit code: 1").Done("sha256:r", "failed to solve: context canceled");
  return script.End();
}

}  // namespace cachalot::client::progress
