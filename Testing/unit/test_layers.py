"""The house keeps its shape: imports point one way, heavy packages stay in their rooms, nothing is loaded early."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = ROOT / "MRHarmonizationLib"
PACKAGE = LIBRARY.name

# Each part of the library and the parts it may import from (besides itself).
BASE = {"core", "volumes"}
MIDDLE = BASE | {"degradations", "metrics", "methods"}
ENGINE = MIDDLE | {"models", "weights", "inference"}
MAY_IMPORT = {
    "core": set(),
    "volumes": {"core"},
    "degradations": BASE,
    "metrics": BASE,
    "methods": BASE,
    "models": ENGINE,
    "weights": ENGINE,
    "inference": ENGINE,
    "samples": set(),
    "training": ENGINE | {"evaluation"},
    "evaluation": ENGINE | {"training", "samples"},
    "slicer_adapter": ENGINE | {"samples"},
    "cli": ENGINE
    | {
        "training",
        "evaluation",
        "samples",
        "cli_output",
        "cli_lines",
        "cli_probe",
        "cli_harmonize",
        "cli_restore",
        "cli_segment",
        "cli_degrade",
        "cli_dwi",
        "cli_train",
        "cli_pairs",
    },
    "cli_probe": ENGINE | {"evaluation", "cli_output"},
    "cli_harmonize": ENGINE | {"cli_output"},
    "cli_restore": ENGINE | {"cli_output"},
    "cli_segment": ENGINE | {"cli_output"},
    "cli_degrade": ENGINE | {"evaluation", "cli_output"},
    "cli_dwi": ENGINE | {"cli_output", "cli_dwi_harmonize"},
    "cli_dwi_harmonize": ENGINE | {"evaluation", "cli_output"},
    "cli_train": ENGINE | {"training", "cli_output"},
    "cli_pairs": ENGINE | {"training", "cli_output", "cli_train"},
    "cli_lines": ENGINE,
    "cli_output": {"core"},
    "__main__": {"cli"},
    "__init__": {"core", "volumes", "weights", "inference"},
}
TORCH_ROOMS = ("models/", "training/")
SLICER_MODULES = {"slicer", "qt", "ctk", "vtk", "mrml", "PythonQt", "SampleData"}
LIGHT_FORBIDDEN = ("torch", "onnxruntime", "onnx", "SimpleITK", "slicer", "pydicom", "skimage", "matplotlib", "scipy")


def python_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*.py") if "__pycache__" not in path.parts)


LIBRARY_FILES = python_files(LIBRARY)


def identifier(path: Path) -> str:
    return path.relative_to(LIBRARY).as_posix()


def part_of(path: Path) -> str:
    relative = path.relative_to(LIBRARY)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


def imports(tree: ast.AST, path: Path) -> Iterator[tuple[str, bool]]:
    """Yield (dotted name, whether it is imported when the module is) of every import."""
    inside_function: set[ast.AST] = set()
    type_checking: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            inside_function.update(ast.walk(node))
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            type_checking.update(child for statement in node.body for child in ast.walk(statement))
    for node in ast.walk(tree):
        at_import = node not in inside_function and node not in type_checking
        if isinstance(node, ast.Import):
            yield from ((alias.name, at_import) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import of {node.module}; the house imports by full names"
            yield node.module or "", at_import
            yield from ((f"{node.module}.{alias.name}", at_import) for alias in node.names)


def parsed_imports(path: Path) -> set[tuple[str, bool]]:
    return set(imports(ast.parse(path.read_text(encoding="utf-8")), path))


def test_every_part_of_the_library_has_its_place():
    parts = {part_of(path) for path in LIBRARY_FILES}
    assert parts <= set(MAY_IMPORT), f"no layer is defined for {sorted(parts - set(MAY_IMPORT))}"


@pytest.mark.parametrize("path", LIBRARY_FILES, ids=identifier)
def test_imports_point_one_way(path: Path):
    part = part_of(path)
    for name, _ in parsed_imports(path):
        if not name.startswith(f"{PACKAGE}."):
            continue
        target = name.split(".")[1]
        if target not in MAY_IMPORT:  # a name of the package's own __init__, such as __version__
            continue
        assert target == part or target in MAY_IMPORT[part], f"{part} must not import {name}"


@pytest.mark.parametrize("path", LIBRARY_FILES, ids=identifier)
def test_torch_only_in_its_rooms(path: Path):
    room = identifier(path).startswith(TORCH_ROOMS)
    for name, at_import in parsed_imports(path):
        if name.split(".")[0] == "torch":
            assert room or not at_import, f"{identifier(path)} imports {name} when it is imported"


@pytest.mark.parametrize("path", LIBRARY_FILES, ids=identifier)
def test_slicer_only_in_its_adapter(path: Path):
    if part_of(path) == "slicer_adapter":
        return
    found = {name for name, _ in parsed_imports(path) if name.split(".")[0] in SLICER_MODULES}
    assert not found, f"{identifier(path)} imports {sorted(found)}; only slicer_adapter may"


@pytest.mark.parametrize("path", LIBRARY_FILES, ids=identifier)
def test_heavy_packages_are_imported_inside_functions(path: Path):
    for name, at_import in parsed_imports(path):
        if name.split(".")[0] in ("SimpleITK", "onnxruntime", "onnx", "pydicom", "highdicom", "matplotlib"):
            assert not at_import, f"{identifier(path)} imports {name} when it is imported"


@pytest.mark.parametrize("path", LIBRARY_FILES, ids=identifier)
def test_library_does_not_print(path: Path):
    calls = [
        node.lineno
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    assert not calls, f"{identifier(path)} prints in lines {calls}; log, or return what is to be said"


def test_modules_import_the_library_only():
    for path in python_files(ROOT / "MRHarmonization"):
        heavy = {
            name for name, _ in parsed_imports(path) if name.split(".")[0] in ("torch", "onnxruntime", "SimpleITK")
        }
        assert not heavy, f"{path.name} imports {sorted(heavy)}; the panel starts a process for such work"


def run_python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_the_library_loads_nothing_heavy():
    loaded = run_python(f"import sys, {PACKAGE}; print(*sys.modules)").split()
    assert not {name.split(".")[0] for name in loaded} & set(LIGHT_FORBIDDEN)


def test_help_loads_nothing_heavy():
    code = (
        "import sys\nfrom MRHarmonizationLib.cli import main\n"
        "try:\n    main(['enhance', '--help'])\nexcept SystemExit as end:\n    assert not end.code\n"
        "print('\\n' + ' '.join(sys.modules))"
    )
    loaded = run_python(code).splitlines()[-1].split()
    assert "typer" in loaded
    assert not {name.split(".")[0] for name in loaded} & {*LIGHT_FORBIDDEN, "numpy"}


def test_public_names_are_fetched_lazily_and_exist():
    code = (
        f"import {PACKAGE} as library\n"
        "assert set(library.__all__) == set(library._HOME_OF_NAME) | {'__version__'}\n"
        "for name in library.__all__:\n    assert getattr(library, name) is not None\n"
        "assert 'enhance' in dir(library)\n"
        "try:\n    library.nonsense\nexcept AttributeError as error:\n    print(error)"
    )
    assert "nonsense" in run_python(code)
