"""A sender's states: it asks for the link, sends, probes, and is over."""

from __future__ import annotations

import pytest

from zturbo.core.effects import Effect, Send
from zturbo.core.links.outbatch import OutBatch
from zturbo.core.links.sender import PROBE_AFTER, LinkSender, SenderState
from zturbo.core.states import ImpossibleTransition
from zturbo.wire.messages import Batch, End, Greet, Probe, Statement

A, B, JOB = (name * 16 for name in (b"a", b"b", b"j"))


def said(effects: list[Effect]) -> list[type]:
    """What kinds of messages were sent since."""
    kinds = [type(effect.message) for effect in effects if isinstance(effect, Send)]
    effects.clear()
    return kinds


def statement(received: int, nonce: int = 0, gap: bool = False) -> Statement:
    return Statement(
        source=B,
        target=A,
        received=received,
        acked=0,
        ranges=[],
        tasks=9,
        nbytes=1 << 20,
        nonce=nonce,
        gap=gap,
    )


def test_from_the_greeting_to_the_end() -> None:
    effects: list[Effect] = []
    sender = LinkSender(A, B, effects, 0.0)
    assert (sender.state, sender.credit, said(effects)) == (SenderState.GREETING, 0, [Greet])
    sender.statement(statement(0), 0.0)
    assert (sender.state, sender.credit) == (SenderState.OPEN, 9)
    sender.send(OutBatch.of(Batch(JOB, 1, 1, ends=[End((0,), 0)]), B), 0.0)
    assert said(effects) == [Batch]
    sender.tick(2 * PROBE_AFTER)
    assert (sender.state, said(effects)) == (SenderState.PROBING, [Probe])
    sender.statement(statement(0, gap=True), 0.6)
    assert (sender.state, said(effects)) == (SenderState.PROBING, []), "it is the probe's answer that counts"
    sender.statement(statement(0, nonce=1), 0.7)
    assert (sender.state, said(effects)) == (SenderState.OPEN, [Batch]), "what is lost goes again"
    sender.statement(statement(0, gap=True), 0.8)
    assert (sender.state, said(effects)) == (SenderState.PROBING, [Probe])
    assert len(sender.abandon()) == 1
    assert sender.state is SenderState.OVER
    with pytest.raises(ImpossibleTransition, match="Link, at its sender: over -> over is not in the table"):
        sender.abandon()


def test_a_probe_for_credit_alone_loses_nothing() -> None:
    effects: list[Effect] = []
    sender = LinkSender(A, B, effects, 0.0)
    sender.statement(statement(0), 0.0)
    sender.starve(0.0)
    said(effects)
    sender.tick(2 * PROBE_AFTER)
    assert (sender.state, said(effects)) == (SenderState.OPEN, [Probe])
