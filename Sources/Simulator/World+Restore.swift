internal import Basics
internal import ClientCore
internal import Disk
internal import LogFormat
internal import LogStore
internal import MetadataMachine
internal import MetadataModel
internal import RaftCore
internal import ReplicaCore
internal import ReplicaStorage
internal import Snapshots
internal import Wire

/// A world that is restored: somebody takes a snapshot from a node, as any client can, while faults strike; later all nodes
/// stop, and each gets a new directory that is made from that file. What the file holds is the history that goes on;
/// what was acknowledged after it, and nothing else, is gone.
struct Restoration {
    enum Stage {
        case none, taking, taken, down, done
    }

    var stage = Stage.none
    /// Who takes the snapshot, and from where.
    var client = 0
    var address = ""
    /// What had been answered to anybody when it was asked for.
    var floor = LogIndex.zero
    var begun: SnapshotReply?
    /// The item that comes at present, and those before it.
    var item: [UInt8] = []
    var chunks: [[UInt8]] = []
    var file: [UInt8] = []
    /// Sessions that have ended with the generation before.
    var oldSessions: [SessionID] = []
}

extension World {
    private static let directory = "/data"

    func planRestore() {
        guard settings.restores else { return }
        oracle.keepsJournal = true
        restoration.stage = .taking
        let quarter = settings.faultyTime / 4
        schedule(.special(.takeSnapshot), after: restoreChance.interval(quarter, quarter * 2))
    }

    // MARK: - Exports of a node

    func carryOut(_ work: ExportWork, of node: SimNode, _ process: SimProcess) {
        if case .end(let slot) = work { return process.exports.end(slot) }
        schedule(
            .special(.exports(node: node.number, life: node.life, work)),
            after: restoreChance.skewed(.microseconds(50), .milliseconds(20)))
    }

    func exports(_ node: SimNode, _ work: ExportWork) {
        guard let process = node.process else { return }
        let clock = node.clock.monotonic(at: now)
        switch work {
        case .begin(let slot, let requestID):
            do {
                let reply = process.exports.begin(slot, try process.state.snapshotSource(), now: clock)
                turn(node) { $0.exportAnswered(slot, requestID: requestID, .snapshot(reply), isOver: false) }
                process.exports.prepareNext(slot)
            } catch {
                fail("\(node.name) cannot give a snapshot: \(error)")
            }
        case .read(let slot, let requestID, let request):
            let (reply, isOver) = process.exports.read(slot, request, now: clock)
            turn(node) { $0.exportAnswered(slot, requestID: requestID, reply, isOver: isOver) }
            process.exports.prepareNext(slot)
        case .end(let slot): process.exports.end(slot)
        }
    }

    // MARK: - Taking a snapshot

    /// There is time left to stop and to start everything while faults strike.
    private var isLateForRestore: Bool { now + .seconds(5) > .zero + settings.faultyTime }

    func takeSnapshot() {
        guard isFaulty, restoration.stage == .taking, !isLateForRestore else { return }
        restoration.client = restoreChance.number(in: 0...clients.count - 1)
        restoration.address = restoreChance.pick(nodes).clientAddress
        restoration.floor = revisionAnswered
        restoration.begun = nil
        restoration.item = []
        restoration.chunks = []
        ask(.snapshot(atLeast: restoration.floor, address: restoration.address))
    }

    private func ask(_ call: Call) {
        let item = WorkItem(
            call: call, expectation: .snapshotPart, group: nil,
            operation: Operation(client: restoration.client, called: now.nanoseconds, returned: nil))
        submit(item, by: clients[restoration.client], within: .seconds(3))
    }

    private func takeSnapshotAgain() {
        schedule(.special(.takeSnapshot), after: restoreChance.interval(.milliseconds(50), .milliseconds(500)))
    }

    func snapshotPartFailed(_ failure: CallFailure) {
        tell("no snapshot: \(failure.error.code.name) \(failure.error.message)")
        takeSnapshotAgain()
    }

    func snapshotPartAnswered(_ body: [UInt8]) {
        let kind: ClientFrameKind = restoration.begun == nil ? .snapshot : .snapshotPiece
        switch try? ControlReply.decode(kind: kind.rawValue, body: body.rawSpan) {
        case .snapshot(let reply)?:
            guard reply.revision >= restoration.floor else {
                return fail("a snapshot of at least \(restoration.floor) is one of \(reply.revision)")
            }
            // There is nothing in it yet, and no entry that it could be of.
            guard reply.revision > .zero else { return takeSnapshotAgain() }
            restoration.begun = reply
            askForItem()
        case .snapshotPiece(let piece)?:
            guard piece.revision == restoration.begun?.revision else {
                return fail("a piece of the snapshot is of \(piece.revision)")
            }
            restoration.item += piece.bytes
            guard restoration.item.count == Int(piece.itemSize) else { return askForItem() }
            switch piece.item {
            case .chunk:
                restoration.chunks.append(restoration.item)
                restoration.item = []
                askForItem()
            case .manifest: snapshotTaken(manifest: restoration.item)
            }
        case .failed(let error, _)?:
            tell("no snapshot: \(error.code.name)")
            takeSnapshotAgain()
        case nil, .some: fail("whoever takes a snapshot cannot read an answer")
        }
    }

