"""The Python environment, as a repository that Bazel builds once.

The repository holds a venv with exactly the packages of the lock file and the
toolchain that makes it the interpreter of every Python target. It is built
again only when the lock file or the two files here change.
"""

_BUILD = """\
load("@bazel_tools//tools/python:toolchain.bzl", "py_runtime_pair")

py_runtime(
    name = "interpreter",
    interpreter_path = "{interpreter}",
    python_version = "PY3",
    stub_shebang = "#!{interpreter}",
)

py_runtime_pair(
    name = "runtimes",
    py3_runtime = ":interpreter",
)

toolchain(
    name = "toolchain",
    toolchain = ":runtimes",
    toolchain_type = "@bazel_tools//tools/python:toolchain_type",
)
"""

_FIND_PYTHON = """\
import sys
if sys.version_info[:2] != (3, 11):
  sys.exit(1)
import ensurepip, venv
print(sys.executable)
"""

# Downloading a few GB over a slow line takes a while.
_TIMEOUT_S = 3 * 60 * 60

def _find_python(ctx):
    """Returns the path of a Python 3.11 that can make a venv."""
    found = []
    for name in ["python3.11", "python3", "python"]:
        path = ctx.which(name)
        if not path:
            continue

        # A version manager's shim answers with the interpreter behind it.
        result = ctx.execute([path, "-I", "-c", _FIND_PYTHON])
        if result.return_code == 0:
            return result.stdout.strip()
        if "No module named" in result.stderr:
            found.append("%s without venv" % path)
        else:
            found.append(str(path))
    fail(("found %s, expected Python 3.11 with its venv module: install it " +
          "(on Debian: apt-get install python3.11-venv) and run again") %
         (", ".join(found) or "no Python on PATH"))

def _python_environment_impl(ctx):
    requirements = ctx.path(ctx.attr.requirements)
    script = ctx.path(ctx.attr._script)
    python = _find_python(ctx)

    # quiet = False shows the script's few lines of progress as they come.
    result = ctx.execute(
        [python, "-I", script, "--requirements", requirements, "--folder", "."],
        quiet = False,
        timeout = _TIMEOUT_S,
    )
    if result.return_code != 0:
        lines = result.stderr.strip().split("\n")
        fail(lines[-1].replace("error: ", "", 1) or "Python could not run " + str(script))

    # The folder's name carries the lock's digest, and every target carries the
    # folder's name: a test result never outlives the packages it was got with.
    interpreter = ctx.path(ctx.read("interpreter.txt"))
    ctx.file("BUILD", _BUILD.format(interpreter = interpreter))

python_environment = repository_rule(
    implementation = _python_environment_impl,
    doc = "Builds a venv from a hash-locked requirements file.",
    attrs = {
        "requirements": attr.label(
            allow_single_file = True,
            doc = "The lock: every package pinned, with its hashes.",
            mandatory = True,
        ),
        "_script": attr.label(
            allow_single_file = True,
            default = "//tools/python:build_environment.py",
        ),
    },
)
