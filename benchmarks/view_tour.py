"""Goes through a page of the viewer as a person does, and takes a picture after each step.

`python benchmarks/view_tour.py page.html --out shots`: the list, a filter, a search, an order, a
trajectory with its tokens, the next one by key, two models side by side. The last line says as JSON
what was seen.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from browser import Page, find_browser, open_browser

_ARTICLE = "document.querySelector('#shown article h2')"
_SELECTED = """[...document.querySelectorAll('#rows tr')].findIndex(
    (row) => row.getAttribute('aria-selected') === 'true')"""
_PICTURES = """[...document.querySelectorAll('#shown img')].filter(
    (image) => image.complete && image.naturalWidth > 0).length"""

_FIGURES = "document.querySelectorAll('#shown figure').length"
_SPELLED = """[...document.querySelectorAll('.tokens span')].map((one) => [one.textContent,
    one.className === 'given' ? null : Number(one.title.split(' ')[1])])"""
_SIZES = """[...document.querySelectorAll('#shown img')].map((one) => one.getBoundingClientRect())
    .map((box) => [Math.round(box.width), Math.round(box.height)])"""


def main() -> int:
    """Take the tour and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("page", type=Path, help="what `python -m agentic_vlm.view` has written")
    parser.add_argument("--out", type=Path, default=Path("screenshots"), help="folder to write")
    parser.add_argument("--search", default="plate", help="text to look for")
    options = parser.parse_args()
    browser = find_browser()
    if browser is None:
        sys.stderr.write("no Chromium in PATH\n  fix: apt-get install chromium\n")
        return 1
    options.out.mkdir(parents=True, exist_ok=True)
    with open_browser(browser) as page:
        page.open(options.page.resolve().as_uri())
        seen = tour(page, options.out, text=options.search)
        seen |= {"requests": page.requests, "faults": page.faults}
    print(json.dumps(seen))
    return 0


def tour(page: Page, folder: Path, *, text: str) -> dict[str, Any]:
    """Filter, search, sort, open, step and compare; return what the page then said."""
    seen: dict[str, Any] = {
        "listed_after_ms": int(page.look("document.body.dataset.listedAfterMs"))
    }
    seen["all"] = count(page)
    page.photograph(folder / "1-list.png")
    page.choose("#filter-verdict", "incorrect")
    seen["filtered"], seen["verdicts"] = count(page), column(page, "verdict")
    page.photograph(folder / "2-filtered.png")
    page.click("#filter-text")
    page.write(text)
    seen["searched"] = count(page)
    page.click(f"#heads th:nth-child({place(page, 'tokens')})")
    seen["tokens"] = column(page, "tokens")
    page.photograph(folder / "3-searched-and-sorted.png")
    page.click("#rows tr")
    page.wait_for(f"{_ARTICLE} && {_PICTURES} > 0 && {_PICTURES} === {_FIGURES}")
    seen |= {"opened": selected(page), "pictures": page.look(_PICTURES)}
    seen["boxes"] = page.look("document.querySelectorAll('#shown svg rect').length")
    page.photograph(folder / "4-opened.png")
    seen |= {"sizes": page.look(_SIZES), "spelled": page.look(_SPELLED)}
    if seen["spelled"]:
        page.look("document.querySelector('.tokens').scrollIntoView({block: 'center'})")
        page.photograph(folder / "4-tokens.png")
    page.press("ArrowDown")
    page.wait_for(f"{_SELECTED} === 1")
    seen["stepped"] = selected(page)
    page.wait_for(f"document.querySelector('#shown').textContent.includes('{seen['stepped']}')")
    page.photograph(folder / "5-stepped.png")
    page.choose("#beside", "0")
    page.wait_for("document.querySelectorAll('#shown article').length === 2")
    page.wait_for(f"{_PICTURES} === {_FIGURES}")
    models = "[...document.querySelectorAll('#shown article .facts b')].map((b) => b.textContent)"
    samples = """[...document.querySelectorAll('#shown article')].map(
        (one) => one.textContent.match(/sample (\\w+) /)[1])"""
    seen |= {"compared": page.look(models), "samples": page.look(samples)}
    page.photograph(folder / "6-compared.png")
    # Another browser that is given the address sees the same.
    address = page.look("location.href")
    page.call("Page.navigate", url="about:blank")
    page.open(address)
    page.wait_for("document.querySelectorAll('#shown article').length === 2")
    seen |= {"shared": page.look(models), "count_shared": count(page)}
    return seen


def count(page: Page) -> int:
    """Return how many trajectories the page says that it lists."""
    return int(page.look("document.getElementById('count').textContent.split(' ')[0]"))


def place(page: Page, name: str) -> int:
    """Return the number of a column, from 1."""
    heads = page.look("[...document.querySelectorAll('#heads th')].map((head) => head.textContent)")
    return int(heads.index(name)) + 1


def column(page: Page, name: str) -> list[str]:
    """Return what a column of the list shows."""
    cells = f"#rows td:nth-child({place(page, name)})"
    found = page.look(f"[...document.querySelectorAll('{cells}')].map((cell) => cell.textContent)")
    return [str(text) for text in found]


def selected(page: Page) -> str:
    """Return the id of the row that is open."""
    return str(page.look("document.querySelector('#rows tr[aria-selected=true]').dataset.id"))


if __name__ == "__main__":
    sys.exit(main())
