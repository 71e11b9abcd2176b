internal import Basics
internal import FuzzSupport
internal import LogFormat
internal import MetadataMachine
internal import MetadataModel
internal import RegistryMachine
internal import RegistryModel
internal import StateEngine

/// A state machine in memory with the log that it was given.
final class FuzzMachine: Sendable {
    // `unsafe`: used from one thread.
    nonisolated(unsafe) private var machine: Machine<MemoryEngine>
    nonisolated(unsafe) private var log: [(payload: [UInt8], time: ClusterTime)] = []
    nonisolated(unsafe) private(set) var time = ClusterTime(nanoseconds: 1_700_000_000_000_000_000)
    private static let levels = FeatureLevels(founding: FeatureLevel.known)

    init() { machine = Self.machine(MemoryEngine()) }

    private static func machine(_ engine: MemoryEngine) -> Machine<MemoryEngine> {
        do {
            return try Machine(engine: engine, node: NodeID(1), levels: levels)
        } catch {
            fail("a state that the machine made cannot be gone on from: \(error)")
        }
    }

    var count: Int { log.count }

    func pass(milliseconds: UInt64) { time = time + .milliseconds(Int64(milliseconds)) }

    /// False when the machine cannot go on.
    func apply(_ payload: [UInt8]) -> Bool {
        log.append((payload, time))
        let index = LogIndex(UInt64(log.count))
        do {
            let report = try machine.apply(slabs(index...index), in: index...index)
            let reply = Array(report.replyBytes[report.reply(at: index)])
            check(reply.isEmpty || accepts(reply) { _ = try ReplyHead(decoding: &$0) }, "a reply without a head")
            return true
        } catch {
            return false
        }
    }

    /// - Returns: whether the answer is no error.
    func ask(_ query: [UInt8]) -> Bool {
        var writer = ByteWriter()
        machine.answer(query.rawSpan, at: .zero, into: &writer)
        let answer = writer.takeBytes()
        var head: ReplyHead?
        check(accepts(answer) { head = try ReplyHead(decoding: &$0) }, "an answer without a head")
        check(machine.damage == nil, "a sound state was found damaged: \(machine.damage ?? "")")
        if case .success? = head { return true }
        return false
    }

    /// Of the master that leads; 0: none does.
    var mastersFence: UInt64 {
        let masters = Guard(kind: .election, name: RegistryCommand.electionGroup, fence: 1)
        let question = Query.validate(masters).encoded()
        var writer = ByteWriter()
        machine.answer(question.rawSpan, at: .zero, into: &writer)
        var fence: UInt64 = 0
        let isAnswered = accepts(writer.takeBytes()) { reader in
            _ = try ReplyHead(decoding: &reader)
            fence = try GuardResult(decoding: &reader).currentFence
        }
        check(isAnswered, "who leads the masters is not answered")
        return fence
    }

    /// The same log in one group on another node, and a start from what is stored, lead to the same state; and what
    /// follows from other rows of the registry is as it should be.
    func finish() {
        guard !log.isEmpty else { return }
        let range = LogIndex(1)...LogIndex(UInt64(log.count))
        let other = Self.machine(MemoryEngine())
        do {
            _ = try other.apply(slabs(range), in: range)
            let own = try machine.snapshotSource()
            let twin = try other.snapshotSource()
            check(own.applied == twin.applied, "two nodes differ: \(own.applied), \(twin.applied)")
            check(own.sessions == twin.sessions, "two nodes have other sessions")
            let restarted = try Self.machine(machine.engine).snapshotSource()
            check(restarted.applied == own.applied, "a start changed what was applied")
            check(restarted.sessions == own.sessions, "a start changed the sessions")
            if let fed = try machine.feed(slabs(range), in: range) {
                fed.forEachRevision { revision, _ in range.contains(revision) }
            }
            _ = try machine.findOrphans(after: nil, limit: 16)
            let rows = RegistryRowsFound(engine: machine.engine)
            let findings = try RegistryAudit.findings(in: rows, fence: UInt64(log.count))
            check(findings.isEmpty, findings.joined(separator: "; "))
        } catch {
            fail("what was applied entry by entry cannot be applied at once, or not be read: \(error)")
        }
    }

    private func slabs(_ range: ClosedRange<LogIndex>) -> [Slab] {
        var builder = SlabBuilder(term: Term(1), firstIndex: range.lowerBound, salt: 9)
        for index in range.lowerBound.rawValue...range.upperBound.rawValue {
            let entry = log[Int(index) - 1]
            builder.append(.command, payload: entry.payload.rawSpan, time: entry.time)
        }
        return [builder.close()].compactMap { $0 }
    }

    /// With rows, tombstones, history, a leader and a holder, some who wait, and a registry.
    static let filled: FuzzMachine? = {
        let rig = FuzzMachine()
        var sequence: UInt64 = 0
        for client in UInt64(1)...3 {
            for sample in Samples.mutations where sample.mutation != .endSession {
                sequence += 1
                let payload = written { writer in
                    CommandHeader(
                        kind: sample.mutation.kind, session: SessionID(client, 1), sequence: sequence,
                        opening: SessionOpening(openedAt: rig.time, timeout: .seconds(10))
                    ).encode(into: &writer)
                    sample.mutation.encodeBody(into: &writer)
                }
                guard rig.apply(payload) else { return nil }
            }
            sequence = 0
        }
        let campaign = Mutation.coordination(.campaign(group: RegistryCommand.electionGroup, data: []))
        for mutation in [campaign] + RegistryStory.commands.map({ Mutation.registry($0) }) {
            sequence += 1
            guard rig.apply(RegistryStory.payload(mutation, sequence, at: rig.time, fence: rig.mastersFence)) else {
                return nil
            }
        }
        return rig
    }()
}

/// The registry's rows in an engine, to be looked through.
private struct RegistryRowsFound: RegistryRows {
    let engine: MemoryEngine

    func row(at key: [UInt8]) throws -> [UInt8]? {
        var found: [UInt8]?
        try scan(key) { other, value in
            if other == key { found = value }
            return false
        }
        return found
    }

    func scan(_ prefix: [UInt8], _ body: (_ key: [UInt8], _ value: [UInt8]) throws -> Bool) throws {
        let range = KeyRange(prefix: [Keyspace.registryTable] + prefix)
        var rows: [(key: [UInt8], value: [UInt8])] = []
        try engine.scan(from: range.from, to: range.to, reversed: false) { key, value in
            rows.append(([UInt8](key.extracting(1..<key.byteCount)), [UInt8](value)))
            return .next
        }
        for row in rows { guard try body(row.key, row.value) else { return } }
    }

    func set(_ key: [UInt8], to value: [UInt8]?) throws { fail("an audit changes nothing") }
}
