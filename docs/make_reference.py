"""Write the pages of docs/reference from the code: `python docs/make_reference.py [--check]`.

The code is the only source: the table of groups (`nanoarray.schema`), the models of the stages'
parameters, the commands of the command line, and the docstrings of the public names.
"""

from __future__ import annotations

import argparse
import enum
import importlib
import inspect
import re
import sys
import textwrap
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nanoarray
from nanoarray import cli, pipeline, schema

FOLDER = Path(__file__).parent / "reference"
#: Pages beside the generated ones: what no code says in one place.
BY_HAND = frozenset(("formats.md",))
NOTICE = "<!-- Written by docs/make_reference.py from the code: do not edit. -->"


def pages() -> dict[str, str]:
    """Content of every generated page, by file name."""
    return {
        "store.md": store_page(),
        "parameters.md": parameters_page(),
        "command-line.md": command_line_page(),
        "python.md": python_page(),
    }


def page(*parts: str) -> str:
    return "\n\n".join([NOTICE, *(part.strip() for part in parts if part.strip())]) + "\n"


def table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in line) + " |"
        for line in lines
    )


def code(value: Any) -> str:
    return f"`{value}`"


# --- groups and variables ---------------------------------------------------------------------


def store_page() -> str:
    parts = [
        "# Groups and variables of a store",
        "A store is a Zarr v3 group tree: one group per stage. Every variable has `units` "
        '(`"1"` for none) and `long_name`. Unknown is NaN in floats, -1 in integers and `""` in '
        "text. Dimensions are singular; what has only the dimension of its group's rows is a "
        "column of a table. See [the data model](../explanation/data-model.md).",
    ]
    stages = pipeline.STAGES
    for group, variables in schema.GROUPS.items():
        parts.append(f"## {group}")
        if group in stages:
            stage = stages[group]
            inputs = stage.inputs
            if callable(inputs):
                inputs = inputs(stage.parameters())
            read = ", ".join(map(code, inputs))
            parts.append(f"{sentence(stage.description)} Made from {read}.")
        else:
            parts.append(
                "What `nanoarray ingest` reads. Every other tag of a CSV or a file-name pattern "
                "becomes a further variable along `image`."
            )
        if group == "grain_statistics":
            parts.append(STATISTICS)
        rows = [
            [
                code(name),
                ", ".join(entry.dims) or "(scalar)",
                entry.dtype,
                entry.units or "(in `..._units`)",
                entry.long_name,
            ]
            for name, entry in variables.items()
            if not is_interval_end(name, variables)
        ]
        parts.append(table(["variable", "dims", "dtype", "units", "meaning"], rows))
    return page(*parts)


STATISTICS = """
Three small tables. Along `condition`, one row per combination of the tags in
`grain_statistics.by`, with those tags. Along `pair` (names begin with `pair_`), every two
conditions compared, with the tags of both (`pair_temperature_a`, `pair_temperature_b`). Along
`trend` (names begin with `trend_`), a test of grain area against each numeric tag. Means, median,
grain size numbers, differences, ratios and slopes also have `..._low` and `..._high`, the ends of
their interval. See [statistics](../explanation/statistics.md).
"""


def is_interval_end(name: str, variables: Mapping[str, schema.Variable]) -> bool:
    """Whether a variable is an end of the interval of another."""
    return any(name.endswith(e) and name.removesuffix(e) in variables for e in ("_low", "_high"))


# --- parameters -------------------------------------------------------------------------------


def parameters_page() -> str:
    parts = [
        "# Parameters of a pipeline",
        "One table of a pipeline file per stage. A parameter that a file does not name has its "
        "default. On the command line: `--set stage.key=value`; in Python: "
        '`na.run(..., stage={"key": value})`. The pipelines that come with the package: '
        + ", ".join(map(code, pipeline.pipeline_names()))
        + ". How to: [change parameters](../how-to/change-parameters.md).",
    ]
    for stage in pipeline.STAGES.values():
        model = stage.parameters
        parts += [f"## {stage.name}", paragraphs(inspect.getdoc(model) or "")]
        properties = model.model_json_schema()["properties"] if model.model_fields else {}
        rows = []
        described = any(f.description for f in model.model_fields.values())
        for name, field in model.model_fields.items():
            row = [code(name), code(toml(field.default)), limits(properties[name])]
            rows.append(
                [*row, markup(" ".join((field.description or "").split()))] if described else row
            )
        if rows:
            header = ["parameter", "default", "values"]
            parts.append(table([*header, "meaning"] if described else header, rows))
    return page(*parts)


def toml(value: Any) -> str:
    """A default as a pipeline file would write it."""
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(toml, value)) + "]"
    return str(value)


