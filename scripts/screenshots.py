"""Pictures for the documents, by a headless Chromium: the top of a run's report, and of a replay's page.

python scripts/screenshots.py REPORT.html [REPLAY.html]      writes docs/images/report.png and replay.png
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs" / "images"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


def shoot(browser: str, page: Path, image: Path, height: int) -> None:
    """One page at 1,100 pixels of width. --no-sandbox: containers let no sandbox be made, and the page is our own."""
    with tempfile.TemporaryDirectory() as profile:
        command = [browser, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        command += [f"--user-data-dir={profile}", "--virtual-time-budget=8000", f"--window-size=1100,{height}"]
        command += [f"--screenshot={image}", page.resolve().as_uri()]
        subprocess.run(command, check=True, capture_output=True, timeout=300)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("report", type=Path)
    parser.add_argument("replay", type=Path, nargs="?")
    parser.add_argument("--height", type=int, default=900, help="pixels (default: 900)")
    given = parser.parse_args()
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        sys.exit(f"A Chromium is needed. Got: none of {', '.join(BROWSERS)}. Remedy: install the package chromium")
    IMAGES.mkdir(parents=True, exist_ok=True)
    for page, name in ((given.report, "report"), (given.replay, "replay")):
        if page is not None:
            shoot(browser, page, IMAGES / f"{name}.png", given.height)


if __name__ == "__main__":
    main()
