"""Hosts that do not reach each other: the link is named, and the end goes that others do not reach either."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterator

import pytest

from tests.support.cluster import eventually
from tests.support.four_hosts import Run, ask, done_again, some_hosts
from tests.support.hosts import Hosts
from zturbo.exitcodes import UNFIT_CODE

THERE = ("--broker", "tcp://10.99.0.1:5555", "--insecure")


@pytest.fixture
def three(lease: float) -> Iterator[tuple[Hosts, str]]:
    """Broker and sink on a, the first stage on b, the second on d; c is to come."""
    with some_hosts("abcd", lease) as (hosts, file):
        hosts.run("a", "zturbo", "broker", file, "--insecure")
        hosts.run("a", "zturbo", "sink", file, *THERE)
        hosts.run("b", "zturbo", "stage", file, "p.first", *THERE)
        hosts.run("d", "zturbo", "stage", file, "p.second", *THERE)
        eventually(lambda: "first x1, second x1" in ask(hosts, "a", "jobs").stdout)
        yield hosts, file


def told(hosts: Hosts, host: str, sentence: str, *, stays_out: bool = True) -> None:
    """A sentence is said at the terminal of the process on this host, and by the broker.

    ``jobs`` says it as long as the process is kept out. One that is started again at a port that is open
    may be back before ``jobs`` is asked.
    """

    def said(text: str) -> bool:
        return re.search(sentence, " ".join(text.split())) is not None

    (log,) = hosts.folder.glob(f"*-{host}.log")
    eventually(lambda: said(log.read_text()))
    if stays_out:
        eventually(lambda: said(ask(hosts, "a", "jobs").stdout))
    assert said(ask(hosts, "a", "logs").stdout)


def left(hosts: Hosts) -> list[str]:
    """Members that have left the view."""
    return re.findall(r"(\S+) is out of the view", ask(hosts, "a", "logs").stdout)


def test_a_newcomer_with_an_address_to_which_there_is_no_way(three: tuple[Hosts, str]) -> None:
    hosts, file = three
    run = Run(hosts)
    run.until(100)
    hosts.ip("c", "addr", "add", "10.98.0.3/32", "dev", "eth0")
    hosts.run("c", "zturbo", "stage", file, "p.second", *THERE, "--address", "10.98.0.3")
    told(
        hosts, "c", r"p\.second on c at 10\.98\.0\.3:\d+ does not answer (the sink on a|p\.first on b): open "
    )
    run.end()
    assert done_again(hosts) == 0 and left(hosts) == []
    for host in "ab":
        hosts.ip(host, "route", "add", "10.98.0.3/32", "dev", "eth0")
    eventually(lambda: "first x1, second x2" in ask(hosts, "a", "jobs").stdout)
    assert "does not answer" not in ask(hosts, "a", "jobs").stdout


def test_a_newcomer_behind_a_firewall(three: tuple[Hosts, str]) -> None:
    hosts, file = three
    hosts.ip("c", "route", "add", "blackhole", "10.99.0.2/32")
    run = Run(hosts)
    run.until(100)
    hosts.run("c", "zturbo", "stage", file, "p.second", *THERE)
    told(hosts, "c", r"p\.second on c at \S+ and p\.first on b at \S+ do not answer each other: open these ")
    run.end()
    assert done_again(hosts) == 0 and left(hosts) == []
    hosts.ip("c", "route", "del", "blackhole", "10.99.0.2/32")
    eventually(lambda: "first x1, second x2" in ask(hosts, "a", "jobs").stdout)


def given_up(
    hosts: Hosts, process: subprocess.Popen[bytes], host: str, sentence: str, workers: int = 1
) -> None:
    """This command ends with a code of its own, and each worker's last word is its sentence, which the broker
    tells too."""
    assert process.wait(timeout=60) == UNFIT_CODE, hosts.logs()
    (log,) = hosts.folder.glob(f"*-{host}-gives-up.log")
    whole = sentence + r".* \(tried for \d+ s, and given up\)"
    lines = log.read_text().splitlines()
    last = lines[-2 * workers :]
    assert sum(re.search(whole, line) is not None for line in last) == workers, lines
    assert sum(line.endswith("it is not started again") for line in last) == workers, lines
    assert not any("is started again" in line for line in lines), "its ports stay the same"
    for words in ("jobs", "logs"):
        told = " ".join(ask(hosts, "a", words).stdout.split())
        assert re.search(whole, told), told


@pytest.mark.parametrize("lease", [1.0])
def test_a_newcomer_that_is_never_reached_gives_up(three: tuple[Hosts, str]) -> None:
    hosts, file = three
    hosts.ip("c", "route", "add", "blackhole", "10.99.0.2/32")
    words = ("stage", file, "p.second", *THERE, "--workers", "2")
    with open(hosts.folder / "9-c-gives-up.log", "w") as log:
        process = hosts.run("c", "zturbo", *words, stdout=log, stderr=log)
    given_up(
        hosts,
        process,
        "c",
        r"p\.second on c at \S+ and p\.first on b at \S+ do not answer each other: open these ports ",
        workers=2,
    )
    assert left(hosts) == []
    Run(hosts, 100).end()


@pytest.mark.parametrize("host", ["a", "b"])
def test_a_newcomer_without_an_address_for_others_gives_up(host: str) -> None:
    """On the broker's own host, and on another."""
    with some_hosts("abc", 1.0) as (hosts, file):
        hosts.run("a", "zturbo", "broker", file, "--insecure")
        hosts.run("a", "zturbo", "sink", file, *THERE)
        hosts.run("c", "zturbo", "stage", file, "p.first", *THERE)
        eventually(lambda: "first x1, second x0" in ask(hosts, "a", "jobs").stdout)
        with open(hosts.folder / f"9-{host}-gives-up.log", "w") as log:
            words = ("stage", file, "p.second", *THERE[:2])
            process = hosts.run(host, "zturbo", *words, stdout=log, stderr=log)
        sentence = (
            rf"p\.second on {host} can be reached from its own host alone, and (the sink|p\.first) is on "
        )
        given_up(hosts, process, host, sentence)
        hosts.run(host, "zturbo", "stage", file, "p.second", *THERE)
        eventually(lambda: "first x1, second x1" in ask(hosts, "a", "jobs").stdout)
        assert "given up" not in ask(hosts, "a", "jobs").stdout


