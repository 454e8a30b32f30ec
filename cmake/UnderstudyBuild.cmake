# How every target of this project is built: C++20, warnings as errors, the faster linker and the compiler cache when they are there.

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)

if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE RelWithDebInfo)
endif()
# Enough of debug information for a stack trace, without the gigabytes that templates of gRPC and Asio would make.
set(CMAKE_CXX_FLAGS_RELWITHDEBINFO "-O2 -g1")
set(CMAKE_CXX_FLAGS_DEBUG "-O0 -g1")

find_program(CCACHE_PROGRAM ccache)
if(CCACHE_PROGRAM)
  set(CMAKE_C_COMPILER_LAUNCHER ${CCACHE_PROGRAM})
  # Precompiled headers are only cached when ccache is told that the time macros in them don't matter.
  # Paths are hashed relative to the checkout, so that another clone finds what this one compiled.
  set(CMAKE_CXX_COMPILER_LAUNCHER
      ${CMAKE_COMMAND} -E env CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime
      CCACHE_BASEDIR=${PROJECT_SOURCE_DIR} CCACHE_NOHASHDIR=1 ${CCACHE_PROGRAM})
endif()
find_program(MOLD_PROGRAM mold)
if(MOLD_PROGRAM)
  add_link_options(-fuse-ld=mold)
endif()

# What every program links, and every test's environment holds, beyond the flags.
set(UNDERSTUDY_SANITIZER_SUPPORT "")
set(UNDERSTUDY_SANITIZER_ENVIRONMENT "")
set(UNDERSTUDY_SANITIZE "" CACHE STRING "address, thread, or empty")
if(UNDERSTUDY_SANITIZE)
  # Their checks make compiling three times as long at -O2, twice as long at -O1, which is also what they are made for.
  add_compile_options(-O1)
endif()
if(UNDERSTUDY_SANITIZE STREQUAL "address")
  add_compile_options(-fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer)
  add_link_options(-fsanitize=address,undefined)
  set(UNDERSTUDY_SANITIZER_ENVIRONMENT "LSAN_OPTIONS=suppressions=${PROJECT_SOURCE_DIR}/tests/support/lsan.supp")
elseif(UNDERSTUDY_SANITIZE STREQUAL "thread")
  add_compile_options(-fsanitize=thread -fno-omit-frame-pointer)
  add_link_options(-fsanitize=thread)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    add_compile_options(-Wno-tsan)  # Asio has fences that the sanitizer doesn't model
  endif()
  set(UNDERSTUDY_SANITIZER_SUPPORT tsan_absl)
  set(UNDERSTUDY_SANITIZER_ENVIRONMENT "TSAN_OPTIONS=suppressions=${PROJECT_SOURCE_DIR}/tests/support/tsan.supp second_deadlock_stack=1")
endif()

if(UNDERSTUDY_FUZZ)
  # Every library tells the fuzzer which of its branches were taken; the targets link the fuzzer itself.
  add_compile_options(-fsanitize=fuzzer-no-link)
  add_link_options(-fsanitize=fuzzer-no-link)
endif()

# Warnings are for our own code, never for what protoc generated.
add_library(understudy_warnings INTERFACE)
target_compile_options(understudy_warnings INTERFACE -Wall -Wextra -Wpedantic -Wshadow -Wnon-virtual-dtor -Woverloaded-virtual
                                                     -Wimplicit-fallthrough -Wundef -Werror)
if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
  target_compile_options(understudy_warnings INTERFACE -Wthread-safety -Wno-gnu-zero-variadic-macro-arguments)
else()
  # GCC 12 reports these inside its own library headers at -O2.
  target_compile_options(understudy_warnings INTERFACE -Wno-restrict -Wno-stringop-overflow -Wno-maybe-uninitialized)
endif()

# understudy_library(NAME SOURCES a.cc … [DEPS target …] [GRPC])
# One folder, one library. GRPC says that its sources include gRPC or generated code: they share one precompiled header.
function(understudy_library name)
  cmake_parse_arguments(ARG "GRPC" "" "SOURCES;DEPS" ${ARGN})
  add_library(${name} STATIC ${ARG_SOURCES})
  target_include_directories(${name} PUBLIC ${PROJECT_SOURCE_DIR})
  target_link_libraries(${name} PUBLIC ${ARG_DEPS} PRIVATE understudy_warnings)
  if(ARG_GRPC)
    target_precompile_headers(${name} PRIVATE ${PROJECT_SOURCE_DIR}/cmake/grpc_pch.h)
  endif()
endfunction()

# understudy_program(NAME SOURCES main.cc DEPS target …): a thin main over a library.
function(understudy_program name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR})
  target_link_libraries(${name} PRIVATE ${ARG_DEPS} understudy_warnings ${UNDERSTUDY_SANITIZER_SUPPORT})
endfunction()

# understudy_test(NAME SUITE unit SOURCES a_test.cc … [DEPS target …] [TIMEOUT seconds])
# One test program; the suite is its ctest label, and what `./dev test SUITE` selects.
function(understudy_test name)
  cmake_parse_arguments(ARG "" "SUITE;TIMEOUT" "SOURCES;DEPS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR})
  target_link_libraries(${name} PRIVATE ${ARG_DEPS} GTest::gmock_main GTest::gtest understudy_warnings
                        ${UNDERSTUDY_SANITIZER_SUPPORT})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 120)
  endif()
  if(UNDERSTUDY_SANITIZE)
    math(EXPR ARG_TIMEOUT "5 * ${ARG_TIMEOUT}")
  endif()
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES LABELS ${ARG_SUITE} TIMEOUT ${ARG_TIMEOUT} SKIP_RETURN_CODE 77
                       ENVIRONMENT "UNDERSTUDY_BIN=${CMAKE_RUNTIME_OUTPUT_DIRECTORY};UNDERSTUDY_SOURCE=${PROJECT_SOURCE_DIR};${UNDERSTUDY_SANITIZER_ENVIRONMENT}")
endfunction()
