"""Code blocks of the pages, and a session in which a page's blocks are done one after another."""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

from tests.support.cluster import eventually

__all__ = ["PAGES", "ROOT", "Block", "Session", "blocks", "matches"]

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

LIMIT = 120
"""Seconds that a command of a page may take."""

_FENCE = re.compile(
    r"(?:<!-- (?P<mark>[a-z]+)[^\n]*-->\n)?^```(?P<lang>\w*)(?: title=\"(?P<title>[^\"]+)\")?[^\n]*\n"
    r"(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """A fenced block."""

    page: Path
    line: int
    lang: str
    title: str
    """Of a file that the reader is to write."""
    mark: str
    """``fragment`` for what is no whole program or file: so stands before it. ``processes`` for
    a program that debug mode makes another."""
    text: str

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


def blocks(page: Path) -> list[Block]:
    """All fenced blocks of a page."""
    text = page.read_text()
    found = []
    for match in _FENCE.finditer(text):
        line = text.count("\n", 0, match.start("lang")) + 1
        parts = {name: match[name] or "" for name in ("lang", "title", "mark", "text")}
        found.append(Block(page, line, **parts))
    return found


def matches(shown: str, given: str) -> bool:
    """Whether an output is what is shown; ``...`` stands for anything in a line, alone for any lines."""
    pattern = ""
    for line in shown.strip().splitlines():
        if line.strip() == "...":
            pattern += r"(?:.*\n)*"
        else:
            pattern += re.escape(line.rstrip()).replace(re.escape("..."), ".*") + r"[ ]*\n"
    return re.fullmatch(pattern, given.strip() + "\n") is not None


class _Process:
    """A command in the background, and what it has said so far."""

    def __init__(self, words: list[str], folder: Path, env: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            words, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.output = ""
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.output += line

    def wait(self) -> str:
        """All of its output, once it has ended."""
        self.process.wait(LIMIT)
        self._thread.join(LIMIT)
        return self.output

    def stop(self) -> None:
        """End it, as Ctrl-C does."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        self.wait()


class Session:
    """What a reader does who follows a page in an empty folder.

    A block with a title is a file. Lines of ``sh`` blocks are run: ``zturbo up`` and what ends in ``&`` in
    the background; ``wait`` waits for the latter. ``python`` blocks without a title are run. What a ``text``
    block shows is compared with what was run last, and has to come, line by line, of what is in the
    background; with the title ``zturbo up``, of that. A command's exit code is 0, or what ``# exit code 1``
    behind it says. Where the page shows ``NAME runs (process 4711)``,
    4711 is that process from then on.

    Args:
        folder: an empty one.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        bin_folder = folder / ".bin"
        bin_folder.mkdir()
        for name, module in (("zturbo", "-m zturbo"), ("pytest", "-m pytest"), ("python", "")):
            script = bin_folder / name
            script.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {module} "$@"\n')
            script.chmod(0o755)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = str(probe.getsockname()[1])
        self._env = {
            **{name: value for name, value in os.environ.items() if not name.startswith("PYTEST")},
            "PATH": f"{bin_folder}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
            "ZTURBO_BROKER": f"tcp://127.0.0.1:{self._port}",
        }
        self._pids: dict[str, str] = {}
        self._up: _Process | None = None
        self._background: _Process | None = None
        self._last: str | _Process = ""

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *exc: object) -> None:
        for process in (self._background, self._up):
            if process is not None:
                process.stop()

    def _real(self, text: str) -> str:
        text = text.replace("127.0.0.1:5555", f"127.0.0.1:{self._port}")
        for shown, pid in self._pids.items():
            text = re.sub(rf"\b{shown}\b", pid, text)
        return text

    def do(self, block: Block) -> None:
        """One block; a fragment is only read."""
        if block.mark == "fragment":
            return
        text = self._real(block.text)
        if block.lang == "text":
            self._compare(text, self._up if block.title == "zturbo up" else self._last)
        elif block.title:
            path = self.folder / block.title
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        elif block.lang == "python":
            (self.folder / ".block.py").write_text(text)
            self._last = self._run(f"python {self.folder / '.block.py'}")
        elif block.lang == "sh":
            for line in text.splitlines():
                self._command(line)

    def _command(self, line: str) -> None:
        words = shlex.split(line, comments=True)
        if not words:
            return
        if words[:2] == ["zturbo", "up"] and "# exit" not in line:
            assert self._up is None, "it is up already"
            self._up = self._last = _Process(words, self.folder, self._env)
        elif words == ["wait"]:
            assert self._background is not None, "nothing to wait for"
            self._last = self._background.wait()
            assert self._background.process.returncode == 0, self._last
        elif words[-1] == "&":
            process = self._background = self._last = _Process(words[:-1], self.folder, self._env)
            eventually(lambda: bool(process.output) or process.process.poll() is not None, LIMIT)
        else:
            self._last = self._run(line)

    def _run(self, line: str) -> str:
        code = re.search(r"# exit code (\d+)", line)
        done = subprocess.run(
            ["bash", "-c", line],
            cwd=self.folder,
            env=self._env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=LIMIT,
        )
        assert done.returncode == int(code[1] if code else 0), f"{line}\n{done.stdout}"
        return done.stdout

    def _compare(self, shown: str, last: str | _Process | None) -> None:
        assert last is not None, "nothing was run"
        if isinstance(last, str):
            assert matches(shown, last), f"the page shows\n{shown}\nbut it gave\n{last}"
            return
        for line in shown.splitlines():
            pattern = re.escape(line.strip()).replace(re.escape("..."), ".*")
            started = re.match(r"\S+ runs \(process (\d+)\)", line)
            if started:
                pattern = pattern.replace(started[1], r"(\d+)")
            eventually(lambda p=pattern: re.search(p, last.output) is not None, LIMIT)  # type: ignore[misc]
            if started:
                found = re.findall(pattern, last.output)
                self._pids[started[1]] = found[-1]
