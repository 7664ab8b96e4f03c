"""Tests that programs do not compile, and that the compiler says why in a line."""

load("@rules_cc//cc/common:cc_common.bzl", "cc_common")
load("@rules_cc//cc/common:cc_info.bzl", "CcInfo")
load(":cc_flags.bzl", "CC_FLAGS_ATTRS", "CC_FLAGS_FRAGMENTS", "cc_flags", "cc_toolchain")

# Writes what the compiler says and how it ends, and succeeds.
_COMPILE = """
LC_ALL=C "${@:2}" 2> "$1"
echo "exit status: $?" >> "$1"
"""

_TEST = """#!/bin/bash
# Compares what the compiler said with what it should have said.

passed=true

# fail REPORT COMPLAINT
fail() {
  echo "$2:" >&2
  cat "$1" >&2
  passed=false
}

# compiles PROGRAM REPORT
compiles() {
  [[ $(tail -n 1 "$2") == "exit status: 0" ]] || fail "$2" "$1 does not compile"
}

# is_refused PROGRAM REPORT MESSAGE
is_refused() {
  local errors
  if [[ $(tail -n 1 "$2") == "exit status: 0" ]]; then
    fail "$2" "$1 compiles"
  elif ! errors=$(grep -E '(^|: )(fatal )?error: ' "$2"); then
    fail "$2" "$1 is refused without an error"
  elif [[ $errors == *$'\\n'* ]]; then
    fail "$2" "$1 is refused with several errors"
  elif [[ $errors != *"$3"* ]]; then
    fail "$2" "$1 is not refused because '$3'"
  fi
}

%s

$passed
"""

def _quote(text):
    return "'" + text.replace("'", "'\\''") + "'"

def _compile(ctx, source):
    """Returns a file with what the compiler says of a source."""
    compilation_context = cc_common.merge_cc_infos(
        cc_infos = [dep[CcInfo] for dep in ctx.attr.deps],
    ).compilation_context
    toolchain = cc_toolchain(ctx)
    report = ctx.actions.declare_file("%s.%s.txt" % (source.basename, ctx.label.name))
    ctx.actions.run_shell(
        command = _COMPILE,
        arguments = [report.path, toolchain.compiler_executable] +
                    cc_flags(ctx, compilation_context, copts = []) +
                    ["-fdiagnostics-color=never", "-fsyntax-only", "-x", "c++", source.path],
        inputs = depset([source], transitive = [
            compilation_context.headers,
            toolchain.all_files,
        ]),
        mnemonic = "CompileError",
        outputs = [report],
        progress_message = "Trying to compile %s" % source.short_path,
        use_default_shell_env = True,
    )
    return report

def _compile_error_test_impl(ctx):
    reports = []
    checks = []
    for source in ctx.files.compiles:
        report = _compile(ctx, source)
        reports.append(report)
        checks.append(["compiles", source.short_path, report.short_path])
    for target, message in ctx.attr.refused.items():
        for source in target.files.to_list():
            report = _compile(ctx, source)
            reports.append(report)
            checks.append(["is_refused", source.short_path, report.short_path, message])
    ctx.actions.write(
        content = _TEST % "\n".join([
            " ".join([_quote(word) for word in check])
            for check in checks
        ]),
        is_executable = True,
        output = ctx.outputs.executable,
    )
    return [DefaultInfo(runfiles = ctx.runfiles(reports))]

compile_error_test = rule(
    implementation = _compile_error_test_impl,
    doc = "Compiles programs, with the flags of the build, and tests what comes of it.",
    attrs = dict(
        CC_FLAGS_ATTRS,
        compiles = attr.label_list(
            doc = "Programs that compile: that the others do not has no common cause.",
            allow_empty = False,
            allow_files = [".cc"],
            mandatory = True,
        ),
        deps = attr.label_list(
            doc = "What the programs include.",
            providers = [CcInfo],
        ),
        refused = attr.label_keyed_string_dict(
            doc = "Programs that do not compile, each with a part of the one error there is.",
            allow_empty = False,
            allow_files = [".cc"],
            mandatory = True,
        ),
    ),
    fragments = CC_FLAGS_FRAGMENTS,
    test = True,
)
