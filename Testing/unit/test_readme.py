"""What the README tells users to type exists and has these options."""

from __future__ import annotations

import ast
import inspect
import re
import shlex
from pathlib import Path

import pytest
import typer

from MRHarmonizationLib import cli
from MRHarmonizationLib.cli_output import EXIT_CODES

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = {"README.md": README} | {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in sorted((ROOT / "MRHarmonizationLib").rglob("*.md"))
}


def code_blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


def command_lines() -> list[str]:
    """Return every ``mrharmonize …`` of the documentation: in code blocks and between backticks."""
    found = []
    for text in PAGES.values():
        indented = "\n".join(line.strip() for line in text.splitlines() if line.startswith("    ")).replace("\\\n", "")
        sources = [*code_blocks(text, "bash"), indented, *re.findall(r"`(mrharmonize [^`]+)`", text)]
        for source in sources:
            for line in source.splitlines():
                found += [part.strip() for part in line.split("&&") if part.strip().startswith("mrharmonize ")]
    return sorted(set(found))


def test_there_is_something_to_check():
    assert len(command_lines()) >= 12
    assert len(code_blocks(README, "python")) >= 3


@pytest.mark.parametrize("line", command_lines())
def test_command_lines_are_accepted(line: str):
    """The parser takes the words; nothing is run."""
    name, *words = shlex.split(line, comments=True)[1:]
    program = typer.main.get_command(cli.app)
    if name == "COMMAND":
        return
    assert name in program.commands, f"there is no command {name}"
    command = program.commands[name]
    if words and words[0] in getattr(command, "commands", {}):  # a group of commands
        command = command.commands[words.pop(0)]
    options = {option for parameter in command.params for option in parameter.opts} | {"--help"}
    assert {word for word in words if word.startswith("--")} <= options
    inline_mention = len(words) < sum(parameter.param_type_name == "argument" for parameter in command.params)
    if not inline_mention:  # a sentence may name a command without its files
        command.make_context(name, list(words))


def test_python_examples_are_python_and_import_what_exists():
    for block in code_blocks(README, "python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("MRHarmonizationLib"):
                module = __import__(node.module, fromlist=[alias.name for alias in node.names])
                for alias in node.names:
                    assert hasattr(module, alias.name), f"{node.module} has no {alias.name}"


def test_console_example_calls_the_logic_as_it_is():
    from MRHarmonizationLib.slicer_adapter.enhance_logic import EnhanceOperations

    source = (ROOT / "MRHarmonization/MRHarmonizationEnhance/MRHarmonizationEnhance.py").read_text(encoding="utf-8")
    classes = {node.name: node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ClassDef)}
    bases = {ast.unparse(base) for base in classes["MRHarmonizationEnhanceLogic"].bases}
    assert EnhanceOperations.__name__ in bases
    promised = {
        "process": {"inputNode", "outputNode", "model", "strength", "device"},
        "standardise": {"inputNode", "outputNode", "method", "reference", "strength"},
    }
    for name, words in promised.items():
        assert words <= set(inspect.signature(getattr(EnhanceOperations, name)).parameters)


def test_tutorial_names_the_controls_of_the_panel():
    """Every bold word of the tutorial stands on the panel, or is the module's title."""
    module = ROOT / "MRHarmonization/MRHarmonizationEnhance"
    interface = (module / "Resources/UI/MRHarmonizationEnhance.ui").read_text(encoding="utf-8")
    labels = {text.rstrip(":") for text in re.findall(r"<string>([^<]+)</string>", interface)}
    title = re.search(r'title = _\("(.+?)"\)', (module / "MRHarmonizationEnhance.py").read_text(encoding="utf-8"))
    tutorial = README.split("## Five minutes in Slicer")[1].split("\n## ")[0]
    bold = set(re.findall(r"\*\*(.+?)\*\*", tutorial))
    assert len(bold) >= 10
    assert title is not None
    assert bold <= labels | {title[1]}


def test_exit_codes_are_those_of_the_program():
    table = dict(re.findall(r"^\| (\d+) \| (.+?) \|$", README, flags=re.MULTILINE))
    assert {int(code): meaning for code, meaning in table.items()} == dict(EXIT_CODES)


def test_shell_commands_name_files_that_exist():
    for script in re.findall(r"\bbash (\S+\.sh)", README):
        assert (ROOT / script).is_file()


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str):
    folder = (ROOT / page).parent
    for link in re.findall(r"\]\(([^)#]+?)\)|src=\"([^\"]+)\"", PAGES[page]):
        target = link[0] or link[1]
        if not target.startswith("http"):
            assert (folder / target).exists(), f"{page} links to {target}, which does not exist"
