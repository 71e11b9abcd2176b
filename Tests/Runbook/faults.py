"""What goes wrong before a scene, and who writes while it is mended."""

import ctypes
import ctypes.util
import json
import os
import subprocess

from machines import Failure, run, wait_for


class Writer:
    """Writes one key after the other from a machine, and remembers what was acknowledged, at which revision."""

    SCRIPT = """
    . /etc/profile.d/quorate.sh
    number=0
    while [ ! -e /run/writer-stops ]; do
        if reply=$(quorate put "writer/$number" "$number" --json --timeout 30s); then
            echo "$number $reply"
        else
            echo "failed $number $reply"
        fi
        number=$((number + 1))
        sleep 0.02
    done
    """

    def __init__(self, machine):
        self.machine = machine
        self.path = f"{machine.directory}/writer"
        with open(self.path, "w", encoding="utf-8") as file:
            self.process = subprocess.Popen(
                machine.entry("bash", "-c", self.SCRIPT), stdin=subprocess.DEVNULL, stdout=file,
                stderr=subprocess.STDOUT, env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
            )  # fmt: skip
        wait_for("writes are acknowledged", 30, lambda: len(self.lines()) >= 3)

    def lines(self):
        with open(self.path, encoding="utf-8") as file:
            return [line for line in file.read().split("\n")[:-1] if line]

    def check(self):
        """No write failed, more were acknowledged since, and all that were are there, at their revisions."""
        before = len(self.lines())
        wait_for("writes go on", 30, lambda: len(self.lines()) > before + 2)
        with open(f"{self.machine.root}/run/writer-stops", "w", encoding="utf-8"):
            pass
        self.process.wait(60)
        acknowledged = {}
        for line in self.lines():
            number, _, reply = line.partition(" ")
            if not number.isdigit():
                raise Failure(f"a write failed meanwhile: {line}")
            acknowledged[f"writer/{number}"] = json.loads(reply)["revision"]
        listed = self.machine.shell("quorate list writer/ --json").splitlines()
        found = {row["key"]: row["revision"] for row in map(json.loads, listed)}
        lost = [key for key, revision in acknowledged.items() if found.get(key) != revision]
        if lost or len(found) != len(acknowledged):
            raise Failure(f"of {len(acknowledged)} acknowledged writes these are not there: {lost[:5]}; found {len(found)}")


def issue(machine, name, role, days, into):
    """A certificate of the CA on `machine` that ends in so many days, as a year-old one does."""
    usage = "clientAuth" if role == "client" else "serverAuth,clientAuth"
    code, output = machine.run(
        f"""
        cd /root/tls
        openssl ecparam -name prime256v1 -genkey -noout -out {name}.key
        openssl req -new -key {name}.key -subj "/CN={name}" -out {name}.csr
        printf 'subjectAltName = URI:quorate://{role}/{name}\\nextendedKeyUsage = {usage}\\n' >{name}.cnf
        openssl x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -set_serial 0x$(openssl rand -hex 8) -days {days} \\
            -extfile {name}.cnf -out {name}.pem
        rm {name}.csr {name}.cnf
        {into}
        """
    )
    if code != 0:
        raise Failure(f"no certificate for {name}: {output}")


def let_certificates_end(site, days):
    """All nodes and the client have certificates with so many days left, below 0: that ended; and have started since."""
    admin = site["admin"]
    for name in ("n1", "n2", "n3"):
        address = site[name].address
        issue(
            admin, name, "peer", days,
            f"scp {name}.pem root@{address}:/etc/quorate/tls.pem; scp {name}.key root@{address}:/etc/quorate/tls.key",
        )  # fmt: skip
    issue(
        admin, "client", "client", days,
        "install -m 0600 client.pem /etc/quorate/tls.pem; install -m 0600 client.key /etc/quorate/tls.key",
    )  # fmt: skip


def put_on_small_disk(machine, megabytes):
    """What /var/lib/quorate holds lies on a file system of this size from now on."""
    directory = f"{machine.root}/var/lib/quorate"
    disk = f"{machine.directory}/data"
    owner = os.stat(disk)
    run("mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0700,uid={owner.st_uid},gid={owner.st_gid}", "tmpfs", directory)
    run("cp", "-a", f"{disk}/.", directory)


def fill_disk(machine, leaving_megabytes):
    """As a snapshot does that was broken off."""
    directory = f"{machine.root}/var/lib/quorate"
    values = os.statvfs(directory)
    size = values.f_bavail * values.f_frsize - (leaving_megabytes << 20)
    descriptor = os.open(f"{directory}/nightly.snapshot.partial-4711", os.O_WRONLY | os.O_CREAT, 0o600)
    os.posix_fallocate(descriptor, 0, size)
    os.close(descriptor)


def state_directory(machine):
    data = f"{machine.root}/var/lib/quorate/{machine.name}"
    return next(f"{data}/{name}" for name in os.listdir(data) if name.startswith("state-"))


def diverge(machine):
    """Makes the state of a stopped node another one than its log says, as a bug or bad memory would: the digest of all
    its changes, at the end of the row F0 (Sources/MetadataMachine/FORMAT.md), with a checksum that is right."""
    library = ctypes.CDLL(ctypes.util.find_library("rocksdb"))
    for name in ("options_create", "open", "readoptions_create", "writeoptions_create", "flushoptions_create", "get"):
        getattr(library, f"rocksdb_{name}").restype = ctypes.c_void_p
    error = ctypes.c_char_p()

    def call(name, *arguments):
        arguments = [ctypes.c_void_p(each) if isinstance(each, int) else each for each in arguments]
        value = getattr(library, f"rocksdb_{name}")(*arguments, ctypes.byref(error))
        if error.value:
            raise Failure(f"rocksdb_{name}: {error.value.decode()}")
        return value

    def size(number):
        return ctypes.c_size_t(number)

    directory = state_directory(machine)
    owner = os.stat(directory)
    key = bytes([0xF0])
    database = call("open", library.rocksdb_options_create(), directory.encode())
    length = ctypes.c_size_t()
    value = call("get", database, library.rocksdb_readoptions_create(), key, size(1), ctypes.byref(length))
    row = bytearray(ctypes.string_at(value, length.value))
    row[-1] ^= 1
    call("put", database, library.rocksdb_writeoptions_create(), key, size(1), bytes(row), size(len(row)))
    call("flush", database, library.rocksdb_flushoptions_create())
    library.rocksdb_close(ctypes.c_void_p(database))
    for name in os.listdir(directory):
        os.chown(f"{directory}/{name}", owner.st_uid, owner.st_gid)


def flip_a_row(machine):
    """One bit of the largest table of a stopped node, in a block of rows."""
    state = state_directory(machine)
    tables = [f"{state}/{name}" for name in os.listdir(state) if name.endswith(".sst")]
    largest = max(tables, key=os.path.getsize)
    place = os.path.getsize(largest) // 4
    with open(largest, "r+b") as file:
        file.seek(place)
        byte = file.read(1)[0]
        file.seek(place)
        file.write(bytes([byte ^ 1]))
