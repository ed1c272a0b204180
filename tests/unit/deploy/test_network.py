"""Network files: what is right is read, and each mistake is named with file, key, and what was expected."""

from __future__ import annotations

from pathlib import Path

import msgpack
import pytest

from zturbo.deploy.children import worker_children
from zturbo.deploy.network import Network, tomllib
from zturbo.errors import NetworkFileError
from zturbo.runtime.members.worker import build

RIGHT = """
[broker]
bind = "tcp://127.0.0.1:5600"
lease = 2

[[pipeline]]
name = "video"
durability = "process"

  [[pipeline.stage]]
  name = "detect"
  class = "examples.video.stages:Detect"
  workers = 2
  args = { threshold = 0.5 }

  [[pipeline.stage]]
  name = "track"
  class = "examples.video.stages:Track"
"""


def load(tmp_path: Path, text: str) -> Network:
    path = tmp_path / "net.toml"
    path.write_text(text)
    return Network.load(path)


def test_a_right_file(tmp_path: Path) -> None:
    network = load(tmp_path, RIGHT)
    assert network.broker.bind == "tcp://127.0.0.1:5600" and network.broker.lease == 2.0
    (pipeline,) = network.pipelines
    assert pipeline.durability == "process" and pipeline.order == "path"
    assert [stage.workers for stage in pipeline.stages] == [2, 1]
    assert pipeline.stages[0].args == {"threshold": 0.5}
    assert network.find("video.track") == (pipeline, 1)
    assert network.state == tmp_path / ".zturbo" / "net"
    assert [child.spec["peers"] for child in worker_children(network, "video.detect")] == [None, None]
    bounded = load(tmp_path, RIGHT.replace('name = "video"', 'name = "video"\npeers = 6'))
    assert [child.spec["peers"] for child in worker_children(bounded, "video.detect")] == [6, 6]


@pytest.mark.parametrize(
    "old, new, key, said",
    [
        ('name = "video"', 'name = "video"\npeers = 0', "pipeline.video.peers", "a number, 1 or more"),
        ("workers = 2", "worker = 2", "pipeline.video.stage.detect.worker", "did you mean 'workers'?"),
        (
            "workers = 2",
            'workers = "2"',
            "pipeline.video.stage.detect.workers",
            "expected a number, 1 or more, found a string",
        ),
        ("workers = 2", "workers = 0", "pipeline.video.stage.detect.workers", "found 0"),
        (
            'durability = "process"',
            'order = "id"',
            "pipeline.video.order",
            "expected 'path', 'roots', 'none', or 'meta:KEY'",
        ),
        ('durability = "process"', 'order = "meta:"', "pipeline.video.order", "found 'meta:'"),
        (
            "workers = 2",
            "workers = 1000000000000000000000",
            "pipeline.video.stage.detect.workers",
            "too large",
        ),
        ("lease = 2", f"memory = {10**20}", "broker.memory", "which is too large"),
        ("lease = 2", 'state = "a\\u0000"', "broker.state", "expected a folder, found"),
        ("lease = 2", 'keys = "a\\u0000"', "broker.keys", "expected a folder or a file of keys, found"),
        ('name = "track"', f'name = "{"x" * 65}"', "pipeline.video.stage[1].name", "64 at most, found"),
        ("workers = 2", "workers = true", "pipeline.video.stage.detect.workers", "found a boolean"),
        ('name = "track"', 'name = "detect"', "pipeline.video.stage[1].name", "the name of another stage"),
        ('name = "track"', 'name = "a b"', "pipeline.video.stage[1].name", "expected a name of letters"),
        ('name = "track"', "", "pipeline.video.stage[1].name", "is missing"),
        (":Track", ".Track", "pipeline.video.stage.track.class", "expected 'module:Class'"),
        ("args = { threshold = 0.5 }", "args = 3", "pipeline.video.stage.detect.args", "found an integer"),
        ('"process"', '"disk"', "pipeline.video.durability", "'fsync', 'process' or 'memory'"),
        ("lease = 2", "lease = 0.1", "broker.lease", "0.5 or more"),
        ("lease = 2", "lease = inf", "broker.lease", "expected seconds, 0.5 or more, found inf"),
        ("lease = 2", "feed_timeout = nan", "broker.feed_timeout", "5 or more, found nan"),
        ("workers = 2", "task_timeout = inf", "pipeline.video.stage.detect.task_timeout", "found inf"),
        ("workers = 2", "resources = { gpu = nan }", "pipeline.video.stage.detect.resources.gpu", "nan"),
        ('"tcp://127.0.0.1:5600"', '"tcp://"', "broker.bind", "expected an address, tcp://HOST:PORT"),
        ('"tcp://127.0.0.1:5600"', '"tcp://127.0.0.1"', "broker.bind", "expected an address"),
        ('"tcp://127.0.0.1:5600"', '"tcp://127.0.0.1:0"', "broker.bind", "expected an address"),
        ('"tcp://127.0.0.1:5600"', '"tcp://127.0.0.1:70000"', "broker.bind", "expected an address"),
        ('"tcp://127.0.0.1:5600"', '"ipc://"', "broker.bind", "expected an address"),
        ("tcp://127", "http://127", "broker.bind", "tcp://HOST:PORT"),
        ("[broker]", "[brokre]", "brokre", "did you mean 'broker'?"),
    ],
)
def test_mistakes(tmp_path: Path, old: str, new: str, key: str, said: str) -> None:
    assert old in RIGHT
    with pytest.raises(NetworkFileError) as caught:
        load(tmp_path, RIGHT.replace(old, new, 1))
    assert caught.value.key == key
    assert said in str(caught.value) and str(tmp_path / "net.toml") in str(caught.value)


