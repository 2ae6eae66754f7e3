"""Deque's axe-core on a page: what it finds against the rules of WCAG 2.2 AA and its own."""

from playwright.async_api import Page

from tests import npm

# In the page's own world: a script element would be refused by its policy.
_RUN = """async (exclude) => {
    const { violations } = await axe.run(exclude.length ? { exclude } : document);
    return violations.flatMap(({ id, nodes }) => nodes.map((node) => `${id}: ${node.html}`));
}"""


async def faults(page: Page, *, exclude: tuple[str, ...] = ()) -> list[str]:
    """The rule and the element of each fault; `exclude`: selectors of what is not ours."""
    if not await page.evaluate("typeof axe === 'object'"):
        await page.evaluate((npm.node_modules() / "axe-core" / "axe.min.js").read_text())
    found: list[str] = await page.evaluate(_RUN, list(exclude))
    return found
