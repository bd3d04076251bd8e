# Rooms that ThreadSanitizer covers: Debian's gRPC is not built for it.
set(rooms_below_grpc base os codec oci solver policy store trace tree registry snapshot runtime)
add_custom_target(below_grpc_tests)

# What most sources include, compiled once for each kind of room, in daily work only: where GCC 12 optimises, it no longer knows which code is
# the library's, and warns of it wrongly. Sources include what they use all the same.
if(NOT CMAKE_BUILD_TYPE STREQUAL "Debug" OR CACHALOT_SANITIZE)
  set(CMAKE_DISABLE_PRECOMPILE_HEADERS ON)
endif()
set(precompiled_headers <algorithm> <cerrno> <chrono> <cstdint> <cstdlib> <cstring> <deque> <functional> <map> <memory> <mutex> <optional> <set>
  <string> <thread> <utility> <variant> <vector> <absl/status/status.h> <absl/status/statusor.h> <absl/strings/match.h> <absl/strings/numbers.h>
  <absl/strings/str_cat.h> <absl/strings/str_join.h> <absl/strings/str_split.h> <absl/strings/string_view.h> <absl/time/time.h>)
set(precompiled_headers_of_tests ${precompiled_headers} <gtest/gtest.h> <gmock/gmock.h>)
set(precompiled_headers_with_grpc <grpcpp/grpcpp.h> <buildkit/control.grpc.pb.h>)

# cachalot_precompile(TARGET OWNER header...): TARGET has what was compiled for OWNER; the owner itself says which headers.
function(cachalot_precompile target owner)
  if(target STREQUAL owner)
    target_precompile_headers(${target} PRIVATE ${ARGN})
  else()
    target_precompile_headers(${target} REUSE_FROM ${owner})
  endif()
endfunction()

# cachalot_room(NAME DEPS room... LIBS target...): the static library of src/NAME from all its sources, and the test program
# NAME_test from all its *_test.cc. A room without sources yet is an interface library. Rooms of the floors that know gRPC name it in
# PRECOMPILED daemon.
function(cachalot_room name)
  cmake_parse_arguments(ROOM "" "PRECOMPILED" "DEPS;LIBS" ${ARGN})
  set(more_headers ${precompiled_headers_with_grpc})
  if(NOT ROOM_PRECOMPILED)
    set(ROOM_PRECOMPILED base)
    set(more_headers "")
  endif()
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/${name}/*.cc)
  set(tests ${sources})
  list(FILTER sources EXCLUDE REGEX "_test(ing)?\\.cc$")
  list(FILTER tests INCLUDE REGEX "_test\\.cc$")
  list(TRANSFORM ROOM_DEPS PREPEND room_)
  if(sources)
    add_library(room_${name} STATIC ${sources})
    cachalot_precompile(room_${name} room_${ROOM_PRECOMPILED} ${precompiled_headers} ${more_headers})
    set(scope PUBLIC)
  else()
    add_library(room_${name} INTERFACE)
    set(scope INTERFACE)
  endif()
  target_include_directories(room_${name} ${scope} ${CMAKE_SOURCE_DIR}/src ${CMAKE_SOURCE_DIR}/include)
  target_link_libraries(room_${name} ${scope} ${ROOM_DEPS} ${ROOM_LIBS})
  if(CACHALOT_TESTS AND tests)
    add_executable(${name}_test ${tests})
    target_link_libraries(${name}_test room_${name} GTest::gtest GTest::gmock GTest::gtest_main)
    cachalot_precompile(${name}_test ${ROOM_PRECOMPILED}_test ${precompiled_headers_of_tests} ${more_headers})
    set(labels unit)
    if(name IN_LIST rooms_below_grpc)
      string(APPEND labels "-below_grpc")  # one label: a list would not reach the tests whole
      add_dependencies(below_grpc_tests ${name}_test)
    endif()
    gtest_discover_tests(${name}_test TEST_PREFIX ${name}. PROPERTIES LABELS "${labels}" DISCOVERY_TIMEOUT 60)
  endif()
endfunction()
