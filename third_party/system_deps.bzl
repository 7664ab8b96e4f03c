"""The packages that the project depends on, as the operating system installs them.

MODULE.bazel names the same dependencies for a Bazel that has a registry.  The
labels are the same in both cases, so no other file knows the difference.
"""

load(":bazel_deps.bzl", "bazel_dependencies")
load(":pkg_config.bzl", "pkg_config_repository")

# Abseil's targets, by package.  The CMake targets that its pkg-config files are
# called after have the prefix absl_.
_ABSEIL = {
    "absl/base": ["base", "core_headers", "log_severity", "no_destructor", "nullability"],
    "absl/cleanup": ["cleanup"],
    "absl/container": [
        "btree",
        "fixed_array",
        "flat_hash_map",
        "flat_hash_set",
        "inlined_vector",
        "node_hash_map",
        "node_hash_set",
    ],
    "absl/debugging": ["failure_signal_handler", "leak_check", "stacktrace", "symbolize"],
    "absl/functional": ["any_invocable", "bind_front", "function_ref"],
    "absl/hash": ["hash"],
    "absl/log": ["absl_check", "absl_log", "check", "die_if_null", "log"],
    "absl/memory": ["memory"],
    "absl/meta": ["type_traits"],
    "absl/numeric": ["bits", "int128"],
    "absl/status": ["status", "statusor"],
    "absl/strings": ["cord", "str_format", "string_view", "strings"],
    "absl/synchronization": ["synchronization"],
    "absl/time": ["time"],
    "absl/types": ["any", "compare", "optional", "span", "variant"],
    "absl/utility": ["utility"],
}

# Those whose CMake target has another name.
_ABSEIL_RENAMED = {
    "//absl/algorithm:container": "absl_algorithm_container",
    "//absl/flags:config": "absl_flags_config",
    "//absl/flags:flag": "absl_flags",
    "//absl/flags:marshalling": "absl_flags_marshalling",
    "//absl/flags:parse": "absl_flags_parse",
    "//absl/flags:reflection": "absl_flags_reflection",
    "//absl/flags:usage": "absl_flags_usage",
    "//absl/log:globals": "absl_log_globals",
    "//absl/log:initialize": "absl_log_initialize",
    "//absl/random:distributions": "absl_random_distributions",
    "//absl/random:random": "absl_random_random",
}

def _abseil():
    labels = {
        "//%s:%s" % (package, name): "absl_" + name
        for package, names in _ABSEIL.items()
        for name in names
    }
    labels.update(_ABSEIL_RENAMED)
    pkg_config_repository(
        name = "com_google_absl",
        headers = ["absl"],
        labels = labels,
        modules = ["absl_"],
        source_package = "abseil",
    )

def _google_benchmark():
    pkg_config_repository(
        name = "com_github_google_benchmark",
        # Not every version of the package has a pkg-config file for this one.
        build_file_content = """
cc_library(
    name = "benchmark_main",
    srcs = ["lib/libbenchmark_main.a"],
    deps = [":benchmark"],
)
""",
        headers = ["benchmark"],
        labels = {"//:benchmark": "benchmark"},
        modules = ["benchmark"],
    )

def _googletest():
    pkg_config_repository(
        name = "com_google_googletest",
        headers = [
            "gmock",
            "gtest",
        ],
        labels = {
            "//:gtest": "gmock",
            "//:gtest_main": "gmock_main",
        },
        modules = [
            "gmock",
            "gtest",
        ],
    )

def _openssl():
    pkg_config_repository(
        name = "openssl",
        headers = ["openssl"],
        labels = {
            "//:crypto": "libcrypto",
            "//:ssl": "libssl",
        },
        modules = [
            "libcrypto",
            "libssl",
        ],
    )

# The messages that come with Protocol Buffers, with what each file imports.
_WELL_KNOWN_PROTOS = {
    "any": [],
    "api": ["source_context", "type"],
    "descriptor": [],
    "duration": [],
    "empty": [],
    "field_mask": [],
    "source_context": [],
    "struct": [],
    "timestamp": [],
    "type": ["any", "source_context"],
    "wrappers": [],
}

def _protobuf():
    rules = [
        """
proto_library(
    name = "%s_proto",
    srcs = ["include/google/protobuf/%s.proto"],
    strip_import_prefix = "include",
    deps = %r,
)
""" % (name, name, [":%s_proto" % dep for dep in deps])
        for name, deps in _WELL_KNOWN_PROTOS.items()
    ] + ["""
filegroup(
    name = "protoc",
    srcs = ["bin/protoc"],
)

proto_lang_toolchain(
    name = "cc_toolchain",
    blacklisted_protos = %r,
    command_line = "--cpp_out=$(OUT)",
    runtime = ":protobuf",
)
""" % [":%s_proto" % name for name in _WELL_KNOWN_PROTOS]]
    pkg_config_repository(
        name = "com_google_protobuf",
        build_file_content = "".join(rules),
        files = {
            "bazel/BUILD.bazel": "",
            "bazel/cc_proto_library.bzl": "cc_proto_library = native.cc_proto_library",
            "bazel/proto_library.bzl": "proto_library = native.proto_library",
        },
        headers = ["google/protobuf"],
        labels = {
            "//:protobuf": "protobuf",
            "//:protobuf_lite": "protobuf-lite",
        },
        modules = ["protobuf"],
        programs = ["protoc"],
        requires = {"absl_": "@com_google_absl"},
    )

def system_packages():
    """Declares the repositories that MODULE.bazel names, without any network."""
    bazel_dependencies()
    _abseil()
    _google_benchmark()
    _googletest()
    _openssl()
    _protobuf()
