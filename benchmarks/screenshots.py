"""Takes pictures of a run in Prefect's user interface with headless Chromium.

`python benchmarks/screenshots.py http://127.0.0.1:4200 --out shots`: the newest run of the flow
`pipeline` with its graph, logs and artifacts, and the deployments. Needs `chromium` in PATH.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import requests

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
# Virtual time that a page gets to load and draw.
BUDGET_MS = 20_000


def main() -> int:
    """Take the pictures and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("address", help="of the server, such as http://127.0.0.1:4200")
    parser.add_argument("--out", type=Path, default=Path("screenshots"), help="folder to write")
    parser.add_argument("--only", nargs="*", metavar="NAME", help="pictures to take; default all")
    options = parser.parse_args()
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        sys.stderr.write(f"none of {', '.join(BROWSERS)} is in PATH\n  fix: install Chromium\n")
        return 1
    options.out.mkdir(parents=True, exist_ok=True)
    pages = find_pages(options.address)
    if unknown := sorted(set(options.only or ()) - pages.keys()):
        sys.stderr.write(f"no such picture: {', '.join(unknown)}\n")
        sys.stderr.write(f"  fix: there are {', '.join(pages)}\n")
        return 1
    for name, path in pages.items():
        if options.only and name not in options.only:
            continue
        take(browser, f"{options.address}{path}", options.out / f"{name}.png")
        print(options.out / f"{name}.png")
    return 0


def find_base(address: str) -> str:
    """Return the path of the user interface that the server shows by default; it ships two."""
    settings = requests.get(f"{address}/ui-settings", timeout=60).json()
    return str(settings[f"{settings['default_ui']}_base_url"]).rstrip("/")


def find_pages(address: str) -> dict[str, str]:
    """Return the paths of what there is to see, by name of the picture."""
    base = find_base(address)
    os.environ["PREFECT_API_URL"] = f"{address}/api"
    # Reads the environment above.
    from prefect import get_client
    from prefect.client.schemas.filters import FlowFilter, FlowFilterName
    from prefect.client.schemas.sorting import ArtifactCollectionSort, FlowRunSort

    pages = {"runs": f"{base}/runs", "deployments": f"{base}/deployments"}
    with get_client(sync_client=True) as client:
        runs = client.read_flow_runs(
            flow_filter=FlowFilter(name=FlowFilterName(any_=["pipeline"])),
            sort=FlowRunSort.EXPECTED_START_TIME_DESC,
            limit=1,
        )
        for run in runs:
            pages["run"] = f"{base}/runs/flow-run/{run.id}"
            pages["run-artifacts"] = f"{base}/runs/flow-run/{run.id}?tab=Artifacts"
        for one in client.read_latest_artifacts(sort=ArtifactCollectionSort.KEY_ASC):
            pages[f"artifact-{one.key}"] = f"{base}/artifacts/artifact/{one.latest_id}"
    return pages


def take(browser: str, address: str, path: Path) -> None:
    """Write a picture of a page."""
    with tempfile.TemporaryDirectory(prefix="screenshots-") as profile:
        subprocess.run(
            [
                browser,
                *("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
                *("--disable-background-networking", "--window-size=1400,1600"),
                f"--user-data-dir={profile}",
                f"--virtual-time-budget={BUDGET_MS}",
                f"--screenshot={path}",
                address,
            ],
            check=True,
            capture_output=True,
        )


if __name__ == "__main__":
    sys.exit(main())
