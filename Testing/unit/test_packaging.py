"""What is shipped is what is there: CMake lists, wheel contents, catalogue entry, declared dependencies."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
import zipfile
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = ROOT / "MRHarmonizationLib"
MODULES = sorted(path.parent for path in (ROOT / "MRHarmonization").glob("*/CMakeLists.txt"))
NOT_SHIPPED = ("CMakeLists.txt", "*.pyc", ".*")
SLICER_FOLDER = Path("lib/Slicer/qt-scripted-modules")
MAX_FILE_MIB = 12
MAX_CHECKOUT_MIB = 100


def files_below(folder: Path) -> set[str]:
    """Return the files that belong to a folder, relative to it, without what tools leave behind."""
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file()
        and "__pycache__" not in path.parts
        and "Testing" not in path.relative_to(folder).parts
        and not any(fnmatch(path.name, pattern) for pattern in NOT_SHIPPED)
    }


def load_pyproject() -> dict:
    try:
        import tomllib
    except ModuleNotFoundError:
        tomllib = pytest.importorskip("tomli", reason="Python 3.10 reads pyproject.toml with the package tomli only")
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The extension as CMake installs it: all modules and the library in one folder."""
    cmake = Path(sys.executable).parent / "cmake"
    program = str(cmake) if cmake.exists() else shutil.which("cmake")
    if program is None:
        pytest.skip("needs CMake (pip install cmake)")
    folder = tmp_path_factory.mktemp("cmake")
    # The compilers are not used by a Python extension: let CMake not look for them, as not every machine has them.
    configure = [program, "-S", str(ROOT), "-B", str(folder / "build"), f"-DSlicer_DIR={ROOT / 'Testing/slicer_cmake'}"]
    for language in ("C", "CXX"):
        configure += [f"-DCMAKE_{language}_COMPILER={sys.executable}", f"-DCMAKE_{language}_COMPILER_FORCED=ON"]
    install = [program, "--install", str(folder / "build"), "--prefix", str(folder / "installed")]
    for command in (configure, install):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    return folder / "installed" / SLICER_FOLDER


def test_cmake_ships_the_whole_library(installed: Path):
    assert files_below(installed / LIBRARY.name) == files_below(LIBRARY)


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.name)
def test_cmake_ships_the_whole_module(installed: Path, module: Path):
    shipped = files_below(installed)
    assert files_below(module) <= shipped


def test_modules_share_one_folder_without_collisions():
    seen: dict[str, str] = {}
    for module in MODULES:
        for name in files_below(module):
            assert Path(name).name.startswith("MRHarmonization"), f"{module.name}/{name} lacks the extension's prefix"
            assert name not in seen, f"{module.name} and {seen[name]} both ship {name}"
            seen[name] = module.name


def test_only_modules_lie_in_the_folders_slicer_scans(installed: Path):
    for folder in (installed, *MODULES):
        for script in folder.glob("*.py"):
            assert script.stem in {module.name for module in MODULES}, f"Slicer would take {script.name} for a module"
            assert not script.read_text(encoding="utf-8").startswith("#!"), f"Slicer would take {script.name} for a CLI"


def test_library_is_found_in_the_installed_layout(installed: Path):
    code = (
        f"import sys; sys.path.insert(0, {str(installed)!r})\n"
        "import MRHarmonizationLib, MRHarmonizationLib.cli\n"
        "from MRHarmonizationLib import list_models\n"
        "print(MRHarmonizationLib.__file__, *[card.id for card in list_models()])"
    )
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    path, *models = done.stdout.split()
    assert Path(path).is_relative_to(installed)
    assert set(models) >= {card.stem for card in (LIBRARY / "weights").glob("*.json")}


