"""A stage that does to its process what code of users does to it; the content says which deed."""

from __future__ import annotations

import atexit
import concurrent.futures
import ctypes
import faulthandler
import gc
import locale
import logging
import multiprocessing
import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from zturbo import BatchStage, ReorderStage, Stage, Task

__all__ = ["AsyncDeeds", "BatchDeeds", "Deeds", "OrderedDeeds"]


def square(x: int) -> int:
    return x * x


def wait(*args: object) -> None:
    threading.Event().wait()


def segfault() -> None:
    ctypes.string_at(0)


def noted(folder: Path, *pids: int) -> None:
    """Leave word of these processes; whole, or not at all."""
    name = folder / f"{os.getpid()}.new"
    name.write_text(" ".join(map(str, pids)))
    name.rename(folder / f"{os.getpid()}.pids")


# -- signals ----------------------------------------------------------------------------------
def signal_own_group(folder: Path) -> None:
    os.kill(0, signal.SIGTERM)


def signal_own_group_by_name(folder: Path) -> None:
    os.killpg(os.getpgrp(), signal.SIGINT)


def ignore_signals(folder: Path) -> None:
    for number in (signal.SIGTERM, signal.SIGCHLD, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


def block_signals(folder: Path) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())


def default_sigpipe(folder: Path) -> None:
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)


def late_alarm(folder: Path) -> None:
    def raising(number: int, frame: object) -> None:
        (folder / "alarm").touch()
        raise TimeoutError("too late")

    signal.setitimer(signal.ITIMER_REAL, 0.1)  # first, since another deed's timer may run
    signal.signal(signal.SIGALRM, raising)


# -- the process ------------------------------------------------------------------------------
def elsewhere(folder: Path) -> None:
    os.chdir("/")
    os.umask(0o777)
    os.environ.clear()


def no_standard_files(folder: Path) -> None:
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        stream.close()


def close_standard_files(folder: Path) -> None:
    os.closerange(0, 3)


def write_to_standard_files(folder: Path) -> None:
    """Its number may not be that of a socket by now."""
    for fd in (1, 2):
        os.write(fd, b"text")


def odd_settings(folder: Path) -> None:
    """All that a library's manual might tell one to set, and worse."""
    gc.disable()
    locale.setlocale(locale.LC_ALL, "C")
    logging.disable(logging.CRITICAL)
    logging.shutdown()
    np.seterr(all="raise")
    os.nice(1)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
    socket.setdefaulttimeout(0.001)
    sys.excepthook = sys.unraisablehook = threading.excepthook = raising
    sys.path.clear()
    sys.setprofile(lambda *args: None)
    sys.setrecursionlimit(60)
    warnings.simplefilter("error")
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 1)
    os.dup2(null, 2)


def raising(*args: object) -> None:
    raise RuntimeError("a hook")


def odd_threads(folder: Path) -> None:
    """They end by what ends a process elsewhere."""
    for error in (SystemExit(3), KeyboardInterrupt(), ValueError("not the main thread")):
        thread = threading.Thread(target=throw, args=(error,))
        thread.start()
        thread.join()


def throw(error: BaseException) -> None:
    raise error


def own_handlers(folder: Path) -> None:
    signal.signal(signal.SIGUSR1, lambda *args: None)
    file = os.open(folder / "faults", os.O_WRONLY | os.O_CREAT)
    faulthandler.enable(file)
    faulthandler.register(signal.SIGUSR2, file)
    faulthandler.dump_traceback_later(
        600, file=file
    )  # reads frames without the interpreter's lock: may crash
    signal.signal(signal.SIGALRM, lambda *args: None)
    signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
    os.kill(os.getpid(), signal.SIGUSR1)


def few_descriptors(folder: Path) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (20000, 20000))


def thread_and_hook(folder: Path) -> None:
    threading.Thread(target=wait).start()
    atexit.register(wait)


# -- descriptors ------------------------------------------------------------------------------
def close_all(folder: Path) -> None:
    os.closerange(3, 1000)


def close_and_open(folder: Path) -> None:
    os.closerange(3, 1000)
    for _ in range(50):
        os.open(os.devnull, os.O_RDWR)


def close_one(folder: Path) -> None:
    for name in sorted(os.listdir("/proc/self/fd"), key=int):
        if "eventpoll" in os.readlink(f"/proc/self/fd/{name}"):
            os.close(int(name))
            return


