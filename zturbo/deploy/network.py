"""The network file: the pipelines of a broker, their stages, and the number of workers of each stage.

    [broker]
    bind = "tcp://127.0.0.1:5555"

    [[pipeline]]
    name = "video"

      [[pipeline.stage]]
      name = "detect"
      class = "examples.video.stages:Detect"
      workers = 2
      args = { threshold = 0.5 }
      resources = { cpu = 2, gpu = 1 }

A mistake in the file is a :class:`~zturbo.errors.NetworkFileError`, which names the file, the key, and the
expected value.
"""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from zturbo.api.stage import Stage
from zturbo.checks import is_loopback, is_number
from zturbo.deploy.settings import BROKER, LISTEN, BrokerSpec, Key, ListenSpec, is_ports
from zturbo.errors import NetworkFileError
from zturbo.wire.messages import MAX_INT, ORDERS, is_order

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["BrokerSpec", "HostSpec", "ListenSpec", "Network", "PipelineSpec", "StageSpec"]

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}\Z")
_CLASS = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*\Z")


@dataclass(slots=True, frozen=True)
class HostSpec:
    """Table ``[[host]]``: a host of ``zturbo deploy``. The first one has broker and sink too."""

    name: str
    """Name of the host, unique in the file."""
    ssh: str
    """Where ``ssh`` goes: ``user@host``, or a name of its configuration. Default: the host's name."""
    address: str | None = None
    """IP address or name by which the other hosts reach it; default: its address towards the broker."""
    python: str = "python3"
    """Python there that has zturbo, such as ``~/venv/bin/python``."""
    workdir: str | None = None
    """Folder there for code, keys, logs and state; default: ``~/.zturbo/deploy/FILE/HOST``."""
    env: Mapping[str, str] = field(default_factory=dict)
    """Environment variables of its processes."""
    stages: tuple[str, ...] = ()
    """Stages that run there, each with its own number of workers. If no host names any, the workers are dealt
    out to all hosts."""
    workers: Mapping[str, int] = field(default_factory=dict)
    """Stage -> number of its workers there, where that is not the stage's own."""
    ports: str | None = None
    """Ports that its processes take; default: those of ``[listen]``."""


@dataclass(slots=True, frozen=True)
class StageSpec:
    """Table ``[[pipeline.stage]]``."""

    name: str
    """Name of the stage, unique within its pipeline."""
    cls: str
    """``module:Class``, or ``module:function``; the current directory is on the import path."""
    workers: int = 1
    """Number of workers that ``zturbo up`` starts."""
    args: Mapping[str, Any] = field(default_factory=dict)
    """Keyword arguments of the class or the function."""
    task_timeout: float | None = None
    """Seconds that one task may run; then its worker is ended, and the task fails with TaskTimeout."""
    stage: Stage | None = None
    """The stage itself, if it comes from a ``System`` class and not from a file."""
    resources: Mapping[str, int | float] = field(default_factory=dict)
    """CPUs and GPUs of each worker, ``cpu`` and ``gpu``; see :mod:`zturbo.hardware.allot`."""


@dataclass(slots=True, frozen=True)
class PipelineSpec:
    """Table ``[[pipeline]]``."""

    name: str
    """Name of the pipeline, for ``submit`` and ``map``."""
    stages: tuple[StageSpec, ...]
    """One ``[[pipeline.stage]]`` table for each stage, in order."""
    durability: str = "fsync"
    """With ``fsync``, acked data survives a power cut; with ``process``, the death of any process; with
    ``memory``, nothing waits for the disk. A job may choose another mode."""
    order: str = "path"
    """Order of results. ``path`` is the order that one process would give. ``meta:KEY`` is the order of the
    numbers, counted from 0, that outputs have in their meta. ``none`` gives each as soon as it is done."""
    logs: bool = False
    """Whether each task has a log entry for each of its stages."""
    code: str = "job"
    """Which workers a job's tasks may go to if those of a stage have different code. ``job``: those with the
    code with which the job began, the newest then. ``restart``: so too, but if no worker has that code any
    more, the job starts over with the newest. ``same``: a worker whose code differs is refused. ``any``: all
    of them."""
    peers: int | None = None
    """Workers of the next stage that a worker sends tasks to, at most: this bounds its sockets. Without it,
    a worker has six, and more while tasks wait."""
    max_task_bytes: int = 256 << 20
    """Most bytes of one task."""
    max_task_retries: int = 3
    """If a task was running at this number of workers' deaths, it fails with WorkerLost."""

    def stage(self, name: str) -> int | None:
        """Index of the stage with this name; None if there is none."""
        return next((i for i, stage in enumerate(self.stages) if stage.name == name), None)


