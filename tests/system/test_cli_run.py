"""The commands that run processes, check files, and write projects."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.cluster import children, eventually
from zturbo import Client, Job, Task
from zturbo.errors import BrokerUnavailable

ROOT = Path(__file__).parents[2]
TOY = ROOT / "examples/toy/toy.toml"


class Shell:
    """Runs ``zturbo`` in a folder, with a broker's address of its own."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="cli-"))
        self.temporary = self.folder / "t"
        self.temporary.mkdir()
        self.cwd = ROOT
        self.command = [sys.executable, "-m", "zturbo"]
        self.address = f"ipc://{self.folder}/b"
        self.processes: list[subprocess.Popen[str]] = []
        self.env = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "TMPDIR": str(self.temporary),
            "ZTURBO_BIND": self.address,
            "ZTURBO_BROKER": self.address,
            "ZTURBO_STATE": str(self.folder / "state"),
        }
        self.env.pop("XDG_RUNTIME_DIR", None)

    def start(self, *words: str, **options: Any) -> subprocess.Popen[str]:
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        process = subprocess.Popen([*self.command, *words], cwd=self.cwd, env=self.env, text=True, **options)
        self.processes.append(process)
        return process

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        process = self.start(*words)
        out, err = process.communicate(timeout=90)
        self.processes.remove(process)
        assert "Traceback" not in err, err
        return subprocess.CompletedProcess(words, process.returncode, out, err)

    def wait(self, *, without: str = "") -> None:
        """Until all stages have workers, but for one."""

        def there() -> bool:
            assert all(process.poll() is None for process in self.processes), "a process has ended"
            try:
                with Client(self.address, timeout=1) as client:
                    for pipeline in client.pipelines():
                        for name, n in zip(pipeline["stages"], pipeline["workers"], strict=True):
                            if not n and name != without:
                                return False
                    return True
            except BrokerUnavailable:
                return False

        eventually(there, 60)

    def close(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self.processes:
            try:
                process.communicate(timeout=20)
            except (ValueError, OSError):  # its output was read, or its terminal is closed
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
                raise
        left = [*self.temporary.iterdir()]
        shutil.rmtree(self.folder)
        assert not left, f"{left} stayed behind"


@pytest.fixture
def shell() -> Iterator[Shell]:
    shell = Shell()
    yield shell
    shell.close()


def test_a_new_project_runs(shell: Shell) -> None:
    made = shell.run("new", str(shell.folder / "words"))
    assert made.returncode == 0 and "zturbo up network.toml" in made.stdout
    again = shell.run("new", str(shell.folder / "words"))
    assert again.returncode == 2 and "not an empty folder" in again.stderr
    shell.cwd = shell.folder / "words"
    checked = shell.run("check", "network.toml")
    assert checked.returncode == 0 and re.search(r"words\.total +ordered +1 +stages:Total\n", checked.stdout)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    tested = subprocess.run(command, cwd=shell.cwd, env=shell.env, capture_output=True, text=True, timeout=90)
    assert tested.returncode == 0 and "1 passed" in tested.stdout, tested.stdout
    # What is installed with zturbo is enough: pytest is not.
    assert "python -m unittest" in made.stdout
    plain = [sys.executable, "-m", "unittest"]
    tested = subprocess.run(plain, cwd=shell.cwd, env=shell.env, capture_output=True, text=True, timeout=90)
    assert tested.returncode == 0 and "Ran 1 test" in tested.stderr, tested.stderr
    shell.start("up", "network.toml", "--no-progress", stdout=None, stderr=subprocess.DEVNULL)
    shell.wait()
    done = shell.run("submit", "words", "to be or\nnot")
    assert done.returncode == 0
    assert [json.loads(line)["total"] for line in done.stdout.splitlines()] == [3, 4]


@pytest.mark.parametrize("scheme", ["ipc", "tcp"])
def test_a_second_broker_at_an_address_is_refused_before_anything_joins_the_first(
    shell: Shell, scheme: str
) -> None:
    if scheme == "tcp":
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            shell.address = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
        shell.env.update(ZTURBO_BIND=shell.address, ZTURBO_BROKER=shell.address)
    shell.start("up", str(TOY), "--no-progress", stdout=None, stderr=subprocess.DEVNULL)
    shell.wait()
    with Client(shell.address) as client:
        whole = (1, 3, 2, 1)  # as many workers as the file says
        eventually(lambda: client.pipelines()[0]["workers"] == whole, 60)
        for words in (("up", "--no-progress"), ("broker",)):
            second = shell.run(words[0], str(TOY), *words[1:], "--state", str(shell.folder / "other"))
            assert second.returncode == 2 and f"already running at {shell.address}" in second.stderr
            assert second.stdout == "" and "runs" not in second.stderr, second.stderr
        assert client.pipelines()[0]["workers"] == whole


def test_an_address_that_another_program_has(shell: Shell) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        address = f"tcp://127.0.0.1:{other.getsockname()[1]}"
        done = shell.run("up", str(TOY), "--bind", address)
    assert done.returncode == 2 and f"{address} is in use by another program" in done.stderr
    assert done.stderr.count("\n") == 1, done.stderr


def test_a_broker_that_is_not_there_is_one_sentence(shell: Shell) -> None:
    done = shell.run("jobs")
    assert done.returncode == 3 and done.stderr.count("\n") == 1
    said = f"zturbo: no broker answers at {shell.address}: start one with 'zturbo up FILE'"
    assert done.stderr.startswith(said), done.stderr


def test_workers_without_a_broker_say_so_and_everything_at_once_does_not(shell: Shell) -> None:
    alone = shell.start("stage", str(TOY), "toy.count", stdout=subprocess.DEVNULL)
    assert alone.stderr is not None
    lines = iter(alone.stderr.readline, "")
    assert any(f"no broker answers at {shell.address} yet" in line for line in lines)
    together = shell.start("up", str(TOY), "--no-progress", stdout=subprocess.DEVNULL)
    shell.wait()
    together.send_signal(signal.SIGINT)
    _, said = together.communicate(timeout=60)
    shell.processes.remove(together)
    assert "toy.negate runs" in said and "answer" not in said, said


def test_what_new_says_of_a_folder_that_cannot_be_made(shell: Shell) -> None:
    (shell.folder / "file").touch()
    done = shell.run("new", str(shell.folder / "file" / "words"))
    assert done.returncode == 2 and "cannot be written: Not a directory" in done.stderr
    as_json = json.loads(shell.run("new", str(shell.folder / "other"), "--json").stdout)
    assert as_json["files"] == ["stages.py", "network.toml", "test_stages.py"]


def test_a_system_class_in_the_place_of_a_file(shell: Shell) -> None:
    name = "examples.toy.system:Toy"
    checked = json.loads(shell.run("check", name, "--json").stdout)
    assert [(row["stage"], row["workers"]) for row in checked["stages"]][1] == ("Toy.SharedTimes", 3)
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    shell.start("up", name, "--no-progress", "--without", "Toy.Negate", **quiet)
    shell.start("stage", name, "Toy.Negate", **quiet)  # as on another host, by the class's name
    shell.wait()
    done = shell.run("submit", "Toy", "[1, 3]", "--content-json")
    assert (done.returncode, done.stdout) == (0, "-1\n-2\n-3\n-4\n")


@pytest.mark.parametrize(
    "name, said",
    [
        ("examples.toy.system:Tyo", "has no 'Tyo'; did you mean 'Toy'?"),
        ("tests.stages.exits:Toy", "cannot import tests.stages.exits: SystemExit: usage"),
        ("examples.toy.systm:Toy", "did you mean 'examples.toy.system'?"),
        ("examples.toy.stages:Count", "is not a subclass of zturbo.System"),
        ("tests.stages.cli:NeedsArguments", "cannot be made without arguments"),
        ("nowhere.toml", "nowhere.toml: cannot be read: No such file"),
    ],
)
def test_what_is_no_system_and_no_file(shell: Shell, name: str, said: str) -> None:
    for command in ("check", "up"):
        done = shell.run(command, name)
        assert done.returncode == 2 and said in done.stderr, done.stderr


def _file(shell: Shell, stage: str) -> str:
    text = f'[[pipeline]]\nname = "p"\n[[pipeline.stage]]\nname = "s"\n{stage}\n'
    (shell.folder / "net.toml").write_text(text)
    return str(shell.folder / "net.toml")


@pytest.mark.parametrize(
    "stage, key, said",
    [
        ('class = "examples.toy.stages:Timse"', "class", "did you mean 'Times'?"),
        ('class = "examples.toy.stagse:Times"', "class", "did you mean 'examples.toy.stages'?"),
        ('class = "examples.toy.stages:ROOT"', "class", "has no 'ROOT'"),
        ('class = "tests.stages.exits:Any"', "class", "cannot import tests.stages.exits: SystemExit"),
        (
            'class = "examples.toy.stages:Times"\nargs = { factr = 2 }',
            "args.factr",
            "did you mean 'factor'?",
        ),
        ('class = "tests.stages.cli:Needs"', "args.size", "is missing"),
        (
            'class = "tests.stages.cli:RaisesWhenMade"\nargs = { size = -1 }',
            "args",
            "ValueError: no such size",
        ),
        ('class = "examples.toy.stages:Times"\nworkres = 2', "workres", "did you mean 'workers'?"),
    ],
)
def test_check_tells_mistakes(shell: Shell, stage: str, key: str, said: str) -> None:
    file = _file(shell, stage)
    done = shell.run("check", file)
    assert done.returncode == 2 and done.stdout == ""
    assert f"{file}: pipeline.p.stage.s.{key}: " in done.stderr and said in done.stderr, done.stderr
    (mistake,) = json.loads(shell.run("check", file, "--json").stdout)["mistakes"]
    assert mistake["key"] == f"pipeline.p.stage.s.{key}" and said in mistake["problem"]


def test_what_a_stage_prints_is_no_part_of_the_answer(shell: Shell) -> None:
    file = _file(shell, 'class = "tests.stages.cli:Needs"\nargs = { size = 3 }')
    done = shell.run("check", file, "--json")
    assert done.returncode == 0 and json.loads(done.stdout)["mistakes"] == []
    assert "made" in done.stderr


def test_up_tells_events_as_json(shell: Shell) -> None:
    up = shell.start("up", str(TOY), "--json", "--no-progress")
    shell.wait()
    assert up.stdout is not None
    line = json.loads(up.stdout.readline())
    assert line["event"] == "ready" and line["pid"] > 0
    up.send_signal(signal.SIGINT)
    assert up.wait(20) == 130


def test_environment_over_file_and_flag_over_environment(shell: Shell) -> None:
    other = f"ipc://{shell.folder}/other"
    shell.start("broker", str(TOY), "--bind", other, stdout=None, stderr=subprocess.DEVNULL)

    def there() -> bool:
        try:
            Client(other, timeout=1).close()
        except BrokerUnavailable:
            return False
        return True

    eventually(there, 30)
    assert (shell.folder / "state" / "ledger.db").exists()  # where $ZTURBO_STATE says
    assert shell.run("jobs").returncode == 3
    for name, value, said in (
        ("ZTURBO_WORKERS", "many", "expected a number, 1 or more, found 'many'"),
        ("ZTURBO_BROKER", "here", "$ZTURBO_BROKER: expected an address, tcp://HOST:PORT or ipc://PATH"),
        ("ZTURBO_INSECURE", "maybe", "$ZTURBO_INSECURE: expected 1 or 0, found 'maybe'"),
        ("ZTURBO_ADDRESS", "10.0.0.7", "--insecure"),
    ):
        before = dict(shell.env)
        shell.env[name] = value
        done = shell.run("stage", str(TOY), "toy.count")
        shell.env = before
        assert done.returncode == 2 and said in done.stderr, done.stderr


def test_a_stage_in_this_process_with_pdb(shell: Shell) -> None:
    file = shell.folder / "net.toml"
    stage = '[[pipeline.stage]]\nname = "breaks"\nclass = "tests.stages.cli:Breaks"\n'
    file.write_text(f'[[pipeline]]\nname = "p"\n{stage}')
    up = ("up", str(file), "--no-progress", "--without", "p.breaks")
    shell.start(*up, stdout=None, stderr=subprocess.DEVNULL)
    shell.wait(without="breaks")
    mine, its = pty.openpty()
    here = shell.start("stage", str(file), "p.breaks", "--debug", stdin=its, stdout=its, stderr=its)
    os.close(its)
    try:
        shell.wait()
        with Client(shell.address, timeout=20) as client:
            handle = client.submit(Job("broken into", Task(42)), pipeline="p")
            said = _until(mine, "(Pdb) ")
            assert f"runs here, in process {here.pid}" in said
            (looked,) = client.stacks("breaks")
            assert (looked["pid"], looked["note"]) == (here.pid, ""), "it has no node, and answers by itself"
            assert "process" in [frame["function"] for frame in looked["frames"]]
            assert [task["job"] for task in looked["tasks"]] == [handle.id]
            os.write(mine, b"secret\n")
            assert "'secret 42'" in _until(mine, "(Pdb) ")
            os.write(mine, b"c\n")
            assert handle.result(30) == ["secret 42"]
            code = [event for event in client.trace(handle.id)["traceEvents"] if event["name"] == "code"]
            assert [event["args"]["job"] for event in code] == [handle.id]
            again = client.submit(Job("left alone", Task(43)), pipeline="p")
            _until(mine, "(Pdb) ")
            os.write(mine, b"q\n")
            assert here.wait(30) == 130
            shell.processes.remove(here)
            shell.env["PYTHONBREAKPOINT"] = "0"
            shell.start("stage", str(file), "p.breaks", "--debug", stderr=subprocess.DEVNULL)
            assert again.result(60) == ["secret 43"]  # the task that it had left
        shell.processes[-1].send_signal(signal.SIGINT)
        assert shell.processes[-1].wait(30) == 130
    finally:
        os.close(mine)


def _until(terminal: int, word: str) -> str:
    said = ""
    while not said.endswith(word):
        said += os.read(terminal, 4096).decode()
    return said


def test_debugging_a_stage_that_does_not_start(shell: Shell) -> None:
    file = _file(shell, 'class = "tests.stages.cli:RaisesWhenMade"\nargs = { size = -1 }')
    process = shell.start("stage", file, "p.s", "--debug")
    _, said = process.communicate(timeout=60)
    assert process.returncode == 2 and "ValueError: no such size" in said and "p.s does not start" in said


@pytest.mark.parametrize("name", ["bash", "zsh"])
def test_completion(shell: Shell, name: str) -> None:
    script = shell.run("completion", name)
    assert script.returncode == 0
    for word in ("submit", "--from-start", "--without"):
        assert word in script.stdout
    if shutil.which(name):
        checked = subprocess.run(
            [name, "-n"], input=script.stdout, capture_output=True, text=True, timeout=60
        )
        assert checked.returncode == 0, checked.stderr


@pytest.mark.parametrize("when", ["at once", "first child", "some children"])
def test_ctrl_c_while_it_starts_leaves_nothing(shell: Shell, when: str) -> None:
    up = shell.start("up", str(TOY), "--no-progress", start_new_session=True)
    wanted = {"at once": 0, "first child": 1, "some children": 5}[when]
    if wanted:
        eventually(lambda: len(children(up.pid)) >= wanted)
    else:
        assert up.stderr is not None
        up.stderr.readline()  # what it says before it starts anything
    pids = children(up.pid)
    os.killpg(up.pid, signal.SIGINT)  # as a terminal does
    _, said = up.communicate(timeout=30)
    assert up.returncode == 130 and "Traceback" not in said, said
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]
    assert not list(shell.temporary.iterdir())
