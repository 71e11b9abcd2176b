internal import Basics
internal import Disk
internal import LogFormat
internal import LogStore
internal import MetadataMachine
internal import MetadataModel
internal import RaftCore
internal import ReplicaCore
internal import ReplicaStorage
internal import Wire

/// A node whose log is being repaired: there is no replica yet.
final class SimRepair {
    let damaged: DamagedLog
    let healer: LogHealer
    var members: [NodeID]

    init(_ damaged: DamagedLog, _ remains: DirectoryRemains) {
        self.damaged = damaged
        members = remains.others.map(\.id)
        healer = damaged.healer(remains)
    }
}

/// What the server's `LogRepair` does on connections. Here a question and its answer are one step of the world: it asks
/// whoever it could have a connection with, and the messages pass through their encoding.
extension World {
    private static let directory = "/data"

    func beginRepair(of node: SimNode, _ damages: [LogDamage]) {
        for damage in damages { tell("\(node.name) \(damage)") }
        var logSettings = LogSettings()
        logSettings.segmentSize = settings.segmentSize
        do {
            let remains = try DirectoryRemains(
                fileSystem: node.disk, directory: Self.directory, founding: node.record ?? founding, node: node.id,
                home: node.home)
            guard !remains.others.isEmpty else { return fail("\(node.name) is damaged and knows nobody: \(damages)") }
            let damaged = try DamagedLog(
                fileSystem: node.disk, directory: Self.directory, identity: identity, node: node.id,
                settings: logSettings)
            counters.add(damaged.knowsPromises ? .logRepaired : .promisesAsked)
            node.repair = SimRepair(damaged, remains)
        } catch {
            return refusedToStart(node, error)
        }
        schedule(.repairRound(node: node.number, life: node.life), after: .milliseconds(50))
    }

    func repairRound(_ node: SimNode) {
        guard let repair = node.repair else { return }
        do {
            try askEveryone(node, repair)
            guard repair.healer.verdict == .goesOn else { return try endRepair(of: node, repair) }
            schedule(.repairRound(node: node.number, life: node.life), after: .milliseconds(200))
        } catch LogHealingError.disk(let error) {
            repairFailed(node, error)
        } catch let error as DiskError {
            repairFailed(node, error)
        } catch {
            fail("\(node.name) is sent what it cannot read: \(error)")
        }
    }

    private func repairFailed(_ node: SimNode, _ error: DiskError) {
        tell("\(node.name) stops while it repairs its log: \(error)")
        stopRepair(of: node, losingPower: true)
        schedule(.start(node: node.number), after: nodeChance.interval(.milliseconds(100), .seconds(2)))
    }

    private func askEveryone(_ node: SimNode, _ repair: SimRepair) throws {
        var question = repair.healer.nextQuestion()
        for id in repair.members {
            guard let peer = nodes.first(where: { $0.id == id }), canTalk(node, peer) else {
                repair.healer.lost(id)
                continue
            }
            while repair.healer.verdict == .goesOn {
                let asked = try passed(question.map { .logEntries($0) } ?? .promises)
                guard let reply = try answer(asked.message, of: node, by: peer),
                    try hear(reply, from: peer, repair)
                else { break }
                question = repair.healer.nextQuestion()
            }
        }
    }

    /// - Returns: whether there is more to ask at once.
    private func hear(
        _ reply: (message: PeerMessage, payload: [UInt8]), from peer: SimNode, _ repair: SimRepair
    ) throws -> Bool {
        let (message, payload) = try passed(reply.message, reply.payload)
        switch message {
        case .logEntriesReply(let answer):
            return try repair.healer.heard(answer, records: payload, from: peer.id)
        case .promisesReply(let known):
            let named = try? Membership(decoding: payload.rawSpan)
            let voters = named.map { $0.incoming + $0.outgoing }
            if try repair.healer.heard(known, voters: voters, from: peer.id), let named {
                let own = nodes.first { $0.repair === repair }?.id
                repair.members += named.members.map(\.id).filter { $0 != own && !repair.members.contains($0) }
            }
        default: break
        }
        return false
    }

    private func canTalk(_ node: SimNode, _ peer: SimNode) -> Bool {
        peer !== node && peer.pausedUntil <= now && !reachability.isStalled(node.number, peer.number)
            && !reachability.isStalled(peer.number, node.number)
    }

