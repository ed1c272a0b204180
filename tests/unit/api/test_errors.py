"""Every wrong type or name in the API gets an error that names the field and the fix."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from zturbo import (
    Client,
    Job,
    Options,
    ReorderStage,
    Resources,
    Stage,
    System,
    Task,
    get_logger,
    process_map,
    progressbar,
)
from zturbo.api.options import OptionSet
from zturbo.cli.fromsystem import network_of
from zturbo.errors import EncodeError, UsageError

A: Any = None  # what follows is wrong, and the type checker knows


class Same(Stage):
    def process(self, task: Task) -> Task:
        return task


class Allots(Same):
    def __init__(self, gives: Any) -> None:
        self.gives = gives
        super().__init__(Resources({}))

    def allocate_resource(self, resources: Resources, **custom: Any) -> list[Resources]:
        return self.gives  # type: ignore[no-any-return]


class Plain(System):
    def get_stages(self, resources: Resources) -> list[Stage]:
        return [Same()]


class Wide(Plain):
    def get_num_pipeline(self, resources: Resources, *, width: Any = 1) -> int:  # type: ignore[override]
        return width  # type: ignore[no-any-return]


class Gives(System):
    def __init__(self, gives: Any) -> None:
        super().__init__(debug=True)
        self.gives = gives

    def get_stages(self, resources: Resources) -> list[Stage]:
        return self.gives  # type: ignore[no-any-return]


class NoSuper(Plain):
    def __init__(self) -> None:
        pass


class Locked(Same):
    def __init__(self) -> None:
        self.lock = threading.Lock()


def setter(thing: Any, name: str, value: Any) -> Callable[[], None]:
    return lambda: setattr(thing, name, value)


def started() -> System:
    system = Plain(debug=True)
    system.start()
    return system


WRONG: dict[str, tuple[Callable[[], object], str]] = {
    # Task
    "meta": (lambda: Task(1, A or 5), "Task.meta is to be a dict or None, not 5 of type int"),
    "parent": (lambda: Task(1, parent_task=A or 5), "Task.parent_task is to be a Task or None, not 5"),
    "meta=": (setter(Task(), "meta", []), r"Task.meta is to be a dict or None, not \[\]"),
    "logs=": (setter(Task(), "logs", ()), r"Task.logs is to be a list of TaskLog or None, not \(\)"),
    # Job
    "name": (lambda: Job(A or 3, Task()), "Job.name is to be a str, not 3"),
    "task": (lambda: Job("j", A or 3), r"Job.task is to be a Task, not a int: wrap it, Task\(...\)"),
    "length": (lambda: Job("j", Task(), A or "3"), "Job.length is to be an int of 0 or more, not '3'"),
    "max_retry": (lambda: Job("j", Task(), max_retry=-1), "Job.max_retry is to be an int of 0 or more"),
    "max_retry bool": (lambda: Job("j", Task(), max_retry=True), "Job.max_retry .* not True of type bool"),
    # Stage
    "resources": (lambda: Same(A or [1]), r"Same: resources is to be Resources or None, not \[1\]"),
    "custom": (lambda: Same(None, speed=3), "Same does not take speed; override allocate_resource or"),
    "reorder": (lambda: ReorderStage(None, 16, speed=3), "ReorderStage does not take speed"),
    "none": (
        lambda: Allots(None),
        "what Allots.allocate_resource gives is to be a list of Resources, .* None",
    ),
    "empty": (lambda: Allots([]), r"a list of Resources, one for each worker, not \[\]"),
    "item": (lambda: Allots([1]), "gives, each item, is to be Resources, not 1"),
    "num_worker": (setter(Same(), "num_worker", 0), "Same.num_worker is to be an int of 1 or more, not 0"),
    # System
    "unknown": (
        lambda: Plain(num_pipelin=3),
        "argument 'num_pipelin' is unknown; did you mean 'num_pipeline'",
    ),
    "unknown custom": (lambda: Wide(widht=3), "Wide: the argument 'widht' is unknown; did you mean 'width'"),
    "num_pipeline": (lambda: Plain(0), "Plain: num_pipeline is to be an int of 1 or more, not 0"),
    "num_pipeline too many": (
        lambda: Plain(10**30),
        "Plain: num_pipeline is to be an int of 10,000 at most, not",
    ),
    "num_pipeline str": (lambda: Plain(A or "4"), "Plain: num_pipeline .* not '4' of type str"),
    "get_num": (lambda: Wide(width=1.5), "what Wide.get_num_pipeline gives is to be an int of 1 or more"),
    "debug": (lambda: Plain(debug=A or 1), "Plain: debug is to be True or False, not 1"),
    "queue_size": (lambda: Plain(pipeline_queue_size=0), "Plain: pipeline_queue_size is to be an int of 1"),
    "scan type": (lambda: Plain(resource_scan_args=A or [1]), "resource_scan_args is to be a dict"),
    "scan name": (
        lambda: Plain(resource_scan_args={"gpu_laod": 1}),
        "resource_scan_args: 'gpu_laod' is unknown; did you mean 'gpu_load'",
    ),
    "state_dir": (lambda: Plain(state_dir=A or 3), "Plain: state_dir is to be a path or None, not 3"),
    "no super": (lambda: NoSuper().start(), r"NoSuper.__init__ does not call super\(\).__init__\(\)"),
    "no super with": (lambda: NoSuper().__enter__(), "NoSuper.__init__ does not call super"),
    "stages": (
        lambda: Gives(Same()).start(),
        "what Gives.get_stages gives is to be a list of stages, not Same",
    ),
    "no stages": (lambda: Gives([]).start(), r"is to be a list of stages, not \[\]"),
    "a class": (
        lambda: Gives([Same]).start(),
        r"each item, is to be a Stage \(make an instance of it\) or a function, not",
    ),
    "a thing": (lambda: Gives([3]).start(), "each item, is to be a Stage or a function, not 3"),
    "locked": (
        lambda: Gives([Locked()]).start(),
        r"Locked cannot be copied: .* Make models, .* in init",
    ),
    "task_timeout": (
        lambda: Plain().start(task_timeout=0),
        "start: task_timeout is to be seconds, more than 0",
    ),
    "queue_timeout": (lambda: Plain().start(queue_timeout=A or "1"), "start: queue_timeout is to be seconds"),
    "end": (lambda: Plain().end(timeout=-1), "end: timeout is to be seconds, more than 0, or None"),
    "terminate": (lambda: Plain().terminate(timeout=True), "terminate: timeout is to be seconds"),
    "add_job": (lambda: Plain().add_job(A or 3), "add_job takes a Job, not a int"),
    "add a task": (
        lambda: Plain().add_job(A or Task()),
        r"add_job takes a Job, not a Task; wrap it, Job\('name'",
    ),
    "add_jobs": (lambda: Plain().add_jobs([A or 3]), "add_job takes a Job"),
    "add timeout": (
        lambda: Plain().add_job(Job("j", Task()), timeout=0),
        "add_job: timeout is to be seconds",
    ),
    "wait": (lambda: started().wait_job(job_timeout=A or "1"), "wait_job: job_timeout is to be seconds"),
    "wait_jobs": (lambda: list(started().wait_jobs(A or "1")), "wait_jobs: num_jobs is to be an int of 0"),
    "not started": (lambda: Plain().wait_job(), "not started: call start"),
    # Resources
    "not a dict": (
        lambda: Resources(A or [1]),
        r"Resources: resources is to be a dict of name -> list, not \[1\]",
    ),
    "not a list": (lambda: Resources({"cpu": A or 4}), "Resources: 'cpu' is to be a list, not 4"),
    "a str": (lambda: Resources({"gpu": A or "01"}), "Resources: 'gpu' is to be a list, not '01'"),
    "load": (lambda: Resources({}, gpu_load=2), "Resources: gpu_load is to be a number from 0 to 1, not 2"),
    "memory": (lambda: Resources({}, gpu_memory=A or "1"), "Resources: gpu_memory is to be a number from 0"),
    "get": (lambda: Resources({}).get("cpu", -1), "get: limit is to be an int of 0 or more"),
    "split": (lambda: Resources({"cpu": [0]}).split(0), "split: n is to be an int of 1 or more, not 0"),
    "select": (
        lambda: Resources({"cpu": [1]}).select(cpu=A or 3),
        "select: 'cpu' is to be True, False, None or",
    ),
    "bounds": (
        lambda: Resources({"cpu": [1]}).select(cpu=(A or "0", 1)),
        "select: 'cpu' is to be .*start, end",
    ),
    "add": (lambda: Resources({}) + (A or 3), r"Resources \+ 3: the right side is to be Resources"),
    # Options
    "option": (setter(OptionSet(), "log_fil", "x"), "Options has no 'log_fil'; did you mean 'log_file'"),
    "option bool": (
        setter(OptionSet(), "raise_exception", 1),
        "Options.raise_exception is to be True or False",
    ),
    "option path": (setter(OptionSet(), "log_file", 1), "Options.log_file is to be a path or None, not 1"),
    "text": (lambda: OptionSet.parse("no_bar"), "ZTURBO_OPTIONS: no option 'no_bar'; "),
    "text bool": (lambda: OptionSet.parse("raise_exception=maybe"), "raise_exception is to be true or false"),
    "text empty": (lambda: OptionSet.parse("raise_exception="), "is to be true or false, not ''"),
    "text path": (lambda: OptionSet.parse("log_file"), "log_file needs a path: log_file=PATH"),
    # helpers
    "logger": (lambda: get_logger(A or 3), "get_logger: name is to be a str"),
    "bar": (lambda: progressbar(A or 3), "progressbar: iterable is to be an iterable or None, not 3"),
    "bar total": (lambda: progressbar([], total=-1), "progressbar: total is to be an int of 0 or more"),
    "bar desc": (lambda: progressbar([], A or 3), "progressbar: desc is to be a str or None, not 3"),
    "worker": (lambda: process_map(A or 3, []), "process_map: worker is to be a function of one argument"),
    "jobs": (lambda: process_map(abs, A or 3), "process_map: jobs is to be an iterable of arguments"),
    "workers": (lambda: process_map(abs, [], 0), "process_map: num_worker is to be an int of 1 or more"),
    "unpicklable": (
        lambda: process_map(threading.Lock().acquire, A or []),
        "process_map: .*acquire.* cannot be sent to another process",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_it_is_said(case: str) -> None:
    call, said = WRONG[case]
    with pytest.raises(UsageError, match=said):
        call()


@pytest.mark.parametrize("task", [Task(object()), Task(1, {"file": object()})])
def test_a_content_that_cannot_be_carried(task: Task) -> None:
    with pytest.raises(EncodeError, match=r"register the type with zturbo\.register"):
        Plain().add_job(Job("j", task))


def test_options_from_a_text() -> None:
    options = OptionSet.parse("raise_exception no_progress_bar=false print_debug_log=1 log_file=/tmp/a=b")
    assert options == OptionSet(True, False, False, True, "/tmp/a=b")
    assert {*Options.as_dict()} == {
        "raise_exception",
        "single_sync_pipeline",
        "no_progress_bar",
        "print_debug_log",
        "log_file",
        "no_binding",
    }


def test_a_short_bar_on_no_terminal_is_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    bar = progressbar(range(3), "three", position=2, leave=False)
    assert bar.total == 3 and list(bar) == [0, 1, 2] and bar.n == 3
    with progressbar(total=2) as by_hand:
        by_hand.update()
        by_hand.set_description("more")
        assert by_hand.n == 1
        with pytest.raises(TypeError, match="without an iterable"):
            list(by_hand)
    assert capsys.readouterr() == ("", "")


def test_a_bar_on_a_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("FORCE_COLOR", "1")
    with progressbar(desc="outer", total=4) as outer:
        assert list(progressbar([1, 2], "inner")) == [1, 2]
        outer.update(4)
    said = capsys.readouterr().err
    assert "outer" in said and "4/4" in said
    assert list(progressbar([1], "silent", silent=True)) == [1]
    assert "silent" not in capsys.readouterr().err


def test_resources_that_are_written_by_users() -> None:
    whole = Resources({"cpu": list(range(10)), "gpu": ["a", "b"]})
    assert whole.select(cpu=(0, 1), gpu=True).resources == {"cpu": [0], "gpu": ["a", "b"]}
    assert whole.select(cpu=(0.6, 0.9)).get("cpu") == [6, 7, 8]
    assert whole.select(cpu=(-0.2, None), gpu=None, tpu=True).resources == {"cpu": [8, 9]}
    assert [part.get("cpu", 1) for part in whole.split(3)] == [[0], [3], [6]]
    assert (whole.select(gpu=(0, 1)) + whole.select(gpu=(1, 2), cpu=False)).resources == {"gpu": ["a", "b"]}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"broker": 3}, "Client: broker is to be an address"),
        ({"broker": "localhost"}, "'localhost' is not an address of a broker"),
        ({"broker": "http://x"}, "'http://x' is not an address of a broker: expected tcp://HOST:PORT"),
        ({"broker": "tcp://127.0.0.1:1", "timeout": "soon"}, "Client: timeout is to be seconds"),
        ({"broker": "tcp://127.0.0.1:1", "timeout": -1}, "Client: timeout is to be seconds"),
    ],
)
def test_wrong_arguments_of_a_client(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Client(**arguments)


class Unwritten(System):
    """Its stages cannot be had."""

    def get_stages(self, resources: Resources) -> list[Stage]:
        raise KeyError("detector")


def test_a_system_whose_stages_cannot_be_had_is_no_network() -> None:
    with pytest.raises(UsageError, match="get_stages raised KeyError: 'detector'"):
        network_of(f"{__name__}:Unwritten")
