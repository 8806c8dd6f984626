"""The rules of the source, read from its syntax tree: lazy imports and those for types count like those at the top.

Imports only go down, siblings never meet, no files import each other in a circle, no part grows out of hand, and
nothing runs code that came with a file.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "knowedit"

FACADE = "knowedit/__init__"
GROUND_LIBRARIES: dict[str, set[str]] = {
    "errors": set(),
    "facts": set(),
    "guards": set(),
    "intervals": {"numpy", "scipy"},
    "bundled": set(),
    "reading": {"pydantic"},
    "runs": {"filelock", "ray"},
    "tensorfile": {"numpy", "safetensors"},
    "text": set(),
    "writing": set(),
}
"""The parts of the lowest layer, and what each needs besides the standard library and errors."""

GROUND = set(GROUND_LIBRARIES)
TOOLS = {"figures", "linalg", "models"}
STUDIES = {"tracing", "editing", "organisms"}
BELOW_EVALUATION = GROUND | TOOLS | STUDIES

MAY_IMPORT: dict[str, set[str]] = {
    **{part: {"errors", "reading"} for part in GROUND},
    "runs": {"errors", "reading", "tensorfile", "writing"},
    "tensorfile": {"errors", "reading", "writing"},
    "bundled": {"errors", "reading", "writing"},
    **dict.fromkeys(TOOLS, GROUND),
    **dict.fromkeys(STUDIES, GROUND | TOOLS),
    "evaluation": BELOW_EVALUATION,
    FACADE: BELOW_EVALUATION | {"evaluation"},
    "cli": BELOW_EVALUATION | {"evaluation", FACADE},
    "__main__": {"cli"},
}
"""What each part of the package may import besides itself."""

OUTSIDE = {"claims", "benchmarks", "tests", "docs", "scripts", "noxfile"}
MODEL_LIBRARIES = {"transformers", "tokenizers", "huggingface_hub", "torch"}

Arrow = tuple[int, str]


def part_of(path: Path) -> str:
    """The part that a file of the package, given relative to it, belongs to."""
    name = path.parts[0].removesuffix(".py")
    return FACADE if name == "__init__" else name


def target_part(module: str) -> str:
    """The part that the dotted name of a module or of something in it belongs to."""
    names = module.split(".")
    return names[1] if len(names) > 2 or names[-1] in MAY_IMPORT else FACADE


def imported(source: str, package: str) -> Iterator[Arrow]:
    """Line and dotted name of everything imported anywhere in ``source``, a module of ``package``."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node, package)
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and _is_import_call(node):
            yield from (
                (node.lineno, str(arg.value)) for arg in node.args[:1] if isinstance(arg, ast.Constant)
            )


def _absolute(node: ast.ImportFrom, package: str) -> str:
    if not node.level:
        return str(node.module)
    names = package.split(".")
    names = names[: len(names) - node.level + 1]
    return ".".join([*names, node.module] if node.module else names)


def _is_import_call(node: ast.Call) -> bool:
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    return name in {"import_module", "__import__"}


def complaint(part: str, module: str) -> str | None:
    """Why ``part`` must not import ``module``, or None where it may."""
    top = module.split(".")[0]
    if top == "knowedit":
        target = target_part(module)
        allowed = target == part or target in MAY_IMPORT[part]
        return None if allowed else f"{part} must not import {target}"
    if top in OUTSIDE:
        return f"{part} must not import {top}: it is not part of the package"
    if part in GROUND and top not in sys.stdlib_module_names | GROUND_LIBRARIES[part]:
        return f"{part} is on the ground floor, where {top} is not known"
    if part == "linalg" and top in MODEL_LIBRARIES:
        return f"linalg works for any array library, without {top}"
    return None


def violations(folder: Path) -> list[str]:
    """Every forbidden import under ``folder``, which is laid out as the package is."""
    found = []
    for file in sorted(folder.rglob("*.py")):
        path = file.relative_to(folder)
        part = part_of(path)
        if part not in MAY_IMPORT:
            found.append(f"{path}: {part} has no layer; give it one at the top of tests/test_layers.py")
            continue
        package = ".".join(("knowedit", *path.parent.parts))
        arrows = imported(file.read_text(encoding="utf-8"), package)
        why = ((line, module, complaint(part, module)) for line, module in arrows)
        found += [f"{path}:{line}: {module}: {reason}" for line, module, reason in why if reason]
    return found


def test_imports_only_go_down() -> None:
    assert any(SOURCE.rglob("*.py"))
    assert violations(SOURCE) == []


def test_claims_do_without_the_command_line() -> None:
    """What claims need, the library offers."""
    files = sorted((ROOT / "claims").rglob("*.py"))
    assert files
    names = {name for file in files for _, name in imported(file.read_text(encoding="utf-8"), "claims")}
    assert not {name for name in names if f"{name}.".startswith("knowedit.cli.")}


