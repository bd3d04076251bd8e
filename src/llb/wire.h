// The only place where the plain operations of llb/op.h and their protobuf form meet. Internal to this room, except for the parts of
// operations that the gateway API has as well.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "buildkit/ops.pb.h"
#include "llb/op.h"

namespace cachalot::llb {

// Fills op, platform and constraints of `vertex` from `message`, checking every index against the number of the message's
// inputs. Errors read "invalid exec op with no meta" and the like.
absl::Status DecodeOp(const pb::Op& message, Vertex& vertex);
absl::Status DecodeExec(const pb::ExecOp& message, int input_count, ExecOp& op);
// Indices are checked against the numbers of inputs and mounts.
absl::Status DecodeMount(const pb::Mount& message, int input_count, int mount_count, Mount& mount);
ProcessMeta DecodeMeta(const pb::Meta& message);
absl::Status DecodeFile(const pb::FileOp& message, int input_count, FileOp& op);

// The bytes of the vertex's operation, from its inputs (by their digests), operation, platform and constraints. Equal to those of
// Go's library, which writes the operation's kind last whatever its field number: digests, and with them caches, depend on it.
std::string EncodeOp(const Vertex& vertex);
void EncodeExec(const ExecOp& op, pb::ExecOp& message);
void EncodeFile(const FileOp& op, pb::FileOp& message);

// INVALID_ARGUMENT naming the field when a text in the message, or in one below it, holds a null byte: programs and the kernel would take it
// for the end. Fields of bytes may hold any.
absl::Status CheckTexts(const google::protobuf::Message& message);

OpMetadata DecodeMetadata(const pb::OpMetadata& message);
void EncodeMetadata(const OpMetadata& metadata, pb::OpMetadata& message);

// Canonical bytes: fields in the order of their numbers, map entries sorted by key.
std::string SerializeCanonically(const google::protobuf::MessageLite& message);

}  // namespace cachalot::llb
