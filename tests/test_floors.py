"""The house: imports go down only, without circles, the machines are pure, and the docs name each module."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

TABLE = ROOT / "docs/architecture.md"
ROW = re.compile(r"^\| (\d+) \| `([^`]+)` \| .* \| ([^|]*)\|$", re.MULTILINE)
"""A room in the table: its floor, its name, and the rooms that it imports from."""

AT_THE_TOP = {"errors", "checks", "errortext", "exitcodes", "htmltext", "jobstates", "slotted", "version"}
"""Modules at the top of zturbo that every room may use; the others there are public names."""

MOST_METHODS = 30
"""Of an object, with those of its bases: one with more has parts."""
BASES = {"Message", "Request", "State", "Stage", "Task", "Result", "System", "LedgerCorrupt", "SpoolCorrupt"}
BASES |= {"LedLoop"}
"""Classes of ours that are made to be a base, beside errors: messages, states, public names, a protocol."""
NOT_YET = {
    "Copied": {"RunningNote"},
    "_Dying": {"RunningNote"},
    "_Brief": {"SafeFormatter"},
    "_Side": {"ChildSide"},
    "_Watched": {"Processes"},
}
"""Classes that still have a base of ours which is none of these."""

PURE = [
    "zturbo/core",
    "zturbo/core/links",
    "zturbo/core/order",
    "zturbo/core/worker",
    "zturbo/core/sink",
    "broker/machine",
    "broker/members",
    "broker/jobs",
    "broker/repeats.py",
]
"""Rooms of machines."""

PURE_TOO = ["zturbo_broker.ledger.rows"]

TYPES = {"zturbo.wire.extensions": {"datetime", "uuid"}}
"""Modules that are named for their types alone: values of users that are carried."""

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


def imports(name: str) -> set[str]:
    """The modules that a module imports: at its top, in its functions, under TYPE_CHECKING."""
    out = set()
    for node in ast.walk(ast.parse(MODULES[name].read_text())):
        if isinstance(node, ast.Import):
            out |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, f"{name} imports relatively"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                out.add(whole if whole in MODULES else node.module)
    return out - {name}


IMPORTS = {name: imports(name) for name in MODULES}
OURS = {name: used & MODULES.keys() for name, used in IMPORTS.items()}


def room(name: str) -> str:
    """The room that a module is in, as the table calls it."""
    package, *parts = name.split(".")
    top = "broker" if package == "zturbo_broker" else package
    if (top == "zturbo" and len(parts) < 2 and not (ROOT / top / "".join(parts)).is_dir()) or not parts:
        last = "".join(parts)
        return top if last in AT_THE_TOP else "zturbo/cli" if last == "__main__" else f"{top}/__init__.py"
    folders = [part for i, part in enumerate(parts) if (ROOT / top / "/".join(parts[: i + 1])).is_dir()]
    deep = 2 if parts[0] in ("core", "runtime") else 1
    return "/".join([top, *folders[:deep]]) if folders else f"{top}/{parts[0]}.py"


def arrows() -> dict[str, set[str]]:
    """Room -> the rooms that its modules import from, as the code has it."""
    out: dict[str, set[str]] = {}
    for name, used in OURS.items():
        if used or MODULES[name].name != "__init__.py":
            out.setdefault(room(name), set()).update(room(other) for other in used)
    return {name: used - {name, "zturbo"} for name, used in out.items()}


def picture(rooms: dict[str, set[str]]) -> str:
    """The rooms with their arrows, as rows of the table."""
    return "\n".join(f"{name}: {' '.join(sorted(used)) or '-'}" for name, used in sorted(rooms.items()))


def test_each_room_imports_what_the_table_says() -> None:
    """An arrow that the table has and the code has not is as wrong as the other way round."""
    table = {name: set(re.findall("`([^`]+)`", used)) for _, name, used in ROW.findall(TABLE.read_text())}
    assert picture(arrows()) == picture(table)


def test_floors_of_the_table_are_right() -> None:
    """A room stands above all that it imports from, and no higher than it has to: so there is no circle."""
    floors = {name: int(level) for level, name, _ in ROW.findall(TABLE.read_text())}
    for name, used in arrows().items():
        below = used | ({"zturbo"} - {name})
        assert floors[name] == max((floors[other] + 1 for other in below), default=0), name


def test_zturbo_never_imports_the_broker() -> None:
    for name, used in IMPORTS.items():
        if name.split(".")[0] == "zturbo":
            assert not [other for other in used if other.split(".")[0] == "zturbo_broker"], name


def classes() -> Iterator[tuple[str, set[str], int]]:
    """(name, names of its bases, methods of its own) of each class."""
    for path in MODULES.values():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                bases = [base.value if isinstance(base, ast.Subscript) else base for base in node.bases]
                methods = sum(isinstance(part, (ast.FunctionDef, ast.AsyncFunctionDef)) for part in node.body)
                yield node.name, {base.id for base in bases if isinstance(base, ast.Name)}, methods


CLASSES = list(classes())
ERRORS = {
    node.name
    for node in ast.walk(ast.parse(MODULES["zturbo.errors"].read_text()))
    if isinstance(node, ast.ClassDef)
}


def methods_of(bases: set[str], own: int) -> int:
    """Methods of a class, with those of its bases."""
    return own + sum(methods_of(above, methods) for name, above, methods in CLASSES if name in bases)


def test_no_object_is_spread_over_bases() -> None:
    ours = {name for name, _, _ in CLASSES} - BASES - ERRORS
    found = {name: bases & ours for name, bases, _ in CLASSES if bases & ours}
    assert found == NOT_YET


def test_objects_are_small() -> None:
    large = {name for name, bases, own in CLASSES if methods_of(bases, own) > MOST_METHODS}
    assert not large, f"{large}: give them parts"


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
    """Counting each import, also those in functions and under TYPE_CHECKING."""
    state: dict[str, int] = {}

    def visit(name: str, way: list[str]) -> None:
        if state.get(name) == 2:
            return
        assert state.get(name) != 1, f"a circle: {' -> '.join([*way, name])}"
        state[name] = 1
        for used in OURS[name]:
            visit(used, [*way, name])
        state[name] = 2

    for name in OURS:
        visit(name, [])


@pytest.mark.parametrize("name", [name for name in MODULES if room(name) in PURE or name in PURE_TOO])
def test_machines_are_pure(name: str) -> None:
    """So is all that they import, by whatever way."""
    seen, todo = {name}, [(name, name)]
    while todo:
        module, way = todo.pop()
        used = {other.split(".")[0] for other in IMPORTS[module]} - TYPES.get(module, set())
        assert not used & FORBIDDEN, f"{way} imports {used & FORBIDDEN}"
        for other in OURS[module] - seen:
            assert not other.startswith("zturbo.runtime"), f"{way} imports {other}"
            seen.add(other)
            todo.append((other, f"{way} -> {other}"))


def test_modules_for_their_types_make_no_values_of_chance_or_time() -> None:
    for name in TYPES:
        assert not re.search(r"\buuid[1-8]\b|\bgetnode\b", MODULES[name].read_text())


def test_pickle_stays_in_one_module() -> None:
    users = {name for name, used in IMPORTS.items() if used & {"pickle", "marshal"}}
    assert users == {"zturbo.runtime.code.shipping"}


def test_wall_time_is_for_records_only() -> None:
    allowed = {"zturbo.api.task", "zturbo.cli.health", "zturbo_broker.server"}
    allowed.add("zturbo.runtime.node.looking")  # which joins the traces of several hosts
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


WITHOUT = (
    "asyncio ast dataclasses difflib dis hashlib inspect pkgutil selectors shutil socket subprocess".split()
)
"""Modules that take milliseconds each, and that no member needs before it runs code that uses them."""

START = """
import logging, msgpack, pathlib, sys, zmq
sys.modules["pynvml"] = None
before = set(sys.modules)
import {module}
if "{module}".endswith("worker"):
    from zturbo.hardware.resources import Resources
    from zturbo.runtime.code.importing import build_stage, load_class
    from zturbo.runtime.code.fingerprint import fingerprint
    from zturbo.runtime.code.stagehost import StageHost
    cls = load_class("stages:Add")
    build_stage(cls, {{"number": 1}}, Resources())
    assert fingerprint("stages")