@dataclass(slots=True, frozen=True)
class Network:
    """A network file."""

    path: str
    broker: BrokerSpec
    pipelines: tuple[PipelineSpec, ...]
    listen: ListenSpec = field(default_factory=ListenSpec)
    hosts: tuple[HostSpec, ...] = ()

    @property
    def state(self) -> Path:
        """Folder of the ledger and of sinks' spools."""
        here = Path(self.path).absolute()
        if self.broker.state is not None:
            return here.parent / self.broker.state
        return here.parent / ".zturbo" / here.stem

    @property
    def keys(self) -> str | None:
        """Folder or file of keys; None without keys. They are for TCP: a broker on ipc has none."""
        if self.broker.keys is None or not self.broker.bind.startswith("tcp:"):
            return None
        return str(Path(self.path).absolute().parent / self.broker.keys)

    @property
    def is_open(self) -> bool:
        """Whether other hosts, or all users of its own, reach the broker, and nothing keeps strangers out."""
        bind = self.broker.bind
        if bind.startswith("ipc:"):
            return bind.startswith("ipc://@")  # a name without a file has no mode
        return self.keys is None and not is_loopback(bind)

    def find(self, stage: str) -> tuple[PipelineSpec, int]:
        """The pipeline and the index of a stage, given as ``pipeline.stage``; raises NetworkFileError."""
        name, _, stage_name = stage.rpartition(".")
        names = [f"{p.name}.{s.name}" for p in self.pipelines for s in p.stages]
        for pipeline in self.pipelines:
            index = pipeline.stage(stage_name)
            if pipeline.name == name and index is not None:
                return pipeline, index
        raise NetworkFileError(self.path, "", f"there is no stage {stage!r}{_nearest(stage, names)}")

    @classmethod
    def load(cls, path: str | Path) -> Network:
        """Read and check a file.

        Raises:
            NetworkFileError: the file cannot be read, is not TOML, or has a mistake.
        """
        text = str(path)
        try:
            raw = Path(path).read_bytes()
            table = tomllib.loads(raw.decode("utf-8-sig"))  # some editors put a mark before UTF-8
        except OSError as error:
            raise NetworkFileError(text, "", f"cannot be read: {error.strerror}") from None
        except UnicodeDecodeError as error:
            raise NetworkFileError(text, "", f"is not UTF-8, as TOML is: {error}; save it as UTF-8") from None
        except tomllib.TOMLDecodeError as error:
            raise NetworkFileError(text, "", f"is not valid TOML: {error}") from None
        except ValueError as error:  # its path has a zero byte, or a number has too many digits
            raise NetworkFileError(text, "", f"cannot be read: {error}") from None
        except RecursionError:
            raise NetworkFileError(text, "", "is nested too deep") from None
        return cls.parse(table, text)

    @classmethod
    def parse(cls, table: Mapping[str, Any], path: str = "network") -> Network:
        """Check the table that a file has; ``path`` is for errors. Raises NetworkFileError."""
        return _Parser(path).network(table)


def _nearest(word: str, names: list[str]) -> str:
    near = difflib.get_close_matches(word, names, 1)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; there are: {', '.join(sorted(names))}" if names else ""


def _kind(value: object) -> str:
    names = {dict: "a table", list: "an array", str: "a string", bool: "a boolean", int: "an integer"}
    return names.get(type(value), f"a {type(value).__name__}")