    /// A message as it comes out at the other side.
    private func passed(
        _ message: PeerMessage, _ payload: [UInt8] = []
    ) throws -> (message: PeerMessage, payload: [UInt8]) {
        var writer = ByteWriter()
        message.encode(payload: payload.rawSpan, into: &writer)
        let bytes = writer.takeBytes()
        guard let frame = try FrameHeader.scan(bytes.rawSpan, sizeMax: Limits.frameSizeMaxDefault) else {
            throw DecodeError.truncated
        }
        let received = try PeerMessage.decode(frame.header, body: frame.body)
        return (received.message, [UInt8](received.payload))
    }

    /// Nil where nobody answers.
    private func answer(
        _ message: PeerMessage, of node: SimNode, by peer: SimNode
    ) throws -> (message: PeerMessage, payload: [UInt8])? {
        switch message {
        case .logEntries(let question):
            if let healer = peer.repair?.healer {
                let (answer, slab) = healer.answer(question)
                return (.logEntriesReply(answer), slab?.bytes ?? [])
            }
            guard let process = peer.process else { return nil }
            var slab: Slab?
            if let range = process.replica.range(for: question) {
                let read = LogRead(
                    purpose: .repair(node.id, question), range: range, byteCountMax: Limits.slabSizeMax)
                do throws(LogReadError) {
                    slab = try process.log.perform(read).first
                } catch {
                    logReadFailed(peer, read, error)
                    return nil
                }
            }
            let (answer, given) = process.replica.answer(to: question, slab)
            return (.logEntriesReply(answer), given?.bytes ?? [])
        case .promises:
            if let healer = peer.repair?.healer { return healer.ownPromises().map { (.promisesReply($0), []) } }
            guard let process = peer.process else { return nil }
            return (.promisesReply(process.replica.knownPromises), process.replica.membership.encoded())
        default: return nil
        }
    }

    private func endRepair(of node: SimNode, _ repair: SimRepair) throws(DiskError) {
        try repair.damaged.keep(repair.healer.verdict)
        node.repair = nil
        tell("\(node.name) ends its repair: \(repair.healer.verdict)")
        switch repair.healer.verdict {
        case .short:
            counters.add(.logCutShort)
            // Before the start: one that a crash interrupts may have cut the log already, and the next one finds that.
            node.boundBy = node.boundBy ?? node.log
            node.log = nil
            startReplica(node, .short)
        case .behindState:
            counters.add(.logBegunBehindState)
            startReplica(node, .behindState)
        case .behind(let entry):
            counters.add(.logBegunBehindState)
            startReplica(node, .behind(entry))
        case .whole, .goesOn:
            checkRepaired(repair.damaged.log, of: node)
            startReplica(node)
        }
    }

    /// What others have given stands behind and before what stood there.
    func checkRepaired(_ log: SegmentedLog, of node: SimNode) {
        var next = log.firstIndex
        // Where its beginning is damaged, the term of the entry before it may not be known.
        var previous = log.previous.term == .zero && log.previous.index > .zero ? nil : log.previous.term
        while next <= log.lastIndex {
            // Bits may have turned elsewhere meanwhile.
            guard let slabs = try? log.read(from: next, through: log.lastIndex, bytesMax: 1 << 20), !slabs.isEmpty else { return }
            for slab in slabs {
                if let violation = logs.written(slab, after: previous) {
                    return fail("\(node.name) has repaired its log: \(violation)")
                }
                previous = slab.term
                next = slab.lastIndex.next
            }
        }
    }

    func stopRepair(of node: SimNode, losingPower: Bool) {
        guard node.repair != nil else { return }
        node.repair = nil
        if losingPower { node.disk.losePower() } else { node.disk.processEnded() }
        node.home.processEnded()
    }
}

extension World {
    /// What two nodes tell each other of their logs when one has called the other, where they do not greet in full.
    /// - Returns: how far the called one knows the caller to have acknowledged committed entries.
    func greet(_ called: SimNode, from caller: SimNode) -> EntryID {
        guard let process = called.process, let last = caller.process?.replica.raft.last else { return .zero }
        let known = process.replica.acknowledged(by: caller.id)
        turn(called) { $0.peerSaysLast(last, caller.id) }
        return known
    }
}
