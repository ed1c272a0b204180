"""A flame graph as one SVG file, which any browser shows.

Names come from the code of others, so each is escaped; the file has no script and fetches nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from zturbo.telemetry.stacks import Frame

__all__ = ["flame_graph"]

WIDTH = 1200.0
ROW = 18
"""Pixels of a row."""
NARROWEST = 0.5
"""Pixels of the narrowest call that is drawn."""
LETTER = 6.6
"""Pixels of a letter, about."""
DEEPEST = 200
"""Rows at most."""

STYLE = (
    "text{font:11px monospace;fill:#222;pointer-events:none}rect{stroke:#fff;stroke-width:.5}"
    "rect:hover{stroke:#000}.head{font:13px sans-serif}"
    "@media (prefers-color-scheme:dark){svg{background:#1b1b1f}.head{fill:#ddd}}"
)


class _Call:
    """A function in one place of the tree."""

    __slots__ = ("calls", "count", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self.count = 0
        self.calls: dict[str, _Call] = {}


def _tree(counted: Iterable[tuple[Sequence[Frame], int]]) -> _Call:
    root = _Call("all")
    for frames, count in counted:
        root.count += count
        at = root
        for frame in list(reversed(frames))[:DEEPEST]:
            name = f"{frame.function} ({frame.file.rpartition('/')[2]})"
            at = at.calls.setdefault(name, _Call(name))
            at.count += count
    return root


def _depth(call: _Call) -> int:
    deepest, level = 0, [call]
    while level:
        deepest, level = deepest + 1, [one for call in level for one in call.calls.values()]
    return deepest


def _colour(name: str) -> str:
    """A warm colour, the same for the same name in each file."""
    number = sum(map(ord, name))
    return f"hsl({number % 50},{70 + number % 20}%,{62 + number % 12}%)"


def flame_graph(title: str, counted: Sequence[tuple[Sequence[Frame], int]]) -> str:
    """The SVG.

    Args:
        title: a line above it.
        counted: (stack, the innermost call first; number of samples).
    """
    root = _tree(counted)
    height = _depth(root) * ROW + 40
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH:g} {height}" width="100%">'
        f"<style>{STYLE}</style>"
        f'<text class="head" x="8" y="20">{escape(_printable(title))}</text>'
    ]
    level = [(root, 0.0)]
    row = 0
    while level and root.count:
        y = 30 + row * ROW
        below = []
        for call, x in level:
            width = WIDTH * call.count / root.count
            if width < NARROWEST:
                continue
            out.append(_box(call, x, y, width, root.count))
            at = x
            for one in sorted(call.calls.values(), key=lambda one: one.name):
                below.append((one, at))
                at += WIDTH * one.count / root.count
        level = below
        row += 1
    return "".join([*out, "</svg>\n"])


def _box(call: _Call, x: float, y: int, width: float, total: int) -> str:
    name = _printable(call.name)
    share = f"{call.count} of {total} samples, {call.count / total:.1%}"
    letters = int((width - 6) / LETTER)
    shown = name if len(name) <= letters else f"{name[: max(0, letters - 2)]}.."
    text = f'<text x="{x + 3:.1f}" y="{y + 13}">{escape(shown)}</text>' if letters > 3 else ""
    return (
        f'<g><rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{ROW - 1}" fill="{_colour(call.name)}">'
        f"<title>{escape(name)}: {share}</title></rect>{text}</g>"
    )


def _printable(text: str) -> str:
    """Without characters that XML does not have."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)
