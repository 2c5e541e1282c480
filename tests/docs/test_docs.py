"""The documentation works: what it shows runs, what it links to is there."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def test_a_page_does_what_it_says(page, run_page):
    """Every configuration is accepted, every command ends and prints as shown."""
    run_page(page)


def test_a_link_leads_somewhere(page):
    """Relative links name files, and their fragments name headings in them."""
    broken = [link for link in links_of(page) if not leads_somewhere(page, link)]

    assert broken == []


def test_every_page_can_be_reached_from_the_first():
    """Nobody has to know the name of a page to find it."""
    reached: set[Path] = set()
    waiting = [DOCS / "index.md"]
    while waiting:
        page = waiting.pop()
        if page not in reached:
            reached.add(page)
            targets = ((page.parent / link.partition("#")[0]).resolve() for link in links_of(page))
            waiting += [target for target in targets if target.suffix == ".md" and target.is_relative_to(DOCS)]

    assert set(DOCS.rglob("*.md")) - reached == set()


def test_a_page_that_tells_what_to_install_says_where_that_comes_from():
    """The package index has a much older emloop: one page says how to install this one, and all others point there."""
    install = DOCS / "how-to" / "install.md"
    pages = [DOCS.parent / "README.md", *DOCS.rglob("*.md")]
    told = [page for page in pages if page != install and "pip install" in page.read_text(encoding="utf-8")]

    assert [page for page in told if not any("install.md" in link for link in links_of(page))] == []
    assert len(told) > 3


def test_every_extra_is_described():
    """All of the project's own but that of its developers."""
    project = tomllib.loads((DOCS.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    text = (DOCS / "how-to" / "install.md").read_text(encoding="utf-8")
    cells = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]

    assert {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)} == set(
        project["optional-dependencies"]
    ) - {"dev"}


def links_of(page):
    text = re.sub(r"^(`{3,})[^\n]*\n.*?^\1$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return [
        link for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link and not link.startswith("mailto:")
    ]


def leads_somewhere(page, link):
    name, _, fragment = link.partition("#")
    target = (page.parent / name) if name else page
    return target.exists() and (not fragment or fragment in anchors_of(target))


def anchors_of(page):
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