def test_only_the_top_layer_draws_evaluations() -> None:
    """Scores, and the digest of the code that they come from, do not depend on how they are drawn."""
    found = []
    for file in sorted((SOURCE / "evaluation").rglob("*.py")):
        package = ".".join(("knowedit", *file.relative_to(SOURCE).parent.parts))
        if package != "knowedit.evaluation.figures":
            names = [name for _, name in imported(file.read_text(encoding="utf-8"), package)]
            found += [name for name in names if f"{name}.".startswith("knowedit.evaluation.figures.")]
    assert found == []


BAD = {
    "sibling": ("models/a.py", "from knowedit.linalg import LowRank"),
    "sibling the other way": ("linalg/a.py", "import knowedit.models.load"),
    "studies never meet": ("tracing/a.py", "from knowedit.editing import ROME"),
    "upward": ("organisms/a.py", "from knowedit.evaluation import metrics"),
    "upward to the command line": ("evaluation/a.py", "from knowedit import cli"),
    "the facade from below": ("editing/a.py", "from knowedit import Fact"),
    "the whole facade from below": ("editing/a.py", "import knowedit"),
    "the facade reaches too far": ("__init__.py", "from knowedit.cli import app"),
    "a relative import": ("models/deep/a.py", "from ...linalg import insert"),
    "a relative import of a part": ("editing/a.py", "from .. import tracing"),
    "inside a function": ("models/a.py", "def f():\n    from knowedit.editing import Edit"),
    "inside a type check": ("linalg/a.py", "if TYPE_CHECKING:\n    import knowedit.models"),
    "by name": ("models/a.py", "importlib.import_module('knowedit.editing')"),
    "by the built-in": ("models/a.py", "__import__('knowedit.cli')"),
    "a library on the ground floor": ("facts.py", "import numpy as np"),
    "the ground floor's own neighbour": ("errors.py", "from knowedit.facts import Fact"),
    "transformers in linalg": ("linalg/a.py", "from transformers.pytorch_utils import Conv1D"),
    "torch in linalg": ("linalg/a.py", "def f():\n    import torch"),
    "a part without a layer": ("helpers.py", ""),
    "from a part without a layer": ("models/a.py", "from knowedit.helpers import first"),
    "what is not packaged": ("evaluation/a.py", "from claims import registry"),
}


@pytest.mark.parametrize(("name", "source"), BAD.values(), ids=BAD.keys())
def test_a_bad_module_is_found(tmp_path: Path, name: str, source: str) -> None:
    file = tmp_path / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(source, encoding="utf-8")
    found = violations(tmp_path)
    assert len(found) == 1
    assert found[0].startswith(name)


GOOD = {
    "models/a.py": "import torch\nfrom . import b\nfrom .b import c\nfrom knowedit.errors import InputError",
    "linalg/a.py": "import numpy, scipy.linalg, array_api_compat\nfrom ..errors import ShapeError",
    "editing/a.py": "from knowedit.linalg import LowRank\nfrom knowedit import models",
    "organisms/a.py": "from knowedit.models import load",
    "evaluation/a.py": "from knowedit.editing import Edit\nfrom knowedit.organisms import world",
    "cli/__init__.py": "import knowedit\nfrom knowedit.evaluation import runner",
    "__init__.py": "from knowedit.facts import Fact\nfrom knowedit.models import load",
    "bundled.py": "from pathlib import Path",
}


def test_good_modules_pass(tmp_path: Path) -> None:
    for name, source in GOOD.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(source, encoding="utf-8")
    assert violations(tmp_path) == []


def modules_of(folder: Path, package: str) -> dict[str, Path]:
    """The dotted name of each module under ``folder``, which holds ``package``."""
    found = {}
    for file in sorted(folder.rglob("*.py")):
        names = [package, *file.relative_to(folder).with_suffix("").parts]
        found[".".join(names[:-1] if names[-1] == "__init__" else names)] = file
    return found


def arrows_between(modules: dict[str, Path]) -> dict[str, set[str]]:
    """For each module those that it imports: the module itself, or the package that a name comes from."""
    found: dict[str, set[str]] = {}
    for module, file in modules.items():
        package = module if file.name == "__init__.py" else module.rpartition(".")[0]
        targets = {name for _, name in imported(file.read_text(encoding="utf-8"), package)}
        known = (name if name in modules else name.rpartition(".")[0] for name in targets)
        found[module] = {name for name in known if name in modules}
    return found


def in_circles(folder: Path, package: str) -> list[str]:
    """The modules from which following imports leads back to them."""
    arrows = arrows_between(modules_of(folder, package))

    def reached(start: str) -> set[str]:
        seen: set[str] = set()
        waiting = list(arrows[start])
        while waiting:
            module = waiting.pop()
            if module not in seen:
                seen.add(module)
                waiting += arrows[module]
        return seen

    return sorted(module for module in arrows if module in reached(module))


def test_no_files_import_each_other_in_a_circle() -> None:
    assert in_circles(SOURCE, "knowedit") == []
    assert in_circles(ROOT / "claims", "claims") == []


