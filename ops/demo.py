"""Called by ops/demo with the path of the binary and the directory of the examples. Every step says what it checked; the first that fails ends the run
with exit code 1 and leaves the data and logs where the message says. Only processes that this script has started are
signalled, by their ids."""

import base64
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time

BINARY = sys.argv[1]
EXAMPLES = sys.argv[2]
BASE_PORT = int(os.environ.get("QUORATE_DEMO_PORT", "17400"))
ENDPOINTS = ",".join(f"127.0.0.1:{BASE_PORT + node}" for node in range(3))
ROOT = "/usr"
PREFIX = "/usr/"
RECORDS_MIN = 10_000

work = tempfile.mkdtemp(prefix="quorate-demo-")
cluster = None


class Failure(Exception):
    pass


def check(condition, text):
    if not condition:
        raise Failure(text)
    print(f"   ok: {text}", flush=True)


def say(text):
    print(f"== {text}", flush=True)


def quorate(*arguments, timeout=120, **options):
    return subprocess.run(
        [BINARY, *arguments, "--endpoints", ENDPOINTS], timeout=timeout, capture_output=True, **options
    )


def status():
    result = quorate("status", "--json", "--timeout", "2s", timeout=30)
    return json.loads(result.stdout)


def wait_for(text, seconds, condition):
    """Polls until `condition` returns something true, and returns that."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.02)
    raise Failure(f"{text}: not within {seconds} s")


def file_lines():
    """One line for each regular file under /usr, as `quorate export` prints it, in key order."""
    records = []
    for directory, _, names in os.walk(os.fsencode(ROOT)):
        for name in names:
            path = os.path.join(directory, name)
            try:
                info = os.lstat(path)
            except OSError:
                continue
            if not stat.S_ISREG(info.st_mode):
                continue
            metadata = {"size": info.st_size, "mode": oct(info.st_mode & 0o7777), "mtime": int(info.st_mtime)}
            records.append((path, json.dumps(metadata, separators=(",", ":"))))
    records.sort()
    for path, value in records:
        try:
            record = {"key": path.decode()}
        except UnicodeDecodeError:
            record = {"keyBase64": base64.b64encode(path).decode()}
        record["value"] = value
        yield json.dumps(record, ensure_ascii=False, separators=(",", ":"))


def start_cluster():
    global cluster
    log = open(os.path.join(work, "local.log"), "ab")
    cluster = subprocess.Popen(
        [BINARY, "local", "--nodes", "3", "--data", os.path.join(work, "data"), "--base-port", str(BASE_PORT), "--json"],
        stdout=subprocess.PIPE,
        stderr=log,
    )
    line = cluster.stdout.readline()
    if not line:
        raise Failure(f"the cluster did not start; see {work}/local.log")
    ready = json.loads(line)
    return {node["name"]: node["pid"] for node in ready["nodes"]}


def export_equals(input_path, text):
    output_path = os.path.join(work, "export.jsonl")
    started = time.monotonic()
    with open(output_path, "wb") as output:
        result = subprocess.run(
            [BINARY, "export", PREFIX, "--endpoints", ENDPOINTS], stdout=output, stderr=subprocess.PIPE, timeout=300
        )
    check(result.returncode == 0, f"export ended well in {time.monotonic() - started:.1f} s {result.stderr.decode()}".rstrip())
    same = subprocess.run(["cmp", input_path, output_path]).returncode == 0
    check(same, text)


def kill_leader_during_import(importing, processes, lines):
    """Waits until a third of the transactions are applied, kills the leader, and measures until a write succeeds."""

    def progress():
        if importing.poll() is not None:
            raise Failure("the import was over before the leader could be killed")
        return max((node["appliedIndex"] or 0) for node in status()["nodes"])

    first = progress()
    wait_for("a third of the import", 120, lambda: progress() >= first + max(2, lines // 3000))
    leader = wait_for("a leader", 30, lambda: status()["leader"])
    killed_at = time.monotonic()
    os.kill(processes.pop(leader), signal.SIGKILL)
    check(importing.poll() is None, f"{leader}, the leader, was killed while the import ran")
    attempts = 0
    while True:
        attempts += 1
        result = quorate("put", "demo/after-the-kill", str(attempts), "--timeout", "10s")
        if result.returncode == 0:
            break
        if time.monotonic() - killed_at > 60:
            raise Failure(f"no write succeeded for 60 s: {result.stderr.decode()}")
    print(f"   time without service: {(time.monotonic() - killed_at) * 1000:.0f} ms", flush=True)
    successor = wait_for("a new leader", 30, lambda: status()["leader"])
    check(successor != leader, f"{successor} leads now")


def offline(*arguments, timeout=120):
    """A command that needs no cluster; what it says in JSON."""
    result = subprocess.run([BINARY, *arguments, "--json"], timeout=timeout, capture_output=True)
    if result.returncode != 0:
        raise Failure(f"{arguments[:2]}: {result.stdout.decode()}{result.stderr.decode()}")
    return json.loads(result.stdout)


def start_import(path):
    return subprocess.Popen(
        [BINARY, "import", path, "--json", "--endpoints", ENDPOINTS], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def import_again(input_path, name, base64_prefix):
    """Starts an import of the same records under new keys, so that it has something to do."""
    path = os.path.join(work, f"{name}.jsonl")
    with open(input_path, encoding="utf-8") as source, open(path, "w", encoding="utf-8") as target:
        for line in source:
            line = line.replace('{"key":"/usr/', f'{{"key":"/{name}/', 1)
            target.write(line.replace('{"keyBase64":"', f'{{"keyBase64":"{base64_prefix}', 1))
    return start_import(path)


def wait_until_begun(name):
    prefix = f"/{name}/"
    wait_for("the import to begin", 60, lambda: prefix.encode() in quorate("list", prefix, "--limit", "1").stdout)


def save_while_writing(input_path):
    """Saves a snapshot while an import runs; returns its path and what the command said."""
    path = os.path.join(work, "cluster.snapshot")
    importing = import_again(input_path, "copy", "AA")
    try:
        wait_until_begun("copy")
        saved = quorate("snapshot", "save", path, "--json")
        check(saved.returncode == 0, f"saved while an import ran {saved.stderr.decode()}".rstrip())
        check(importing.poll() is None, "the import was still running when the snapshot was saved")
        _, errors = importing.communicate(timeout=300)
    finally:
        if importing.poll() is None:
            importing.kill()
    check(importing.returncode == 0, f"and the import ended well {errors.decode()}".rstrip())
    summary = json.loads(saved.stdout)
    print(f"   {summary['rows']} rows, {summary['fileSize']} bytes in {summary['milliseconds']} ms", flush=True)
    return path, summary


def restore_into_five(path, saved):
    """A cluster of five nodes out of the snapshot; its own snapshot has the same content."""
    base = BASE_PORT + 20
    names = [f"m{node}" for node in range(1, 6)]
    members = ",".join(f"{name}=127.0.0.1:{base + 100 + node}" for node, name in enumerate(names))
    nodes = []
    log = open(os.path.join(work, "restored.log"), "ab")
    try:
        for node, name in enumerate(names):
            data = os.path.join(work, "restored", name)
            os.makedirs(os.path.dirname(data), mode=0o700, exist_ok=True)
            restored = offline("restore", path, "--name", name, "--data", data, "--cluster", members)
            if restored["generation"] != saved["generation"] + 1:
                raise Failure(f"{name} has generation {restored['generation']}")
            nodes.append(
                subprocess.Popen(
                    [BINARY, "serve", "--name", name, "--data", data, "--client", f"127.0.0.1:{base + node}"]
                    + ["--peer", f"127.0.0.1:{base + 100 + node}", "--segment-size", "8MiB", "--stop-with-standard-input"],
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=log,
                )
            )
        again = os.path.join(work, "restored.snapshot")
        endpoints = ",".join(f"127.0.0.1:{base + node}" for node in range(5))

        def save_again():
            result = subprocess.run(
                [BINARY, "snapshot", "save", again, "--json", "--endpoints", endpoints], capture_output=True, timeout=120
            )
            return json.loads(result.stdout) if result.returncode == 0 else None

        fresh = wait_for("the restored quorum to serve", 60, save_again)
        check(len(fresh["members"]) == 5, "restored into a quorum of five")
        check(fresh["contentDigest"] == saved["contentDigest"], f"the same contentDigest {fresh['contentDigest'][:16]}…")
        check(fresh["generation"] == saved["generation"] + 1, f"generation {fresh['generation']}, was {saved['generation']}")
        check(subprocess.run([BINARY, "snapshot", "diff", path, again]).returncode == 0, "and diff finds no difference")
    finally:
        for node in nodes:
            node.send_signal(signal.SIGTERM)
        for node in nodes:
            node.wait(timeout=60)


def replace_a_member_under_load(input_path):
    """A new node takes the place of a follower while an import runs; the import misses nothing."""
    leader = status()["leader"]
    goes = next(name for name in ("n1", "n2", "n3") if name != leader)
    client, peer = f"127.0.0.1:{BASE_PORT + 10}", f"127.0.0.1:{BASE_PORT + 110}"
    log = open(os.path.join(work, "n4.log"), "ab")
    comes = subprocess.Popen(
        [BINARY, "serve", "--name", "n4", "--data", os.path.join(work, "n4"), "--client", client, "--peer", peer]
        + ["--join", ",".join(f"127.0.0.1:{BASE_PORT + 100 + node}" for node in range(3))]
        + ["--segment-size", "8MiB", "--stop-with-standard-input"],
        stdin=subprocess.PIPE,
        stdout=log,
        stderr=log,
    )
    importing = import_again(input_path, "moved", "BB")
    try:
        wait_until_begun("moved")
        started = time.monotonic()
        replaced = quorate("member", "replace", goes, f"n4={peer}", "--json", "--timeout", "60s")
        check(replaced.returncode == 0, f"{goes} replaced by n4 in {time.monotonic() - started:.1f} s {replaced.stderr.decode()}".rstrip())
        _, errors = importing.communicate(timeout=300)
        check(importing.returncode == 0, f"the import that ran meanwhile ended well {errors.decode()}".rstrip())
        members = json.loads(quorate("member", "list", "--json").stdout)["members"]
        voters = sorted(member["name"] for member in members if member["voter"])
        check("n4" in voters and goes not in voters and len(voters) == 3, f"the voters are {', '.join(voters)}")

        def n4_has_all():
            nodes = {node["name"]: node["appliedIndex"] for node in status()["nodes"]}
            return nodes.get("n4") is not None and nodes["n4"] == max(nodes.values())

        wait_for("n4 to have caught up", 60, n4_has_all)
        check(True, "n4 has applied all of it")
    finally:
        if importing.poll() is None:
            importing.kill()
    return comes


class Holder:
    """A command of quorate that runs until it is killed and prints lines of JSON."""

    running = []

    def __init__(self, name, endpoints, *arguments):
        self.start(name, [BINARY, *arguments, "--json", "--endpoints", endpoints, "--timeout", "30s"])

    def start(self, name, command):
        self.path = os.path.join(work, f"{name}.out")
        with open(self.path, "wb") as output:
            self.process = subprocess.Popen(command, stdout=output, stderr=output)
        Holder.running.append(self.process)

    def lines(self):
        """What it has printed so far, whole lines only."""
        with open(self.path, "rb") as output:
            return [json.loads(line) for line in output.read().split(b"\n")[:-1]]

    def fence(self):
        """The fence under which a candidate leads; None while it does not."""
        last = next(iter(self.lines()[-1:]), {})
        return last["fence"] if last.get("state") == "leading" else None

    def kill(self):
        self.process.kill()
        self.process.wait()


class Record:
    """Writes to a cluster, and what each of them changed, by revision."""

    def __init__(self, endpoints):
        self.endpoints = endpoints
        self.changes = []

    def command(self, *arguments):
        """Exit code and what the command said in JSON, be it an error."""
        result = subprocess.run(
            [BINARY, *arguments, "--json", "--endpoints", self.endpoints, "--timeout", "30s"],
            capture_output=True,
            timeout=60,
        )
        text = result.stdout or result.stderr
        return result.returncode, json.loads(text) if text else {}

    def put(self, key, value, *flags):
        code, answer = self.command("put", key, value, *flags)
        if code == 0:
            self.changes.append({"revision": answer["revision"], "changes": [{"key": key, "value": value}]})
        return code, answer

    def delete(self, key):
        code, answer = self.command("delete", key)
        if code != 0:
            raise Failure(f"delete: {answer}")
        self.changes.append({"revision": answer["revision"], "changes": [{"key": key, "deleted": True}]})


def changes_of(watcher):
    return [line for line in watcher.lines() if line["changes"]]


def two_masters(record):
    """The leading one of two masters is killed; the fences tell the old one from the new one."""
    endpoints = record.endpoints
    first = Holder("first", endpoints, "elect", "masters", "--value", "first:5050", "--ttl", "2s")
    old = wait_for("the first master to lead", 30, first.fence)
    second = Holder("second", endpoints, "elect", "masters", "--value", "second:5050", "--ttl", "2s")
    wait_for("the second master to wait", 30, lambda: second.lines() == [{"state": "waiting", "fence": None}])
    check(True, f"the first master leads under fence {old}, the second one waits")
    watcher = Holder("watcher", endpoints, "watch", "app/")
    wait_for("the watch to begin", 30, watcher.lines)
    code, answer = record.put("app/framework", "1", "--guard", f"election:masters={old}")
    check(code == 0, f"a write under fence {old} is taken, at revision {answer.get('revision')}")
    wait_for("the watcher to see it", 30, lambda: changes_of(watcher) == record.changes)
    watcher.kill()
    check(True, "a watcher saw it, and is killed")

    killed_at = time.monotonic()
    first.kill()
    new = wait_for("the second master to lead", 30, second.fence)
    seconds = time.monotonic() - killed_at
    check(new > old, f"the first master was killed, and the second one leads under fence {new} after {seconds:.1f} s")
    code, leader = record.command("leader", "masters")
    check((leader.get("value"), leader.get("fence")) == ("second:5050", new), "and that is what everybody is told")
    code, answer = record.put("app/framework", "2", "--guard", f"election:masters={old}")
    refused = (code, answer.get("error"), answer.get("currentFence")) == (1, "fenced", new)
    check(refused, f"a write under fence {old} is refused: {answer.get('message')}")
    code, answer = record.put("app/framework", "3", "--guard", f"election:masters={new}")
    check(code == 0, f"a write under fence {new} is taken, at revision {answer.get('revision')}")
    return watcher.lines()[-1]["revision"], new


def watcher_that_was_away(record, nodes, seen, fence):
    """The watcher begins again where it was; the leading node is killed and writes go on meanwhile."""
    for number in range(20):
        record.put(f"app/task{number % 7}", str(number))
    record.delete("app/task3")
    before = len(record.changes)
    watcher = Holder("watcher-again", record.endpoints, "watch", "app/", "--from", str(seen + 1))
    wait_for("the watch to begin again", 30, watcher.lines)
    leader = wait_for("a leading node", 30, lambda: record.command("status")[1].get("leader"))
    os.kill(nodes[leader], signal.SIGKILL)
    for number in range(20):
        if record.put(f"app/task{number % 7}", f"again {number}", "--guard", f"election:masters={fence}")[0] != 0:
            raise Failure("a write after the kill of a node failed")
    record.delete("app/task5")
    missed = record.changes[1:]
    check(True, f"{before - 1} changes while nobody watched; {leader}, the leading node, killed; {len(missed) - before + 1} more")
    wait_for("the watcher to see all", 30, lambda: len(changes_of(watcher)) >= len(missed))
    # Nothing comes after the last one: a further write shows that.
    record.put("app/end", "1")
    wait_for("the watcher to see the end", 30, lambda: changes_of(watcher)[-1] == record.changes[-1])
    check(changes_of(watcher) == record.changes[1:], f"from revision {seen + 1} on the watcher saw every change once, in order")
    watcher.kill()


def on_a_quorum_of_its_own(name, base, act):
    """Calls `act` with the endpoints of three nodes and the processes by name; whatever it has started is gone afterwards."""
    log = open(os.path.join(work, f"{name}.log"), "ab")
    local = subprocess.Popen(
        [BINARY, "local", "--nodes", "3", "--data", os.path.join(work, name), "--base-port", str(base), "--json"],
        stdout=subprocess.PIPE,
        stderr=log,
    )
    try:
        line = local.stdout.readline()
        if not line:
            raise Failure(f"the cluster did not start; see {work}/{name}.log")
        ready = json.loads(line)
        act(",".join(ready["endpoints"]), {node["name"]: node["pid"] for node in ready["nodes"]})
    finally:
        for process in Holder.running:
            if process.poll() is None:
                process.kill()
                process.wait()
        # The nodes end when `quorate local` is gone.
        local.kill()
        local.wait()


def coordination(endpoints, nodes):
    record = Record(endpoints)
    seen, fence = two_masters(record)
    watcher_that_was_away(record, nodes, seen, fence)


class Player(Holder):
    """One of the programs of clients/examples, which print lines of JSON."""

    def __init__(self, name, endpoints, program, *arguments):
        self.start(name, [os.path.join(EXAMPLES, f"example-{program}"), *arguments, "--endpoints", endpoints])

    def said(self, state):
        """What it has said last of that state; None: nothing."""
        if self.process.poll() not in (None, 0):
            with open(self.path, "rb") as output:
                last = output.read()[-500:].decode(errors="replace")
            raise Failure(f"{os.path.basename(self.path)}: exit code {self.process.returncode}: {last}")
        return next((line for line in reversed(self.lines()) if line["state"] == state), None)

    def all_said(self, state):
        return [line for line in self.lines() if line["state"] == state]


def amounts(pairs):
    """Sums by what they are of."""
    sums = {}
    for what, amount in pairs:
        sums[what] = sums.get(what, 0) + amount
    return sums


def audit(endpoints, name):
    """What the registry says that is reserved, after every sum was checked."""
    auditor = Player(name, endpoints, "master", "audit")
    auditor.process.wait(timeout=60)
    found = auditor.said("audited")
    reserved = amounts(
        ((line["agent"], line["role"], line["resource"], line["volume"]), line["amount"])
        for line in auditor.all_said("reserved")
    )
    return found, reserved


def owned_by(frameworks):
    """The same as the frameworks were told it."""
    told = []
    for framework in frameworks:
        for line in framework.all_said("owns"):
            told.append(((line["agent"], line["role"], "cpus", ""), line["cpus"]))
            told.append(((line["agent"], line["role"], "disk", line["volume"]), line["disk"]))
    return amounts(told)


AGENTS = 1_000
FRAMEWORKS = 10
REQUESTS = 200


def masters_agents_frameworks(endpoints, nodes):
    masters = [Player("m1", endpoints, "master", "lead", "--id", "m1", "--session-timeout", "4")]
    leading = wait_for("m1 to lead", 30, lambda: masters[0].said("leading"))
    old = leading["fence"]
    for name in ("m2", "m3"):
        masters.append(Player(name, endpoints, "master", "lead", "--id", name, "--session-timeout", "4"))
    check(leading["agents"] == 0, f"m1 leads under fence {old}, m2 and m3 wait, and the registry is empty")

    started = time.monotonic()
    share = AGENTS // 4
    for first in range(0, AGENTS, share):
        Player(
            f"agents-{first}", endpoints, "agent", "--first", str(first), "--count", str(share), "--session-timeout", "10"
        )
    wait_for("all agents", 60, lambda: (masters[0].said("serving") or {}).get("agents") == AGENTS)
    check(True, f"m1 has admitted {AGENTS} agents after {time.monotonic() - started:.1f} s")

    frameworks = [
        Player(
            *(f"framework-{number}", endpoints, "framework", "--role", f"role-{number}", "--agents", str(AGENTS)),
            *("--requests", str(REQUESTS), "--offset", str(37 * number), "--pause", "20"),
        )
        for number in range(FRAMEWORKS)
    ]

    def answered():
        return sum(len(framework.all_said("owns")) for framework in frameworks)

    leader = wait_for("a leading node", 30, lambda: Record(endpoints).command("status")[1].get("leader"))
    wait_for("a third of the requests", 60, lambda: answered() >= FRAMEWORKS * REQUESTS // 3)
    killed_at = time.monotonic()
    masters[0].process.kill()
    os.kill(nodes[leader], signal.SIGKILL)
    masters[0].process.wait()
    before = owned_by(frameworks)
    count = answered()
    check(count < FRAMEWORKS * REQUESTS, f"m1 and {leader}, the leading node, killed together after {count} requests")

    def next_leading():
        return next((line for line in (master.said("leading") for master in masters[1:]) if line), None)

    leading = wait_for("the next master to lead", 60, next_leading)
    seconds = time.monotonic() - killed_at
    check(leading["fence"] > old, f"{leading['master']} leads under fence {leading['fence']} after {seconds:.1f} s")
    check(
        (leading["agents"], leading["frameworks"]) == (AGENTS, FRAMEWORKS) and leading["volumes"] >= count,
        f"and is warm {leading['milliseconds']} ms later, before any agent was asked: {leading['agents']} agents, "
        f"{leading['reservations']} reservations, {leading['volumes']} volumes, {leading['records']} records",
    )
    _, reserved = audit(endpoints, "audit-after-the-kill")
    lost = [what for what, amount in before.items() if reserved.get(what, 0) < amount]
    check(not lost, f"all {len(before)} reservations and volumes that were answered before the kill are there")
    master = next(player for player in masters[1:] if player.said("leading"))
    attached = wait_for("the agents to attach", 60, lambda: master.all_said("attached"))[0]
    check(
        attached["agents"] == AGENTS and attached["upToDate"] + attached["behind"] == AGENTS,
        f"{attached['agents']} agents came to it within {attached['milliseconds']} ms: {attached['upToDate']} had nothing to send",
    )

    wait_for("the frameworks to get what they want", 120, lambda: all(framework.said("done") for framework in frameworks))
    check(
        [framework.said("done")["owns"] for framework in frameworks] == [REQUESTS] * FRAMEWORKS,
        f"all {FRAMEWORKS * REQUESTS} requests were carried out, {time.monotonic() - killed_at:.1f} s after the kill",
    )
    found, reserved = audit(endpoints, "audit")
    check(
        (found["wrong"], found["agents"], found["present"]) == ([], AGENTS, AGENTS),
        f"each sum of the ledger is right, of {found['agents']} agents and in all, at revision {found['revision']}",
    )
    check(reserved == owned_by(frameworks), f"and what is reserved is what the frameworks own: {len(reserved)} entries, each once")

    stale = Player("stale", endpoints, "master", "stale", "--fence", str(old), "--agent", "agent-0")
    stale.process.wait(timeout=60)
    refused = stale.said("refused")
    check(
        refused is not None and (refused["error"], refused["currentFence"]) == ("fenced", leading["fence"]),
        f"a write of m1, under fence {old}, is refused: fence {leading['fence']} holds",
    )


def run():
    say(f"the metadata of every file under {ROOT}")
    input_path = os.path.join(work, "input.jsonl")
    lines = 0
    with open(input_path, "w", encoding="utf-8", newline="\n") as output:
        for line in file_lines():
            output.write(line + "\n")
            lines += 1
    check(lines > RECORDS_MIN, f"{lines} records, {os.path.getsize(input_path)} bytes")

    say("a quorum of three nodes")
    started = time.monotonic()
    processes = start_cluster()
    check(len(processes) == 3, f"three nodes, with a leader after {time.monotonic() - started:.2f} s")

    say("import, with the leader killed in the middle")
    started = time.monotonic()
    importing = start_import(input_path)
    try:
        kill_leader_during_import(importing, processes, lines)
        output, errors = importing.communicate(timeout=300)
    finally:
        if importing.poll() is None:
            importing.kill()
    check(importing.returncode == 0, f"the import ended well in {time.monotonic() - started:.1f} s {errors.decode()}".rstrip())
    result = json.loads(output)
    check(result["imported"] == lines, f"{lines} lines imported")
    again = quorate("import", input_path, "--json")
    check(json.loads(again.stdout)["imported"] == 0, "run again, it imports nothing a second time")
    export_equals(input_path, "the export equals the input, line for line")

    say("all nodes killed")
    for process in processes.values():
        os.kill(process, signal.SIGKILL)
    check(cluster.wait(timeout=60) == 1, "quorate local says that no quorum is left")
    check(quorate("get", "demo/after-the-kill", "--timeout", "1s").returncode == 1, "nobody answers")

    say("started again")
    started = time.monotonic()
    processes = start_cluster()
    check(len(processes) == 3, f"three nodes, with a leader after {time.monotonic() - started:.2f} s")
    check(quorate("get", "demo/after-the-kill").returncode == 0, "the write after the kill is there")
    export_equals(input_path, "the export equals the input again")

    def all_equal():
        nodes = status()["nodes"]
        applied = {node["appliedIndex"] for node in nodes}
        return nodes if len(nodes) == 3 and len(applied) == 1 and None not in applied else None

    nodes = wait_for("the same applied index on all nodes", 60, all_equal)
    check(len({node["digest"] for node in nodes}) == 1, f"all three have applied index {nodes[0]['appliedIndex']}")

    say("a snapshot while writes go on, restored into five nodes")
    path, saved = save_while_writing(input_path)
    verified = offline("snapshot", "verify", path)
    check(verified["contentDigest"] == saved["contentDigest"], f"verified: {verified['records']} records")
    restore_into_five(path, saved)

    say("a member replaced while writes go on")
    comes = replace_a_member_under_load(input_path)

    say("two masters and a watcher, on a quorum of their own")
    on_a_quorum_of_its_own("masters", BASE_PORT + 40, coordination)

    say(f"3 masters, {AGENTS} agents and {FRAMEWORKS} frameworks, on a quorum of their own")
    on_a_quorum_of_its_own("registry", BASE_PORT + 60, masters_agents_frameworks)

    say("stopped")
    for process in (cluster, comes):
        process.send_signal(signal.SIGTERM)
    check([cluster.wait(timeout=60), comes.wait(timeout=60)] == [0, 0], "all nodes stopped in order")


try:
    run()
except (Failure, subprocess.TimeoutExpired, json.JSONDecodeError, OSError) as error:
    print(f"FAILED: {error}\ndata and logs: {work}", flush=True)
    sys.exit(1)
finally:
    # The nodes end when `quorate local` is gone.
    if cluster and cluster.poll() is None:
        cluster.kill()
        cluster.wait()
shutil.rmtree(work, ignore_errors=True)
print("the demonstration passed", flush=True)
