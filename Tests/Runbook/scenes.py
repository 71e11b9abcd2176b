"""What is wrong before each scene of the runbook, and what must be true after it."""

import json
import os
import shutil
import subprocess
import time
import traceback

import pages
from client import Connection
from faults import Writer, diverge, fill_disk, flip_a_row, let_certificates_end, put_on_small_disk
from machines import Failure, Site, wait_for

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
RUNBOOK = f"{ROOT}/ops/runbook.md"
PACKAGES = "/mnt/packages"


def build_packages(binary):
    """The package of the program under test, and one of the release before."""
    os.makedirs(PACKAGES)
    packers = [
        subprocess.Popen(
            [f"{ROOT}/ops/package", "--of", binary, "--as", version, PACKAGES], stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, env={**os.environ, "DPKG_DEB_COMPRESSOR_TYPE": "none"},
        )
        for version in ("0.0.1", "0.0.2")
    ]  # fmt: skip
    for packer in packers:
        output, _ = packer.communicate()
        if packer.returncode != 0:
            raise SystemExit(f"error: ops/package failed:\n{output}")


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

    def play(self, blocks, names=("admin", "n1", "n2", "n3"), prepare=None, between=None, check=None, writes=True):
        """Founds the cluster, has `prepare` break it, does what the page says, and looks what came of it. `between` is
        called with the position of each block before it runs. With `writes` somebody writes all the while."""
        site = self.begin(names)
        try:
            if prepare:
                prepare(site)
            writer = Writer(site["admin"]) if writes else None
            site.perform(blocks, (lambda position: between(site, position)) if between else None)
            if writer:
                writer.check()
            self.wait_until_whole(site)
            site["admin"].shell("quorate put after/scene done")
            if site["admin"].shell("quorate get runbook") != "bootstrap\n":
                raise Failure("what was written at first is not there")
            if check:
                check(site)
        except Exception:
            print(site.tails())
            raise
        finally:
            site.remove()

    # MARK: Each scene

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

    def certificates_seen(self, blocks):
        self.play(blocks)

    def new_certificates(self, blocks):
        # They end in ten days: nobody notices that they are replaced.
        self.play(blocks, prepare=lambda site: let_certificates_end(site, 10))

        def expire(site):
            let_certificates_end(site, -1)
            for name in ("n1", "n2", "n3"):
                site[name].kill()
                site[name].shell("systemctl start quorate")
            for name in ("n1", "n2", "n3"):
                wait_for(
                    f"{name} says that its certificate has expired", 20,
                    lambda name=name: "this node's certificate expired on" in site[name].log(),
                )  # fmt: skip
            code, output = site["admin"].run(". /etc/profile.d/quorate.sh; quorate status")
            if code != 1:
                raise Failure(f"expired certificates, and yet: {output}")

        self.play(blocks, prepare=expire, writes=False)

    def new_authority(self, blocks):
        self.play(blocks)

    def machine_gone(self, blocks):
        def check(site):
            members = json.loads(site["admin"].shell("quorate member list --json"))["members"]
            if [(member["name"], member["voter"]) for member in members] != [("n1", True), ("n2", True), ("n4", True)]:
                raise Failure(f"not the members that were to be: {members}")
            # The machine that was gone comes back.
            site["n3"].shell("systemctl start quorate")
            wait_for("n3 says that it was removed", 20, lambda: "was removed" in self.ready_page(site["n3"]))

        self.play(
            blocks, names=("admin", "n1", "n2", "n3", "n4"), prepare=lambda site: site["n3"].kill(), check=check
        )

    def disk_gone(self, blocks):
        def prepare(site):
            site["n3"].kill()
            shutil.rmtree(f"{site['n3'].root}/var/lib/quorate/n3")
            site["n3"].shell("systemctl start quorate")

        self.play(blocks, prepare=prepare)

    def moved(self, blocks):
        def between(site, position):
            if position == 1:
                site["n3"].change_address("10.0.0.30")

        self.play(blocks, between=between)

    def one_disk_full(self, blocks):
        self.play(blocks, prepare=lambda site: self.fill(site, "n3"))

    def all_disks_full(self, blocks):
        def prepare(site):
            for number in range(3):
                site["admin"].shell(f"quorate put scratch/{number} {number}")
            self.fill(site, "n1", "n2", "n3")
            code, output = site["admin"].run(". /etc/profile.d/quorate.sh; quorate put more more --json --timeout 2s")
            if code != 1 or '"diskFull"' not in output:
                raise Failure(f"without space on any disk a write ends with {code}: {output}")

        def check(site):
            if site["admin"].shell("quorate list scratch/ --count") != "0\n":
                raise Failure("the records under scratch/ are still there")

        self.play(blocks, prepare=prepare, check=check, writes=False)

    def fill(self, site, *names):
        for name in names:
            site[name].shell("systemctl stop quorate")
            put_on_small_disk(site[name], 900)
            site[name].shell("systemctl start quorate")
        self.wait_until_whole(site)
        for name in names:
            fill_disk(site[name], 200)
        for name in names:
            wait_for(f"{name} is low", 20, lambda name=name: "below its reserve" in self.ready_page(site[name]))

    @staticmethod
    def ready_page(machine):
        return machine.run("curl -s http://127.0.0.1:7600/readyz || true")[1]

    def majority_lost(self, blocks):
        def prepare(site):
            for name in ("n2", "n3"):
                site[name].kill()
                shutil.rmtree(f"{site[name].root}/var/lib/quorate/{name}")
            status = ". /etc/profile.d/quorate.sh; quorate status"
            wait_for(
                "status says that a majority is lost", 20,
                lambda: "no quorum: reached 1 of 3" in site["admin"].run(status)[1],
            )  # fmt: skip

            # Root's files would keep the service from starting.
            code, output = site["n1"].run(
                "systemctl stop quorate; quorate recover --data /var/lib/quorate/n1 --name n1 --cluster n1=10.0.0.1:7500 "
                "--accept-data-loss"
            )
            if code != 1 or "runuser -u quorate -- quorate recover" not in output:
                raise Failure(f"recover as root ends with {code}: {output}")
            site["n1"].shell("systemctl start quorate")

        self.play(blocks, prepare=prepare, writes=False)

    def snapshots_saved(self, blocks):
        self.play(blocks)

    def restored(self, blocks):
        def prepare(site):
            site["admin"].shell("quorate put kept yes; quorate snapshot save /root/quorate.snapshot; quorate put late yes")
            for name in ("n2", "n3"):
                site[name].kill()
                shutil.rmtree(f"{site[name].root}/var/lib/quorate/{name}")

        def check(site):
            listed = site["admin"].shell("quorate get kept; quorate list late --count")
            if listed != "yes\n0\n":
                raise Failure(f"not what the snapshot holds: {listed}")

        self.play(blocks, prepare=prepare, check=check, writes=False)

    def diverged(self, blocks):
        def differ(site):
            site["n3"].shell("systemctl stop quorate")
            diverge(site["n3"])
            site["n3"].shell("systemctl start quorate")
            self.wait_until_whole(site)
            # The members compare themselves at each 4,096th entry.
            connection = Connection(site["admin"], site["n1"].address)
            connection.put_many(4_100, "entries/")
            connection.close()
            wait_for("n3 is told", 20, lambda: "this node's state differs from the majority's" in site["n3"].log())

        self.play(blocks, prepare=differ)

        def rot(site):
            lines = "".join(json.dumps({"key": f"rows/{n}", "value": f"{n}" * 200}) + "\n" for n in range(2_000))
            with open(f"{site['admin'].root}/root/rows.jsonl", "w", encoding="utf-8") as file:
                file.write(lines)
            site["admin"].shell("quorate import /root/rows.jsonl")
            self.wait_until_whole(site)
            site["n3"].shell("systemctl stop quorate")
            flip_a_row(site["n3"])
            site["n3"].shell("systemctl start quorate")
            site["n3"].shell("until curl -fs http://127.0.0.1:7600/readyz; do sleep 0.1; done")
            # A query meets the damage.
            site["n3"].run(
                ". /etc/profile.d/quorate.sh; quorate list rows/ --read-level stale --endpoints 10.0.0.3:7400 --timeout 2s"
            )
            wait_for("n3 is quarantined", 20, lambda: "this node's state is damaged" in site["n3"].log())

        def check(site):
            listed = [
                site["admin"].shell(f"quorate list rows/ --read-level stale --endpoints {address}:7400")
                for address in ("10.0.0.1", "10.0.0.3")
            ]
            if listed[0] != listed[1] or len(listed[0].splitlines()) != 2_000:
                raise Failure("n3 has other rows than n1")

        self.play(blocks, prepare=rot, check=check)

    def upgraded(self, blocks):
        def prepare(site):
            os.makedirs(f"{site['admin'].root}/root/new")
            shutil.copy(package("0.0.2"), f"{site['admin'].root}/root/new/")

        def check(site):
            for name in ("admin", "n1", "n2", "n3"):
                version = site[name].shell("dpkg-query -W -f '${Version}' quorate")
                if version != "0.0.2":
                    raise Failure(f"{name} has version {version}")

        self.play(blocks, prepare=prepare, check=check)

    def downgraded(self, blocks):
        def prepare(site):
            os.makedirs(f"{site['n3'].root}/root/new")
            shutil.copy(package("0.0.2"), f"{site['n3'].root}/root/new/")
            site["n3"].shell("apt-get install -y -q /root/new/quorate_*.deb")
            self.wait_until_whole(site)

        def check(site):
            version = site["n3"].shell("dpkg-query -W -f '${Version}' quorate")
            if version != "0.0.1":
                raise Failure(f"n3 has version {version}")

        self.play(blocks, prepare=prepare, check=check)

    def table(self):
        return {
            ("Bootstrap", None): self.bootstrap,
            ("TLS and certificate expiry", None): self.certificates_seen,
            ("TLS and certificate expiry", "New certificates"): self.new_certificates,
            ("TLS and certificate expiry", "A new CA"): self.new_authority,
            ("Replace a node", "The machine is gone"): self.machine_gone,
            ("Replace a node", "The disk is gone, the machine stays"): self.disk_gone,
            ("Move a node", None): self.moved,
            ("Disk full", "On one node"): self.one_disk_full,
            ("Disk full", "On a majority"): self.all_disks_full,
            ("Majority lost", None): self.majority_lost,
            ("Restore", "Before: save snapshots"): self.snapshots_saved,
            ("Restore", "All nodes from a snapshot"): self.restored,
            ("Diverged member", None): self.diverged,
            ("Upgrade", "To the new release"): self.upgraded,
            ("Upgrade", "Back to the old release"): self.downgraded,
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
    missing = pages.alerts_named(RUNBOOK) - pages.alerts_defined(f"{ROOT}/ops/prometheus/alerts.yml")
    if missing:
        print(f"error: the runbook names alerts that there are not: {sorted(missing)}")
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
