"""An aspect that compiles each header of C++ libraries by itself.

    bazel build --config=headers //mp/...

A header passes if it includes all that it uses, and its target depends on all
that it includes.  Later releases of Bazel have the feature parse_headers.
"""

load("@rules_cc//cc/common:cc_info.bzl", "CcInfo")
load(":cc_flags.bzl", "CC_FLAGS_ATTRS", "CC_FLAGS_FRAGMENTS", "cc_flags", "cc_toolchain")

def _header_check_aspect_impl(target, ctx):
    if CcInfo not in target or target.label.workspace_root:
        return []
    compilation_context = target[CcInfo].compilation_context
    toolchain = cc_toolchain(ctx)
    headers = [
        header
        for attribute in ["srcs", "hdrs"]
        for header in getattr(ctx.rule.files, attribute, [])
        if header.extension == "h"
    ]
    flags = cc_flags(ctx, compilation_context) if headers else []
    marks = []
    for header in headers:
        mark = ctx.actions.declare_file("%s.%s.compiles" % (header.basename, target.label.name))
        ctx.actions.run_shell(
            command = '"${@:2}" && touch "$1"',
            arguments = [mark.path, toolchain.compiler_executable] + flags +
                        ["-fsyntax-only", "-x", "c++", header.path],
            inputs = depset([header], transitive = [
                compilation_context.headers,
                toolchain.all_files,
            ]),
            mnemonic = "HeaderCheck",
            outputs = [mark],
            progress_message = "Compiling %s by itself" % header.short_path,
            use_default_shell_env = True,
        )
        marks.append(mark)
    return [OutputGroupInfo(headers = depset(marks))]

header_check_aspect = aspect(
    implementation = _header_check_aspect_impl,
    attrs = CC_FLAGS_ATTRS,
    fragments = CC_FLAGS_FRAGMENTS,
)
