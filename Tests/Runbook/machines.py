"""Machines for the runbook's pages: each has a root of its own (this machine's, copied on write), an address of its own in
10.0.0.0/24, and its processes. All of it lives in namespaces that end with this program; nothing outside is touched."""

import os
import re
import shutil
import subprocess
import time

HERE = os.path.dirname(os.path.abspath(__file__))
BASE = "/mnt"
ADDRESSES = {"n1": "10.0.0.1", "n2": "10.0.0.2", "n3": "10.0.0.3", "n4": "10.0.0.4", "admin": "10.0.0.10"}
ENVIRONMENT = {
    "HOME": "/root",
    "USER": "root",
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG": "C.UTF-8",
    "TERM": "dumb",
    "DEBIAN_FRONTEND": "noninteractive",
}
# What the machines need that not every Debian has.
PROGRAMS = ["unshare", "ip", "nsenter", "mount", "chroot", "setpriv", "apt-get", "dpkg-deb", "adduser", "openssl", "curl"]


# In which a block ends; some wait for a node.
PATIENCE = 60


class Failure(Exception):
    pass


def run(*arguments, **options):
    result = subprocess.run(arguments, capture_output=True, text=True, **options)
    if result.returncode != 0:
        raise Failure(f"{' '.join(arguments)}: exit code {result.returncode}\n{result.stdout}{result.stderr}")
    return result.stdout


