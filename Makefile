# The two commands of the README, and what they are made of.
.PHONY: demo test check build install

demo: build
	examples/hello/demo

test:
	tools/install-dependencies
	tools/check

check:
	tools/check --fast

build:
	tools/install-dependencies
	cmake --preset release >/dev/null
	ninja -C build/release --quiet

install: build
	cmake --install build/release
