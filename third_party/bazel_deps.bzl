"""The repositories that Bazel itself would download, without any network.

Bazel 4 loads its rules from them, although the rules are its own, and runs the
tools in one of them to report coverage.
"""

def _native(names):
    return "".join(["{0} = native.{0}\n".format(name) for name in names])

_CC_RULES = [
    "cc_binary",
    "cc_import",
    "cc_library",
    "cc_proto_library",
    "cc_test",
    "cc_toolchain",
    "cc_toolchain_suite",
    "objc_library",
]

_JAVA_RULES = [
    "java_binary",
    "java_import",
    "java_library",
    "java_runtime",
    "java_toolchain",
]

_RULES_CC = {
    "cc/%s.bzl" % name: _native([name])
    for name in ["cc_binary", "cc_library", "cc_test"]
}
_RULES_CC.update({
    "cc/BUILD.bazel": "",
    "cc/common/BUILD.bazel": "",
    "cc/common/cc_common.bzl": 'load(":native.bzl", "native_cc_common")\ncc_common = native_cc_common',
    "cc/common/cc_info.bzl": 'load(":native.bzl", "native_cc_info")\nCcInfo = native_cc_info',
    # A file cannot give a name to what has that name already.
    "cc/common/native.bzl": "native_cc_common = cc_common\nnative_cc_info = CcInfo",
    "cc/defs.bzl": _native(_CC_RULES),
})

_COVERAGE_TOOLS = """
package(default_visibility = ["//visibility:public"])

# Merges what the processes of one test covered.
sh_binary(
    name = "lcov_merger",
    srcs = ["merge_coverage.py"],
)

# Merges the reports of all the tests.
sh_binary(
    name = "coverage_report_generator",
    srcs = ["merge_coverage.py"],
)
"""

def _small_repository_impl(ctx):
    for path, content in ctx.attr.files.items():
        ctx.file(path, content)
    for link in ctx.attr.links:
        ctx.symlink(link, link.name)
    if ctx.attr.directory:
        for entry in ctx.path(ctx.attr.directory).readdir():
            ctx.symlink(entry, entry.basename)

_small_repository = repository_rule(
    implementation = _small_repository_impl,
    doc = "A repository made of a few files.",
    attrs = {
        "directory": attr.string(doc = "A directory of the system, to link to what is in it."),
        "files": attr.string_dict(doc = "Files to write, by path."),
        "links": attr.label_list(doc = "Files to link to."),
    },
)

def bazel_dependencies():
    """Declares what Bazel would download to build and test C++."""
    _small_repository(
        name = "rules_cc",
        files = _RULES_CC,
    )
    _small_repository(
        name = "rules_java",
        files = {
            "java/BUILD.bazel": "",
            "java/defs.bzl": _native(_JAVA_RULES),
        },
    )
    _small_repository(
        name = "remote_coverage_tools",
        files = {"BUILD.bazel": _COVERAGE_TOOLS},
        # A Label, as the macro may be that of another workspace.
        links = [Label("//third_party:merge_coverage.py")],
    )

    # Only later releases of Bazel look at these, which come with it in Debian.
    _small_repository(
        name = "bazel_skylib",
        directory = "/usr/share/bazel/tools/skylib",
    )
    _small_repository(
        name = "rules_python",
        directory = "/usr/share/bazel/rules/python",
    )
