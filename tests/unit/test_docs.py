"""The pages of docs/ that list things are what the code says, and what the README points at is there."""

from __future__ import annotations

import re
from pathlib import Path

import botocore
import pytest

from batchyard.api.catalogue import OPERATIONS
from batchyard.cli.app import app
from batchyard.wire.contract import Contract
from tools import compatibility_members, compatibility_page, generate_docs

ROOT = generate_docs.ROOT
WRITTEN = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"(?:^|[\s`])batchyard ([a-z]+)\b")


@pytest.mark.parametrize("name", generate_docs.PAGES)
def test_a_generated_page_is_up_to_date(name: str) -> None:
    written = (generate_docs.DOCS / name).read_text()
    generated = generate_docs.PAGES[name]()
    if name == "compatibility.md" and f"botocore {botocore.__version__}." not in written:
        # Another botocore knows other operations and members: only what is built can be compared.
        written, generated = _built(written), _built(generated)
    assert written == generated, f"docs/{name} is stale: run `make docs`"


def test_every_operation_and_every_member_of_the_model_is_on_the_page() -> None:
    service = Contract.load().services["batch"]
    page = compatibility_page.render()
    missing = [name for name in service.operation_names if f"| `{name}` |" not in page]
    for operation in compatibility_page.built(service):
        section = page.partition(f"\n### {operation}\n")[2].partition("\n## ")[0].partition("\n### ")[0]
        members = service.model.operation_model(operation).input_shape.members
        missing += [f"{operation}.{name}" for name in members if section and f"| `{name}` |" not in section]
    for name, shape in compatibility_page.structures(service).items():
        row = next((line for line in page.splitlines() if line.startswith(f"| `{name}` | **")), "")
        missing += [f"{name}.{member}" for member in shape.members if f"`{member}`" not in row]
    assert missing == []


def test_every_structure_of_the_model_has_been_looked_at() -> None:
    if f"botocore {botocore.__version__}." not in (generate_docs.DOCS / "compatibility.md").read_text():
        pytest.skip("another botocore has other structures")
    shapes = compatibility_page.structures(Contract.load().services["batch"])
    assert shapes.keys() == compatibility_members.KNOWN
    strangers = {
        f"{name}.{member}"
        for name, words in compatibility_members.MIXED.items()
        for member in words
        if member not in shapes[name].members
    }
    # an update can't change the members that only a creation has
    assert strangers <= {"ComputeResourceUpdate.capacityTags"}


def _built(page: str) -> str:
    """The lines that say of one operation that it is built."""
    names = "|".join(sorted(operation for _, operation in OPERATIONS))
    return "\n".join(re.findall(rf"^- `(?:{names})`$|^\| `(?:{names})` \| .*$", page, re.MULTILINE))


def _relative_links() -> list[tuple[Path, str]]:
    return [
        (path, target)
        for path in WRITTEN
        for target in LINK.findall(FENCE.sub("", path.read_text()))
        if "://" not in target and not target.startswith("mailto:")
    ]


def test_there_are_pages_and_links_to_check() -> None:
    assert ROOT / "README.md" in WRITTEN
    assert _relative_links()


@pytest.mark.parametrize(
    ("path", "target"), _relative_links(), ids=lambda value: value if isinstance(value, str) else value.name
)
def test_a_relative_link_leads_somewhere(path: Path, target: str) -> None:
    name, _, anchor = target.partition("#")
    file = path.parent / name if name else path
    assert file.exists(), f"{path.name} links to {target}"
    if anchor:
        assert anchor in {_anchor(heading) for heading in HEADING.findall(file.read_text())}


def _anchor(heading: str) -> str:
    """As GitHub makes it of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def test_every_command_in_the_readme_exists() -> None:
    commands = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    text = (ROOT / "README.md").read_text()
    code = "\n".join([*FENCE.findall(text), *re.findall(r"`[^`\n]+`", text)])
    named = set(COMMAND.findall(code))
    assert named
    assert named <= commands


def test_every_make_target_in_the_readme_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"\bmake ([a-z]+)\b", (ROOT / "README.md").read_text()))
    assert {"demo", "test"} <= named <= targets
