"""Tests of what a library does not depend on."""

# The packages under mp, lowest first.  Each may use those of the lines above
# its own, and itself.
_LAYERS = [
    ["base"],
    ["process"],
    ["sync"],
    ["sharedmem"],
    ["ipc"],
    ["manager", "pool"],
]

_DependenciesInfo = provider(
    doc = "A target with all that it depends on.",
    fields = {"labels": "depset of labels"},
)

def _dependencies_aspect_impl(target, ctx):
    return [_DependenciesInfo(labels = depset(
        [target.label],
        transitive = [
            dep[_DependenciesInfo].labels
            for attribute in ["deps", "implementation_deps"]
            for dep in getattr(ctx.rule.attr, attribute, [])
            if _DependenciesInfo in dep
        ],
    ))]

_dependencies_aspect = aspect(
    implementation = _dependencies_aspect_impl,
    attr_aspects = ["deps", "implementation_deps"],
)

def _matches(label, pattern):
    """Returns whether a label lies in "@repository", or in or below "package"."""
    if pattern.startswith("@"):
        return label.workspace_root == Label(pattern + "//:all").workspace_root
    return not label.workspace_root and (label.package + "/").startswith(pattern + "/")

def _matches_any(label, patterns):
    return any([_matches(label, pattern) for pattern in patterns])

def _layering_test_impl(ctx):
    complaints = [
        "%s depends on %s" % (library.label, label)
        for library in ctx.attr.libraries
        for label in library[_DependenciesInfo].labels.to_list()
        if _matches_any(label, ctx.attr.forbidden) and not _matches_any(label, ctx.attr.allowed)
    ]
    ctx.actions.write(
        content = "\n".join(
            ["#!/bin/sh"] +
            ["echo '%s'" % complaint for complaint in complaints] +
            ["exit %d" % min(len(complaints), 1)],
        ),
        is_executable = True,
        output = ctx.outputs.executable,
    )

layering_test = rule(
    implementation = _layering_test_impl,
    doc = "Tests that libraries depend on nothing in some packages and repositories.",
    attrs = {
        "allowed": attr.string_list(
            doc = "Exceptions from what is forbidden, in the same form.",
        ),
        "forbidden": attr.string_list(
            doc = "What to keep out: mp/pool, with the packages below it, or @openssl.",
            allow_empty = False,
            mandatory = True,
        ),
        "libraries": attr.label_list(
            aspects = [_dependencies_aspect],
            mandatory = True,
        ),
    },
    test = True,
)

def _usable(layer):
    """Returns the packages that those of a layer may use."""
    below = []
    for packages in _LAYERS:
        if layer in packages:
            return [layer] + below
        below += packages
    fail("tools/layering.bzl does not say where mp/%s belongs" % layer)

def package_layering_test(name = "layering_test"):
    """Tests that all C++ targets of a package use only the packages below it.

    Tests may use mp/testing too, and it uses mp/base only.  That nothing else
    uses it needs no test, because its targets are testonly.

    Call this last in a BUILD file: it sees the targets above it.

    Args:
      name: The name of the test.
    """
    layer = native.package_name().split("/")[1]
    usable = ["base"] if layer == "testing" else _usable(layer)
    layering_test(
        name = name,
        size = "small",
        allowed = ["mp/" + package for package in usable + ["testing"]],
        forbidden = ["examples", "mp", "tools"],
        libraries = [
            ":" + rule["name"]
            for rule in native.existing_rules().values()
            if rule["kind"].startswith("cc_")
        ],
    )
