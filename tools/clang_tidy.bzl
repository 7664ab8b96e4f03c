"""An aspect that runs clang-tidy on the sources of C++ targets.

    bazel build --config=lint //...

Each source is an action of its own, so what has not changed is not read again.
"""

load("@rules_cc//cc/common:cc_info.bzl", "CcInfo")
load(":cc_flags.bzl", "CC_FLAGS_ATTRS", "CC_FLAGS_FRAGMENTS", "cc_flags")

# Writes the output only if there is nothing to report.
_COMMAND = """
clang-tidy --quiet --warnings-as-errors='*' "$2" -- "${@:3}" > "$1" 2> /dev/null || {
  sed "s|$PWD/||" "$1" >&2
  exit 1
}
"""

def _clang_tidy_aspect_impl(target, ctx):
    if CcInfo not in target or target.label.workspace_root:
        return []
    compilation_context = target[CcInfo].compilation_context
    sources = [
        source
        for attribute in ["srcs", "hdrs"]
        for source in getattr(ctx.rule.files, attribute, [])
        if source.is_source and source.extension in ["cc", "h"]
    ]
    flags = cc_flags(ctx, compilation_context) if sources else []
    reports = []
    for source in sources:
        report = ctx.actions.declare_file("%s.%s.clang_tidy" % (source.basename, target.label.name))
        ctx.actions.run_shell(
            command = _COMMAND,
            arguments = [report.path, source.path, "-x", "c++"] + flags,
            inputs = depset(
                sources + [ctx.file._config],
                transitive = [compilation_context.headers],
            ),
            mnemonic = "ClangTidy",
            outputs = [report],
            progress_message = "Linting %s" % source.short_path,
            use_default_shell_env = True,
        )
        reports.append(report)
    return [OutputGroupInfo(clang_tidy = depset(reports))]

clang_tidy_aspect = aspect(
    implementation = _clang_tidy_aspect_impl,
    attrs = dict(
        CC_FLAGS_ATTRS,
        _config = attr.label(
            allow_single_file = True,
            default = "//:.clang-tidy",
        ),
    ),
    fragments = CC_FLAGS_FRAGMENTS,
)
