#include <gtest/gtest.h>

#include "build/engine_testing.h"
#include "llb/library/node.h"

namespace cachalot::build {
namespace {

// An operation that solves the definition in its input's tree. `number` makes it another vertex.
class NestedSolve final : public llb::Node {
 public:
  NestedSolve(const State& definition, int number) : Node({definition.output()}, {}), number_(number) {}
  absl::Status Assemble(const llb::MarshalOptions&, const std::vector<llb::Edge>& inputs, llb::Vertex& vertex) const override {
    llb::BuildOp op;
    op.inputs["buildkit.llb.definition"] = llb::AddInput(inputs.at(0), vertex);
    op.attrs["number"] = std::to_string(number_);
    vertex.op = std::move(op);
    return absl::OkStatus();
  }

 private:
  const int number_;
};

// All are ready at once, and more than there are workers: each holds one while it waits for what needs another.
TEST_F(EngineTest, ManyNestedSolvesAtOnce) {
  constexpr int kSolves = 700;
  const State nested = State().File(llb::FileActions().Mkfile("/made", 0644, "nested"));
  const State definition = State().File(llb::FileActions().Mkfile("/buildkit.llb.definition", 0644, nested.Marshal().value()));
  std::vector<State> solves;
  for (int i = 0; i < kSolves; ++i) solves.emplace_back(llb::Output{std::make_shared<NestedSolve>(definition, i), 0});
  const absl::StatusOr<BuildResponse> response = Build(solves.front().Requires("all", solves));
  EXPECT_TRUE(response.ok()) << response.status();
  EXPECT_EQ(Read(solves.back(), "/made").value_or("?"), "nested");
}

}  // namespace
}  // namespace cachalot::build