def test_a_link_that_breaks_in_one_direction(three: tuple[Hosts, str]) -> None:
    hosts, file = three
    hosts.run("c", "zturbo", "stage", file, "p.second", *THERE)
    eventually(lambda: "first x1, second x2" in ask(hosts, "a", "jobs").stdout)
    run = Run(hosts, 6000)
    run.until(300)
    hosts.close_ports("c")
    first = r"(p\.first on b|the sink on a)"  # either may notice it first
    sentence = rf"p\.second on c at 10\.99\.0\.3:\d+ does not answer {first}: open that port of c "
    incident = re.compile(rf"p\.second on c was taken out: {sentence}")
    eventually(lambda: incident.search(ask(hosts, "a", "jobs").stdout) is not None)  # while the job runs
    told(hosts, "c", sentence, stays_out=False)
    run.end()
    assert set(left(hosts)) == {"p.second"}, "the sink and the first stage stay"


def test_a_member_that_only_its_own_host_reaches_yields_to_the_sink() -> None:
    with some_hosts("abc") as (hosts, file):
        hosts.run("a", "zturbo", "broker", file, "--insecure")
        hosts.run("c", "zturbo", "stage", file, "p.second", *THERE)
        eventually(lambda: "first x0, second x1" in ask(hosts, "a", "jobs").stdout)
        hosts.close_ports("c")
        hosts.run("a", "zturbo", "sink", file, *THERE)
        sentence = r"p\.second on c at 10\.99\.0\.3:\d+ does not answer the sink on a: open that "
        told(hosts, "c", sentence, stays_out=False)
        hosts.run("b", "zturbo", "stage", file, "p.first", *THERE)
        began = time.monotonic()
        Run(hosts, 100).end()  # c has another port when it is started again
        print(f"{time.monotonic() - began:.1f} s")
        assert left(hosts) == ["p.second"]