def limits(entry: dict[str, Any]) -> str:
    """Type and limits of a parameter, from its JSON schema."""
    if "anyOf" in entry:
        return " or ".join(limits(e) for e in entry["anyOf"] if e.get("type") != "null")
    choices = entry.get("enum", [entry["const"]] if "const" in entry else [])
    if choices:
        return ", ".join(code(toml(choice)) for choice in choices)
    if entry.get("type") == "array":
        return f"list of {limits(entry['items'])}"
    words = {"integer": "integer", "number": "number", "boolean": "`true`, `false`"}
    text = words.get(entry["type"], "text")
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    if entry.get("exclusiveMinimum") == 0 and entry.get("minimum", 0) > 0:
        del entry["exclusiveMinimum"]
    bounds = [f"{sign} {entry[key]:g}" for key, sign in signs.items() if key in entry]
    return f"{text} {', '.join(bounds)}".strip()


# --- command line -----------------------------------------------------------------------------


def command_line_page() -> str:
    parts = ["# Command line", paragraphs(cli.app.info.help or "")]
    for info in cli.app.registered_commands:
        parts += command_entry(f"nanoarray {command_name(info)}", info.callback)
    for group in cli.app.registered_groups:
        parts += [f"## nanoarray {group.name}", paragraphs(group.typer_instance.info.help or "")]
        for info in group.typer_instance.registered_commands:
            name = f"nanoarray {group.name} {command_name(info)}"
            parts += command_entry(name, info.callback, level="###")
    return page(*parts)


def command_name(info: Any) -> str:
    return info.name or info.callback.__name__.replace("_", "-")


def command_entry(name: str, command: Any, level: str = "##") -> list[str]:
    parts = [f"{level} {name}", paragraphs(inspect.getdoc(command) or "")]
    arguments, options = [], []
    for parameter, kind, info, default in command_parameters(command):
        if type(info).__name__ == "ArgumentInfo":
            label = info.metavar or parameter.upper().removesuffix("_URL")
            arguments.append([code(label), kind, info.help or ""])
        else:
            # Inside Annotated, typer takes the first name for a default value.
            names = ", ".join(map(code, [info.default, *info.param_decls]))
            text = "" if default in (None, False, "") else code(default)
            options.append([names, kind, text, info.help or ""])
    if arguments:
        parts.append(table(["argument", "type", "meaning"], arguments))
    if options:
        parts.append(table(["option", "type", "default", "meaning"], options))
    return parts


def command_parameters(command: Any) -> list[tuple[str, str, Any, Any]]:
    """(name, type in words, typer's record, default) of every parameter of a command."""
    hints = typing.get_type_hints(command, include_extras=True)
    found = []
    for name, parameter in inspect.signature(command).parameters.items():
        kind, *extras = typing.get_args(hints[name])
        info = next(e for e in extras if type(e).__name__ in ("ArgumentInfo", "OptionInfo"))
        default = None if parameter.default is inspect.Parameter.empty else parameter.default
        found.append((name, type_in_words(kind), info, default))
    return found


def type_in_words(kind: Any) -> str:
    if typing.get_origin(kind) in (types.UnionType, typing.Union):
        return " or ".join(
            type_in_words(k) for k in typing.get_args(kind) if k is not types.NoneType
        )
    if typing.get_origin(kind) is list:
        return f"{type_in_words(typing.get_args(kind)[0])}, several"
    if typing.get_origin(kind) is typing.Literal:
        return ", ".join(map(code, typing.get_args(kind)))
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return ", ".join(code(member.value) for member in kind)
    words = {str: "text", int: "integer", float: "number", bool: "flag", Path: "path"}
    return words[kind]


# --- Python -----------------------------------------------------------------------------------

#: Module -> short name, introduction, names (None: its ``__all__``).
MODULES: dict[str, tuple[str, str, list[str] | None]] = {
    "nanoarray": ("na", "The package: `import nanoarray as na`.", None),
    "nanoarray.catalog": (
        "catalog",
        "Catalogs (`na.Catalog`), and what their searches give.",
        ["Products"],
    ),
    "nanoarray.report": (
        "report",
        "Figures, each as a function that returns a matplotlib figure, and the HTML report.",
        None,
    ),
    "nanoarray.superlattice.statistics.sizes": (
        "statistics",
        "What `na.summarize_grains` is made of, on pandas tables.",
        ["summarize_grains", "compare_conditions", "trend_test"],
    ),
    "nanoarray.simulate.archive": (
        "archive",
        "Folders of simulated micrographs with known truth.",
        ["simulate_archive"],
    ),
}


