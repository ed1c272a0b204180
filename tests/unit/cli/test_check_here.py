"""``zturbo check`` refuses what ``zturbo up`` would refuse on this host."""

from __future__ import annotations

from pathlib import Path

import pytest

from zturbo import Stage, Task
from zturbo.cli import main
from zturbo.errors import StartError
from zturbo.runtime.net.binds import bind_problem
from zturbo.runtime.net.sockets import make

FILE = """
[broker]
bind = "{bind}"
state = "{state}"

[[pipeline]]
name = "p"

  [[pipeline.stage]]
  name = "s"
  class = "tests.unit.cli.test_check_here:{cls}"
  {more}
"""


class Plain(Stage):
    def process(self, task: Task) -> Task:
        return task


class NoSlots(Plain):
    job_slots = 0


class NoneAtATime(Stage):
    max_concurrency = 0

    async def process(self, task: Task) -> Task:
        return task


@pytest.mark.parametrize(
    ("cls", "bind", "state", "more", "says"),
    [
        ("NoSlots", "", "", "", "job_slots"),
        ("NoneAtATime", "", "", "", "max_concurrency"),
        ("Plain", "ipc://{folder}/" + 120 * "b", "", "", "is too long"),
        ("Plain", "", "{folder}/network.toml/state", "", "network.toml is not a folder"),
        ("Plain", "", "", "resources = {{ gpu = 1000 }}", "do not fit"),
    ],
)
def test_what_up_would_refuse(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], cls: str, bind: str, state: str, more: str, says: str
) -> None:
    file = tmp_path / "network.toml"
    file.write_text(
        FILE.format(
            cls=cls,
            bind=(bind or "ipc://{folder}/b").format(folder=tmp_path),
            state=(state or "{folder}/not/yet").format(folder=tmp_path),
            more=more.format(),
        )
    )
    assert main(["check", str(file)]) == 2
    printed = capsys.readouterr()
    assert says in printed.err and not printed.out, printed
    assert not (tmp_path / "not").exists(), "it makes no folder"


def test_a_file_that_needs_more_than_its_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "network.toml"
    file.write_text(FILE.format(cls="Plain", bind="tcp://192.0.2.7:5555", state=tmp_path, more=""))
    assert main(["check", str(file)]) == 0
    printed = capsys.readouterr().out
    assert f"'zturbo up {file} --insecure' runs it" in printed
    assert (
        "it has to run on another host: cannot bind tcp://192.0.2.7:5555: 192.0.2.7 is not an address"
        in printed
    )


def test_an_address_that_cannot_be_bound_is_named_with_the_reason() -> None:
    import zmq

    with zmq.Context() as context:
        with pytest.raises(
            StartError, match=r"cannot bind tcp://192\.0\.2\.7:5555: 192\.0\.2\.7 is not an addr"
        ):
            make(context, zmq.PULL, bind="tcp://192.0.2.7:5555")
    assert bind_problem("tcp://127.0.0.1:5555") == "" == bind_problem("tcp://*:5555")
