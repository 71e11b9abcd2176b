internal import Client
internal import Glibc

/// Breaks things, one after another or two at a time, and mends them. What is broken and for how long is drawn from the
/// seed; how it falls together with what clients do is not.
struct Faults {
    enum Kind: String, CaseIterable {
        case killLeader = "leader killed"
        case killOne = "node killed"
        case killAll = "all nodes killed"
        case pauseLeader = "leader stopped and continued"
        case pauseOne = "node stopped and continued"
        case cutOff = "node cut off"
        case silence = "node silent"
        case halfOpen = "connections half-open"
        case oneWay = "node deaf or mute"
        case bridge = "two nodes cannot hear each other"
        case slow = "links slow"
        case reset = "connections ended"
        case diskFull = "disk full"
        case syncFails = "sync failed"
        case replace = "member replaced"
        case transfer = "leadership handed over"
        case snapshot = "snapshot saved and restored"
    }

    let nodes: Nodes
    let recorder: Recorder
    /// Of the clients' sessions: stops last longer.
    let ttl: Int
    /// Nothing but these; all, when there are none.
    let only: [Kind]
    var chance: Chance
    private(set) var counts: [Kind: Int] = [:]
    private(set) var timeline: [String] = []
    private let begunAt = Clock.now()
    private var snapshotCount = 0
    /// A node that may stop by itself, because of what is done to it.
    private var mayFall: String?

    init(nodes: Nodes, recorder: Recorder, ttl: Int, seed: UInt64, only: [Kind]) {
        self.only = only
        self.nodes = nodes
        self.recorder = recorder
        self.ttl = ttl
        chance = Chance(seed: seed, stream: 1)
    }

    mutating func tell(_ text: String) {
        timeline.append("\((Clock.now() - begunAt) / 1_000_000) ms  \(text)")
    }

    private var possible: [Kind] {
        Kind.allCases.filter { kind in
            guard only.isEmpty || only.contains(kind) else { return false }
            return switch kind {
            case .diskFull: nodes.nodes.contains { $0.isSmall }
            case .syncFails: nodes.canFailSync
            default: true
            }
        }
    }

    /// Rarer are those that take long.
    private static let usual: Set<Kind> = [
        .killLeader, .killOne, .pauseLeader, .pauseOne, .cutOff, .silence, .halfOpen, .oneWay, .bridge, .slow, .reset,
        .transfer,
    ]

    /// One fault from beginning to end. Afterwards nothing is broken.
    mutating func next() async throws {
        let possible = possible
        guard !possible.isEmpty else { throw TortureFailure("none of the faults asked for can be made here") }
        let rare = possible.filter { !Self.usual.contains($0) }
        let usual = possible.filter { Self.usual.contains($0) }
        // What has not been done yet comes first.
        let new = possible.filter { counts[$0] == nil }
        let isRare = chance.happens(percent: 25)
        let kind: Kind =
            !new.isEmpty && chance.happens(percent: 60)
            ? chance.pick(new) : chance.pick(usual.isEmpty || isRare && !rare.isEmpty ? rare : usual)
        counts[kind, default: 0] += 1
        tell(kind.rawValue)
        recorder.faultBegins(kind.rawValue)
        try await carryOut(kind)
        for name in nodes.fallen() where name != mayFall {
            recorder.violation("\(name) ended by itself after: \(kind.rawValue); see \(nodes.logPath(name))")
        }
        mayFall = nil
        nodes.links.heal()
        try nodes.reviveAll()
        tell("mended")
        recorder.faultBegins("nothing")
    }

    private mutating func lasts(_ low: Int, _ high: Int) async throws {
        try await Task.sleep(for: chance.pause(low, high))
    }

    private mutating func anyNode() -> String { chance.pick(nodes.names) }