    private func askForItem() {
        guard let begun = restoration.begun else { return }
        let request = SnapshotPieceRequest(
            snapshot: begun.snapshot, item: UInt32(restoration.chunks.count), offset: UInt32(restoration.item.count))
        ask(.snapshotPiece(request, address: restoration.address))
    }

    private func snapshotTaken(manifest bytes: [UInt8]) {
        do {
            var receiver = SnapshotReceiver(ranges: Keyspace.carried)
            var file = receiver.header
            for chunk in restoration.chunks {
                try receiver.accept(chunk)
                file += chunk
            }
            file += try receiver.finish(SnapshotManifest(decoding: bytes.rawSpan))
            restoration.file = file
        } catch {
            return fail("a node gave a snapshot that is none: \(error)")
        }
        tell("a snapshot was taken: \(restoration.file.count) bytes, of \(restoration.begun?.revision as Any)")
        counters.add(.snapshotTaken)
        restoration.stage = .taken
        schedule(.special(.stopForRestore), after: restoreChance.skewed(.milliseconds(50), .seconds(4)))
    }

    // MARK: - Restoring

    func stopForRestore() {
        guard isFaulty, restoration.stage == .taken, !isLateForRestore else { return }
        restoration.stage = .down
        tell("all nodes are stopped, to be restored")
        for node in nodes {
            stopProcess(of: node, losingPower: restoreChance.happens(percent: 50))
            node.isInUse = false
            // Whatever was under way on this machine without a process.
            node.repair = nil
            node.life += 1
        }
        schedule(.special(.restore), after: restoreChance.interval(.milliseconds(100), .seconds(2)))
    }

    func restoreAll() {
        checkDamagedFilesAreRefused()
        guard violation == nil else { return }
        do {
            let (manifest, chunks) = try Self.read(restoration.file)
            let cluster = try RestoredCluster(
                manifest, members: nodes.map { ($0.name, $0.peerAddress) }, token: "\(seed)")
            try begin(cluster, from: manifest)
            for node in nodes { try restore(node, as: cluster, from: manifest, chunks) }
        } catch {
            return fail("the snapshot cannot be restored: \(error)")
        }
        counters.add(.restored)
        restoration.stage = .done
        for node in nodes {
            node.isInUse = true
            schedule(.start(node: node.number), after: restoreChance.skewed(.zero, .seconds(1)))
        }
    }

    /// Every byte is checked before anything is made of it.
    private static func read(_ file: [UInt8]) throws -> (manifest: SnapshotManifest, chunks: [[UInt8]]) {
        let header = Array(file.prefix(SnapshotFileLayout.headerSize))
        let footer = Array(file.suffix(SnapshotFileLayout.footerSize))
        let layout = try SnapshotFileLayout(header: header, footer: footer, fileSize: file.count)
        let chunks = try layout.chunks(index: Array(file[layout.index])).map { Array(file[$0]) }
        let encoded = Array(file[layout.manifest])
        let manifest = try SnapshotManifest(decoding: encoded.rawSpan)
        guard manifest.chunks.count == chunks.count else { throw SnapshotError.damaged("another number of chunks") }
        try verify(chunks, of: manifest)
        return (manifest, chunks)
    }

    private static func verify(_ chunks: [[UInt8]], of manifest: SnapshotManifest) throws {
        var reader = SnapshotReader(manifest, ranges: Keyspace.carried)
        for chunk in chunks { try reader.read(chunk.rawSpan) { _, _ in } }
        try reader.finish()
    }

    private func checkDamagedFilesAreRefused() {
        for number in 0..<6 {
            var file = restoration.file
            if number % 3 == 0 {
                file.removeLast(restoreChance.number(in: 1...file.count))
            } else {
                file[restoreChance.number(in: 0...file.count - 1)] ^= UInt8(1 << restoreChance.number(in: 0...7))
            }
            counters.add(.damagedSnapshotFile)
            if (try? Self.read(file)) != nil { fail("a snapshot file that is damaged is taken for a sound one") }
        }
    }