print(*(set(sys.modules) - before).intersection({without}))
"""
"""A start, up to a stage that is made: what Python, libzmq, msgpack and NVML import does not count."""

STAGES = """
from zturbo import Stage, Task

class Add(Stage):
    def __init__(self, resources, number):
        super().__init__(resources)
        self.number = number

    def process(self, task):
        return Task(task.content + self.number, parent_task=task)
"""


@pytest.mark.parametrize("module", ["zturbo.runtime.members.worker", "zturbo.runtime.members.sink"])
def test_a_member_imports_at_its_start_what_it_needs(module: str, tmp_path: Path) -> None:
    (tmp_path / "stages.py").write_text(STAGES)
    code = START.format(module=module, without=WITHOUT)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.stdout.split(), done.stderr) == ([], "")


WORDS = ROOT / "docs/words.md"

FOLDER = re.compile(r"^- \*\*`([^`]+)`\*\*:(.*(?:\n  .*)*)", re.MULTILINE)
"""A folder in the list of modules, and what is said of them."""

CLASS = r"[A-Z]\w*[a-z]\w*"
"""The form of a class's name, which no constant has."""


def test_each_module_is_named_in_the_architecture() -> None:
    """Under its folder; each that is named there is a module of that folder."""
    folders: dict[str, set[str]] = {}
    for path in MODULES.values():
        if path.name != "__init__.py":
            folders.setdefault(str(path.parent.relative_to(ROOT)), set()).add(path.stem)
    listed = FOLDER.findall(TABLE.read_text())
    named = {folder: set(re.findall("`([^`]+)`", about)) for folder, about in listed}
    assert picture(named) == picture(folders)


