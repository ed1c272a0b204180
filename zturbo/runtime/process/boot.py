"""The program that a child of a node begins as: ``python PATH/boot.py MODULE``, not ``python -m MODULE``.

A child that is forked begins here too, see :mod:`zturbo.runtime.process.forkserver`.

``python -m`` puts the working directory first on the import path. Then a user's ``queue.py`` or ``random.py``
there is imported in place of Python's, and the process dies before it can report anything. So a child starts
with a path on which the working directory comes last, until it loads the user's code
(:mod:`zturbo.runtime.code.theirs`).
"""

import os
import sys

__all__ = ["FORK_SERVER", "MODULES", "command", "main", "ours_first", "split_path"]

MODULES = {
    "broker": "zturbo_broker",
    "sink": "zturbo.runtime.members.sink",
    "worker": "zturbo.runtime.members.worker",
}
"""Role of a child -> the module that it runs."""

FORK_SERVER = "zturbo.runtime.process.forkserver"
"""The module that forks children in place of being run; each of them goes on with a module of its own."""


def command(module: str) -> list[str]:
    """The command that runs this module in a child, with this interpreter's ``-O``, ``-X``, ``-W``."""
    import subprocess

    flags: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
    return [sys.executable, *flags, os.path.abspath(__file__), module]


def split_path() -> tuple[list[str], list[str]]:
    """The import path in two parts: Python's own library, and the rest without the working directory."""
    own, rest = [], []
    library = os.path.dirname(os.__file__)
    version = "python{}{}.zip".format(*sys.version_info[:2])
    for entry in sys.path:
        if entry == library or os.path.basename(entry) in ("lib-dynload", version):
            own.append(entry)
        elif entry not in ("", os.getcwd()):
            rest.append(entry)
    return own, rest


def ours_first() -> None:
    """Put Python's own library first on the import path, and the working directory last."""
    own, rest = split_path()
    sys.path[:] = [*own, *rest, os.getcwd()]


def _load(name: str, bases: list[str]) -> None:
    """Import a package from the first of these folders that has it. If none has, a later import finds it."""
    from importlib.util import module_from_spec, spec_from_file_location

    for base in bases:
        folder = os.path.join(base, name)
        file = os.path.join(folder, "__init__.py")
        if os.path.isfile(file):
            spec = spec_from_file_location(name, file, submodule_search_locations=[folder])
            assert spec is not None and spec.loader is not None
            sys.modules[name] = module = module_from_spec(spec)
            spec.loader.exec_module(module)
            return


def main() -> None:
    """Run the module that the command line names, as ``python -m`` would."""
    if not getattr(sys.flags, "safe_path", False):
        del sys.path[0]  # the folder of this file
    ours_first()
    import runpy

    module = sys.argv.pop(1)
    # The child has to get the parent's zturbo, wherever the parent found it. A checkout has its packages in
    # src/, under the names by which they are imported.
    base = os.path.abspath(os.path.join(os.path.dirname(__file__), *[os.pardir] * 3))
    for name in ("zturbo", "zturbo_broker"):
        if name == "zturbo" or module.partition(".")[0] == name or module == FORK_SERVER:
            _load(name, [base, os.path.join(base, "src")])
    from zturbo.runtime.process.tunables import drop_tunables

    drop_tunables(os.environ)
    if module == FORK_SERVER:
        from zturbo.runtime.process.forkserver import serve

        module = serve(int(sys.argv[1]))
        del sys.argv[1:]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
