"""`python -m flows.params RECIPE [KEY=VALUE ...]`: lay a recipe over params.yaml.

The committed params.yaml is the base; the merged file is checked before anything is written, and
comments of the base stay.
"""

import argparse
import difflib
import io
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from agentic_vlm.errors import AgenticError, ParamsError
from agentic_vlm.params import merge_params, parse_params, read_yaml

_RECIPES = Path(__file__).with_name("recipes")


def list_recipes() -> list[str]:
    """Return the names of the recipes that ship."""
    return sorted(path.stem for path in _RECIPES.glob("*.yaml"))


def read_recipe(recipe: str) -> dict[str, object]:
    """Read an overlay: the name of one that ships, or the path of a YAML file.

    Raises:
        ParamsError: there is none of that name.
    """
    path = Path(recipe) if recipe.endswith((".yaml", ".yml")) else _RECIPES / f"{recipe}.yaml"
    if not path.exists():
        near = difflib.get_close_matches(recipe, list_recipes(), n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        fix = f"{hint}there are {', '.join(list_recipes())}; or give the path of a YAML file"
        raise ParamsError(recipe, "no such recipe", fix)
    return read_yaml(path)


def parse_override(text: str) -> dict[str, object]:
    """Return `train_sft.learning_rate=1e-5` as an overlay; the value is YAML.

    Raises:
        ParamsError: the text is no KEY=VALUE, or the value no YAML.

    >>> parse_override("train_rl.num_steps=3")
    {'train_rl': {'num_steps': 3}}
    """
    key, equals, value = text.partition("=")
    names = key.split(".")
    if not equals or not all(names):
        fix = "write SECTION.FIELD=VALUE, such as train_rl.num_steps=3"
        raise ParamsError(text, "no KEY=VALUE", fix)
    try:
        overlay: object = YAML(typ="safe", pure=True).load(value)
    except YAMLError as fault:
        raise ParamsError(text, "the value is no YAML", "put it in quotes") from fault
    for name in reversed(names):
        overlay = {name: overlay}
    assert isinstance(overlay, dict)
    return overlay


def apply_overlays(base: Path, overlays: Sequence[Mapping[str, object]]) -> str:
    """Return the text of the params file with the overlays, checked.

    Raises:
        ParamsError: the result has faults; all of them are listed.
    """
    merged = read_yaml(base)
    for overlay in overlays:
        merged = merge_params(merged, overlay)
    parse_params(merged, where=base.name)
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 100
    yaml.indent(mapping=2, sequence=4, offset=2)
    document = yaml.load(base.read_text(encoding="utf-8"))
    _update(document, merged)
    stream = io.StringIO()
    yaml.dump(document, stream)
    return stream.getvalue()


def write_params(
    out: Path, *, base: Path | None = None, recipe: str = "", overrides: Sequence[str] = ()
) -> None:
    """Write the params file with a recipe and overrides, in one step, once it is valid.

    Args:
        out: file to write.
        base: file to start from; absent: `out` itself.
        recipe: name or path of a recipe; empty for none.
        overrides: values to set, as KEY=VALUE; they come after the recipe.

    Raises:
        ParamsError: recipe, override or result has faults; nothing is written.
    """
    overlays = [read_recipe(recipe)] if recipe else []
    overlays += [parse_override(text) for text in overrides]
    text = apply_overlays(base or out, overlays)
    draft = out.with_name(f"{out.name}.tmp-{os.getpid()}")
    draft.write_text(text, encoding="utf-8")
    os.replace(draft, out)


def _update(document: dict[str, object], merged: Mapping[str, object]) -> None:
    """Change what differs, in place, so that comments of the rest stay."""
    for key in [key for key in document if key not in merged]:
        del document[key]
    for key, value in merged.items():
        old = document.get(key)
        if isinstance(old, dict) and isinstance(value, Mapping):
            _update(old, value)
        elif old != value or key not in document:
            document[key] = value


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the merged params file and return the exit status."""
    options = _parser().parse_args(arguments)
    try:
        write_params(
            options.out, base=options.base, recipe=options.recipe, overrides=options.overrides
        )
    except AgenticError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"{options.out}: {options.recipe}{' ' if options.overrides else ''}")
    sys.stdout.write(f"{' '.join(options.overrides)}; `git diff {options.out}` shows what moved\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m flows.params",
        description=f"Lay a recipe over params.yaml. Recipes: {', '.join(list_recipes())}.",
        epilog="Example: python -m flows.params tiny train_rl.num_steps=1",
    )
    parser.add_argument("recipe", help="name of a recipe, or path of a YAML file")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="such as seed=1")
    parser.add_argument("--base", type=Path, help="file to start from; default: --out")
    parser.add_argument("--out", type=Path, default=Path("params.yaml"), help="file to write")
    return parser


if __name__ == "__main__":
    sys.exit(main())
