"""How smooth the dashboard is with many workers and jobs: times between the frames of a real browser.

    python -m benchmarks.page                          100 workers, 1,000 jobs
    python -m benchmarks.page 20 100 --shots build     also a picture of each view

``zturbo up`` runs five stages on this host, ``zturbo dashboard`` shows them, and Chromium looks at each view
for some seconds while the jobs run. A frame is late where the page computes for longer; "drawn in" is the
time in which a view is drawn anew, which happens twice a second. "CPU" is what the page's main thread uses of
a core: it holds on a busy machine, too, where frames wait for others. Needs Chromium with its driver, and pip
install 'zturbo[dashboard]' selenium.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.peer import Flow
from benchmarks.peers.zturbo import Here
from zturbo import Job, Task

__all__ = ["main"]

VIEWS = ("pipeline", "workers", "workers?span=10", "jobs", "hosts", "logs")
CHROMIUM, DRIVER = "/usr/bin/chromium", "/usr/bin/chromedriver"
NAP = 2.0
"""Seconds that a task takes in each stage."""

WATCH = """
window.gaps = [];
let last = performance.now();
(function frame() {
  const now = performance.now();
  window.gaps.push(now - last);
  last = now;
  requestAnimationFrame(frame);
})();
"""

DRAWN = "const began = performance.now(); draw(true); return performance.now() - began;"


@contextmanager
def page(broker: str) -> Iterator[str]:
    """The dashboard's process. Yields its address, without the path."""
    command = [sys.executable, "-m", "zturbo", "dashboard", "--broker", broker, "--bind", "127.0.0.1:0"]
    process = subprocess.Popen([*command, "--json"], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())["page"]
    finally:
        process.terminate()
        process.wait(10)


@contextmanager
def browser(size: str) -> Iterator[Any]:
    """Chromium, without a window."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    with tempfile.TemporaryDirectory(prefix="ztb-") as folder:
        flags = ("headless", "no-sandbox", "disable-gpu", f"user-data-dir={folder}", f"window-size={size}")
        for flag in flags:
            options.add_argument(f"--{flag}")
        driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
        try:
            yield driver
        finally:
            driver.quit()


def measure(driver: Any, link: str, seconds: float) -> list[float]:
    """Look at a view.

    Returns:
        Milliseconds between frames (median, 99 %, longest), and to draw the view; the percent of a core that
        its thread uses; the number of elements.
    """

    def used() -> float:
        """Seconds of CPU of the page's main thread."""
        told = driver.execute_cdp_cmd("Performance.getMetrics", {})["metrics"]
        return float(next(one["value"] for one in told if one["name"] == "ThreadTime"))

    driver.get(link)
    while not driver.execute_script("return Boolean(state && state.pipelines && state.lanes.length)"):
        time.sleep(0.1)
    driver.execute_cdp_cmd("Performance.enable", {"timeDomain": "threadTicks"})
    before, began = used(), time.monotonic()
    time.sleep(seconds)
    busy = 100 * (used() - before) / (time.monotonic() - began)
    driver.execute_script(WATCH)
    time.sleep(seconds)
    gaps = sorted(driver.execute_script("return window.gaps"))
    drawn = sorted(driver.execute_script(DRAWN) for _ in range(5))[2]
    nodes = driver.execute_script("return document.querySelectorAll('*').length")
    return [gaps[len(gaps) // 2], gaps[int(len(gaps) * 0.99)], gaps[-1], drawn, busy, nodes]


def main(words: list[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.page",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("workers", type=int, nargs="?", default=100)
    parser.add_argument("jobs", type=int, nargs="?", default=1000)
    parser.add_argument("--seconds", type=float, default=5.0, help="for each view; default: %(default)g")
    parser.add_argument("--size", default="1280,800", help="of the window; default: %(default)s")
    parser.add_argument("--shots", type=Path, metavar="FOLDER", help="write a picture of each view")
    args = parser.parse_args(words)
    peer = Here("memory")
    try:
        peer.start(Flow(("nap",) * 5, workers=max(1, args.workers // 5)))
        peer.processes()
        for number in range(args.jobs):
            peer.client.submit(Job(f"job {number}", Task(NAP)), "p")
        peer.client.flush(120)
        with page(peer.client.broker) as link, browser(args.size) as driver:
            root = link.partition("/pipeline")[0]
            driver.get(link)  # with its token, if it has one
            heads = ("view", "frames: median", "99 %", "longest", "drawn in", "CPU", "elements")
            sys.stdout.write(f"| {' | '.join(heads)} |\n{'| --- ' * len(heads)}|\n")
            for view in VIEWS:
                *times, nodes = measure(driver, f"{root}/{view}", args.seconds)
                cells = [f"{one:.0f} ms" for one in times[:3]]
                cells += [f"{times[3]:.1f} ms", f"{times[4]:.0f} %", f"{nodes:.0f}"]
                sys.stdout.write(f"| {view} | {' | '.join(cells)} |\n")
                sys.stdout.flush()
                if args.shots is not None:
                    args.shots.mkdir(parents=True, exist_ok=True)
                    name = view.replace("?", "-").replace("=", "-")
                    driver.save_screenshot(str(args.shots / f"{name}.png"))
    finally:
        peer.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