    /// What is known of the generation before is cut back to what the snapshot holds.
    private func begin(_ cluster: RestoredCluster, from manifest: SnapshotManifest) throws {
        let last = manifest.head.revision
        guard last.index >= restoration.floor, oracle.entry(at: last.index)?.id == last else {
            return fail("the snapshot is of \(last), and \(restoration.floor) had been answered before")
        }
        if let violation = oracle.digest(manifest.head.changeDigest, at: last.index) { return fail(violation) }
        guard cluster.base.index > oracle.lastIndex, cluster.base.index > revisionAnswered else {
            return fail("the restored log begins after \(cluster.base), where the old one has been")
        }
        guard cluster.identity != identity, cluster.identity.id == identity.id else {
            return fail("the restored cluster is \(cluster.identity), and the old one was \(identity)")
        }
        let takenAt = oracle.entry(at: last.index)?.appliedAt ?? now
        if let violation = oracle.restore(through: last.index, as: cluster.base, cluster.membership) {
            return fail("the history of before cannot be told again: \(violation)")
        }
        // What was seen of the part that is gone can be held against nothing any more.
        for group in history.indices {
            history[group].removeAll {
                $0.rank == .max ? ($0.returned ?? 0) >= takenAt.nanoseconds : $0.rank > last.index.rawValue
            }
        }
        watchesAreRestored(through: last.index)
        restoration.oldSessions = clients.compactMap(\.state.sessionHeard?.id)
        identity = cluster.identity
        founding = FoundingRecord(
            identity: identity, createdAt: manifest.head.time, membership: cluster.membership)
        leaders = [:]
        // Its logs have no entry in common with those of before.
        logs = LogHistory(after: cluster.base.index)
        led = [:]
        diverged = []
        for connection in connections { cut(connection) }
        connections.removeAll(where: \.isGone)
        tell("restored as \(identity), after \(last), from \(cluster.base) on")
    }

    private func restore(
        _ node: SimNode, as cluster: RestoredCluster, from manifest: SnapshotManifest, _ chunks: [[UInt8]]
    ) throws {
        guard let member = cluster.membership.member(named: node.name) else { return }
        func make() throws {
            try RestoredMember.make(
                cluster, name: node.name, from: manifest, home: node.home, directory: Self.directory,
                fileSystem: node.disk, chunk: { chunks[$0] })
        }
        node.becomeRestored(member.id, diskSeed: restoreChance.next(), isVolatile: settings.hasVolatileState)
        if restoreChance.happens(percent: 40) {
            // It is interrupted; then it either has come to its end, or the directory says that it has not.
            node.disk.fuse = restoreChance.number(in: 0...40)
            try? make()
            node.disk.losePower()
            node.home.processEnded()
            let isMarked = try node.disk.exists("\(Self.directory)/\(RestoredMember<SimEngineHome>.markerName)")
            let isMember = try node.disk.exists("\(Self.directory)/\(NodeIdentity.fileName)")
            if isMember, !isMarked { return }
            node.becomeRestored(member.id, diskSeed: restoreChance.next(), isVolatile: settings.hasVolatileState)
        }
        try make()
        guard restoreChance.happens(percent: 50) else { return }
        node.disk.losePower()
        node.home.processEnded()
    }

    // MARK: - Clients of the generation before

    /// Whoever runs the client program starts it anew: it knows nothing of the generation before but what it has seen.
    func renew(_ client: SimClient) {
        guard restoration.stage == .done, client.generation != identity.generation else { return }
        for connection in client.connections.values.sorted(by: { $0.slotNumber < $1.slotNumber }) { cut(connection) }
        client.connections = [:]
        guard client.items.isEmpty else {
            return fail("client \(client.number) was told of another generation and still waits for answers")
        }
        client.generation = identity.generation
        var settings = ClientSettings(
            endpoints: nodes.map(\.clientAddress), identity: identity, clientName: "sim", clientVersion: "1")
        settings.sessionTimeout = self.settings.sessionTimeout
        client.state = ClientState(
            settings: settings, seed: restoreChance.next(), idSeed: restoreChance.next(), now: now)
        client.deadline = .never
        client.wakesAt = .never
        client.deadlineNumber += 1
        client.sessionState = nil
        client.places = client.places.map { _ in BelievedPlace() }
        tell("client \(client.number) starts anew")
        watchesStartAnew(of: client)
        carryOut(client)
    }

    /// It has been told that its cluster is no more.
    func toldOfGeneration(_ client: SimClient) {
        guard client.generation != identity.generation else {
            return fail("client \(client.number) is told that its own generation is over")
        }
        counters.add(.generationChanged)
        let pause = isFaulty ? restoreChance.interval(.zero, .milliseconds(800)) : .zero
        schedule(.special(.renewClient(client.number)), after: pause)
    }

    /// At peace everybody asks once more, and is told.
    func restoreFinishes() {
        guard restoration.stage == .done else { return }
        for client in clients where client.generation != identity.generation && client.items.isEmpty { renew(client) }
    }
}
