"""Pictures of a run: bars of all ratios, and a line for each peer along each axis."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.machine import described
from benchmarks.registry import BASE, WORKS
from benchmarks.report import Results
from benchmarks.work import shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw"]


def draw(results: Results, folder: Path) -> list[Path]:
    """Draw ``ratios.png``, and ``WORK.png`` for each work that was done at several sizes.

    Args:
        results: of the run.
        folder: where the files go.

    Returns:
        The files.

    Raises:
        ImportError: matplotlib is not installed.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    files = []
    rows = [
        (work, name, less)
        for work in results.works
        for name, at, less in results.figures(work)
        if at is None and any(results.ratio(work, peer, name, at) for peer in results.peers)
    ]
    if rows:
        figure, parts = pyplot.subplots(
            len(rows), 1, figsize=(9, 0.9 + len(rows) * _height(results)), squeeze=False
        )
        for axes, (work, name, less) in zip(parts[:, 0], rows, strict=True):
            _bars(axes, results, work, name, less)
        figure.suptitle(f"× {BASE}\n{described(results.facts)}", fontsize=8)
        files.append(_save(figure, folder / "ratios.png"))
    for work in results.works:
        names = dict.fromkeys(name for name, at, _ in results.figures(work) if at is not None)
        if names:
            figure, parts = pyplot.subplots(len(names), 1, figsize=(8, 1 + 3.5 * len(names)), squeeze=False)
            for axes, name in zip(parts[:, 0], names, strict=True):
                _lines(axes, results, work, name)
            figure.suptitle(f"{work}: {WORKS[work].title}\n{described(results.facts)}", fontsize=8)
            files.append(_save(figure, folder / f"{work}.png"))
    return files


def _height(results: Results) -> float:
    return 0.6 + 0.22 * len(results.peers)


def _save(figure: Any, file: Path) -> Path:
    from matplotlib import pyplot

    figure.tight_layout()
    figure.savefig(file, dpi=110)
    pyplot.close(figure)
    return file


def _bars(axes: Axes, results: Results, work: str, name: str, less: bool) -> None:
    ratios = {peer: results.ratio(work, peer, name, None) for peer in results.peers}
    known = {peer: ratio for peer, ratio in ratios.items() if ratio}
    bars = axes.barh(list(known), [ratio - 1 for ratio in known.values()], left=1)
    axes.bar_label(bars, [f" {shown(ratio)} × " for ratio in known.values()], fontsize=7)
    axes.set_xscale("log")
    axes.margins(x=0.2)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.invert_yaxis()
    axes.tick_params(labelsize=7)
    axes.set_xticks([], minor=True)
    axes.set_xticks([])
    axes.set_title(f"{work} {name}{' (less is better)' if less else ''}", fontsize=8, loc="left")


def _lines(axes: Axes, results: Results, work: str, name: str) -> None:
    sizes = sorted({at for figure, at, _ in results.figures(work) if figure == name and at is not None})
    for peer in results.peers:
        points = [(at, list(results.values(work, peer, name, at).values())) for at in sizes]
        known = [(at, sorted(values)[len(values) // 2]) for at, values in points if values]
        if known:
            axes.plot([at for at, _ in known], [value for _, value in known], marker="o", label=peer)
    axes.set_xlabel(WORKS[work].axis, fontsize=8)
    axes.set_ylabel(name, fontsize=8)
    axes.tick_params(labelsize=7)
    if sizes and sizes[-1] >= 100 * sizes[0]:
        axes.set_xscale("log")
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7)
