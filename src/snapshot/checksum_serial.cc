// A checksum tree as one value: "CT3" and 'c' (of a committed snapshot) or 'a' (active), then each node before its children: name, mode, uid, gid,
// device, identity, link, digest, tree digest, whether its list is of the last pass, number of children. Numbers are LEB128, texts have their length
// in front.
#include <utility>

#include "snapshot/checksum_tree.h"

namespace cachalot::snapshot {

namespace {

constexpr absl::string_view kMagic = "CT3";
constexpr int kMaxDepth = 4096;

char KindOf(bool immutable) { return immutable ? 'c' : 'a'; }

void PutNumber(std::uint64_t value, std::string* out) {
  while (value >= 0x80) {
    out->push_back(static_cast<char>(value | 0x80));
    value >>= 7;
  }
  out->push_back(static_cast<char>(value));
}

void PutText(absl::string_view text, std::string* out) {
  PutNumber(text.size(), out);
  out->append(text.data(), text.size());
}

void PutNode(const ChecksumNode& node, std::uint32_t pass, std::string* out) {
  PutText(node.name, out);
  for (std::uint64_t n : {std::uint64_t{node.header.mode}, std::uint64_t{node.header.uid}, std::uint64_t{node.header.gid}, node.header.device,
                          node.identity.inode, static_cast<std::uint64_t>(node.identity.size), static_cast<std::uint64_t>(node.identity.mtime_ns),
                          static_cast<std::uint64_t>(node.identity.changed_ns)}) {
    PutNumber(n, out);
  }
  PutText(node.link, out);
  PutText(node.digest, out);
  PutText(node.tree_digest, out);
  PutNumber(node.listed == pass, out);
  PutNumber(node.children.size(), out);
  for (const auto& child : node.children) PutNode(*child, pass, out);
}

class Parser {
 public:
  explicit Parser(absl::string_view bytes) : left_(bytes) {}

  bool Node(ChecksumNode* node, int depth) {
    if (depth > kMaxDepth) return false;
    ++nodes_;
    node->name = Text();
    node->header.mode = static_cast<std::uint32_t>(Number());
    node->header.uid = static_cast<std::uint32_t>(Number());
    node->header.gid = static_cast<std::uint32_t>(Number());
    node->header.device = Number();
    node->identity.inode = Number();
    node->identity.size = static_cast<std::int64_t>(Number());
    node->identity.mtime_ns = static_cast<std::int64_t>(Number());
    node->identity.changed_ns = static_cast<std::int64_t>(Number());
    node->link = Text();
    node->digest = Text();
    node->tree_digest = Text();
    node->listed = static_cast<std::uint32_t>(Number());
    const std::uint64_t children = Number();
    if (failed_ || children > left_.size()) return false;
    node->children.reserve(children);
    for (std::uint64_t i = 0; i < children; ++i) {
      node->children.push_back(std::make_unique<ChecksumNode>());
      if (!Node(node->children.back().get(), depth + 1)) return false;
    }
    return !failed_;
  }

  bool Magic(bool immutable) {
    if (left_.substr(0, kMagic.size()) != kMagic || left_.size() <= kMagic.size() || left_[kMagic.size()] != KindOf(immutable)) return false;
    left_.remove_prefix(kMagic.size() + 1);
    return true;
  }
  std::size_t nodes() const { return nodes_; }

 private:
  std::uint64_t Number() {
    std::uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      if (left_.empty()) break;
      const auto byte = static_cast<unsigned char>(left_[0]);
      left_.remove_prefix(1);
      value |= static_cast<std::uint64_t>(byte & 0x7F) << shift;
      if ((byte & 0x80) == 0) return value;
    }
    failed_ = true;
    return 0;
  }
  std::string Text() {
    const std::uint64_t size = Number();
    if (size > left_.size()) {
      failed_ = true;
      return "";
    }
    std::string text(left_.substr(0, size));
    left_.remove_prefix(size);
    return text;
  }

  absl::string_view left_;
  bool failed_ = false;
  std::size_t nodes_ = 0;
};

}  // namespace

std::string ChecksumTree::Serialize() const {
  std::string out(kMagic);
  out.push_back(KindOf(immutable_));
  PutNode(root_, pass_, &out);
  return out;
}

std::unique_ptr<ChecksumTree> ChecksumTree::Parse(absl::string_view bytes, bool immutable) {
  auto tree = std::make_unique<ChecksumTree>(immutable);
  Parser parser(bytes);
  if (!parser.Magic(immutable) || !parser.Node(&tree->root_, 0)) return std::make_unique<ChecksumTree>(immutable);
  tree->nodes_ = parser.nodes();
  tree->pass_ = 1;  // what was listed when it was written
  return tree;
}

}  // namespace cachalot::snapshot