class _Parser:
    def __init__(self, path: str) -> None:
        self.path = path

    def fail(self, key: str, problem: str) -> NetworkFileError:
        return NetworkFileError(self.path, key, problem)

    def known(self, table: Mapping[str, Any], key: str, names: list[str]) -> None:
        for name in table:
            if name not in names:
                where = f"{key}.{name}" if key else name
                raise self.fail(where, f"unknown key{_nearest(name, names)}")

    def get(
        self,
        table: Mapping[str, Any],
        key: str,
        name: str,
        kind: type | tuple[type, ...],
        expected: str,
        default: Any,
        valid: Callable[[Any], bool] = lambda value: True,
    ) -> Any:
        if name not in table:
            if default is _REQUIRED:
                raise self.fail(f"{key}.{name}".strip("."), f"is missing; expected {expected}")
            return default
        value = table[name]
        kinds = kind if isinstance(kind, tuple) else (kind,)
        if type(value) not in kinds:
            raise self.fail(f"{key}.{name}".strip("."), f"expected {expected}, found {_kind(value)}")
        if type(value) is int and abs(value) > MAX_INT:
            raise self.fail(f"{key}.{name}", f"expected {expected}, found {value}, which is too large")
        if not valid(value):
            raise self.fail(f"{key}.{name}", f"expected {expected}, found {value!r}")
        return value

    def tables(self, table: Mapping[str, Any], key: str, name: str) -> list[Any]:
        where = f"{key}.{name}" if key else name
        value = table.get(name)
        if value is None or value == []:
            raise self.fail(where, f"is missing; expected one or more [[{where.split('[')[0]}]] tables")
        if type(value) is not list or any(type(part) is not dict for part in value):
            raise self.fail(where, f"expected [[{name}]] tables, found {_kind(value)}")
        return value

    def network(self, table: Mapping[str, Any]) -> Network:
        self.known(table, "", ["broker", "host", "listen", "pipeline"])
        broker = self.settings(table, "broker", BrokerSpec(), BROKER)
        pipelines: list[PipelineSpec] = []
        for i, part in enumerate(self.tables(table, "", "pipeline")):
            pipeline = self.pipeline(part, f"pipeline[{i}]")
            if any(other.name == pipeline.name for other in pipelines):
                raise self.fail(f"pipeline[{i}].name", f"{pipeline.name!r} is the name of another pipeline")
            pipelines.append(pipeline)
        listen = self.settings(table, "listen", ListenSpec(), LISTEN)
        hosts: list[HostSpec] = []
        for i, part in enumerate(self.tables(table, "", "host") if "host" in table else ()):
            host = self.host(part, f"host[{i}]", pipelines)
            if any(other.name == host.name for other in hosts):
                raise self.fail(f"host[{i}].name", f"{host.name!r} is the name of another host")
            hosts.append(host)
        return Network(self.path, broker, tuple(pipelines), listen, tuple(hosts))

    def host(self, table: Mapping[str, Any], key: str, pipelines: list[PipelineSpec]) -> HostSpec:
        expected = "a name of letters, digits, '_', '.' and '-', 64 at most"
        if "name" in table:  # the other keys are named after it
            name = self.get(table, key, "name", str, expected, None, lambda v: bool(_HOST.match(v)))
            key = f"host.{name}"
        self.known(table, key, [part.name for part in fields(HostSpec)])
        name = self.get(table, key, "name", str, expected, _REQUIRED)

        def text(field_name: str, expected: str, default: str | None) -> Any:
            return self.get(table, key, field_name, str, expected, default, _is_word)

        env = self.get(table, key, "env", dict, "a table of strings", {}, _is_environment)
        known = [f"{p.name}.{s.name}" for p in pipelines for s in p.stages]
        stages = self.get(table, key, "stages", list, "an array of stages, such as ['video.detect']", [])
        workers = self.get(table, key, "workers", dict, "a table of stages and numbers", {})
        for field_name, names in (("stages", stages), ("workers", workers)):
            for stage in names:
                if stage not in known:
                    text_of = f"there is no stage {stage!r}{_nearest(str(stage), known)}"
                    raise self.fail(f"{key}.{field_name}", text_of)
        for stage, number in workers.items():
            if type(number) is not int or number < 0:
                raise self.fail(
                    f"{key}.workers", f"expected a number for {stage}, 0 or more, found {number!r}"
                )
        return HostSpec(
            name=name,
            ssh=text("ssh", "a host as ssh takes it, such as user@host", name),
            address=text("address", "an address by which other hosts reach it", None),
            python=text("python", "the path of a Python", "python3"),
            workdir=text("workdir", "a folder", None),
            env=env,
            stages=tuple(stages),
            workers=workers,
            ports=self.get(table, key, "ports", str, "ports such as '5555-5600'", None, is_ports),
        )

    def settings(self, table: Mapping[str, Any], name: str, spec: Any, keys: Mapping[str, Key]) -> Any:
        """A table of settings; ``spec`` has the defaults."""
        given = self.get(table, "", name, dict, "a table", {})
        self.known(given, name, [*keys])
        values = {
            key: of.kind(self.get(given, name, key, of.kinds, of.expected, None, of.fits))
            for key, of in keys.items()
            if key in given
        }
        return replace(spec, **values)

    def seconds(
        self, table: Mapping[str, Any], key: str, name: str, default: float | None, *, least: float = 0
    ) -> Any:
        expected = f"seconds, {least:g} or more" if least else "seconds, more than 0"
        value = self.get(
            table, key, name, (int, float), expected, default, lambda v: is_number(v, least) and v > 0
        )
        return None if value is None else float(value)

    def pipeline(self, table: Mapping[str, Any], key: str) -> PipelineSpec:
        name = self.name(table, key)
        key = f"pipeline.{name}"
        known = ["name", "stage", "durability", "order", "logs", "code", "peers"]
        known += ["max_task_bytes", "max_task_retries"]
        self.known(table, key, known)
        stages: list[StageSpec] = []
        for i, part in enumerate(self.tables(table, key, "stage")):
            stage = self.stage(part, f"{key}.stage[{i}]", key)
            if any(other.name == stage.name for other in stages):
                raise self.fail(f"{key}.stage[{i}].name", f"{stage.name!r} is the name of another stage")
            stages.append(stage)
        modes = ("fsync", "process", "memory")
        codes = ("job", "restart", "same", "any")
        return PipelineSpec(
            name=name,
            stages=tuple(stages),
            durability=self.get(
                table, key, "durability", str, "'fsync', 'process' or 'memory'", "fsync", lambda v: v in modes
            ),
            order=self.get(table, key, "order", str, ORDERS, "path", is_order),
            logs=self.get(table, key, "logs", bool, "true or false", False),
            code=self.get(
                table, key, "code", str, "'job', 'restart', 'same' or 'any'", "job", lambda v: v in codes
            ),
            peers=self.get(table, key, "peers", int, "a number, 1 or more", None, lambda v: v >= 1),
            max_task_bytes=self.get(
                table, key, "max_task_bytes", int, "a number of bytes, 1 or more", 256 << 20, lambda v: v >= 1
            ),
            max_task_retries=self.get(
                table, key, "max_task_retries", int, "a number, 1 or more", 3, lambda v: v >= 1
            ),
        )

    def name(self, table: Mapping[str, Any], key: str) -> str:
        expected = "a name of letters, digits, '_' and '-', 64 at most"
        name: str = self.get(table, key, "name", str, expected, _REQUIRED, lambda v: bool(_NAME.match(v)))
        return name

    def stage(self, table: Mapping[str, Any], key: str, pipeline: str) -> StageSpec:
        name = self.name(table, key)
        key = f"{pipeline}.stage.{name}"
        self.known(table, key, ["name", "class", "workers", "args", "task_timeout", "resources"])
        return StageSpec(
            name=name,
            cls=self.get(
                table, key, "class", str, "'module:Class'", _REQUIRED, lambda v: bool(_CLASS.match(v))
            ),
            workers=self.get(table, key, "workers", int, "a number, 1 or more", 1, lambda v: v >= 1),
            args=self.get(table, key, "args", dict, "a table of keyword arguments", {}),
            task_timeout=self.seconds(table, key, "task_timeout", None),
            resources=self.resources(table, key),
        )

    def resources(self, table: Mapping[str, Any], key: str) -> dict[str, int | float]:
        expected = "a table of what each worker gets, such as { cpu = 2, gpu = 1 }"
        wanted = self.get(table, key, "resources", dict, expected, {})
        key += ".resources"
        self.known(wanted, key, ["cpu", "gpu"])
        self.get(wanted, key, "cpu", int, "a number of CPUs, 1 or more", 1, lambda v: v >= 1)
        gpus = "a number of GPUs, 0 or more, or a part of one, such as 0.5"
        self.get(
            wanted, key, "gpu", (int, float), gpus, 0, lambda v: is_number(v, 0) and (v < 1 or v % 1 == 0)
        )
        return dict(wanted)


def _is_word(text: str) -> bool:
    """Whether a program takes a text as one word, and not as an option."""
    return text.isprintable() and text[:1] not in ("", "-", " ")


def _is_environment(table: Mapping[str, Any]) -> bool:
    return all(
        type(value) is str and name and not set(name) & {"=", "\0"} and "\0" not in value
        for name, value in table.items()
    )


_REQUIRED: Any = object()
