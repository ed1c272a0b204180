"""The house: imports go down only, without circles, and the machines are pure."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

FLOORS = [
    ["zturbo.errors", "zturbo.version", "zturbo.checks"],
    ["zturbo.wire"],
    ["zturbo.core"],
    ["zturbo.errortext", "zturbo.options", "zturbo.log"],
    [
        "zturbo.cpus",
        "zturbo.gpus",
        "zturbo.resources",
        "zturbo.resource",
        "zturbo.task",
        "zturbo.result",
        "zturbo.stage",
        "zturbo.kinds",
        "zturbo.network",
        "zturbo.bar",
        "zturbo.terminal",
        "zturbo.allot",
    ],
    ["zturbo.runtime"],
    [
        "zturbo.jobids",
        "zturbo.client",
        "zturbo.handle",
        "zturbo.reader",
        "zturbo.retry",
        "zturbo.aio",
        "zturbo.asyncjob",
        "zturbo.progress",
        "zturbo.deploy",
        "zturbo.shipped",
    ],
    ["zturbo.debug"],
    ["zturbo.kept", "zturbo.processes", "zturbo.desk"],
    ["zturbo.system"],
    ["zturbo.fromsystem"],
    ["zturbo.pool", "zturbo.utils"],
    ["zturbo.testing"],
    ["zturbo"],
    ["zturbo.cli", "zturbo.__main__"],
]
"""From the ground up; a module imports from its own floor and from those below."""

BROKER_FLOORS = [
    ["members", "jobs", "logbook", "repeats", "router"],
    ["ledger", "machine"],
    ["server"],
    ["__main__"],
]
"""Rooms of the broker, from the ground up; rooms of one floor do not know each other."""
KINDS_OF_BASES = {"NamedTuple", "Protocol", "Exception", "ZturboError", "StartError", "LedgerCorrupt"}
"""That a class of the broker may have."""
MOST_METHODS = 30
"""Of an object of the broker: one with more has parts."""

PURE = [
    "zturbo.core",
    "zturbo_broker.machine",
    "zturbo_broker.members.leases",
    "zturbo_broker.jobs.placement",
    "zturbo_broker.jobs.roots",
    "zturbo_broker.jobs.fair_queue",
    "zturbo_broker.jobs.job",
    "zturbo_broker.jobs.states",
    "zturbo_broker.members.lost_sinks",
    "zturbo_broker.machine.recovery",
    "zturbo_broker.jobs.strikes",
    "zturbo_broker.members.complaints",
    "zturbo_broker.jobs.counts",
    "zturbo_broker.members.reach",
    "zturbo_broker.members.problems",
    "zturbo_broker.repeats",
    "zturbo_broker.ledger.rows",
]
WALL = re.compile(
    r"\btime\.time(_ns)?\b|from time import [^\n]*\btime(_ns)?\b|\b(datetime|date)\.(now|today|utcnow)\b"
)
"""What reads the wall clock."""

FORBIDDEN = {
    "datetime",
    "zmq",
    "time",
    "threading",
    "asyncio",
    "socket",
    "sqlite3",
    "os",
    "random",
    "logging",
    "subprocess",
    "secrets",
    "uuid",
}


def modules() -> dict[str, Path]:
    found = {}
    for package, folder in (("zturbo", "zturbo"), ("zturbo_broker", "broker")):
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = (package, *path.relative_to(ROOT / folder).with_suffix("").parts)
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def imports(name: str, *, everywhere: bool = False) -> set[str]:
    """What a module imports, at its top level or everywhere; TYPE_CHECKING blocks are left out."""
    tree = ast.parse(MODULES[name].read_text())
    nodes = ast.walk(tree) if everywhere else iter(tree.body)
    out = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            out |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            assert node.level == 0, f"{name} imports relatively"
            out.add(node.module)
            out |= {
                f"{node.module}.{alias.name}"
                for alias in node.names
                if f"{node.module}.{alias.name}" in MODULES
            }
    return out


def floor(name: str) -> int:
    matches = [
        (len(prefix), level)
        for level, prefixes in enumerate(FLOORS)
        for prefix in prefixes
        if name == prefix or (name.startswith(prefix + ".") and prefix != "zturbo")
    ]
    assert matches, f"{name} stands on no floor"
    return max(matches)[1]


@pytest.mark.parametrize("name", [name for name in MODULES if name.split(".")[0] == "zturbo"])
def test_imports_go_down(name: str) -> None:
    for used in imports(name):
        if used.split(".")[0] == "zturbo" and used in MODULES and used != name:
            assert floor(used) <= floor(name), f"{name} imports {used}, which stands above it"
        assert used.split(".")[0] != "zturbo_broker", f"{name} imports the broker"


def room(name: str) -> str:
    return name.split(".")[1] if "." in name else ""


@pytest.mark.parametrize("name", [name for name in MODULES if name.startswith("zturbo_broker.")])
def test_rooms_of_the_broker_stand_on_floors(name: str) -> None:
    level = {room: level for level, rooms in enumerate(BROKER_FLOORS) for room in rooms}
    for used in imports(name, everywhere=True):
        if used.startswith("zturbo_broker.") and room(used) != room(name):
            assert level[room(used)] < level[room(name)], f"{name} imports {used}"


@pytest.mark.parametrize("name", [name for name in MODULES if name.startswith("zturbo_broker.")])
def test_objects_of_the_broker_are_small(name: str) -> None:
    for node in ast.parse(MODULES[name].read_text()).body:
        if isinstance(node, ast.ClassDef):
            assert all(getattr(base, "id", "") in KINDS_OF_BASES for base in node.bases), (
                f"{node.name} of {name} has a base of ours"
            )
            methods = sum(isinstance(part, ast.FunctionDef) for part in node.body)
            assert methods <= MOST_METHODS, f"{node.name} of {name} has {methods} methods"


def test_the_broker_is_imported_by_its_name() -> None:
    """``broker`` is a name that a user's own module may have."""
    tops = ("zturbo", "broker", "tests", "benchmarks", "scripts", "examples")
    for path in (path for top in tops for path in (ROOT / top).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            wrong = [name for name in names if name.split(".")[0] == "broker"]
            assert not wrong, f"{path}: {wrong} is zturbo_broker"


def test_no_circles() -> None:
    graph = {name: {used for used in imports(name) if used in MODULES and used != name} for name in MODULES}
    state: dict[str, int] = {}

    def visit(name: str, way: list[str]) -> None:
        if state.get(name) == 2:
            return
        assert state.get(name) != 1, f"a circle: {' -> '.join([*way, name])}"
        state[name] = 1
        for used in graph[name]:
            visit(used, [*way, name])
        state[name] = 2

    for name in graph:
        visit(name, [])


@pytest.mark.parametrize(
    "name", [name for name in MODULES if any(name == pure or name.startswith(pure + ".") for pure in PURE)]
)
def test_machines_are_pure(name: str) -> None:
    used = {module.split(".")[0] for module in imports(name, everywhere=True)}
    assert not used & FORBIDDEN, f"{name} imports {used & FORBIDDEN}"
    below = [m for m in imports(name, everywhere=True) if m.startswith("zturbo.runtime")]
    assert not below


def test_pickle_stays_in_one_module() -> None:
    users = {
        name
        for name in MODULES
        if {m.split(".")[0] for m in imports(name, everywhere=True)} & {"pickle", "marshal"}
    }
    assert users == {"zturbo.runtime.shipping"}


def test_wall_time_is_for_records_only() -> None:
    allowed = {"zturbo.task", "zturbo.runtime.stagehost", "zturbo_broker.server"}
    users = {name for name, path in MODULES.items() if WALL.search(path.read_text())}
    assert users <= allowed, users - allowed


@pytest.mark.parametrize("name", MODULES)
def test_every_module_says_what_it_is_for_and_what_it_exports(name: str) -> None:
    tree = ast.parse(MODULES[name].read_text())
    assert ast.get_docstring(tree), f"{name} has no docstring"
    lines = len(MODULES[name].read_text().splitlines())
    assert lines <= 600, f"{name} has {lines} lines: split it"
    has_code = any(isinstance(node, (ast.FunctionDef, ast.ClassDef)) for node in tree.body)
    exports = [
        node
        for node in tree.body
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__"
    ]
    assert not has_code or exports, f"{name} has no __all__"
    if exports:
        names = ast.literal_eval(exports[0].value)
        defined = {n.name for n in tree.body if isinstance(n, (ast.FunctionDef, ast.ClassDef))}
        text = MODULES[name].read_text()
        assert all(n in defined or n in text for n in names)