    private mutating func carryOut(_ kind: Kind) async throws {
        switch kind {
        case .killLeader:
            try await nodes.kill([try await nodes.leader()])
            try await lasts(300, 5_000)
        case .killOne:
            try await nodes.kill([anyNode()])
            try await lasts(300, 5_000)
        case .killAll:
            try await nodes.kill(nodes.names)
            try await lasts(10, 1_500)
        case .pauseLeader: try await pause(try await nodes.leader())
        case .pauseOne: try await pause(anyNode())
        case .cutOff:
            let name = try await leaderOrAny()
            let links = linksBothWays(of: name)
            nodes.links.change { $0.cut.formUnion(links) }
            for node in nodes.nodes { node.proxy.reset { $0 == name || node.name == name } }
            try await lasts(1_000, 6_000)
        case .silence:
            let links = linksBothWays(of: try await leaderOrAny())
            nodes.links.change { $0.held.formUnion(links) }
            try await lasts(1_000, 6_000)
        case .halfOpen:
            let name = try await leaderOrAny()
            for node in nodes.nodes { node.proxy.halfClose { $0 == name || node.name == name } }
            try await lasts(500, 4_000)
        case .oneWay:
            let name = try await leaderOrAny()
            let isMute = chance.happens(percent: 50)
            let links = linksBothWays(of: name).filter { (isMute ? $0.from : $0.to) == name }
            nodes.links.change { $0.held.formUnion(links) }
            try await lasts(1_000, 6_000)
        case .bridge:
            let first = try await leaderOrAny()
            let second = chance.pick(nodes.names.filter { $0 != first })
            nodes.links.change { $0.held.formUnion([.init(from: first, to: second), .init(from: second, to: first)]) }
            try await lasts(1_000, 6_000)
        case .slow:
            let slow = chance.happens(percent: 50) ? nodes.names : [anyNode()]
            let milliseconds = chance.number(in: 5...150)
            let links = slow.flatMap(linksBothWays)
            nodes.links.change { rules in for link in links { rules.delays[link] = milliseconds } }
            try await lasts(2_000, 6_000)
        case .reset:
            for _ in 0..<chance.number(in: 1...5) {
                for node in nodes.nodes { node.proxy.reset { _ in true } }
                try await lasts(50, 800)
            }
        case .diskFull: try await fillDisk(chance.pick(nodes.nodes.filter(\.isSmall)).name)
        case .syncFails: try await failSync(try await leaderOrAny())
        case .replace: try await replaceMember()
        case .transfer:
            let (ending, output) = try await nodes.command(
                ["member", "transfer", "--timeout", "10s", "--endpoints", nodes.endpoints.joined(separator: ",")],
                name: "transfer", .seconds(30))
            if ending != .exited(0) { tell("no transfer: \(output)") }
            try await lasts(100, 1_500)
        case .snapshot: try await saveAndRestore()
        }
    }

    private mutating func leaderOrAny() async throws -> String {
        chance.happens(percent: 60) ? try await nodes.leader() : anyNode()
    }

    private func linksBothWays(of name: String) -> [Links.Link] {
        nodes.names.filter { $0 != name }.flatMap { [.init(from: name, to: $0), .init(from: $0, to: name)] }
    }

    private mutating func pause(_ name: String) async throws {
        nodes.pause(name, true)
        // Long enough for every session to end, if it were left to the clock.
        try await lasts(ttl * 1_000 + 500, ttl * 1_000 + 3_000)
        nodes.pause(name, false)
        try await lasts(500, 2_000)
    }

