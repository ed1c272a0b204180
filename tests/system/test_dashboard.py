"""The page in a real browser, its guards, and its metrics, over a network that works meanwhile."""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.chromium import chromium
from tests.support.cluster import Cluster, eventually, stage
from tests.unit.hardware.nvml import Gpu, fake_nvml
from zturbo import Job, Task
from zturbo.client.client import Client
from zturbo.runtime.net import keys

pytest.importorskip("starlette", reason="zturbo[dashboard] is not installed")
pytest.importorskip("prometheus_client", reason="zturbo[dashboard] is not installed")

HOSTILE = "<img src=x onerror=\"document.title='taken'\"><script>document.title='taken'</script>"
"""A job's name that would run as a script if it became markup."""


@contextmanager
def page_of(broker: str, bind: str = "127.0.0.1:0", *options: str, **env: str) -> Iterator[str]:
    """A dashboard's process. Yields its address, without the path."""
    command = [sys.executable, "-m", "zturbo", "dashboard", "--broker", broker, "--bind", bind, *options]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, **env})
    try:
        assert process.stderr is not None
        found = re.search(r"http://[^/\s]+", process.stderr.readline())
        assert found is not None
        drain = threading.Thread(target=process.stderr.read, daemon=True)
        drain.start()
        yield found.group()
    finally:
        process.terminate()
        process.wait(10)
        drain.join(10)
        process.stderr.close()


def ask(url: str, method: str = "GET", **headers: str) -> tuple[int, str, Any]:
    """(status, body, headers) of a request."""
    request = urllib.request.Request(
        url, method=method, headers={name.replace("_", "-"): value for name, value in headers.items()}
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read().decode(), answer.headers
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode(), error.headers


@pytest.fixture(scope="module")
def network() -> Iterator[tuple[Cluster, Client, str, str]]:
    """(cluster, client, address of the page, id of a job that goes on)."""
    stages = [stage("fast", "Count"), stage("slow", "Nap", 2, seconds=0.02)]
    others = {"q": [stage("odd", "Odd")], "r": [stage("loud", "tests.stages.loud:Loud")]}
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "pynvml", fake_nvml([Gpu("GPU-a", load=45, memory=0.25)]))
        yield from serve(stages, others)


def serve(
    stages: list[dict[str, Any]], others: dict[str, list[dict[str, Any]]]
) -> Iterator[tuple[Cluster, Client, str, str]]:
    """The network of all tests here, until they are over."""
    with Cluster({"p": stages, **others}) as cluster, cluster.client() as client:
        job = client.submit(Job(HOSTILE, Task(1)), "p")
        job.result(30)
        long = client.submit(Job("long", Task(100_000)), "p").accepted()
        with page_of(client.broker) as page:
            eventually(lambda: ask(f"{page}/ready")[0] == 200, 20)
            yield cluster, client, page, long.id


def test_the_page_is_guarded(network: tuple[Cluster, Client, str, str]) -> None:
    _, client, page, job = network
    status, _, headers = ask(f"{page}/pipeline")
    policy = headers["Content-Security-Policy"]
    assert status == 200 and "default-src 'none'" in policy and "unsafe" not in policy
    cancel = f"{page}/api/jobs/{job}/cancel"
    assert ask(cancel, "POST")[0] == 403
    assert ask(cancel, "POST", X_Zturbo="1", Origin="http://evil.example")[0] == 403
    assert ask(cancel, "POST", Origin=page)[0] == 403
    assert ask(cancel)[0] == 405
    assert ask(f"{page}/api/state", Host="evil.example")[0] == 421
    assert client.jobs(job)[0]["state"] == "running"
    assert ask(f"{page}/static/../app.py")[0] == 404
    assert json.loads(ask(f"{page}/api/jobs/{job}")[1])["name"] == "long"
    assert [ask(f"{page}/api/jobs/{name}")[0] for name in ("0" * 32, "long", "x")] == [404] * 3
    assert json.loads(ask(f"{page}/api/logs?after=x&level=y")[1]) is not None
    assert json.loads(ask(f"{page}/api/spans?lane=x&lane=%00&since=nan&until=-1e999")[1]) == []