@pytest.mark.parametrize(
    "table", ["{ cpu = 2, gpu = 1 }", "{ gpu = 0 }", "{ gpu = 0.5 }", "{ gpu = 2.0 }", "{}"]
)
def test_resources(tmp_path: Path, table: str) -> None:
    (pipeline,) = load(tmp_path, RIGHT.replace("workers = 2", f"workers = 2\nresources = {table}")).pipelines
    assert pipeline.stages[0].resources == tomllib.loads(f"wanted = {table}")["wanted"]
    assert pipeline.stages[1].resources == {}


@pytest.mark.parametrize(
    "line, key, said",
    [
        ("resource = { cpu = 2 }", "resource", "unknown key; did you mean 'resources'?"),
        ("resources = 2", "resources", "such as { cpu = 2, gpu = 1 }, found an integer"),
        ("resources = [2, 1]", "resources", "such as { cpu = 2, gpu = 1 }, found an array"),
        ("resources = { cpus = 2 }", "resources.cpus", "unknown key; did you mean 'cpu'?"),
        ("resources = { tpu = 2, cpu = 1 }", "resources.tpu", "unknown key; did you mean"),
        ("resources = { memory = 2 }", "resources.memory", "unknown key; there are: cpu, gpu"),
        (
            "resources = { cpu = '2' }",
            "resources.cpu",
            "expected a number of CPUs, 1 or more, found a string",
        ),
        ("resources = { cpu = 0 }", "resources.cpu", "1 or more, found 0"),
        ("resources = { cpu = -1 }", "resources.cpu", "1 or more, found -1"),
        ("resources = { cpu = 1.5 }", "resources.cpu", "1 or more, found a float"),
        ("resources = { cpu = true }", "resources.cpu", "1 or more, found a boolean"),
        ("resources = { cpu = [0, 1] }", "resources.cpu", "1 or more, found an array"),
        (
            "resources = { gpu = 'all' }",
            "resources.gpu",
            "0 or more, or a part of one, such as 0.5, found a string",
        ),
        ("resources = { gpu = -1 }", "resources.gpu", "such as 0.5, found -1"),
        ("resources = { gpu = -0.5 }", "resources.gpu", "such as 0.5, found -0.5"),
        ("resources = { gpu = 1.5 }", "resources.gpu", "such as 0.5, found 1.5"),
        ("resources = { gpu = nan }", "resources.gpu", "such as 0.5, found nan"),
        ("resources = { gpu = inf }", "resources.gpu", "such as 0.5, found inf"),
        ("resources = { gpu = true }", "resources.gpu", "such as 0.5, found a boolean"),
    ],
)
def test_mistakes_in_resources(tmp_path: Path, line: str, key: str, said: str) -> None:
    with pytest.raises(NetworkFileError) as caught:
        load(tmp_path, RIGHT.replace("workers = 2", line, 1))
    assert caught.value.key == f"pipeline.video.stage.detect.{key}"
    assert said in str(caught.value) and str(tmp_path / "net.toml") in str(caught.value)


def test_no_pipeline(tmp_path: Path) -> None:
    with pytest.raises(NetworkFileError, match=r"expected one or more \[\[pipeline\]\] tables"):
        load(tmp_path, "")


def test_no_stage(tmp_path: Path) -> None:
    with pytest.raises(NetworkFileError) as caught:
        load(tmp_path, '[[pipeline]]\nname = "p"\n')
    assert caught.value.key == "pipeline.p.stage"


