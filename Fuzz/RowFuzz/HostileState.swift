internal import Basics
internal import FuzzSupport
internal import LogFormat
internal import MetadataMachine
internal import MetadataModel
internal import StateEngine

/// A state machine that is started on foreign rows, asked everything, and made to apply a few entries.
let state = Decoder("state", seeds: { HostileState.seeds }) { bytes in HostileState.run(bytes) }

enum HostileState {
    static let info = MemberInfo(node: NodeID(1), clientAddress: "h:2", version: "1", featureLevel: 1)

    // Made once: they are the same for every input.
    private static let queries = Samples.queries.map { $0.query.encoded() }
    private static let mutations = Samples.mutations.map { sample in
        (kind: sample.mutation.kind, body: written { sample.mutation.encodeBody(into: &$0) })
    }
    private static let housekeeping = Samples.housekeeping.filter { $0.command.kind != .featureLevel }
        .map { $0.command.encoded() }

    static func run(_ bytes: [UInt8]) -> Bool {
        let engine = MemoryEngine()
        var batch = WriteBatch()
        var choices = Choices(bytes)
        for _ in 0..<64 where !choices.isAtEnd {
            let key = choices.bytes()
            batch.put(key, choices.bytes())
        }
        engine.write(batch)
        engine.flush()
        guard let machine = try? Machine(engine: engine, node: NodeID(1), levels: FeatureLevels()) else { return false }
        _ = try? machine.durableApplied()
        for query in queries {
            var writer = ByteWriter()
            machine.answer(query.rawSpan, at: .zero, into: &writer)
            let answer = writer.takeBytes()
            check(accepts(answer) { _ = try ReplyHead(decoding: &$0) }, "an answer without a head")
        }
        _ = try? machine.findOrphans(after: nil, limit: 8)
        _ = machine.openSessions()
        apply(to: machine)
        if let source = try? machine.snapshotSource() {
            _ = source.members(founding: .empty).encoded()
        }
        _ = try? machine.forgetOutcomes(through: machine.applied.last.index)
        return true
    }

    /// Entries that touch what the rows speak of: expiry, timers, lines.
    private static func apply(to machine: Machine<MemoryEngine>) {
        let first = machine.applied.last.index.next
        var builder = SlabBuilder(term: Term(.max), firstIndex: first, salt: 9)
        let time = machine.applied.time + .seconds(5)
        var sequence: UInt64 = 0
        for mutation in mutations {
            sequence += 1
            let payload = written { writer in
                CommandHeader(
                    kind: mutation.kind, session: Samples.session, sequence: sequence,
                    opening: SessionOpening(openedAt: time, timeout: .seconds(10))
                ).encode(into: &writer)
                writer.write(mutation.body)
            }
            builder.append(.command, payload: payload.rawSpan, time: time)
        }
        for command in housekeeping { builder.append(.command, payload: command.rawSpan, time: time) }
        guard let slab = builder.close() else { return }
        guard (try? machine.apply([slab], in: slab.indexes)) != nil else { return }
        if let fed = try? machine.feed([slab], in: slab.indexes) {
            fed.forEachRevision { revision, _ in slab.indexes.contains(revision) }
        }
    }

    // MARK: Seeds

    /// What a machine leaves after all commands: its rows.
    static let rows: [(key: [UInt8], value: [UInt8])] = {
        let engine = MemoryEngine()
        guard let machine = try? Machine(engine: engine, node: NodeID(1), levels: FeatureLevels(founding: 2)) else {
            return []
        }
        apply(to: machine)
        apply(to: machine)
        var rows: [(key: [UInt8], value: [UInt8])] = []
        try? engine.scan(from: [], to: nil, reversed: false) { key, value in
            rows.append(([UInt8](key), [UInt8](value)))
            return .next
        }
        return rows
    }()

    static var seeds: [[UInt8]] {
        func input(_ rows: ArraySlice<(key: [UInt8], value: [UInt8])>) -> [UInt8] {
            var bytes: [UInt8] = []
            for row in rows { bytes += Choices.sized(row.key) + Choices.sized(row.value) }
            return bytes
        }
        let parts = stride(from: 0, to: rows.count, by: 4).map { input(rows[$0..<min(rows.count, $0 + 8)]) }
        return [input(rows[...])] + parts
    }
}
