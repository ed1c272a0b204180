"""What many workers cost the broker: messages, bytes, and its own time, counted with simulated workers.

    python -m benchmarks.scaling               1,000 workers
    python -m benchmarks.scaling 100 1000 10000

The broker's own machine runs here, without sockets. The workers, of two stages, on hosts of 16, join at a
rate, and answer its pings and its links. Then they work, and say hello three times; then they rest. Their
nodes renew the leases of all, and hellos are seldom. Each message is packed as on the wire, and its bytes are
counted for each receiver. Messages to the broker are read as it reads them.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter

from zturbo.core.effects import Control, Reply, Send
from zturbo.core.hellos import REST, every
from zturbo.wire.codec import encode
from zturbo.wire.control import from_broker, to_broker
from zturbo.wire.control.codec import pack_control, read_request
from zturbo.wire.control.message import Message
from zturbo.wire.control.view import Member
from zturbo.wire.messages import PROTOCOL, Greet, Ping, Probe, Statement
from zturbo_broker.machine.known import PipelineInfo
from zturbo_broker.machine.machine import BrokerMachine

__all__ = ["Cluster", "main"]

PER_HOST = 16
RATE = 100
"""Workers that start in a second."""
STEP = 0.05
"""Seconds of simulated time between two looks at what is due."""


class Cluster:
    """A broker's machine, and its workers.

    Args:
        workers: how many.
        whole: members up to which views are sent whole; None for the broker's own number.
    """

    def __init__(self, workers: int, whole: int | None = None) -> None:
        self.workers = workers
        me = Member(b"B" * 16, "broker", "", -1, "broker-host", ("ipc:///run/b/in", "tcp://10.0.0.1:40000"))
        self.machine = BrokerMachine(me, [PipelineInfo("p", ["a", "b"])], view=1, version="1")
        if whole is not None:
            self.machine.life.views.whole = whole
        self.now = 0.0
        self.messages: Counter[str] = Counter()
        self.bytes: Counter[str] = Counter()
        self.seconds = 0.0
        """CPU time that the machine, the packing, and the reading of messages have taken."""
        self.packed = 0
        """Messages that were packed: one that goes to many is packed once."""
        self._packed: tuple[Message | None, int] = (None, 0)

    def member(self, number: int) -> Member:
        """A worker; worker 0 is the sink."""
        host = number // PER_HOST
        ends = (
            f"ipc:///run/z/{number:08x}/in",
            f"tcp://10.{1 + host // 250}.{host % 250}.1:{30000 + number % 1000}",
        )
        name = number.to_bytes(16, "big")
        if number == 0:
            return Member(name, "sink", "", -1, "host-0", ends, (ends[1],), spool=b"s" * 16)
        return Member(name, "worker", "p", number % 2, f"host-{host}", ends)

    def hello(self, member: Member) -> None:
        """A worker says hello."""
        message = to_broker.Hello(
            member=member,
            node=_node(member),
            pid=1000,
            protocol=PROTOCOL,
            version="1",
            python="3.11.7",
            stage_name="ab"[member.stage] if member.role == "worker" else "sink-0",
            code="0123456789ab",
            view=self.machine.life.views.sent if member.incarnation in self.machine.membership else 0,
            jobs=(),
        )
        self._tell(member.incarnation, message)

    def _tell(self, who: bytes, message: Message) -> None:
        frames = pack_control(message)
        self.messages[f"to the broker: {message.type_name}"] += 1
        self.bytes[f"to the broker: {message.type_name}"] += sum(len(bytes(frame)) for frame in frames)
        began = time.process_time()
        self.machine.control(who, read_request(frames), self.now)
        self.seconds += time.process_time() - began
        self.serve()

    def _count(self, name: str, message: Message) -> None:
        if message is not self._packed[0]:
            self.packed += 1
            began = time.process_time()
            self._packed = (message, sum(len(bytes(frame)) for frame in pack_control(message)))
            self.seconds += time.process_time() - began
        self.messages[name] += 1
        self.bytes[name] += self._packed[1]

    def serve(self) -> None:
        """Send what the machine has to say, and answer its pings."""
        effects, self.machine.effects[:] = list(self.machine.effects), []
        for effect in effects:
            if isinstance(effect, Control):
                self._count(f"from the broker: {effect.message.type_name}", effect.message)
                if isinstance(effect.message, from_broker.PingThem):
                    self._ping(effect.to, effect.message)
            elif isinstance(effect, Reply):
                self._count(f"from the broker: {effect.message.type_name}", effect.message)
            elif isinstance(effect, Send):
                self.messages["from the broker: on links"] += 1
                self.bytes["from the broker: on links"] += sum(len(bytes(f)) for f in encode(effect.message))
                if isinstance(effect.message, Ping):
                    trial = effect.message.trial
                    pinged = to_broker.Pinged(incarnation=effect.peer, source=self.machine.me, trial=trial)
                    self._tell(effect.peer, pinged)
                elif isinstance(effect.message, (Greet, Probe)):
                    nonce = effect.message.nonce if isinstance(effect.message, Probe) else 0
                    self.machine.data(
                        Statement(effect.peer, self.machine.me, 0, 0, [], 1, 1, nonce), self.now
                    )

    def _ping(self, who: bytes, order: from_broker.PingThem) -> None:
        self._tell(who, to_broker.Pinging(incarnation=who, trial=order.trial))
        for target in order.members:
            if target.incarnation == self.machine.me:
                self.machine.data(Ping(who, self.machine.me, order.trial), self.now)
            else:
                pinged = to_broker.Pinged(incarnation=target.incarnation, source=who, trial=order.trial)
                self._tell(target.incarnation, pinged)

    def look(self) -> None:
        """Let the machine do what is due."""
        due = self.machine.deadline()
        if due is not None and due <= self.now:
            began = time.process_time()
            self.machine.tick(self.now)
            self.seconds += time.process_time() - began
            self.serve()

    def start(self) -> None:
        """Let all join."""
        for number in range(self.workers + 1):
            self.now = number / RATE
            self.look()
            member = self.member(number)
            self.hello(member)
            if number % RATE == RATE - 1:  # those that are there renew their leases
                self.machine.membership.renew(
                    [m.incarnation for m in self.machine.membership.members()], self.now
                )
        until = self.now + 4.0
        while self.now < until:
            self.now += STEP
            self.look()
        self._renew([self.member(number) for number in range(self.workers + 1)])

    def work(self) -> float:
        """Let all work, and say hello three times. Returns how many seconds that takes."""
        members = [self.member(number) for number in range(self.workers + 1)]
        seconds = 3 * every(len(members))
        looks = round(seconds / STEP)
        said = 0
        for look in range(1, looks + 1):
            self.now += STEP
            if look % round(self.machine.membership.lease / 4 / STEP) == 0:
                self._renew(members)
            for number in range(said, 3 * len(members) * look // looks):
                self.hello(members[number % len(members)])
            said = 3 * len(members) * look // looks
            self.look()
        return seconds

    def _renew(self, members: list[Member]) -> None:
        """Let all nodes renew the leases of their workers."""
        nodes: dict[bytes, list[bytes]] = {}
        for member in members:
            nodes.setdefault(_node(member), []).append(member.incarnation)
        for node, alive in nodes.items():
            self._tell(node, to_broker.Renew(node=node, alive=tuple(alive), wanted={"p.a": 8, "p.b": 8}))

    def rest(self) -> float:
        """Let all rest until each has said hello once. Returns how many seconds that takes."""
        members = [self.member(number) for number in range(self.workers + 1)]
        pause = self.machine.membership.lease / 4
        looks = round(REST / pause)
        for look in range(looks):
            self.now += pause
            self._renew(members)
            for member in members[look::looks]:
                self.hello(member)
            self.look()
        return looks * pause

    def table(self, title: str, per: str, divide: float) -> str:
        """What was counted since the last table."""
        rows = [f"### {title}", "", f"| message | messages{per} | bytes{per} |", "| --- | --- | --- |"]
        for name, count in sorted(self.messages.items()):
            rows.append(f"| {name} | {count / divide:,.0f} | {self.bytes[name] / divide:,.0f} |")
        rows.append(f"| all | {self.messages.total() / divide:,.0f} | {self.bytes.total() / divide:,.0f} |")
        rows += ["", f"The broker's CPU time was {self.seconds / divide:.2f} s{per}.", ""]
        self.messages.clear()
        self.bytes.clear()
        self.seconds = 0.0
        return "\n".join(rows)


def _node(member: Member) -> bytes:
    return member.host.encode()[:16].ljust(16)


def main(words: list[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scaling",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("workers", type=int, nargs="*", default=[1000])
    parser.add_argument(
        "--whole", type=int, help="members up to which views are sent whole and at once, to compare"
    )
    args = parser.parse_args(words)
    for workers in args.workers:
        cluster = Cluster(workers, args.whole)
        cluster.start()
        if len(cluster.machine.membership) != workers + 1:
            sys.exit(f"only {len(cluster.machine.membership)} of {workers + 1} have joined")
        sys.stdout.write(cluster.table(f"{workers:,} workers join", "", 1.0) + "\n")
        seconds = cluster.work()
        sys.stdout.write(cluster.table(f"{workers:,} workers work", " a second", seconds) + "\n")
        seconds = cluster.rest()
        sys.stdout.write(cluster.table(f"{workers:,} workers rest", " a second", seconds) + "\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