def spans(page: Path) -> list[str]:
    """What a page sets in code type; of a block, the words that have the form of a class's name."""
    text = page.read_text()
    blocks = re.findall(r"^```\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    words = [word for block in blocks for word in re.findall(rf"\b{CLASS}\b", block)]
    return words + re.findall(r"(?<!`)`([^`\n]+)`(?!`)", text)


@pytest.mark.parametrize("page", [TABLE, WORDS], ids=lambda page: str(page.name))
def test_each_file_that_the_pages_name_exists(page: Path) -> None:
    """From the repository's top, or from ``zturbo/``."""
    files = {span for span in spans(page) if re.fullmatch(r"[\w./]*(/|/\w+|\.py)", span)}
    assert files
    assert not {name for name in files if not any((top / name).exists() for top in (ROOT, ROOT / "zturbo"))}


@pytest.mark.parametrize("page", [TABLE, WORDS], ids=lambda page: str(page.name))
def test_each_class_that_the_pages_name_exists(page: Path) -> None:
    """Also the method or the field after its name, and constants."""
    bodies: dict[str, str] = {}
    for path in MODULES.values():
        lines = path.read_text().splitlines()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                bodies[node.name] = "\n".join(lines[node.lineno - 1 : node.end_lineno])
    sources = "\n".join(path.read_text() for path in MODULES.values())
    wrong = []
    for span in spans(page):
        ours = re.fullmatch(rf"(?:[a-z_]+\.)?({CLASS})(?:\.(\w+))?", span)
        if ours and span != "None":
            name, part = ours.groups()
            there = name in bodies and (not part or re.search(rf"\b{part}\b", bodies[name]))
        else:
            constant = re.fullmatch(r"[A-Z]+(_[A-Z]+)+", span)
            there = constant is None or re.search(rf"\b{span}\b", sources)
        if not there:
            wrong.append(span)
    assert not wrong


def test_each_module_of_a_machine_has_a_test_file_of_its_name() -> None:
    missing = set()
    for name, path in MODULES.items():
        if room(name) in PURE and path.name != "__init__.py":
            package, *rooms, last = name.split(".")
            folder = ROOT / "tests/unit" / ("broker" if package == "zturbo_broker" else "") / "/".join(rooms)
            if not (folder / f"test_{last}.py").exists():
                missing.add(name)
    assert not missing


TASK_FIELDS = {"_meta", "_logs", "_owned", "_started"}
"""Of a Task, as they are: its properties make what is not there, for the user's code. Ours is not to."""

OF_NAMED_TUPLES = {"_replace", "_asdict", "_repr_html_"}
"""Private by their looks alone; the last one is what notebooks call."""

BOUNDED = "counts what is kept, to see that memory is bounded"

PRIVATE_USES = {
    "zturbo/system/process_map.py": ({"_stream"}, "users see this method of a System only as process_map"),
    "tests/property/test_sequencer.py": ({"_top"}, BOUNDED),
    "tests/unit/core/test_deadlines.py": ({"_heap"}, BOUNDED),
    "tests/unit/broker/test_logbook.py": ({"_entries", "_characters"}, BOUNDED),
    "tests/unit/runtime/net/test_endless.py": ({"_connections"}, BOUNDED),
    "tests/unit/runtime/node/test_no_room.py": ({"_reports"}, BOUNDED),
    "tests/property/test_from_broker.py": (
        {"_hear", "_look", "_ref", "_obey", "_guard"},
        "gives a node and a client one message each, without the sockets that they read",
    ),
    "tests/system/test_otel.py": ({"_processes"}, "asks a System's broker what it has"),
    "tests/system/test_state_dir.py": ({"_processes"}, "asks a System's broker what it has"),
    "tests/system/test_system.py": (
        {"_processes", "_jobs"},
        "looks what is left of a System that has failed",
    ),
    "tests/unit/broker/ledger/test_ledger.py": ({"_db"}, "spoils rows, and reads what was written"),
    "tests/unit/client/test_outbox.py": ({"_thread"}, "waits until a client's thread has ended by itself"),
    "tests/unit/runtime/process/test_running.py": ({"_map"}, "writes into this memory as native code may"),
    "tests/sim/loop.py": ({"_run"}, "asyncio's: a loop of our own has to call it"),
}
"""Modules that use private names of another one: these names, and why."""


def private_names(tree: ast.Module) -> set[str]:
    """Private names that a module gives to what is its own: functions, classes, attributes of its objects."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            found.add(node.name)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            if isinstance(node.value, ast.Name) and node.value.id in ("self", "cls"):
                found.add(node.attr)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.add(node.value)  # of __slots__
    return {name for name in found if re.fullmatch(r"_[a-zA-Z]\w*", name)}


def uses_of_private_names(tree: ast.Module, theirs: set[str]) -> set[str]:
    """Names of other modules that this one uses, by an import or as another object's attribute."""
    mine, found = private_names(tree), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) not in ("self", "cls", "super()"):
            found.add(node.attr)
    return (found & theirs) - mine


TREES = {
    str(path.relative_to(ROOT)): ast.parse(path.read_text())
    for top in ("zturbo", "broker", "tests", "examples", "benchmarks", "scripts")
    for path in sorted((ROOT / top).rglob("*.py"))
}


def test_no_module_uses_what_another_one_keeps_to_itself() -> None:
    """But for a few, each for a reason. A name that the module itself has too is not counted."""
    theirs = set().union(*(private_names(tree) for tree in TREES.values())) - TASK_FIELDS - OF_NAMED_TUPLES
    for path, tree in TREES.items():
        listed, _ = PRIVATE_USES.get(path, (set(), ""))
        wrong = uses_of_private_names(tree, theirs) - listed
        assert not wrong, f"{path} uses {wrong}, which another module keeps to itself"
