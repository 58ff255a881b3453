"""Pictures of the page for the documentation: `python -m tests.reports.page.pictures`.

They show the committed rows of docs/results/quick-5-seeds, light and dark; Chromium draws them.
"""

import shutil
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

from reports.report import write
from tests.conftest import ROOT

RUN = ROOT / "docs" / "results" / "quick-5-seeds"
VIEW = "#line=lista"
SIZE = {"width": 1280, "height": 1130}


def draw(folder: Path) -> list[Path]:
    """Write page-light.png and page-dark.png; return both."""
    paths = []
    with tempfile.TemporaryDirectory() as scratch, sync_playwright() as playwright:
        page = write(RUN, Path(scratch))["page"]
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        for scheme in ("light", "dark"):
            tab = browser.new_page(viewport=SIZE, color_scheme=scheme)  # type: ignore[arg-type]
            tab.goto(f"{page.as_uri()}{VIEW}")
            tab.wait_for_selector("html[data-drawn=all]")
            path = folder / f"page-{scheme}.png"
            tab.screenshot(path=path)
            picture = Image.open(path).convert("RGB")
            picture.quantize(method=Image.Quantize.FASTOCTREE).save(path, optimize=True)
            paths.append(path)
        browser.close()
    return paths


if __name__ == "__main__":
    for path in draw(ROOT / "docs"):
        print(path)
