// Feeds definitions to the loader: arbitrary bytes, and the same bytes with their input digests made to fit, because no fuzzer
// guesses a hash. What loads must survive being saved and loaded again.
#include <google/protobuf/stubs/logging.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "buildkit/ops.pb.h"
#include "llb/definition.h"

namespace {

using cachalot::llb::Definition;
using cachalot::llb::LoadDefinition;
using cachalot::llb::SaveDefinition;

void Check(absl::string_view bytes) {
  auto edge = LoadDefinition(bytes);
  if (!edge.ok()) return;
  if (edge->vertex != nullptr) (void)edge->vertex->Name();
  const Definition saved = SaveDefinition(*edge);
  auto again = LoadDefinition(saved);
  if (!again.ok() || SaveDefinition(*again) != saved) std::abort();
}

// Every input refers to an earlier operation, chosen by the length of what stood there; the last operation becomes the terminal.
std::string WithFittingDigests(pb::Definition definition) {
  std::vector<std::string> digests;
  for (std::string& bytes : *definition.mutable_def()) {
    pb::Op op;
    if (op.ParseFromString(bytes)) {
      if (digests.empty()) op.clear_inputs();
      for (pb::Input& input : *op.mutable_inputs()) {
        input.set_digest(digests[(input.digest().size() + input.index()) % digests.size()]);
        input.set_index(input.index() & 3);
      }
      op.SerializeToString(&bytes);
    }
    digests.push_back(cachalot::oci::Digest::Of(bytes).str());
  }
  if (digests.empty()) return "";
  pb::Op terminal;
  terminal.add_inputs()->set_digest(digests.back());
  terminal.SerializeToString(definition.add_def());
  return definition.SerializeAsString();
}

}  // namespace

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  google::protobuf::SetLogHandler(nullptr);  // one line per odd string is too much
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const absl::string_view bytes(reinterpret_cast<const char*>(data), size);
  Check(bytes);
  pb::Definition definition;
  if (definition.ParseFromArray(data, static_cast<int>(size))) Check(WithFittingDigests(std::move(definition)));
  return 0;
}