def wait_for(text, seconds, condition):
    """Polls until `condition` returns something true, and returns that."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.05)
    raise Failure(f"{text}: not within {seconds} s")


def prepare():
    """Called once, in the new namespaces: a small disk for the roots, and a switch."""
    run("mount", "--make-rprivate", "/")
    run("mount", "-t", "tmpfs", "tmpfs", BASE)
    run("mount", "-t", "tmpfs", "tmpfs", "/run")
    run("mount", "-t", "proc", "proc", "/proc")
    run("ip", "link", "set", "lo", "up")
    run("ip", "link", "add", "switch", "type", "bridge")
    run("ip", "address", "add", "10.0.0.254/24", "dev", "switch")
    run("ip", "link", "set", "switch", "up")


class Machine:
    def __init__(self, site, name):
        self.name = name
        self.address = ADDRESSES[name]
        self.directory = f"{site.directory}/{name}"
        self.root = f"{self.directory}/root"
        self.site = site
        self.resident = None
        self.namespace = f"{name}-{site.number}"

    def boot(self):
        upper = f"{self.directory}/upper"
        for directory in (upper, f"{self.directory}/work", self.root):
            os.makedirs(directory)
        below = [f"{template.directory}/{self.name}/upper" for template in self.site.templates]
        below = [directory for directory in below if os.path.isdir(directory)]
        if not below:
            self.lay_out(upper)
        lower = ":".join(below + ["/"])
        run(
            "mount", "-t", "overlay", "overlay", "-o",
            f"lowerdir={lower},upperdir={upper},workdir={self.directory}/work", self.root,
        )  # fmt: skip
        run("mount", "-t", "proc", "proc", f"{self.root}/proc")
        run("mount", "--rbind", "/dev", f"{self.root}/dev")
        for directory in ("run", "tmp"):
            run("mount", "-t", "tmpfs", "tmpfs", f"{self.root}/{directory}")
        os.chmod(f"{self.root}/tmp", 0o1777)
        os.makedirs(f"{self.root}/run/systemd/system")
        self.attach_data_disk()
        self.plug_in()
        self.resident = subprocess.Popen(self.entry("sleep", "infinity"), stdin=subprocess.DEVNULL)

    def lay_out(self, upper):
        """What a machine has besides: the stand-ins for systemd, journald and scp, and an empty home of root."""
        os.makedirs(f"{upper}/usr/local/sbin")
        for program in ("systemctl", "journalctl", "scp"):
            shutil.copy(f"{HERE}/machine/{program}", f"{upper}/usr/local/sbin/{program}")
        for directory in ("root", "var/lib/quorate", "etc/quorate"):
            os.makedirs(f"{upper}/{directory}")
            os.setxattr(f"{upper}/{directory}", "trusted.overlay.opaque", b"y")

    def attach_data_disk(self):
        """Data directories lie on no overlay: there a directory cannot be renamed that came from below."""
        disk = f"{self.directory}/data"
        old = self.site.templates[0].directory + f"/{self.name}/data" if self.site.templates else ""
        if os.path.isdir(old):
            run("cp", "-a", old, disk)
        else:
            os.makedirs(disk)
        run("mount", "--bind", disk, f"{self.root}/var/lib/quorate")

    def plug_in(self):
        run("ip", "netns", "add", self.namespace)
        cable = f"port-{self.namespace}"
        run("ip", "link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", self.namespace)
        run("ip", "link", "set", cable, "master", "switch", "up")
        run("ip", "-n", self.namespace, "address", "add", f"{self.address}/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            run("ip", "-n", self.namespace, "link", "set", device, "up")

    def entry(self, *arguments):
        return ["nsenter", f"--net=/run/netns/{self.namespace}", "chroot", self.root, *arguments]

    def run(self, script):
        """The script's exit code, and what it printed."""
        try:
            result = subprocess.run(
                self.entry("bash", "-euo", "pipefail", "-c", script), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT, text=True, timeout=PATIENCE, env=ENVIRONMENT,
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            printed = (error.stdout or b"").decode()[-2_000:]
            raise Failure(f"{self.name}: not over after {PATIENCE} s:\n{script}---\n{printed}") from None
        return result.returncode, result.stdout

    def shell(self, script):
        code, output = self.run(f". /etc/profile.d/quorate.sh\n{script}")
        if code != 0:
            raise Failure(f"{self.name}: {script}: exit code {code}\n{output}")
        return output

    def change_address(self, address):
        run("ip", "-n", self.namespace, "address", "flush", "dev", "eth0")
        run("ip", "-n", self.namespace, "address", "add", f"{address}/24", "dev", "eth0")
        self.address = address
        self.site.publish()

    def log(self):
        try:
            with open(f"{self.root}/var/log/journal/quorate", encoding="utf-8") as file:
                return file.read()
        except FileNotFoundError:
            return ""

    def kill(self):
        """What it runs is gone at once, as when its power fails; its disk stays."""
        units = f"{self.root}/run/units/quorate"
        for name in ("runner", "process"):
            if os.path.exists(f"{units}/{name}"):
                with open(f"{units}/{name}", encoding="utf-8") as file:
                    process = int(file.read())
                try:
                    os.kill(process, 9)
                except ProcessLookupError:
                    pass
                wait_for(f"process {process} ends", 10, lambda: not os.path.exists(f"/proc/{process}"))
        shutil.rmtree(units, ignore_errors=True)

    def remove(self):
        self.kill()
        if self.resident is not None:
            self.resident.kill()
            self.resident.wait()
            self.resident = None
        for mounted in sorted(mounts_below(self.root), key=len, reverse=True):
            run("umount", "-l", mounted)
        subprocess.run(["ip", "netns", "delete", self.namespace], check=False)


def mounts_below(directory):
    with open("/proc/self/mounts", encoding="utf-8") as file:
        points = [line.split()[1] for line in file]
    return [point for point in points if point == directory or point.startswith(f"{directory}/")]


class Site:
    """Some machines; those of another site, shut down, can be what their disks begin with."""

    count = 0

    def __init__(self, names, template=None):
        Site.count += 1
        self.number = Site.count
        self.directory = f"{BASE}/{self.number}"
        self.templates = [template] + template.templates if template else []
        self.machines = {name: Machine(self, name) for name in names}
        for machine in self.machines.values():
            machine.boot()
        self.publish()

    def __getitem__(self, name):
        return self.machines[name]

    def publish(self):
        lines = "".join(f"{each.address} {each.resident.pid}\n" for each in self.machines.values() if each.resident)
        for machine in self.machines.values():
            if machine.resident:
                with open(f"{machine.root}/run/machines", "w", encoding="utf-8") as file:
                    file.write(lines)

    def remove(self, keeping_disks=False):
        for machine in self.machines.values():
            machine.remove()
        if not keeping_disks:
            shutil.rmtree(self.directory)

    def tails(self):
        texts = []
        for machine in self.machines.values():
            lines = machine.log().splitlines()[-15:]
            if lines:
                texts.append(f"--- {machine.name} logged last:\n" + "\n".join(lines))
        return "\n".join(texts)

    def perform(self, scene_blocks, before_block=None):
        """Runs the blocks as a person would who has a shell open on each machine: what a block exports, the next has."""
        for position, block in enumerate(scene_blocks):
            if before_block:
                before_block(position)
            for name in block.machines:
                if name not in self.machines:
                    raise Failure(f"line {block.line}: there is no machine {name}")
                code, output = self[name].run(
                    "[ ! -e /etc/profile.d/quorate.sh ] || . /etc/profile.d/quorate.sh\n"
                    f"[ ! -e /run/exported ] || . /run/exported\n{block.text}\nexport -p >/run/exported\n"
                )
                if code != 0:
                    raise Failure(f"line {block.line} on {name}: exit code {code}\n{block.text}---\n{output}")
                missing = block.missing(output)
                if missing is not None:
                    raise Failure(f"line {block.line} on {name} did not print: {missing}\n{block.text}---\n{output}")
