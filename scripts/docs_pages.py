"""Makes pages from the code, ``python scripts/docs_pages.py``; and hooks of MkDocs.

``docs/reference/cli.md`` is made from ``zturbo.cli.parser()``, and ``docs/reference/network-file.md`` from
``zturbo.deploy.network``. A test compares both with the code. The hooks add pages that the nav does not name.
"""

from __future__ import annotations

import argparse
import ast
import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig

import zturbo.cli
from zturbo.deploy import network
from zturbo.deploy.settings import flag_of, variable_of
from zturbo.errors import NetworkFileError

__all__ = ["PAGES", "TABLES", "cli_page", "commands", "network_page", "on_config", "on_page_content"]

FOLDER = Path(__file__).parents[1] / "docs" / "reference"

WIDTH = 100
"""Of a usage line, in characters."""

NOTE = "<!-- made by scripts/docs_pages.py -->\n\n"


# -- the command line ---------------------------------------------------------------------------
def cli_page(parser: argparse.ArgumentParser | None = None) -> str:
    """The page of all commands, made from a parser; None for the parser that ``zturbo`` itself uses."""
    parser = parser or zturbo.cli.parser()
    lines = ["# Command line", "", parser.description or "", "", _text(parser.epilog), ""]
    lines += ["A flag overrides the environment, and the environment overrides the network file.", ""]
    lines += ["| variable | |", "| --- | --- |"]
    lines += [f"| `{name}` | {_cell(about)} |" for name, about in zturbo.cli.ENVIRONMENT.items()]
    lines += ["", "| exit code | |", "| --- | --- |"]
    lines += [f"| {code} | {_cell(about)} |" for code, about in zturbo.cli.EXIT_CODES.items()]
    lines += [""]
    for name, command in commands(parser, parser.prog):
        lines += [f"## {name}", "", *_command(command)]
    return "\n".join(lines)


def commands(parser: argparse.ArgumentParser, name: str) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            seen = set()
            for word, command in action.choices.items():
                if id(command) not in seen:  # an alias is the same parser again
                    seen.add(id(command))
                    yield f"{name} {word}", command
                    yield from commands(command, f"{name} {word}")


def _command(parser: argparse.ArgumentParser) -> list[str]:
    formatter = parser.formatter_class(parser.prog, width=WIDTH)
    formatter.add_usage(parser.usage, parser._actions, parser._mutually_exclusive_groups)
    usage = formatter.format_help().removeprefix("usage: ").strip()
    lines = [parser.description or "", "", "```text", usage, "```", "", "| argument | |", "| --- | --- |"]
    for action in parser._actions:
        if action.help is argparse.SUPPRESS or isinstance(action, argparse._SubParsersAction):
            continue
        words = formatter._format_action_invocation(action)
        about = formatter._expand_help(action) if action.help else ""
        if not about and action.choices:
            about = ", ".join(map(str, action.choices))
        lines.append(f"| `{_cell(words)}` | {_cell(about)} |")
    return [*lines, "", _text(parser.epilog), ""]


def _text(text: str | None) -> str:
    return f"```text\n{text.rstrip()}\n```" if text else ""


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


# -- the network file ---------------------------------------------------------------------------
TABLES: list[tuple[str, type, str, dict[str, Any]]] = [
    ("[broker]", network.BrokerSpec, "The broker. All of it may be left out.", {}),
    ("[listen]", network.ListenSpec, "Where processes listen. All of it may be left out.", {}),
    ("[[host]]", network.HostSpec, "A host of `zturbo deploy`; other commands do not look at it.", {}),
    ("[[pipeline]]", network.PipelineSpec, "A pipeline; there may be several.", {"stage": "stages"}),
    ("[[pipeline.stage]]", network.StageSpec, "A stage of it, in the order of the file.", {"class": "cls"}),
]
"""Table -> class, what it is, and keys that have another name in the class."""

NETWORK_INTRO = """\
# Network file

A network file lists the pipelines of a broker, their stages, and the number of workers of each stage. It is
[TOML](https://toml.io). `zturbo up`, `broker`, `sink`, `stage` and `deploy` all read the same file. An error
names the file, the key, the expected value and the nearest right name. An unknown key is an error.

The settings of `[broker]` and `[listen]` can also be given by a flag, or by an environment variable. A flag
overrides the variable, and the variable overrides the file.

```toml
{example}
```
"""