def test_beyond_this_host_it_wants_a_token(network: tuple[Cluster, Client, str, str]) -> None:
    client = network[1]
    with page_of(client.broker, "0.0.0.0:0", ZTURBO_DASHBOARD_TOKEN="secret") as page:
        page = page.replace("0.0.0.0", "127.0.0.1")
        assert ask(f"{page}/health")[0] == 200
        assert ask(f"{page}/api/state")[0] == ask(f"{page}/metrics?token=guess")[0] == 401
        assert ask(f"{page}/api/state", Authorization="Bearer secret")[0] == 200
        assert ask(f"{page}/api/state", Cookie="zturbo-token=secret")[0] == 200


def test_an_address_that_is_taken_is_named(network: tuple[Cluster, Client, str, str]) -> None:
    taken = network[2].removeprefix("http://")
    command = [sys.executable, "-m", "zturbo", "dashboard", "--broker", network[1].broker, "--bind", taken]
    told = subprocess.run(command, capture_output=True, text=True, timeout=60)
    text = f"zturbo: the page cannot listen at {taken}: Address already in use; name another HOST:PORT"
    assert told.returncode != 0 and text in told.stderr


def test_with_keys_it_wants_a_token_on_this_host_too(network: tuple[Cluster, Client, str, str]) -> None:
    """Else each user of the host could do what the key may do."""
    with page_of(network[1].broker, ZTURBO_KEYS="/no/such/folder") as page:
        assert ask(f"{page}/health")[0] == 200
        assert ask(f"{page}/api/state")[0] == ask(f"{page}/metrics")[0] == 401