# -- other processes --------------------------------------------------------------------------
def pool(folder: Path) -> None:
    with multiprocessing.get_context("fork").Pool(2) as workers:
        assert workers.map(square, range(5)) == [0, 1, 4, 9, 16]


def terminate(folder: Path) -> None:
    tempfile.tempdir = str(folder)  # a fork server leaves its socket when its parent is killed
    for method in ("fork", "spawn", "forkserver"):
        process = multiprocessing.get_context(method).Process(target=wait)
        process.start()
        process.terminate()
        process.join(30)
        assert process.exitcode == -signal.SIGTERM, (method, process.exitcode)


def interrupt_program(folder: Path) -> None:
    program = subprocess.Popen(["sleep", "600"])
    program.send_signal(signal.SIGINT)
    assert program.wait(30) == -signal.SIGINT


def executor(folder: Path) -> None:
    with concurrent.futures.ProcessPoolExecutor(2) as workers:
        assert list(workers.map(square, range(5))) == [0, 1, 4, 9, 16]


def segfault_in_program(folder: Path) -> None:
    process = multiprocessing.get_context("fork").Process(target=segfault)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGSEGV


def fork_and_exit(folder: Path) -> None:
    pid = os.fork()
    if not pid:
        os._exit(5)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 5


def fork_and_return(folder: Path) -> None:
    pid = os.fork()
    if pid:
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1


def fork_and_leave(folder: Path) -> None:
    pid = os.fork()
    if not pid:
        sys.exit(7)
    os.waitpid(pid, 0)


def leave_processes(folder: Path) -> None:
    """Start processes of all kinds that would go on for ever, and go on for ever too."""
    shell = subprocess.Popen(["sh", "-c", "sleep 600 & sleep 600 | cat"])
    apart = subprocess.Popen(["sleep", "600"], start_new_session=True)
    forked = multiprocessing.get_context("fork").Process(target=wait)
    forked.start()
    spawned = multiprocessing.get_context("spawn").Process(target=wait)
    spawned.start()
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:  # a daemon: its parent is gone, and so is its session
        os.setsid()
        if os.fork():
            os._exit(0)
        os.write(writer, b"%d" % os.getpid())
        wait()
    os.waitpid(pid, 0)
    daemon = int(os.read(reader, 20))
    assert forked.pid is not None
    assert spawned.pid is not None
    noted(folder, os.getpid(), shell.pid, apart.pid, forked.pid, spawned.pid, daemon)


def leave_processes_and_wait(folder: Path) -> None:
    leave_processes(folder)
    wait()


DEEDS: dict[str, Callable[[Path], None]] = {
    deed.__name__: deed
    for deed in (
        signal_own_group,
        signal_own_group_by_name,
        ignore_signals,
        block_signals,
        default_sigpipe,
        late_alarm,
        elsewhere,
        no_standard_files,
        close_standard_files,
        write_to_standard_files,
        few_descriptors,
        odd_settings,
        odd_threads,
        own_handlers,
        thread_and_hook,
        close_all,
        close_and_open,
        close_one,
        pool,
        terminate,
        interrupt_program,
        executor,
        segfault_in_program,
        fork_and_exit,
        fork_and_return,
        fork_and_leave,
        leave_processes,
        leave_processes_and_wait,
    )
}


def do(content: Any, folder: str) -> None:
    """The deed that this content names, if it names one."""
    if content in DEEDS:
        DEEDS[content](Path(folder))


class Deeds(Stage):
    """Does what the content says, and gives it."""

    def __init__(self, folder: str = "", rest: float = 0.0) -> None:
        super().__init__()
        self.folder = folder
        self.rest = rest

    def process(self, task: Task) -> Task:
        time.sleep(self.rest)
        do(task.content, self.folder)
        return task


class OrderedDeeds(ReorderStage):
    """The same, in order."""

    def __init__(self, folder: str = "") -> None:
        super().__init__()
        self.folder = folder

    def process(self, task: Task) -> Task:
        do(task.content, self.folder)
        return task


class BatchDeeds(BatchStage):
    """The same, in batches."""

    def __init__(self, folder: str = "") -> None:
        super().__init__(max_batch=4)
        self.folder = folder

    def process_batch(self, tasks: list[Task]) -> list[Task]:
        for task in tasks:
            do(task.content, self.folder)
        return tasks


class AsyncDeeds(Stage):
    """The same, in coroutines."""

    def __init__(self, folder: str = "") -> None:
        super().__init__()
        self.folder = folder

    async def process(self, task: Task) -> Task:  # type: ignore[override]
        do(task.content, self.folder)
        return task
