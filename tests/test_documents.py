"""Who begins at the README finds every page."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
LINK = re.compile(r"\]\(([^)#\s]+)")


def links(page: Path) -> set[Path]:
    """The files of the repository that a page links to."""
    targets = (target for target in LINK.findall(page.read_text()) if "://" not in target)
    return {(page.parent / target).resolve() for target in targets}


def test_the_readme_links_to_every_page() -> None:
    missing = {page for page in (ROOT / "docs").glob("*.md") if page not in links(ROOT / "README.md")}
    assert missing == set()


def test_no_link_of_a_page_leads_nowhere() -> None:
    pages = [ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")]
    broken = {(page.name, target.name) for page in pages for target in links(page) if not target.exists()}
    assert broken == set()