def test_prometheus_can_read_its_metrics(network: tuple[Cluster, Client, str, str]) -> None:
    text = ""

    def counted() -> bool:
        nonlocal text
        text = ask(f"{network[2]}/metrics")[1]
        found = re.search(r'zturbo_task_seconds_count\{[^}]*stage="slow"\} ([\d.]+)', text)
        return found is not None and float(found.group(1)) > 10

    eventually(counted, 20)
    assert re.search(r'zturbo_worker_seconds_total\{[^}]*what="code"\} ', text)
    assert re.search(r'zturbo_wait_seconds_bucket\{[^}]*le="\+Inf"', text)
    assert "job=" not in text and network[3] not in text
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is missing: apt-get install prometheus")
    checked = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, text=True)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def test_a_real_prometheus_scrapes_it_and_answers_all_panels(
    network: tuple[Cluster, Client, str, str], tmp_path: Path
) -> None:
    prometheus = shutil.which("prometheus")
    if prometheus is None:
        pytest.skip("prometheus is missing: apt-get install prometheus")
    settings = (Path(__file__).parents[2] / "examples/grafana/prometheus.yml").read_text()
    assert "127.0.0.1:5580" in settings and "scrape_interval: 5s" in settings
    settings = settings.replace("127.0.0.1:5580", network[2].removeprefix("http://"))
    (tmp_path / "prometheus.yml").write_text(settings.replace("scrape_interval: 5s", "scrape_interval: 1s"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        where = f"127.0.0.1:{probe.getsockname()[1]}"
    options = (f"--web.listen-address={where}", f"--storage.tsdb.path={tmp_path}/data")
    server = subprocess.Popen(
        [prometheus, f"--config.file={tmp_path}/prometheus.yml", *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

    def answer(expression: str) -> list[Any]:
        asked = urllib.parse.urlencode({"query": expression})
        try:
            status, text, _ = ask(f"http://{where}/api/v1/query?{asked}")
        except OSError:  # it has not begun to listen
            return []
        found: list[Any] = json.loads(text)["data"]["result"] if status == 200 else []
        assert status != 400, (expression, text)
        return found

    try:
        board = json.loads((Path(__file__).parents[2] / "examples/grafana/zturbo.json").read_text())
        asked = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
        assert asked
        for expression in asked:
            plain = expression.replace("$__rate_interval", "1m").replace("$pipeline", "p")
            eventually(lambda plain=plain: bool(answer(plain)), 30)
        assert [one["value"][1] for one in answer("zturbo_up")] == ["1"]
    finally:
        server.terminate()
        server.wait(20)


def test_the_grafana_dashboard_asks_for_metrics_that_there_are(
    network: tuple[Cluster, Client, str, str],
) -> None:
    eventually(lambda: "zturbo_gpu_" in ask(f"{network[2]}/metrics")[1], 20)
    text = ask(f"{network[2]}/metrics")[1]
    board = json.loads((Path(__file__).parents[2] / "examples/grafana/zturbo.json").read_text())
    asked = {
        name
        for panel in board["panels"]
        for target in panel["targets"]
        for name in re.findall(r"zturbo_\w+", target["expr"])
    }
    assert {"zturbo_gpu_utilization_ratio", "zturbo_gpu_memory_used_bytes"} < asked
    assert not [name for name in asked if name not in text]


@pytest.mark.parametrize("misspelt", ["", "gridPos", "unit", "includeAll", "fieldConfig", "refresh"])
def test_grafanas_own_models_know_each_field_of_the_dashboard(misspelt: str) -> None:
    """They are made from Grafana's schema, and drop what is not in it. They add what is there by default."""
    models = pytest.importorskip(
        "grafana_foundation_sdk.models.dashboard", reason="grafana-foundation-sdk is not installed"
    )
    encoder = pytest.importorskip("grafana_foundation_sdk.cog.encoder")
    text = (Path(__file__).parents[2] / "examples/grafana/zturbo.json").read_text()
    board = json.loads(text.replace(f'"{misspelt}"', '"wrong"'))
    read = json.loads(encoder.JSONEncoder().encode(models.Dashboard.from_json(board)))

    def lost(given: Any, kept: Any) -> list[Any]:
        if isinstance(given, dict) and isinstance(kept, dict):
            return [one for key, value in given.items() for one in lost(value, kept.get(key))]
        if isinstance(given, list) and isinstance(kept, list) and len(given) == len(kept):
            return [one for pair in zip(given, kept, strict=True) for one in lost(*pair)]
        return [] if given == kept else [given]

    assert bool(lost(board, read)) is bool(misspelt), lost(board, read)


def test_up_serves_the_page_and_ends_it(tmp_path: Path) -> None:
    (tmp_path / "net.toml").write_text(
        f'[broker]\nbind = "ipc://{tmp_path}/b"\n[[pipeline]]\nname = "p"\n'
        '[[pipeline.stage]]\nname = "same"\nclass = "tests.stages.contents:Same"\n'
    )
    command = [sys.executable, "-m", "zturbo", "up", str(tmp_path / "net.toml"), "--no-progress"]
    up = subprocess.Popen(
        [*command, "--dashboard", "127.0.0.1:0"], stderr=subprocess.STDOUT, stdout=subprocess.PIPE, text=True
    )
    try:
        assert up.stdout is not None
        links = (re.search(r"http://[^/\s]+", line) for line in up.stdout)
        page = next(link for link in links if link is not None).group()
        eventually(lambda: ask(f"{page}/ready")[0] == 200, 20)
    finally:
        up.send_signal(signal.SIGINT)
        up.communicate(timeout=20)
    assert up.returncode == 130
    with pytest.raises(OSError):
        ask(f"{page}/health")


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Any]:
    """Chromium, and what its console has said is empty in the end."""
    with chromium(tmp_path) as driver:
        yield driver
        assert [line["message"] for line in driver.get_log("browser") if line["level"] == "SEVERE"] == []


PALE = """
const parse = (text) => {
  const all = text.match(/[\\d.]+/g).map(Number);
  return all.length < 4 ? [...all, 1] : all;
};
const linear = (c) => { c /= 255; return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4; };
const light = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
const back = (node) => {
  for (let at = node; at; at = at.parentElement) {
    const colour = parse(getComputedStyle(at).backgroundColor);
    if (colour[3] === 1) return colour;
  }
  return [255, 255, 255];
};
const found = [];
for (const node of document.querySelectorAll("body *")) {
  const own = [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim());
  if (!own || !node.checkVisibility() || node.closest(".gone")) continue;
  const [a, b] = [light(parse(getComputedStyle(node).color)), light(back(node))];
  const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  if (ratio < 4.5) found.push(`${node.tagName}.${node.className}: ${ratio.toFixed(2)}`);
}
return found;
"""
"""Elements with text whose contrast is below that of WCAG 2.2, level AA."""


def keyboard(browser: Any, page: str, client: Client, job: str) -> None:
    """All is done without a mouse, while the page is drawn anew; texts can be read, light and dark."""
    from selenium.webdriver.common.keys import Keys

    def active() -> str:
        found: str = browser.execute_script("return document.activeElement.dataset.job || ''")
        return found

    browser.get(f"{page}/jobs")
    eventually(lambda: bool(browser.find_elements("css selector", "button.cancel")), 10)
    for _ in range(60):
        browser.switch_to.active_element.send_keys(Keys.TAB)
        if active() == job:
            break
    assert active() == job
    row = "'#jobs tr[data-key=\"/jobs/' + arguments[0] + '\"]'"
    changed = f"return document.querySelector({row}).innerText"
    before = browser.execute_script(changed, job)
    eventually(lambda: browser.execute_script(changed, job) != before, 20)
    assert active() == job, "it keeps the focus while its row is drawn anew"
    browser.switch_to.active_element.send_keys(Keys.ENTER)
    eventually(lambda: browser.execute_script("return document.activeElement.id") == "no", 10)
    browser.switch_to.active_element.send_keys(Keys.ESCAPE)
    assert client.jobs(job)[0]["state"] == "running"
    for scheme in ("light", "dark"):
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        for view in ("pipeline", "workers", "jobs", "hosts", "logs", "incidents"):
            browser.get(f"{page}/{view}")
            eventually(lambda: "Asking" not in browser.execute_script("return document.body.innerText"), 10)
            assert browser.execute_script(PALE) == [], (scheme, view)
    browser.execute_script("document.getElementById('broker').style.color = 'rgb(60, 60, 60)'")
    assert len(browser.execute_script(PALE)) == 1, "dark grey on dark is found"


def task_stream(browser: Any, page: str) -> None:
    """The lanes of workers tell of single tasks, and can be zoomed, by mouse and by keyboard."""
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    def told() -> str:
        found: str = browser.execute_script("return document.getElementById('tip').innerText")
        return found

    def lane() -> Any:
        return browser.find_element("css selector", ".lane[data-name='p.slow'] canvas")

    def is_told(about: str, move: Any) -> bool:
        move()
        print(text := told())  # seen if it never comes to hold
        return re.search(about, text) is not None

    task = (
        r'process \d+\s+[\d.]+ .?s ago, for [\d.]+ .?s\s+job "long" \(\w+\)\s+'
        r"(task \d+|\d+ tasks?, \d+ to \d+)\s+the stage's code [\d.]+ .?s[^\n]*\s+took \d+ B"
    )
    browser.get(f"{page}/workers?span=30")
    eventually(lambda: bool(browser.find_elements("css selector", ".lane[data-name='p.slow'] canvas")))
    right = lane().size["width"] // 2

    def mouse(left: int) -> ActionChains:
        return ActionChains(browser).move_to_element_with_offset(lane(), right - left, 0)

    steps = itertools.cycle(range(190, 230, 7))  # a mouse that stays where it is says nothing
    eventually(lambda: is_told(task, lambda: mouse(next(steps)).perform()))
    mouse(180).click_and_hold().move_by_offset(40, 0).release().perform()
    eventually(lambda: bool(browser.find_elements("id", "zoom-now")))
    span = float(browser.current_url.split("span=")[1])
    assert 0.5 < span < 5
    browser.execute_script("arguments[0].focus()", lane())
    keys = itertools.cycle([Keys.ARROW_LEFT] * 50 + [Keys.ARROW_RIGHT] * 50)  # from edge to edge
    eventually(lambda: is_told(task, lambda: lane().send_keys(next(keys))))
    lane().send_keys("+")
    eventually(lambda: abs(float(browser.current_url.split("span=")[1]) - span / 2) < 0.002)
    lane().send_keys(Keys.ESCAPE)
    assert not browser.find_element("id", "tip").is_displayed()
    browser.find_element("id", "zoom-now").click()
    eventually(lambda: not browser.find_elements("id", "zoom-now"))


def logs(browser: Any, page: str, client: Client) -> None:
    """Lines are filtered by controls that the address keeps, and followed: with a list in use, too."""
    from selenium.webdriver.support.select import Select

    def shown() -> list[str]:
        found = "return [...document.querySelectorAll('#log pre')].map((one) => one.innerText)"
        lines: list[str] = browser.execute_script(found)
        return lines

    def chosen() -> dict[str, str]:
        names = ("job", "source", "host", "level")
        return {
            name: Select(browser.find_element("id", name)).first_selected_option.text.split(" (")[0]
            for name in names
        }

    ids = {}
    for name in ("first", "other"):
        handle = client.submit(Job(name, Task(name)), pipeline="r")
        handle.result(30)
        ids[name] = handle.id
    browser.get(f"{page}/logs")
    eventually(lambda: {"printed first", "printed other"} <= {line.split("]: ")[-1] for line in shown()}, 20)
    everything = {"job": "all jobs", "source": "all stages", "host": "all hosts", "level": "all levels"}
    assert chosen() == everything
    option = f"#job option[value='{ids['other']}']"  # jobs are asked about apart from lines
    eventually(lambda: bool(browser.find_elements("css selector", option)))
    Select(browser.find_element("id", "job")).select_by_value(ids["other"])
    eventually(lambda: bool(shown()) and all(f"[{ids['other'][:12]}" in line for line in shown()), 10)
    assert any("is done" in line for line in shown())
    Select(browser.find_element("id", "source")).select_by_value("r.loud")
    eventually(lambda: bool(shown()) and all(" r.loud [" in line for line in shown()), 10)
    browser.get(browser.current_url)
    eventually(lambda: "printed other" in "".join(shown()), 10)
    assert chosen() == {**everything, "job": "other", "source": "r.loud"}
    Select(browser.find_element("id", "level")).select_by_value("WARNING")
    eventually(lambda: "No line matches." in browser.find_element("id", "main").text, 10)
    browser.find_element("link text", "Logs").click()
    eventually(lambda: len(shown()) > 5, 10)
    assert chosen() == everything and browser.current_url == f"{page}/logs"
    Select(browser.find_element("id", "source")).select_by_value("r.loud")
    host = client.telemetry()["members"][0]["host"]
    Select(browser.find_element("id", "host")).select_by_value(host)
    assert browser.execute_script("return document.activeElement.id") == "host"
    client.submit(Job("late", Task("late")), pipeline="r").result(30)
    eventually(lambda: "printed late" in "".join(shown()), 10)
    assert "is done" not in "".join(shown()), "the broker's lines are of no host"
    assert browser.execute_script("return document.activeElement.id") == "host", "it is followed meanwhile"
    browser.find_element("css selector", f"#log a[href='/logs?job={ids['first']}']").click()
    eventually(lambda: bool(shown()) and all(f"[{ids['first'][:12]}" in line for line in shown()), 10)
    assert chosen() == {**everything, "job": "first"}


MANY = """
const count = (change) => {
  const watch = new MutationObserver(() => {});
  const all = {subtree: true, childList: true, characterData: true, attributes: true};
  watch.observe(document.getElementById("main"), all);
  change();
  draw(true);
  return watch.takeRecords().length;
};
const job = {...state.jobs[0], state: "running", waiting: "", error: ""};
const lane = state.lanes[0];
const id = (i) => String(i).padStart(32, "0");
const jobs = Array.from({length: 1000}, (_, i) => ({...job, id: id(i), number: i, name: `job ${i}`}));
const many = Array.from({length: 100}, (_, i) => ({...lane, id: `lane ${i}`, name: `p.stage${i % 5}`}));
const before = [state, lanes];
state = {...state, jobs, lanes: many};
lanes = new Map();
noteLanes();
draw(true);
const found = [
  document.querySelectorAll("#jobs tbody tr, .lane").length,
  count(() => {}),
  count(() => { jobs[990].results += 1; many[3].rate += 1; noteLanes(); }),
];
[state, lanes] = before;
draw(true);
return found;
"""
"""Shows 1,000 jobs and 100 workers. Returns how many rows there are, and how many changes of the page a new
drawing makes if nothing is new, and if there is something new of one job and of one worker."""


PAINTED = """
const lane = state.lanes[0];
const many = Array.from({length: 100}, (_, i) => ({...lane, id: `lane ${i}`, name: `p.stage${i % 5}`}));
const before = [state, lanes];
state = {...state, lanes: many};
lanes = new Map();
noteLanes();
draw(true);
for (let i = 0; i < 20; i++) paintAll();
const found = [...document.querySelectorAll("canvas[data-lane]")].filter(onScreen).length;
[state, lanes] = before;
draw(true);
return found;
"""
"""Paints 100 workers 20 times; returns how many of them are on the screen."""


def many_jobs_and_workers(browser: Any, page: str) -> None:
    """Drawing anew touches only what has changed, so the page stays smooth at any size."""

    def layouts() -> int:
        found = browser.execute_cdp_cmd("Performance.getMetrics", {})["metrics"]
        return int(next(one["value"] for one in found if one["name"] == "LayoutCount"))

    for view, rows in (("jobs", 100), ("workers", 100)):
        browser.get(f"{page}/{view}")
        eventually(
            lambda: browser.execute_script("return Boolean(state && state.jobs && state.jobs.length)"), 10
        )
        shown, idle, changed = browser.execute_script(MANY)
        assert (shown, idle) == (rows, 0) and 1 <= changed <= 4, (view, shown, idle, changed)
    browser.execute_cdp_cmd("Performance.enable", {})
    before = layouts()
    on_screen = browser.execute_script(PAINTED)
    made = layouts() - before
    assert on_screen > 10 and made < 14, (on_screen, made, "it is laid out for what is new, not to paint")


def test_it_moves_shows_a_death_and_cancels(network: tuple[Cluster, Client, str, str], browser: Any) -> None:
    _, client, page, job = network

    def text() -> str:
        found: str = browser.execute_script("return document.body.innerText")
        return found

    def lanes() -> int:
        found: int = browser.execute_script("return document.querySelectorAll('.lane:not(.gone)').length")
        return found

    browser.get(f"{page}/pipeline")
    eventually(lambda: "slow:" in text() and "busy" in text() and "slowest stage" in text(), 30)
    before = text()
    eventually(lambda: text() != before, 10)

    many_jobs_and_workers(browser, page)
    task_stream(browser, page)
    logs(browser, page, client)
    browser.get(f"{page}/workers?span=30")
    eventually(lambda: lanes() == 6, 10)
    victim = next(one for one in client.telemetry()["members"] if one["name"] == "p.slow")
    os.kill(victim["pid"], signal.SIGKILL)
    gone = "return document.querySelectorAll('.lane.gone').length"
    eventually(lambda: browser.execute_script(gone) == 1, 10)

    browser.get(f"{page}/incidents")
    eventually(lambda: "died" in text(), 10)

    browser.get(f"{page}/jobs?words=script")
    eventually(lambda: HOSTILE in text(), 10)
    assert browser.title == "zturbo"

    for width in (1280, 400):
        size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        for view in ("pipeline", "workers", "jobs", "hosts", "logs"):
            browser.get(f"{page}/{view}")
            eventually(lambda: "Asking" not in text(), 10)
            assert browser.execute_script("return document.documentElement.scrollWidth") <= width

    keyboard(browser, page, client, job)

    browser.get(f"{page}/jobs/{job}")
    eventually(lambda: bool(browser.find_elements("css selector", "button.cancel")), 10)
    click = "document.querySelector(arguments[0]).click()"
    browser.execute_script(click, "button.cancel")
    browser.find_element("id", "no").click()
    assert client.jobs(job)[0]["state"] == "running"
    eventually(lambda: bool(browser.find_elements("css selector", "button.cancel")), 10)
    browser.execute_script(click, "button.cancel")
    browser.find_element("id", "yes").click()
    eventually(lambda: client.jobs(job)[0]["state"] == "cancelled", 10)
    eventually(lambda: "cancelled" in text(), 10)


def test_failed_tasks_run_again_once_a_person_has_said_yes(
    network: tuple[Cluster, Client, str, str], browser: Any
) -> None:
    _, client, page, _ = network
    bad = client.submit(Job("bad", Task("raise")), pipeline="q")
    assert len(bad.failed) == 1
    jobs = len(client.jobs())

    def press() -> None:
        found = f"button[data-act=retry][data-job='{bad.id}']"
        eventually(lambda: bool(browser.find_elements("css selector", found)), 10)
        browser.execute_script("document.querySelector(arguments[0]).click()", found)

    browser.get(f"{page}/jobs?words=bad")
    press()
    assert "Run the failed task of" in browser.find_element("id", "question").text
    browser.find_element("id", "no").click()
    assert browser.execute_script("return document.activeElement.id") != "yes"
    assert len(client.jobs()) == jobs
    press()
    browser.find_element("id", "yes").click()
    eventually(lambda: "run again as job" in browser.find_element("id", "said").text, 10)
    again = next(one for one in reversed(client.jobs()) if one["pipeline"] == "q" and one["id"] != bad.id)
    assert len(client.jobs()) == jobs + 1 and again["id"][:12] in browser.find_element("id", "said").text
    eventually(lambda: client.jobs(again["id"])[0]["failed"] == 1, 20)


def test_a_viewers_page_has_no_buttons(tmp_path: Path, browser: Any) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        broker = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
    folder = tmp_path / "keys"
    keys.make_folder(folder)
    keys.add(folder, "viewer", "eve")
    (tmp_path / "net.toml").write_text(
        f'[broker]\nbind = "{broker}"\nstate = "{tmp_path}/state"\n[[pipeline]]\nname = "q"\n'
        '[[pipeline.stage]]\nname = "odd"\nclass = "tests.stages.basic:Odd"\n'
    )
    up = subprocess.Popen(
        [
            *(sys.executable, "-m", "zturbo", "up", str(tmp_path / "net.toml"), "--no-progress"),
            "--keys",
            folder,
        ],
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    shown = "return document.querySelectorAll('#jobs tbody tr').length"
    buttons = "return [...document.querySelectorAll('main button')].map((one) => one.textContent)"
    try:
        with Client(broker, keys=folder, timeout=60) as client:
            bad = client.submit(Job("bad", Task("raise")), pipeline="q")
            assert len(bad.failed) == 1
            for key, found in ((folder, ["Retry failed"]), (folder / "viewer-eve.key", [])):
                options = ("127.0.0.1:0", "--keys", str(key))
                with page_of(broker, *options, ZTURBO_DASHBOARD_TOKEN="secret") as page:
                    eventually(
                        lambda page=page: ask(f"{page}/ready", Authorization="Bearer secret")[0] == 200, 20
                    )
                    browser.get(f"{page}/jobs?token=secret")
                    eventually(lambda: browser.execute_script(shown) == 1, 20)
                    assert browser.execute_script(buttons) == found
                    browser.get(f"{page}/jobs/{bad.id}")
                    eventually(lambda: "Failed tasks" in browser.page_source, 20)
                    assert browser.execute_script(buttons) == [*found, "Show them"]
                    browser.get("about:blank")  # before the page's process ends
                    asked = {"Origin": page, "X_Zturbo": "1", "Authorization": "Bearer secret"}
                    refused = ask(f"{page}/api/jobs/{bad.id}/cancel", "POST", **asked)
                    assert refused[0] == 409, "a viewer may not, and for the admin it has ended"
                    assert ("a viewer's key may not" in refused[1]) is (found == [])
    finally:
        up.send_signal(signal.SIGINT)
        up.wait(20)
