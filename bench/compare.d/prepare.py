"""Makes the systems ready to be started: programs, ports, versions."""

import dataclasses
import functools
import os
import subprocess
from typing import Callable

import packages
from processes import check_ports
from system import System
from system_etcd import Etcd, faster
from system_quorate import Quorate
from system_zookeeper import ZooKeeper

PORTS_EACH = 9


@dataclasses.dataclass
class Prepared:
    make: Callable[[], System]
    version: str
    kind: type

    def about(self):
        return {"version": self.version, "configuration": self.kind.configuration, "lacks": self.kind.lacks}


def prepare(names, processes, directory, say):
    """The systems of these names, ready to be made, by name."""
    base = int(os.environ.get("QUORATE_BENCH_PORT", "18600"))
    ports = {name: range(base + PORTS_EACH * place, base + PORTS_EACH * (place + 1)) for place, name in enumerate(BY_NAME)}
    check_ports([port for name in names for port in ports[name]])
    packages.install(names)
    return {name: BY_NAME[name](processes, ports[name], directory, say) for name in names}


def prepare_etcd(processes, ports, directory, say):
    program = packages.etcd_load()
    versions = {
        version: functools.partial(Etcd, processes, ports, server, client, program)
        for version, (server, client) in packages.etcd_binaries(say).items()
    }
    version = faster(versions, directory, say)
    return Prepared(versions[version], version, Etcd)


def prepare_zookeeper(processes, ports, directory, say):
    version = packages.version_of("zookeeper").partition("-")[0]
    return Prepared(functools.partial(ZooKeeper, processes, ports, packages.zookeeper_load()), version, ZooKeeper)


def prepare_quorate(processes, ports, directory, say):
    program = packages.quorate()
    version = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    return Prepared(functools.partial(Quorate, processes, ports, program), version, Quorate)


BY_NAME = {"etcd": prepare_etcd, "ZooKeeper": prepare_zookeeper, "Quorate": prepare_quorate}
