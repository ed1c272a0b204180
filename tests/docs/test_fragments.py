"""The fragments of README and docs: each is run, with what stands around it here, on real processes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.docs.blocks import PAGES, Block, blocks
from tests.support.cluster import Cluster, stage
from zturbo.deploy.network import Network, tomllib

FRAGMENTS = [block for page in PAGES for block in blocks(page) if block.mark == "fragment"]


class Around(NamedTuple):
    """What makes a program of a fragment."""

    has: str
    """By which it is known."""
    before: str
    after: str


AROUND = [
    Around('client.submit(Job("clip"', "", "assert content == 'bikes.mp4'"),
    Around(
        "client.map(range(10**6)",
        "from zturbo import Client\nclient = Client()",
        "assert content == 10**6 - 1\nclient.close()",
    ),
    Around(
        "async def fetch(urls)",
        "FAIL.touch()",
        "import asyncio\nassert task.stage == 'moody' and task.content == 'bikes.mp4'\n"
        "assert not FAIL.exists()\nassert asyncio.run(fetch(['a', 'b'])) is None",
    ),
    Around(
        "class Detect(Stage)",
        "def find(content, threshold):\n    return [content, threshold]",
        "from zturbo.testing import run\nassert run([Detect(2)], [1]) == [[1, 2]]\n"
        "assert run([Detect(), Track()], [1, 2]) == []",
    ),
    Around(
        "class Fetch(Stage)",
        "from contextlib import asynccontextmanager\nfrom zturbo import Stage, Task\n"
        "class aiohttp:\n    class ClientSession:\n        @asynccontextmanager\n"
        "        async def get(self, url):\n"
        "            async def text():\n                return url.upper()\n"
        "            response = aiohttp()\n            response.text = text\n            yield response",
        "from zturbo.testing import run\nassert run([Fetch()], ['a', 'b']) == ['A', 'B']",
    ),
    Around(
        "for job in client.as_completed(jobs)",
        "",
        "assert {job.name for job in jobs} == {'a.mp4', 'b.mp4'}\nassert later.id == whole.id == jobs[0].id",
    ),
    Around(
        "class Detect(Stage[Frame, Box])",
        "from collections.abc import Iterator\nfrom zturbo import Client, Pipeline, Stage, Task\n"
        "Path = Frame = Box = Track = str\npaths, client = ['a'], Client()",
        "assert track == 'a' and Detect()\nclient.close()",
    ),
    Around(
        'traceparent=request.headers.get("traceparent")',
        "from types import SimpleNamespace\nfrom zturbo import Client, Job, Task\n"
        f"request = SimpleNamespace(headers={{'traceparent': '00-{'a' * 32}-{'b' * 16}-01'}})\n"
        "client, job = Client(), Job('a.mp4', Task('a.mp4'))",
        "assert handle.status()['options'] == request.headers\nclient.close()",
    ),
    Around("async def main(urls)", "", "import asyncio\nasyncio.run(main(['a', 'b']))"),
]


@pytest.fixture(scope="module")
def fail(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where it is there, the next task of ``video`` fails."""
    return tmp_path_factory.mktemp("fragments") / "fail"


@pytest.fixture(scope="module")
def cluster(fail: Path) -> Iterator[Cluster]:
    moody = "tests.stages.moody:Moody"
    pipelines = {
        "video": [stage("moody", moody, fail=str(fail))],
        "p": [stage("same", moody, fail="/nowhere")],
        "fetch": [stage("same", moody, fail="/nowhere")],
    }
    with Cluster(pipelines) as running:
        running.child(
            "broker"
        )  # a fragment's client gives up after five seconds, and a busy host takes longer
        yield running


@pytest.mark.parametrize("block", [b for b in FRAGMENTS if b.lang == "python"], ids=str)
def test_it_runs(block: Block, cluster: Cluster, fail: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (around,) = [around for around in AROUND if around.has in block.text]
    monkeypatch.setenv("ZTURBO_BROKER", cluster.address)
    text = block.text.replace("tcp://127.0.0.1:5555", cluster.address)
    name = f"fragment_{block.line}"
    module = type(sys)(name)
    monkeypatch.setitem(sys.modules, name, module)
    module.__dict__["FAIL"] = fail
    exec(compile(f"{around.before}\n{text}\n{around.after}\n", str(block), "exec"), module.__dict__)


@pytest.mark.parametrize("block", [b for b in FRAGMENTS if b.lang == "toml"], ids=str)
def test_it_is_a_part_of_a_network_file(block: Block) -> None:
    stages = tomllib.loads(block.text)["pipeline"]["stage"]
    Network.parse({"pipeline": [{"name": "p", "stage": stages}]}, str(block))


def test_none_is_left_out() -> None:
    assert len([b for b in FRAGMENTS if b.lang == "python"]) == len(AROUND)
    assert {b.lang for b in FRAGMENTS} <= {"python", "toml", "sh"}