CIRCLE = {
    "at the top": "from knowedit.models.b import g",
    "the module": "import knowedit.models.b",
    "from its package": "from knowedit.models import b",
    "relative": "from . import b",
    "inside a function": "def f():\n    from knowedit.models.b import g",
    "for types": "if TYPE_CHECKING:\n    from knowedit.models.b import g",
}


@pytest.mark.parametrize("source", CIRCLE.values(), ids=CIRCLE.keys())
def test_a_circle_is_found(tmp_path: Path, source: str) -> None:
    (tmp_path / "models").mkdir()
    texts = {
        "a": source,
        "b": "from knowedit.models.c import h",
        "c": "from knowedit.models.a import f",
        "d": source,
    }
    for name, text in {"__init__": "from knowedit.models.a import f", **texts}.items():
        (tmp_path / "models" / f"{name}.py").write_text(text, encoding="utf-8")
    assert in_circles(tmp_path, "knowedit") == [f"knowedit.models.{name}" for name in "abc"]


def test_a_module_that_imports_its_own_package_is_in_a_circle(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "__init__.py").write_text("from knowedit.models.a import f", encoding="utf-8")
    (tmp_path / "models" / "a.py").write_text("from knowedit.models import f", encoding="utf-8")
    assert in_circles(tmp_path, "knowedit") == ["knowedit.models", "knowedit.models.a"]


MOST_ENTRIES = {"evaluation": 12, "editing": 12, "tracing": 12, "models": 16, "linalg": 16}
MOST_DEFINITIONS, MOST_DATACLASSES = 378, 78
"""The largest numbers allowed. A change that raises one says why: new kinds of things, not new names for old ones."""


def entries(part: Path) -> list[str]:
    """The files and folders at the top of a part, without what begins with two underscores."""
    return sorted(path.name for path in part.iterdir() if not path.name.startswith(("__", ".")))


def definitions(folder: Path) -> tuple[list[str], list[str]]:
    """The public classes and functions at the top of every module, and the dataclasses among them."""
    public, data = [], []
    for file in sorted(folder.rglob("*.py")):
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_"):
                public.append(f"{file.relative_to(folder)}: {node.name}")
                if any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list):
                    data.append(public[-1])
    return public, data


@pytest.mark.parametrize(("part", "most"), MOST_ENTRIES.items(), ids=MOST_ENTRIES)
def test_a_part_can_be_seen_at_one_look(part: str, most: int) -> None:
    assert len(entries(SOURCE / part)) <= most


def test_there_are_no_more_concepts_than_agreed() -> None:
    public, data = definitions(SOURCE)
    assert len(public) <= MOST_DEFINITIONS
    assert len(data) <= MOST_DATACLASSES


def test_concepts_are_counted(tmp_path: Path) -> None:
    source = """
def f(): pass
def _g(): pass

@dataclass(frozen=True)
class C:
    def m(self): pass

class D: pass
"""
    (tmp_path / "models").mkdir()
    for name in ("a.py", "__init__.py"):
        (tmp_path / "models" / name).write_text(source, encoding="utf-8")
    public, data = definitions(tmp_path)
    assert public == [f"models/{file}: {name}" for file in ("__init__.py", "a.py") for name in "fCD"]
    assert data == ["models/__init__.py: C", "models/a.py: C"]
    assert entries(tmp_path / "models") == ["a.py"]


UNSAFE_MODULES = {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
UNSAFE_CALLS = {"eval", "exec", "torch.load", "torch.hub.load"}
UNSAFE_ARGUMENTS = {"allow_pickle", "trust_remote_code"}


def unsafe(source: str) -> list[str]:
    """What in ``source`` can run code that came with a file: modules, calls, and arguments not False."""
    found = [name for _, name in imported(source, "knowedit") if name.split(".")[0] in UNSAFE_MODULES]
    found += [name for _, name in imported(source, "knowedit") if name in UNSAFE_CALLS]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            found += [name for name in [ast.unparse(node.func)] if name in UNSAFE_CALLS]
            found += [str(word.arg) for word in node.keywords if _is_unsafe(word)]
    return found


def _is_unsafe(word: ast.keyword) -> bool:
    return word.arg in UNSAFE_ARGUMENTS and not (
        isinstance(word.value, ast.Constant) and word.value.value is False
    )


def test_no_file_content_is_ever_run() -> None:
    found = {str(file): unsafe(file.read_text(encoding="utf-8")) for file in SOURCE.rglob("*.py")}
    assert {file: names for file, names in found.items() if names} == {}


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from joblib import load",
        "def f():\n    import dill",
        "torch.load('a.pt', weights_only=True)",
        "from torch import load",
        "eval('1')",
        "exec('1')",
        "np.load(file, allow_pickle=True)",
        "AutoModel.from_pretrained(name, trust_remote_code=trust)",
    ],
)
def test_running_file_content_is_found(source: str) -> None:
    assert unsafe(source)


@pytest.mark.parametrize(
    "source", ["model.eval()", "np.load(file, allow_pickle=False)", "knowedit.load('x')"]
)
def test_harmless_calls_pass(source: str) -> None:
    assert unsafe(source) == []
