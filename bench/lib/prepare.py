"""Makes the systems ready to be started: programs, ports, versions."""

import dataclasses
import functools
import os
from typing import Callable

import packages
from processes import check_ports
from system import System
from system_etcd import Etcd, faster
from system_quorate import Quorate, version_of
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
    ports = {name: ports_from(PORTS_EACH * place, PORTS_EACH) for place, name in enumerate(BY_NAME) if name in names}
    packages.install(names)
    return {name: BY_NAME[name](processes, ports[name], directory, say) for name in names}


def ports_from(place, count):
    """So many ports that are free, from a place in those that the user leaves to us."""
    base = int(os.environ.get("QUORATE_BENCH_PORT", "18600")) + place
    ports = range(base, base + count)
    check_ports(ports)
    return ports


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
    return Prepared(functools.partial(Quorate, processes, ports, program), version_of(program), Quorate)


BY_NAME = {"etcd": prepare_etcd, "ZooKeeper": prepare_zookeeper, "Quorate": prepare_quorate}
