"""Run an example, or list them."""

import argparse
import ast
import inspect
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

from fastmlp import examples
from fastmlp.cli.arguments import closest
from fastmlp.cli.errors import BadInput


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("name", nargs="?", metavar="NAME", help="the example to run (default: list them)")
    parser.add_argument("arguments", nargs="*", metavar="ARGUMENT", help="of the example, such as a picture's path")
    parser.add_argument("--list", action="store_true", help="list the examples")


def descriptions() -> dict[str, str]:
    """Return the name of each example and the first line of its docstring, without importing it."""
    found = {}
    for module in iter_modules(examples.__path__):
        if module.name.startswith("_"):
            continue
        folder = Path(module.module_finder.path)
        source = folder / module.name / "__init__.py" if module.ispkg else folder / f"{module.name}.py"
        text = ast.get_docstring(ast.parse(source.read_text(encoding="utf-8"))) or ""
        found[module.name] = text.partition("\n")[0]
    return found


def run(options: argparse.Namespace) -> int:
    """Run the example that is named, or list all."""
    found = descriptions()
    if options.name is None or options.list:
        width = max(map(len, found), default=0)
        for name, text in found.items():
            print(f"{name:<{width}}  {text}")
        return 0
    name = options.name.replace("-", "_")
    if name not in found:
        raise BadInput(f"there is no example {options.name!r}; {closest(name, found)}")
    main = import_module(f"{examples.__name__}.{name}").main
    try:
        inspect.signature(main).bind(*options.arguments)
    except TypeError as error:
        raise BadInput(f"{name}: {error}, got {' '.join(options.arguments)!r}") from error
    main(*options.arguments)
    return 0
