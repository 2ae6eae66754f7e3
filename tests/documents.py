"""README and docs/ as the tests read them: sections by title, in whichever file they are."""

import re
from collections.abc import Iterator
from pathlib import Path

from tests.processes import ROOT

README = ROOT / "README.md"
PAGES = [*sorted((ROOT / "docs").rglob("*.md")), README]


def headings(text: str) -> Iterator[tuple[int, str, int, int]]:
    """Level, title, start and end of each heading; a `#` inside a code block does not count."""
    fenced, at = False, 0
    for line in text.splitlines(keepends=True):
        if line.startswith("```"):
            fenced = not fenced
        heading = None if fenced else re.match(r"(#+) (.+?)\s*$", line)
        if heading:
            yield len(heading[1]), heading[2], at, at + len(line)
        at += len(line)


def section_of(text: str, title: str) -> str | None:
    """The text below a heading, up to the next one that is not below it."""
    found = list(headings(text))
    for index, (level, name, _, end) in enumerate(found):
        if name == title:
            later = (begin for depth, _, begin, _ in found[index + 1 :] if depth <= level)
            return text[end : next(later, len(text))]
    return None


def section(title: str) -> str:
    """The section with that title; docs/ come before README, which has short versions of some."""
    for page in PAGES:
        text = section_of(page.read_text(), title)
        if text is not None:
            return text
    raise LookupError(f"no page has a section {title!r}")


def rows(title: str) -> list[list[str]]:
    """The cells of the tables of a section, without their heads."""
    tables = re.findall(r"^\|[ -].*\n\|[ |-]+\n((?:\|.*\n)+)", section(title), re.M)
    lines = (line for table in tables for line in table.splitlines())
    return [[cell.strip() for cell in re.split(r"(?<= )\|(?= )", line[1:-1])] for line in lines]


def names(cell: str) -> list[str]:
    """The names in backticks in a cell, without remarks in parentheses."""
    return re.findall(r"`([^`]+)`", re.sub(r"\([^()]*\)", "", cell))


def blocks(text: str, language: str) -> list[str]:
    """The code blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.M | re.S)


def block(title: str, language: str, number: int = 0) -> str:
    """A code block of a section."""
    return blocks(section(title), language)[number]


def relative(page: Path) -> str:
    return str(page.relative_to(ROOT))
