"""What is wrong before each scene of the runbook, and what must be true after it."""

import os
import shutil
import time
import traceback

import pages
from machines import Failure, Machine, Site, run, wait_for

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
RUNBOOK = f"{ROOT}/ops/runbook.md"
PACKAGES = "/mnt/packages"


def build_packages(binary):
    """The package of the program under test, and one of the release before."""
    os.makedirs(PACKAGES)
    for version in ("0.0.1", "0.0.2"):
        run(
            f"{ROOT}/ops/package", "--of", binary, "--as", version, PACKAGES,
            env={**os.environ, "DPKG_DEB_COMPRESSOR_TYPE": "none"},
        )  # fmt: skip


def package(version):
    return next(f"{PACKAGES}/{name}" for name in os.listdir(PACKAGES) if f"_{version}_" in name)


class Scenes:
    def __init__(self):
        self.founded = None

    def begin(self, names=("admin", "n1", "n2", "n3")):
        """A cluster as the page Bootstrap left it, up and whole."""
        site = Site(names, self.founded)
        for name in ("n1", "n2", "n3"):
            site[name].shell("systemctl start quorate")
        self.wait_until_whole(site)
        return site

    @staticmethod
    def wait_until_whole(site):
        def is_whole():
            code, output = site["admin"].run(". /etc/profile.d/quorate.sh; quorate status")
            rows = [line.split() for line in output.splitlines() if line.startswith("n")]
            return code == 0 and len(rows) >= 3 and all(row[2] == "ok" for row in rows) and output

        return wait_for("three nodes are ok", 30, is_whole)

    # Each scene: a function (blocks) that sets the stage, performs the blocks, and checks.

    def bootstrap(self, blocks):
        site = Site(("admin", "n1", "n2", "n3"))
        try:
            shutil.copy(package("0.0.1"), f"{site['admin'].root}/root/")
            site.perform(blocks)
            for name in ("n1", "n2", "n3"):
                site[name].shell(f"quorate put from/{name} {name}")
            listed = site["admin"].shell("quorate list from/")
            if listed != "from/n1\tn1\nfrom/n2\tn2\nfrom/n3\tn3\n":
                raise Failure(f"not what was put: {listed}")
            self.wait_until_whole(site)
            for name in ("n1", "n2", "n3"):
                site[name].shell("systemctl stop quorate")
        except Exception:
            print(site.tails())
            site.remove()
            raise
        site.remove(keeping_disks=True)
        self.founded = site


    def table(self):
        return {
            ("Bootstrap", None): self.bootstrap,
        }


def run_all(binary, words):
    scenes = Scenes()
    table = scenes.table()
    written = pages.read(RUNBOOK)
    titles = [(page, scene) for page, scene, _ in written]
    unknown = [title for title in titles if title not in table] + [title for title in table if title not in titles]
    if unknown:
        print(f"error: in the runbook or in its test, and not in both: {unknown}")
        return 1
    build_packages(binary)
    failed = []
    for page, scene, blocks in written:
        title = f"{page}: {scene}" if scene else page
        # Everything else begins where the first page ends.
        if page != "Bootstrap" and words and not any(word.lower() in title.lower() for word in words):
            continue
        started = time.monotonic()
        try:
            table[(page, scene)](blocks)
            print(f"ok: {title} ({time.monotonic() - started:.1f} s)", flush=True)
        except Exception as error:
            failed.append(title)
            print(f"failed: {title} ({time.monotonic() - started:.1f} s)", flush=True)
            print(error if isinstance(error, Failure) else traceback.format_exc(), flush=True)
            if scenes.founded is None:
                break
    print(f"{len(failed)} failed" if failed else "all pages passed")
    return 1 if failed else 0
