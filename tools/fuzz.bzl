"""Fuzz tests: one function, and a directory of inputs that it must survive."""

load("@rules_cc//cc:cc_binary.bzl", "cc_binary")
load("@rules_cc//cc:cc_test.bzl", "cc_test")

def mp_fuzz_test(name, srcs, corpus, deps = [], size = "small"):
    """Declares a fuzzer, and a test that gives it the inputs that are known.

    The test, NAME, is one like any other, in every build.  The fuzzer looks for
    more inputs with Clang's libFuzzer; DIRECTORY is where it keeps them:

        bazel run --config=fuzz //PACKAGE:NAME_fuzzer -- -max_total_time=60 DIRECTORY

    Args:
      name: The name of the test.
      srcs: Sources, which define LLVMFuzzerTestOneInput() and no main().
      corpus: Files, each of them one input.  There must be at least one.
      deps: What the sources depend on.
      size: How long the test may take.
    """
    paths = ["$(rootpath %s)" % file for file in corpus]
    cc_test(
        name = name,
        size = size,
        srcs = srcs + ["//tools:fuzz_replay_main.cc"],
        args = paths,
        data = corpus,
        deps = deps,
    )
    cc_binary(
        name = name + "_fuzzer",
        testonly = True,
        srcs = srcs,
        args = ["-seed_inputs=" + ",".join(paths)],
        data = corpus,
        linkopts = ["-fsanitize=fuzzer"],
        # Only --config=fuzz can link it, so `build //...` must not try.
        tags = [
            "fuzzer",
            "manual",
        ],
        deps = deps,
    )
