#!/usr/bin/env python3
"""A test over the source itself: sizes of files and functions, long lines, banned words, stray notes, one trap."""
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
MAX_FILE_LINES = 600
MAX_FUNCTION_LINES = 70
MAX_COLUMNS = 150
BANNED_NAME = re.compile(r"(?i)(manager|helper|util|misc)")
STRAY_NOTE = re.compile(r"\b(TO" r"DO|FIX" r"ME|XXX)\b")
LOOP_WITHOUT_LOCK = re.compile(r"\bfor \(.* : [^ ]*Lock\(\)")
FUNCTION_START = re.compile(r"^( *)(?!namespace|class|struct|enum|union|extern|}|#|//|switch|for|while|if|else|do\b|return|case|default|public|private|using)"
                            r"[\w:~<].*[)\w>]\s*(const|override|final|noexcept|mutable|-> [\w:<>&* ,]+)*\s*\{$")


def tracked(*patterns):
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "--", *patterns], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [ROOT / name for name in listed.splitlines() if (ROOT / name).is_file()]


def long_functions(lines):
    """Yields (line number, length) of functions that are too long; relies on clang-format's indentation."""
    for start, line in enumerate(lines):
        match = FUNCTION_START.match(line)
        if not match or "[" in line.split("(")[0]:
            continue
        closing = match.group(1) + "}"
        for end in range(start + 1, len(lines)):
            if lines[end].startswith(closing):
                if end - start + 1 > MAX_FUNCTION_LINES:
                    yield start + 1, end - start + 1
                break


def check_cpp(path):
    name = path.relative_to(ROOT)
    lines = path.read_text().splitlines()
    if len(lines) > MAX_FILE_LINES:
        yield f"{name}: {len(lines)} lines, {MAX_FILE_LINES} are allowed"
    for number, line in enumerate(lines, 1):
        if len(line) > MAX_COLUMNS and "http" not in line and 'R"' not in line:
            yield f"{name}:{number}: {len(line)} columns, {MAX_COLUMNS} are allowed"
        if LOOP_WITHOUT_LOCK.search(line):
            yield f"{name}:{number}: the lock ends before the loop begins; keep the handle in a variable"
        if STRAY_NOTE.search(line):
            yield f"{name}:{number}: unfinished work belongs in the issue tracker"
    for number, length in long_functions(lines):
        yield f"{name}:{number}: a function of {length} lines, {MAX_FUNCTION_LINES} are allowed"


def main():
    faults = []
    for path in tracked("*.h", "*.cc"):
        if BANNED_NAME.search(path.name):
            faults.append(f"{path.relative_to(ROOT)}: a name that says nothing")
        faults.extend(check_cpp(path))
    print("\n".join(faults) or "source: sizes, names and notes are in order")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