def test_every_module_is_built():
    listed = set(re.findall(r"add_subdirectory\((.+?)\)", (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")))
    assert listed == {LIBRARY.name, *(f"MRHarmonization/{module.name}" for module in MODULES)}
    assert {path.name for path in (ROOT / "MRHarmonization").iterdir() if path.is_dir()} == {m.name for m in MODULES}


def test_next_module_marker_is_kept():
    assert "## NEXT_MODULE" in (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.name)
def test_module_has_icon_and_interface(module: Path):
    assert (module / f"{module.name}.py").is_file()
    assert (module / "Resources" / "Icons" / f"{module.name}.png").is_file()
    assert (module / "Resources" / "UI" / f"{module.name}.ui").is_file()


def test_wheel_and_extension_ship_the_same_files():
    """Every file of the library that is no Python matches one pattern of pyproject.toml, and CMake's are the same."""
    pyproject = load_pyproject()["tool"]["setuptools"]["package-data"]["*"]
    cmake = re.findall(r'CMAKE_CURRENT_SOURCE_DIR}/(.+?)"', (LIBRARY / "CMakeLists.txt").read_text(encoding="utf-8"))
    assert set(cmake) - {"*.py"} == set(pyproject)
    for name in files_below(LIBRARY):
        if not name.endswith(".py"):
            assert any(fnmatch(Path(name).name, pattern) for pattern in pyproject), f"{name} would not be shipped"


def test_wheel_holds_the_whole_library(wheel: Path):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    shipped = {name.split("/", 1)[1] for name in names if name.startswith(f"{LIBRARY.name}/")}
    assert shipped == files_below(LIBRARY)
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {LIBRARY.name}
    for licence in ("LICENSE", "NOTICE"):
        assert any(name.endswith(f".dist-info/licenses/{licence}") for name in names)


def imported_packages(folder: Path) -> set[str]:
    found = set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found.update(alias.name.split(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                found.add(node.module.split(".")[0])
    return found - set(sys.stdlib_module_names) - {LIBRARY.name}


def test_every_import_is_a_declared_dependency():
    project = load_pyproject()["project"]
    extras = project["optional-dependencies"]
    declared = {
        re.split(r"[<>=!~\[ ]", requirement)[0].lower()
        for requirement in [*project["dependencies"], *extras["torch"], *extras["laboratory"], *extras["dicom"]]
    }
    import_names = {"scikit-image": "skimage", "simpleitk": "SimpleITK", "scikit-learn": "sklearn", "pillow": "PIL"}
    allowed = {import_names.get(name, name) for name in declared}
    inside_slicer = {"slicer", "qt", "ctk", "vtk", "mrml", "PyTorchUtils", "SampleData", "DICOMLib"}
    missing = {name for name in imported_packages(LIBRARY) if name not in allowed | inside_slicer}
    assert not missing, f"not declared in pyproject.toml: {sorted(missing)}"


def test_dependencies_are_not_pinned():
    project = load_pyproject()["project"]
    for requirement in [*project["dependencies"], *sum(project["optional-dependencies"].values(), [])]:
        assert "==" not in requirement, f"{requirement} is pinned"


def test_catalogue_entry():
    entry = json.loads((ROOT / "Resources/ExtensionsIndex/MRHarmonization.json").read_text(encoding="utf-8"))
    cmake = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
    assert entry["$schema"].endswith("slicer-extension-catalog-entry-schema-v1.0.2.json#")
    known = {"$schema", "category", "scm_url", "scm_revision", "scm_type", "build_dependencies", "build_subdirectory"}
    assert {"$schema", "category", "scm_url"} <= set(entry) <= known | {"enabled", "tier", "dicom_support_rule"}
    assert Path(entry["scm_url"]).stem == "SlicerMRHarmonization"
    assert f'set(EXTENSION_CATEGORY "{entry["category"]}")' in cmake
    assert re.search(r'set\(EXTENSION_DEPENDS "(.*?)"\)', cmake)[1] == (" ".join(entry["build_dependencies"]) or "NA")


def test_pictures_named_in_the_extension_exist_or_are_made():
    text = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8") + (ROOT / "README.md").read_text(encoding="utf-8")
    for name in set(re.findall(r"(?:main/|\]\()((?:Resources/)?\w+\.png)", text)):
        assert (ROOT / name).is_file(), f"{name} is shown to users but does not exist"


def tracked_files() -> list[Path]:
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("needs a git checkout")
    # Also files not yet committed, less the ignored ones: what the next commit would hold.
    command = [git, "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    return [ROOT / name for name in listed if name and (ROOT / name).is_file()]


def test_checkout_stays_small():
    sizes = {path: path.stat().st_size / 2**20 for path in tracked_files()}
    assert not {path.name for path, size in sizes.items() if size > MAX_FILE_MIB}
    assert sum(sizes.values()) < MAX_CHECKOUT_MIB


def test_text_files_have_unix_line_endings():
    for path in tracked_files():
        if path.suffix in {".py", ".txt", ".md", ".json", ".toml", ".ui", ".sh", ".cmake", ".csv", ""}:
            assert b"\r\n" not in path.read_bytes(), f"{path.relative_to(ROOT)} has Windows line endings"


def test_version_is_in_the_changelog():
    from MRHarmonizationLib import __version__

    assert f"## [{__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
