"""How the C++ toolchain would compile a source, for aspects and rules that do it."""

load("@rules_cc//cc/common:cc_common.bzl", "cc_common")

# What an aspect or rule needs for cc_command_line().
CC_FLAGS_ATTRS = {
    "_cc_toolchain": attr.label(default = "@bazel_tools//tools/cpp:current_cc_toolchain"),
}
CC_FLAGS_FRAGMENTS = ["cpp"]

def cc_toolchain(ctx):
    """Returns the CcToolchainInfo of the build."""
    return ctx.attr._cc_toolchain[cc_common.CcToolchainInfo]

def cc_flags(ctx, compilation_context, copts = None):
    """Finds the flags with which the toolchain would compile a C++ source.

    Args:
      ctx: The context of an aspect or rule, with the attributes and fragments above.
      compilation_context: That of the target that has the source.
      copts: The target's own flags.  A rule must say; an aspect finds them.

    Returns:
      The flags, as a list of strings.
    """
    toolchain = cc_toolchain(ctx)
    features = cc_common.configure_features(
        ctx = ctx,
        cc_toolchain = toolchain,
        requested_features = ctx.features,
        unsupported_features = ctx.disabled_features,
    )
    if copts == None:
        copts = getattr(ctx.rule.attr, "copts", [])
    cpp = ctx.fragments.cpp
    return cc_common.get_memory_inefficient_command_line(
        feature_configuration = features,
        action_name = "c++-compile",
        variables = cc_common.create_compile_variables(
            feature_configuration = features,
            cc_toolchain = toolchain,
            user_compile_flags = cpp.copts + cpp.cxxopts + copts,
            include_directories = compilation_context.includes,
            quote_include_directories = compilation_context.quote_includes,
            system_include_directories = compilation_context.system_includes,
            preprocessor_defines = depset(transitive = [
                compilation_context.defines,
                compilation_context.local_defines,
            ]),
        ),
    )