    private mutating func fillDisk(_ name: String) async throws {
        let path = "\(nodes[name].directory)/ballast"
        let descriptor = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw TortureFailure("no ballast at \(path): \(errno)") }
        // What is left, in ever smaller pieces, but most often for a part of the node's reserve. Where it has nothing at
        // all it may stop, for its state cannot be written, and must be well when it is started again.
        let left: off_t = chance.happens(percent: 70) ? 6 << 20 : 0
        if left == 0 { mayFall = name }
        var size: off_t = 0
        var piece: off_t = 16 << 20
        while piece >= 4_096 {
            var system = statvfs()
            fstatvfs(descriptor, &system)
            let hasRoom = off_t(system.f_bavail) * off_t(system.f_frsize) >= left + piece
            if hasRoom, posix_fallocate(descriptor, size, piece) == 0 { size += piece } else { piece /= 2 }
        }
        close(descriptor)
        tell("\(name): \(size >> 20) MiB of ballast")
        try await lasts(3_000, 8_000)
        unlink(path)
    }

    /// The node must stop by itself, at once: what a failed sync has left on disk nobody knows.
    private mutating func failSync(_ name: String) async throws {
        let path = nodes.syncFailurePath(name)
        let descriptor = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw TortureFailure("cannot make \(path)") }
        close(descriptor)
        let process = nodes[name].process
        let ended = try? await eventually("\(name) stops", within: .seconds(15)) { process?.poll() }
        unlink(path)
        if ended == nil { recorder.violation("\(name) went on for 15 s though its disk could not be synced") }
        try await lasts(200, 2_000)
        try nodes.reviveAll()
    }

    private mutating func replaceMember() async throws {
        // Members with small disks stay, so that there is one.
        let leader = try await nodes.leader()
        let replaceable = nodes.names.filter { $0 != leader && !nodes[$0].isSmall }
        guard !replaceable.isEmpty else { return }
        let goes = chance.pick(replaceable)
        let comes = try await nodes.addEmpty(through: leader)
        if chance.happens(percent: 30) {
            tell("\(goes) has lost its data")
            try await nodes.kill([goes])
        }
        let arguments = [
            "member", "replace", goes, "\(comes.name)=127.0.0.1:\(comes.proxy.port)", "--timeout", "60s",
            "--endpoints", nodes.endpoints.joined(separator: ","),
        ]
        for attempt in 1...3 {
            let (ending, output) = try await nodes.command(arguments, name: "replace", .seconds(90))
            if ending == .exited(0) { break }
            tell("\(goes) not replaced by \(comes.name): \(output)")
            if attempt == 3 { throw TortureFailure("\(goes) was not replaced by \(comes.name): \(output)") }
        }
        tell("\(goes) replaced by \(comes.name)")
        try await nodes.forget(goes)
    }

    /// A snapshot taken under load must be whole, and a cluster made from it must hold the same.
    private mutating func saveAndRestore() async throws {
        snapshotCount += 1
        let directory = nodes.directory
        let path = "\(directory)/\(snapshotCount).snapshot"
        let endpoints = nodes.endpoints.joined(separator: ",")
        let saved = try await nodes.command(
            ["snapshot", "save", path, "--timeout", "30s", "--endpoints", endpoints], name: "save", .seconds(90))
        guard saved.ending == .exited(0) else { return tell("no snapshot: \(saved.output)") }
        let verified = try await nodes.command(["snapshot", "verify", path], name: "verify", .seconds(60))
        guard verified.ending == .exited(0) else {
            return recorder.violation("a snapshot that was saved is not sound: \(verified.output)")
        }
        let ports = try Ports.free(2)
        let (client, peer) = ("127.0.0.1:\(ports[0])", "127.0.0.1:\(ports[1])")
        let data = "\(directory)/restored-\(snapshotCount)"
        let restored = try await nodes.command(
            ["restore", path, "--name", "r1", "--data", data, "--cluster", "r1=\(peer)"], name: "restore", .seconds(60))
        guard restored.ending == .exited(0) else {
            return recorder.violation("a snapshot could not be restored: \(restored.output)")
        }
        let node = try Child(
            nodes.binary,
            [
                "serve", "--name", "r1", "--data", data, "--client", client, "--peer", peer, "--segment-size", "2MiB",
                "--stop-with-standard-input",
            ], outputPath: "\(directory)/restored-\(snapshotCount).log")
        let again = "\(path)-again"
        _ = try await eventually("the restored cluster serves", within: .seconds(30)) {
            let arguments = ["snapshot", "save", again, "--endpoints", client]
            return try await nodes.command(arguments, name: "save-again", .seconds(30)).ending == .exited(0) ? true : nil
        }
        let same = try await nodes.command(["snapshot", "diff", path, again], name: "diff", .seconds(60))
        // Sessions do not come back from a snapshot, so what belonged to them goes.
        let others = same.output.split(separator: "\n").filter { !$0.hasPrefix("- owned/") }
        if same.ending != .exited(0), others.isEmpty || !others.allSatisfy({ Self.tellsOnlyOfRemoved($0) }) {
            recorder.violation("a restored cluster holds something else than its snapshot: \(same.output)")
        }
        node.send(SIGTERM)
        try await node.waitUntilEnded()
        for file in [path, again] { unlink(file) }
    }

    /// Whether it is the last line of a comparison that found rows removed and nothing else.
    private static func tellsOnlyOfRemoved(_ line: Substring) -> Bool {
        line.hasPrefix("0 added, ") && line.hasSuffix(", 0 changed")
    }
}

extension Faults.Kind: Comparable {
    static func < (left: Self, right: Self) -> Bool { left.rawValue < right.rawValue }
}

/// Kills and stops the processes that hold fences, while the nodes have troubles of their own.
struct ActorStrikes {
    let make: @Sendable (Int) throws -> Child
    /// Of their sessions, in seconds.
    let ttl: Int
    let count: Int
    let recorder: Recorder
    private var chance: Chance
    private(set) var killed = 0
    private(set) var stopped = 0
    private var actors: [Child] = []
    private var nextNumber = 1

    init(
        count: Int, ttl: Int, seed: UInt64, recorder: Recorder, make: @escaping @Sendable (Int) throws -> Child
    ) {
        self.make = make
        self.recorder = recorder
        self.ttl = ttl
        self.count = count
        chance = Chance(seed: seed, stream: 2)
    }

    private(set) var outputs: [String] = []

    private mutating func begin() throws {
        let actor = try make(nextNumber)
        nextNumber += 1
        outputs.append(actor.outputPath)
        actors.append(actor)
    }

    /// Until the end of all faults; then none runs any more.
    mutating func run() async throws {
        for _ in 0..<count { try begin() }
        while !recorder.isOver {
            try? await Task.sleep(for: chance.pause(500, 2_000))
            let struck = chance.number(in: 0...actors.count - 1)
            if chance.happens(percent: 50) {
                let actor = actors.remove(at: struck)
                try await actor.killAndWait()
                killed += 1
                try? await Task.sleep(for: chance.pause(0, 1_000))
                try begin()
            } else {
                actors[struck].send(SIGSTOP)
                stopped += 1
                // Its sessions end while it stands still, and what it does next it does under fences that are gone.
                try? await Task.sleep(for: chance.pause(ttl * 1_150, ttl * 1_500))
                actors[struck].send(SIGCONT)
            }
        }
        for actor in actors {
            if let ending = actor.poll() {
                recorder.violation("\(actor.outputPath): a process of the run ended by itself: \(ending)")
            }
            actor.send(SIGKILL)
        }
        for actor in actors { try await actor.waitUntilEnded() }
    }
}
