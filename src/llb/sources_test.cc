#include "llb/sources.h"

#include "cachalot/llb/file.h"
#include "cachalot/llb/source.h"
#include "cachalot/llb/state.h"
#include "gtest/gtest.h"
#include "llb/definition.h"

namespace cachalot::llb {
namespace {

Edge Load(const State& state) { return LoadDefinition(state.Marshal().value()).value(); }

State CopyOf(const State& from, const std::string& path) { return State().File(FileActions().Copy(from, path, path)); }

TEST(Sources, AreListedOnce) {
  const State image = Image("busybox");
  const Edge edge = Load(CopyOf(image, "/a").File(FileActions().Copy(image, "/b", "/b").Copy(Local("context"), "/c", "/c")));
  EXPECT_EQ(SourcesOf(edge).size(), 2u);
  EXPECT_TRUE(SourcesOf(Edge{}).empty());
}

TEST(Sources, AReplacementGivesTheGraphThatWouldHaveBeenWritten) {
  const Edge edge = Load(CopyOf(Image("busybox"), "/a"));
  const VertexPtr image = SourcesOf(edge).at(0);
  const Edge replaced = ReplaceSources(edge, {{image->digest, SourceOp{"docker-image://docker.io/library/alpine:latest", {}}}});
  EXPECT_EQ(replaced.vertex->digest, Load(CopyOf(Image("alpine"), "/a")).vertex->digest);
  EXPECT_EQ(replaced.vertex->Name(), edge.vertex->Name());
  EXPECT_TRUE(LoadDefinition(SaveDefinition(replaced)).ok());
}

TEST(Sources, WhatDoesNotDependOnAReplacementIsShared) {
  const Edge edge = Load(CopyOf(Image("busybox"), "/a").File(FileActions().Copy(Image("alpine"), "/b", "/b")));
  const Edge same = ReplaceSources(edge, {{oci::Digest::Of("another"), SourceOp{}}});
  EXPECT_EQ(same.vertex, edge.vertex);
  const std::vector<VertexPtr> sources = SourcesOf(edge);
  const Edge replaced = ReplaceSources(edge, {{sources.at(0)->digest, SourceOp{"local://context", {}}}});
  const std::vector<VertexPtr> after = SourcesOf(replaced);
  ASSERT_EQ(after.size(), 2u);
  EXPECT_EQ(after[1], sources[1]);
}

}  // namespace
}  // namespace cachalot::llb
