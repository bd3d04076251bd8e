#include <utility>

#include "base/status_macros.h"
#include "dockerfile/instructions/reader.h"

namespace cachalot::dockerfile {
namespace {

class Expansions {
 public:
  Expansions(const WordExpander& expander, const WordExpander& raw_expander) : expander_(expander), raw_expander_(raw_expander) {}

  absl::Status operator()(AddInstruction& add) const {
    RETURN_IF_ERROR(All(&add.chown, &add.chmod, &add.checksum));
    return Paths(&add.paths);
  }
  absl::Status operator()(CopyInstruction& copy) const {
    RETURN_IF_ERROR(All(&copy.chown, &copy.chmod));
    return Paths(&copy.paths);
  }
  absl::Status operator()(EnvInstruction& env) const { return Pairs(&env.pairs); }
  absl::Status operator()(LabelInstruction& label) const { return Pairs(&label.pairs); }
  absl::Status operator()(RunInstruction& run) const {
    for (std::size_t i = 0; i < run.mount_flags.size(); ++i) {
      ASSIGN_OR_RETURN(run.mounts[i], ParseMount(run.mount_flags[i], &expander_));
    }
    return absl::OkStatus();
  }
  absl::Status operator()(StopsignalInstruction& stopsignal) const { return One(&stopsignal.signal); }
  absl::Status operator()(UserInstruction& user) const { return One(&user.user); }
  absl::Status operator()(WorkdirInstruction& workdir) const { return One(&workdir.path); }
  absl::Status operator()(VolumeInstruction& volume) const { return Each(&volume.volumes); }
  template <typename Other>
  absl::Status operator()(Other&) const {
    return absl::OkStatus();
  }

 private:
  absl::Status One(std::string* text) const {
    ASSIGN_OR_RETURN(*text, expander_(*text));
    return absl::OkStatus();
  }
  template <typename... Texts>
  absl::Status All(Texts*... texts) const {
    absl::Status status;
    ((status.ok() ? void(status = One(texts)) : void()), ...);
    return status;
  }
  absl::Status Each(std::vector<std::string>* texts) const {
    for (std::string& text : *texts) RETURN_IF_ERROR(One(&text));
    return absl::OkStatus();
  }
  absl::Status Pairs(std::vector<KeyValue>* pairs) const {
    for (KeyValue& pair : *pairs) RETURN_IF_ERROR(All(&pair.key, &pair.value));
    return absl::OkStatus();
  }
  absl::Status Paths(SourcesAndDest* paths) const {
    RETURN_IF_ERROR(Each(&paths->sources));
    RETURN_IF_ERROR(One(&paths->dest));
    for (InlineFile& file : paths->files) {
      if (!file.expand) continue;
      ASSIGN_OR_RETURN(file.data, raw_expander_(file.data));
    }
    return absl::OkStatus();
  }

  const WordExpander& expander_;
  const WordExpander& raw_expander_;
};

}  // namespace

absl::Status ExpandInstruction(const WordExpander& expander, const WordExpander& raw_expander, InstructionBody* body) {
  return std::visit(Expansions(expander, raw_expander), *body);
}

}  // namespace cachalot::dockerfile