def test_no_toml(tmp_path: Path) -> None:
    with pytest.raises(NetworkFileError, match=r"is not valid TOML: .*line 2"):
        load(tmp_path, "[broker]\nbind = \n")


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(NetworkFileError, match="No such file"):
        Network.load(tmp_path / "nowhere.toml")


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_files_of_all_editors(mark: str, end: str, tmp_path: Path) -> None:
    path = tmp_path / "net.toml"
    path.write_bytes((mark + RIGHT.replace("\n", end)).encode())
    assert [stage.name for stage in Network.load(path).pipelines[0].stages] == ["detect", "track"]


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (RIGHT.encode("utf-16"), "is not UTF-8, as TOML is"),
        (f"{RIGHT}# \u00fc".encode("latin1"), "save it as UTF-8"),
        (f"x = {'9' * 5000}".encode(), "cannot be read: Exceeds the limit"),
        (b"x = " + b"[" * 100_000, "is nested too deep"),
        (b"\0", "is not valid TOML"),
    ],
)
def test_files_that_cannot_be_read(raw: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / "net.toml"
    path.write_bytes(raw)
    with pytest.raises(NetworkFileError, match=said):
        Network.load(path)
    with pytest.raises(NetworkFileError, match="cannot be read"):
        Network.load("a\0b")


def test_whatever_toml_has_reaches_a_stage(tmp_path: Path) -> None:
    args = f'day = 2026-01-31, at = 07:30:00, on = 2026-01-31T07:30:00Z, n = {10**20}, x = [nan, "\\u0000"]'
    text = RIGHT.replace("examples.video.stages:Detect", "tests.stages.odd:Given")
    network = load(tmp_path, text.replace("threshold = 0.5", args))
    for child in worker_children(network, "video.detect"):
        spec = msgpack.unpackb(msgpack.packb(child.spec))
        given = build(spec)().given  # type: ignore[attr-defined]
        assert repr(given) == repr(network.pipelines[0].stages[0].args) and len(given) == 5


def test_an_unknown_stage_is_named(tmp_path: Path) -> None:
    with pytest.raises(NetworkFileError, match=r"did you mean 'video.track'\?"):
        load(tmp_path, RIGHT).find("video.trak")


HOST = """
[[host]]
name = "a"
address = "10.0.0.1"
ssh = "me@a"
python = "~/venv/bin/python"
env = { OMP_NUM_THREADS = "1" }
stages = ["video.detect"]
workers = { "video.track" = 2 }
ports = "5600-5610"
"""


def test_hosts(tmp_path: Path) -> None:
    first, second = load(tmp_path, f'{RIGHT}{HOST}\n[[host]]\nname = "b"\n').hosts
    assert (first.ssh, first.address, first.python) == ("me@a", "10.0.0.1", "~/venv/bin/python")
    assert first.env == {"OMP_NUM_THREADS": "1"} and first.stages == ("video.detect",)
    assert first.workers == {"video.track": 2} and first.ports == "5600-5610"
    assert (second.ssh, second.address, second.python, second.workdir) == ("b", None, "python3", None)


@pytest.mark.parametrize(
    "old, new, key, said",
    [
        ('name = "a"', 'name = "-a"', "host[0].name", "expected a name of letters"),
        ('name = "a"', "", "host[0].name", "is missing"),
        ('ssh = "me@a"', 'ssh = "-oProxyCommand=x"', "host.a.ssh", "expected a host as ssh takes it"),
        ('ssh = "me@a"', 'shs = "me@a"', "host.a.shs", "did you mean 'ssh'?"),
        ('python = "~/venv/bin/python"', 'python = ""', "host.a.python", "the path of a Python"),
        ('{ OMP_NUM_THREADS = "1" }', "{ OMP_NUM_THREADS = 1 }", "host.a.env", "a table of strings"),
        ('["video.detect"]', '["video.detct"]', "host.a.stages", "did you mean 'video.detect'?"),
        (
            '{ "video.track" = 2 }',
            '{ "video.track" = -1 }',
            "host.a.workers",
            "expected a number for video.track",
        ),
        ('{ "video.track" = 2 }', '{ "video.x" = 1 }', "host.a.workers", "there is no stage 'video.x'"),
        ('"5600-5610"', '"x"', "host.a.ports", "expected ports"),
        ("[[host]]", '[[host]]\nname = "a"\n[[host]]', "host[1].name", "is the name of another host"),
    ],
)
def test_mistakes_in_a_host(tmp_path: Path, old: str, new: str, key: str, said: str) -> None:
    with pytest.raises(NetworkFileError) as failed:
        load(tmp_path, RIGHT + HOST.replace(old, new))
    assert failed.value.key == key and said in failed.value.problem
