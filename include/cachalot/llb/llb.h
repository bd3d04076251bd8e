// The whole library: build graphs from chained calls.
#pragma once

#include "cachalot/llb/constraints.h"
#include "cachalot/llb/file.h"
#include "cachalot/llb/run.h"
#include "cachalot/llb/source.h"
#include "cachalot/llb/state.h"
