"""Random Dockerfiles that copy from a context, and what they must give."""
import fnmatch
import os
import stat

from trees import Entry, digest

DIRECTORIES = ["d0", "d1", "d2", "d3", "d4"]
IGNORED = ["d1", "**/*.log", "*.tmp", "d2/**", "!d2/keep.txt", "d3", "!d3/keep.txt", "r0/x*", "**/e*", "Dockerfile"]


class Expectation:
    """A tree and (step, what it reads) pairs; or a part of the error."""

    def __init__(self, tree=None, steps=(), error=None):
        self.tree, self.steps, self.error = tree, steps, error


class Missing(Exception):
    pass


class Plan:
    """Independent stages that each copy something of the context, and a last one that copies from all of them."""

    def __init__(self, rng, containers):
        self.containers, self.stages, self.ignored, self.inside = containers, [], [], False
        self.change_steps(rng)
        if rng.random() < 0.5:
            self.change_ignored(rng)

    def change_steps(self, rng):
        count = rng.randint(1, 4)
        kept = self.stages[:rng.randint(0, len(self.stages))]
        self.stages = (kept + [self.random_stage(rng) for _ in range(4)])[:count]
        self.inside = rng.random() < 0.5
        self.linked = rng.random() < 0.3

    def random_stage(self, rng):
        kinds = ["directory"] * 4 + ["all", "glob", "owner"] + ["run", "run"] * self.containers
        return rng.choice(kinds), rng.choice(DIRECTORIES)

    def change_ignored(self, rng):
        self.ignored = rng.sample(IGNORED, rng.randint(0, 4))

    def has_containers(self):
        return any(kind == "run" for kind, _ in self.stages)

    def lines(self):
        """For each stage the lines of its steps."""
        for number, (kind, directory) in enumerate(self.stages):
            yield {"directory": f"COPY {directory} /o{number}/", "all": f"COPY . /o{number}/", "glob": f"COPY f*.txt /o{number}/",
                   "owner": f"COPY --chown=7:8 {directory} /o{number}/",
                   "run": f"RUN --mount=type=bind,source=r0,target=/in cp -a /in /o{number}"}[kind]

    def last_lines(self):
        return [f"COPY {'--link ' * self.linked}--from=s{number} /o{number} /o{number}" for number in range(len(self.stages))]

    def write(self, base, context):
        text = ""
        for number, line in enumerate(self.lines()):
            text += f"FROM {'based' if line.startswith('RUN') else 'scratch'} AS s{number}\n{line}\n"
        if self.has_containers():
            text = "FROM scratch AS based\nCOPY --from=base / /\nENV PATH=/bin\n" + text
        text += "FROM scratch\n" + "".join(line + "\n" for line in self.last_lines())
        for place in (base, context):
            if os.path.lexists(os.path.join(place, "Dockerfile")):
                os.unlink(os.path.join(place, "Dockerfile"))
        dockerfile = os.path.join(context if self.inside else base, "Dockerfile")
        with open(dockerfile, "w") as file:
            file.write(text)
        with open(os.path.join(context, ".dockerignore"), "w") as file:
            file.write("".join(pattern + "\n" for pattern in self.ignored))
        return dockerfile

    def sent(self, tree):
        """What of the tree the patterns leave, with the directories above it."""
        kept = {path for path in tree if not self.is_ignored(os.fsdecode(path))}
        for path in list(kept):
            while path := os.path.dirname(path):
                kept.add(path)
        return {path: tree[path] for path in kept}

    def is_ignored(self, path):
        """As moby's patternmatcher has it: what matched above matches below; an exception counts only where something is ignored."""
        parts, above = path.split("/"), [False] * len(self.ignored)
        for count in range(1, len(parts) + 1):
            place, ignored, here = "/".join(parts[:count]), False, []
            for pattern, matched_above in zip(self.ignored, above):
                exception = pattern.startswith("!")
                here.append(matched_above or (exception == ignored and matches(pattern.lstrip("!"), place)))
                if here[-1]:
                    ignored = not exception
            above = here
        return ignored

    def expect(self, tree):
        sent = self.sent(tree)
        result, steps = {}, []
        try:
            for number, line in enumerate(self.lines()):
                output = copied(sent, *self.stages[number])
                steps.append((line, (line, fingerprint(output))))
                here = b"o%d" % number
                result[here] = Entry(stat.S_IFDIR, 0o755, 0, 0, b"")
                result.update({here + b"/" + path: entry for path, entry in output.items() if path})
        except Missing as missing:
            return Expectation(error=str(missing))
        known = ()
        for number, line in enumerate(self.last_lines()):
            known += (line, steps[number][1])  # each stands on the one before
            steps.append((line, known))
        return Expectation(result, steps)


def copied(sent, kind, directory):
    """What a stage's step makes below its target; "" is what the step reads of the target itself."""
    name = directory.encode()
    if kind == "all":
        return sent
    if kind == "glob":
        output = {path: entry for path, entry in sent.items() if b"/" not in path and path.startswith(b"f") and path.endswith(b".txt")}
        return output
    if kind == "run":
        name = b"r0"
    if name not in sent:
        raise Missing("not found")
    if not stat.S_ISDIR(sent[name][0]):
        output = {name: sent[name]}
    else:
        output = {path[len(name) + 1:]: entry for path, entry in sent.items() if path.startswith(name + b"/")}
        output[b""] = sent[name]
    if kind == "owner":
        output = {path: entry.owned_by(7, 8) for path, entry in output.items()}
    return output


def fingerprint(tree):
    return digest(repr(sorted(tree.items())).encode())


def matches(pattern, path):
    """Patterns of .dockerignore, as far as the ones above need them."""
    if pattern.startswith("**/"):
        return fnmatch.fnmatchcase(path.rsplit("/", 1)[-1], pattern[3:])
    if pattern.endswith("/**"):
        return path.startswith(pattern[:-2])
    return path.count("/") == pattern.count("/") and fnmatch.fnmatchcase(path, pattern)
