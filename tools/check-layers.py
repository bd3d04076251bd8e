#!/usr/bin/env python3
"""Checks that every room includes itself and strictly lower floors only, as tools/layers.txt declares."""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
SOURCES = ("*.h", "*.cc")
WIRE_HEADER = re.compile(r"(\.pb\.h$|^grpc|^google/protobuf/)")


def read_floors():
    floors, wire = {}, set()
    for line in (ROOT / "tools/layers.txt").read_text().splitlines():
        words = line.split()
        if not words or words[0] == "#":
            continue
        if words[0] == "wire":
            wire.update(words[1:])
        else:
            floors[words[1]] = int(words[0])
    return floors, wire


def includes(path):
    for number, line in enumerate(path.read_text().splitlines(), 1):
        match = re.match(r'\s*#include\s+[<"]([^>"]+)[>"]', line)
        if match:
            yield number, match.group(1)


def main():
    floors, wire = read_floors()
    faults = []
    for room in sorted(p for p in (ROOT / "src").iterdir() if p.is_dir()):
        if room.name not in floors:
            faults.append(f"{room.relative_to(ROOT)}: not in tools/layers.txt")
            continue
        for path in sorted(p for pattern in SOURCES for p in room.rglob(pattern)):
            for number, header in includes(path):
                place = f"{path.relative_to(ROOT)}:{number}"
                if WIRE_HEADER.search(header) and room.name not in wire:
                    faults.append(f"{place}: {header}: protobuf and gRPC stop at {', '.join(sorted(wire))}")
                other = header.split("/")[0]
                if other in floors and other != room.name and floors[other] >= floors[room.name]:
                    faults.append(f"{place}: {room.name} (floor {floors[room.name]}) includes {header} (floor {floors[other]})")
    print("\n".join(faults) or "layers: every include points down")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
