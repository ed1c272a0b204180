"""Pictures of the dashboard: ``zturbo up --dashboard`` runs the video example, and Chromium looks at it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selenium import webdriver

from examples.video import clips
from examples.video.demo import FILE, free_address
from zturbo import Client, Job, Task

ROOT = Path(__file__).parents[1]

IMAGES = ROOT / "docs/images"

FLAGS = "headless no-sandbox disable-gpu disable-quic no-first-run disable-sync hide-scrollbars".split()

TOKEN = "picture"
"""What the browser has to know; the page asks for it on a host with other users."""

WORK = 25.0
"""Seconds of work before the first picture."""

PICTURES = (
    ("pipeline", 1280, 420, "light"),
    ("pipeline", 1280, 420, "dark"),
    ("pipeline", 400, 980, "light"),
    ("workers?span=30", 1280, 330, "light"),
    ("jobs", 1280, 330, "light"),
)
"""(view, width, height, colours) of each."""


@contextmanager
def network(folder: Path) -> Iterator[tuple[str, str]]:
    """The example with its page. Yields the broker's address and the page's."""
    broker = free_address()
    page = free_address().removeprefix("tcp://")
    text = re.sub(r'bind = ".*"', f'bind = "{broker}"\nstate = "{folder}/state"', FILE.read_text())
    (folder / "video.toml").write_text(text)
    zturbo = Path(sys.executable).with_name("zturbo")
    command = [str(zturbo), "up", str(folder / "video.toml"), "--no-progress", "--dashboard", page]
    up = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "ZTURBO_DASHBOARD_TOKEN": TOKEN})
    try:
        yield broker, f"http://{page}"
    finally:
        up.send_signal(signal.SIGINT)
        up.wait(20)


def keep_busy(client: Client, out: Path, stop: threading.Event) -> None:
    """Submit the clips again and again, one after the other; each once more than it is read."""
    while not stop.is_set():
        handles = [
            client.submit(Job(path.stem, Task({"clip": str(path), "out": str(out)})), pipeline="video")
            for path in clips.find()
        ]
        for handle in handles:
            while not stop.is_set() and not handle.done():
                stop.wait(0.2)
        if stop.is_set():
            for handle in handles:
                handle.cancel()


def take(driver: Any, page: str) -> None:
    """Take all pictures."""
    for view, width, height, colours in PICTURES:
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        features = [{"name": "prefers-color-scheme", "value": colours}]
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        driver.get(f"{page}/{view}")
        time.sleep(3)
        name = f"dashboard-{view.partition('?')[0]}-{width}-{colours}.png"
        driver.save_screenshot(str(IMAGES / name))
        print(IMAGES / name)


def main() -> None:
    """Make the pictures."""
    IMAGES.mkdir(exist_ok=True)
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for flag in FLAGS:
        options.add_argument(f"--{flag}")
    with tempfile.TemporaryDirectory() as folder, network(Path(folder)) as (broker, page):
        stop = threading.Event()
        with Client(broker, timeout=30) as client:
            worker = threading.Thread(target=keep_busy, args=(client, Path(folder), stop))
            worker.start()
            driver = webdriver.Chrome(
                options=options, service=webdriver.ChromeService("/usr/bin/chromedriver")
            )
            try:
                stop.wait(WORK)
                driver.get(f"{page}/pipeline?token={TOKEN}")
                take(driver, page)
            finally:
                driver.quit()
                stop.set()
                worker.join()


if __name__ == "__main__":
    main()
