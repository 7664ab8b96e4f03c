"""Tests that also pass where less is allowed."""

def _quote(text):
    return "'" + text.replace("'", "'\\''") + "'"

def _restricted_test_impl(ctx):
    command = [
        ctx.executable._restricted.short_path,
        "--" + ctx.attr.restriction,
        "--",
        ctx.executable.test.short_path,
    ] + ctx.attr.test_args
    ctx.actions.write(
        content = "#!/bin/sh\nexec %s \"$@\"\n" % " ".join([_quote(word) for word in command]),
        is_executable = True,
        output = ctx.outputs.executable,
    )
    runfiles = ctx.runfiles(files = [ctx.executable.test, ctx.executable._restricted])
    for target in [ctx.attr.test, ctx.attr._restricted]:
        runfiles = runfiles.merge(target[DefaultInfo].default_runfiles)
    return [DefaultInfo(runfiles = runfiles)]

restricted_test = rule(
    implementation = _restricted_test_impl,
    doc = "Runs another test by mp/testing/restricted.cc, which says what there is.",
    attrs = {
        "restriction": attr.string(
            mandatory = True,
            values = ["no-new-syscalls", "pid1", "unprivileged"],
        ),
        "test": attr.label(
            doc = "The test. For unprivileged, one that is linked statically.",
            cfg = "target",
            executable = True,
            mandatory = True,
        ),
        "test_args": attr.string_list(),
        "_restricted": attr.label(
            cfg = "target",
            default = "//mp/testing:restricted",
            executable = True,
        ),
    },
    test = True,
)

def restricted_tests(tests, restrictions, tags = [], test_args = [], **kwargs):
    """Runs each of some tests under each of some restrictions.

    The target for a test //p:n and pid1 is called n_pid1.

    Args:
      tests: Labels of tests in this package, with the colon.
      restrictions: See restricted_test.
      tags: Tags of all targets.
      test_args: Arguments for each test.
      **kwargs: What else all targets have, such as their size.
    """
    for test in tests:
        for restriction in restrictions:
            restricted_test(
                name = test[1:] + "_" + restriction.replace("-", "_"),
                restriction = restriction,
                # Bazel's own sandbox has namespaces already, and no root.
                tags = tags + ["no-sandbox"],
                test = test,
                test_args = test_args,
                **kwargs
            )
