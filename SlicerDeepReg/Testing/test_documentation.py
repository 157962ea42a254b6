"""The pages name options, methods and files that exist."""

from __future__ import annotations

import json
import re

import pytest
from helpers.paths import PROJECT
from SlicerDeepRegLib.catalog import cards
from SlicerDeepRegLib.commands import main

COMMANDS = ("register", "repeat", "demo", "models", "compare", "train", "segment")
#: Options of other programs that the pages name: Slicer, its test script, the fuzzer, pip, pre-commit.
OTHERS = {
    "--additional-module-paths",
    "--all-files",
    "--count",
    "--index-url",
    "--install",
    "--no-splash",
    "--python-script",
    "--testing",
}
PAGES = ("README.md", "CONTRIBUTING.md", "docs/review.md", "docs/dependencies.md", "docs/architecture.md")
LINKED = (
    *PAGES,
    "docs/index.md",
    "CHANGELOG.md",
    *(f"docs/decisions/{path.name}" for path in PROJECT.glob("docs/decisions/*.md")),
)


def read(page: str) -> str:
    return (PROJECT / page).read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES)
def test_options_exist(page, capsys):
    known = {"--help", *OTHERS}
    for command in (*([name] for name in COMMANDS), ["models", "add"]):
        with pytest.raises(SystemExit):
            main([*command, "--help"])
        known |= set(re.findall(r"--[a-z][a-z-]*", capsys.readouterr().out))
    assert "--preset" in known
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", read(page))) <= known


def test_the_readme_names_every_method():
    named = set(re.findall(r"`([a-z0-9-]+)`", read("README.md")))
    assert set(cards()) <= named


@pytest.mark.parametrize("page", LINKED)
def test_links_lead_to_files(page):
    links = [link for link in re.findall(r"\]\(([^)#]+)", read(page)) if not link.startswith("http")]
    missing = [link for link in links if not (PROJECT / page).parent.joinpath(link).exists()]
    assert not missing


def test_the_entry_for_the_extensions_index_agrees_with_cmake():
    entry = json.loads(read("DeepReg.json"))
    told = dict(re.findall(r'set\(EXTENSION_(\w+) "([^"]*)"\)', read("CMakeLists.txt")))
    assert entry["build_dependencies"] == told["DEPENDS"].split() and entry["category"] == told["CATEGORY"]
    assert entry["scm_url"] == told["HOMEPAGE"] and entry["scm_revision"] == "main" and entry["tier"] in (1, 3, 5)
    for url in (told["ICONURL"], *told["SCREENSHOTURLS"].split()):
        assert (PROJECT / url.partition("/main/")[2]).is_file(), url
    assert (PROJECT / "LICENSE.txt").is_file()