def network_page() -> str:
    """The page of all keys, made from the parser and the classes that ``zturbo`` itself uses."""
    example = (inspect.getdoc(network) or "").partition("\n\n")[2].partition("\nA mistake")[0]
    parts = [NETWORK_INTRO.format(example=inspect.cleandoc(example))]
    for table, cls, about, renamed in TABLES:
        docs = attribute_docs(cls)
        known = {field.name: field for field in fields(cls)}
        rows = []
        for key in keys(table):
            field = known[renamed.get(key, key)]
            default = field.default if field.default_factory is MISSING else field.default_factory()
            shown = "required" if field.default is default is MISSING else _default(default)
            text = _cell(docs[field.name])
            if table in ("[broker]", "[listen]"):
                text += f" `{flag_of(key)}`, `{variable_of(key)}`."
            rows.append(f"| `{key}` | {_cell(expected(table, key))} | {shown} | {text} |")
        head = ["| key | expected | default | |", "| --- | --- | --- | --- |"]
        parts.append("\n".join([f"## `{table}`", "", about, "", *head, *rows, ""]))
    return "\n".join(parts)


def _default(value: Any) -> str:
    if value is None:
        return "none"
    if value == {}:
        return "`{}`"
    text = str(value).lower() if isinstance(value, bool) else repr(value).replace("'", '"')
    return f"`{text}`"


def attribute_docs(cls: type) -> dict[str, str]:
    """Attribute -> the string that stands below it in the class."""
    (node,) = ast.parse(inspect.getsource(cls)).body
    assert isinstance(node, ast.ClassDef)
    docs: dict[str, str] = {field.name: "" for field in fields(cls)}
    name = ""
    for statement in node.body:
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            name = statement.target.id
        elif isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant) and name:
            docs[name] = inspect.cleandoc(str(statement.value.value)).replace("``", "`")
            name = ""
    return docs


def _file(table: str, key: str, value: Any) -> dict[str, Any]:
    """The smallest valid network file, with one key of one table set to this value."""
    stage = {"name": "s", "class": "m:C"}
    pipeline: dict[str, Any] = {"name": "p", "stage": [stage]}
    host: dict[str, Any] = {"name": "h"}
    file: dict[str, Any] = {"broker": {}, "listen": {}, "host": [host], "pipeline": [pipeline]}
    tables = {"[broker]": file["broker"], "[listen]": file["listen"], "[[host]]": host}
    tables["[[pipeline]]"] = pipeline
    {**tables, "[[pipeline.stage]]": stage}[table][key] = value
    return file


def _problem(table: str, key: str, value: Any) -> str:
    try:
        network.Network.parse(_file(table, key, value))
    except NetworkFileError as error:
        return error.problem
    raise AssertionError(f"{table}: {key} = {value!r} is taken for right")


def keys(table: str) -> list[str]:
    """The keys that the parser takes, in the order of the class's fields."""
    problem = _problem(table, "0", 0)
    names = problem.partition("there are: ")[2].split(", ")
    cls, renamed = next((c, r) for t, c, _, r in TABLES if t == table)
    order = [field.name for field in fields(cls)]
    return sorted(names, key=lambda name: order.index(renamed.get(name, name)))


def expected(table: str, key: str) -> str:
    """The value that the parser expects for a key, in its own words."""
    problem = _problem(table, key, object())
    return re.sub(r"^expected |, found an? .*$", "", problem)


# -- hooks --------------------------------------------------------------------------------------
def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Add each page that the nav does not name to the end of the nav."""
    assert config.nav is not None
    named = set(re.findall(r"[\w/-]+\.md", str(config.nav)))
    there = {str(path.relative_to(config.docs_dir)) for path in Path(config.docs_dir).rglob("*.md")}
    if more := sorted(there - named):
        config.nav.append({"More": list(more)})
    return config


def on_page_content(html: str, **_: Any) -> str:
    """Render the few marks of reStructuredText that docstrings have."""
    html = re.sub(r":(?:class|meth|func|mod|attr|exc):<code>~?([^<]*)</code>", r"<code>\1</code>", html)
    return html.replace("::</p>", ":</p>")


# -- the command --------------------------------------------------------------------------------
PAGES: dict[Path, Callable[[], str]] = {FOLDER / "cli.md": cli_page, FOLDER / "network-file.md": network_page}
"""File -> its text's function."""


def main() -> None:
    """Write the pages."""
    for path, page in PAGES.items():
        path.write_text(NOTE + page())
        print(f"{path.relative_to(FOLDER.parents[1])}: written")


if __name__ == "__main__":
    main()