def python_page() -> str:
    parts = [
        "# Python",
        "Public names by module. Everything after the first arguments is keyword-only; lengths, "
        "angles and areas have their unit in the parameter's name or in the variable's `units`.",
    ]
    for module_name, (short, introduction, chosen) in MODULES.items():
        module = importlib.import_module(module_name)
        names = chosen or [n for n in module.__all__ if not n.startswith("_")]
        links = ", ".join(f"[{n}](#{anchor(f'{short}.{n}')})" for n in names)
        parts += [f"## {module_name}", introduction, links + "."]
        for name in names:
            parts += function_entry(f"{short}.{name}", getattr(module, name))
    return page(*parts)


def anchor(heading: str) -> str:
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def function_entry(name: str, function: Any) -> list[str]:
    entry = [
        f"### {name}",
        f"```python\n{signature(name, function)}\n```",
        numpydoc_to_markdown(inspect.getdoc(function) or ""),
    ]
    if inspect.isclass(function):
        for method, value in vars(function).items():
            if inspect.isfunction(value) and not method.startswith("_") and value.__doc__:
                entry += [
                    f"```python\n{signature(f'{name}.{method}', value)}\n```",
                    numpydoc_to_markdown(inspect.getdoc(value) or ""),
                ]
    return entry


def signature(name: str, function: Any) -> str:
    """Call with annotations and defaults; one parameter a line where it would be long."""
    given = inspect.signature(function)
    parts, keyword_only = [], False
    for parameter in given.parameters.values():
        if parameter.name == "self":
            continue
        if parameter.kind is parameter.KEYWORD_ONLY and not keyword_only:
            keyword_only = True
            parts.append("*")
        stars = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
        keyword_only |= parameter.kind is parameter.VAR_POSITIONAL
        text = stars + parameter.name
        if parameter.annotation is not parameter.empty:
            text += f": {parameter.annotation}"
        if parameter.default is not parameter.empty:
            text += f" = {parameter.default!r}"
        parts.append(text)
    back = given.return_annotation
    end = "" if back is given.empty else f" -> {back}"
    line = f"{name}({', '.join(parts)}){end}"
    if len(line) <= 92:
        return line
    return f"{name}(\n" + "".join(f"    {part},\n" for part in parts) + f"){end}"


def numpydoc_to_markdown(doc: str) -> str:
    """Sections as bold words, entries as lists."""
    out: list[str] = []
    title, body = "", []
    lines = doc.splitlines()
    for i, line in enumerate(lines):
        if i + 1 < len(lines) and re.fullmatch(r"-{3,}", lines[i + 1]):
            out += section(title, body)
            title, body = line.strip(), []
        elif not re.fullmatch(r"-{3,}", line):
            body.append(line)
    out += section(title, body)
    return "\n\n".join(out)


def section(title: str, body: list[str]) -> list[str]:
    text = "\n".join(body).strip("\n")
    if not title:
        return [paragraphs(text)] if text.strip() else []
    indented = any(line.startswith("    ") for line in body)
    if not indented:
        return [f"**{title}**: {paragraphs(text)}"]
    entries: list[tuple[str, list[str]]] = []
    for line in body:
        if line and not line.startswith(" "):
            entries.append((line.strip(), []))
        elif entries:
            entries[-1][1].append(line)
    items = []
    for name, rest in entries:
        meaning = " ".join(textwrap.dedent("\n".join(rest)).split())
        label = name if " " in name and "," not in name else ", ".join(map(code, name.split(", ")))
        items.append(f"- {label}: {markup(meaning)}" if meaning else f"- {label}")
    return [f"**{title}**", "\n".join(items)]


def paragraphs(text: str) -> str:
    """Paragraphs of a docstring on one line each; indented blocks and lists stay as they are."""
    out = []
    for block in re.split(r"\n\s*\n", text.strip("\n")):
        if block.startswith("    "):
            out.append(f"```\n{textwrap.dedent(block)}\n```")
        elif block.lstrip().startswith("- "):
            out.append(markup(textwrap.dedent(block)))
        else:
            out.append(markup(" ".join(block.split())))
    return "\n\n".join(out)


def markup(text: str) -> str:
    """Double backticks of reStructuredText as Markdown's single ones."""
    return re.sub(r"``([^`]+)``", r"`\1`", text)


def sentence(text: str) -> str:
    return text[:1].upper() + text[1:].rstrip(".") + "."


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description="Write docs/reference from the code.")
    parser.add_argument("--check", action="store_true", help="only say which pages are stale")
    check = parser.parse_args(arguments).check
    stale = []
    for name, text in pages().items():
        path = FOLDER / name
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            stale.append(name)
            if not check:
                FOLDER.mkdir(exist_ok=True)
                path.write_text(text, encoding="utf-8")
    if stale:
        print(f"nanoarray {nanoarray.__version__}: {'stale' if check else 'written'}:", *stale)
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
