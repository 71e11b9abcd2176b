package import Basics
internal import MetadataMachine
internal import MetadataModel
internal import RegistryMachine
package import RegistryModel
internal import StateEngine

/// The masters' registry as the committed commands make it, kept outside the nodes: each is carried out once more,
/// alone, over rows that only this has. So what nodes make of groups of entries, crashes and snapshots shows as another
/// row or another answer; and whatever anybody is shown of any revision can be held against what there was.
///
/// A bug in how a command is carried out is here too. Two that decide for themselves find it: `RegistryLedgers`, after
/// each command that touches an agent, and `RegistryAudit`, now and then over all rows.
package final class RegistryOracle {
    private let history = RegistryHistory()
    private var ledgers = RegistryLedgers()
    private var replies: [LogIndex: RegistryReply] = [:]
    private var time = ClusterTime.zero
    /// The newest under which a command was carried out.
    private var fence: UInt64 = 0
    package private(set) var commandCount = 0

    package init() {}

    private func registrar(under fence: UInt64) -> Registrar<RegistryHistory> {
        Registrar(rows: history, now: time.nanoseconds, fence: fence)
    }

    // MARK: - Being told

    /// The entry at `index` is applied, whatever it is: what is due is carried out before it.
    /// - Returns: what is wrong; nil: nothing.
    package func begin(_ index: LogIndex, at time: ClusterTime) -> String? {
        history.revision = index
        self.time = time
        guard let timer = history.firstKey(of: .timers), RegistryKey.time(ofTimer: timer) <= time.nanoseconds else {
            return nil
        }
        do {
            var registrar = registrar(under: 0)
            try registrar.carryOutTimers()
            return try difference()
        } catch {
            return "the registry's timers that were due at \(index) cannot be carried out: \(error)"
        }
    }

    /// A command that took effect at the entry that has begun.
    /// - Parameters:
    ///   - fence: which it names.
    ///   - leading: that of the master who led then; nil: nobody did.
    /// - Returns: what is wrong; nil: nothing.
    package func apply(
        _ command: RegistryCommand, under fence: UInt64, leading: UInt64?, _ reply: RegistryReply
    ) -> String? {
        let index = history.revision
        guard fence == leading else {
            return "a master's command at \(index) took effect under fence \(fence), and "
                + (leading.map { "fence \($0) led" } ?? "nobody led")
        }
        commandCount += 1
        self.fence = max(self.fence, fence)
        replies[index] = reply
        do {
            var registrar = registrar(under: fence)
            let expected = try registrar.carryOut(command)
            guard expected == reply else {
                return "a master's command at \(index) was answered \(reply), not \(expected)"
            }
            if let fault = ledgers.apply(command, reply, held: { self.held(by: $0) }) { return "at \(index) \(fault)" }
            return try difference().map { "at \(index) \($0)" }
        } catch {
            return "a master's command at \(index) took effect, and must not have: \(error)"
        }
    }

    private func held(by agent: RegistryID) -> [Resource] {
        var held: [Resource] = []
        try? history.scan(RegistryKey.holds(of: agent).bytes) { _, value in
            held += try HoldRow(value).resources
            return true
        }
        return held
    }

    /// Of the agents that the entry has touched.
    private func difference() throws -> String? {
        var touched = ledgers.takeTouched()
        if let last = history.changes.last, last.revision == history.revision {
            for key in last.rows.keys where key.first == RegistryTable.entries.rawValue {
                var parts = RegistryKeyParts(key, after: 1)
                touched.insert(try parts.id())
            }
        }
        for agent in touched.sorted() {
            var entries: [Resource] = []
            try history.scan(RegistryKey.entries(of: agent).bytes) { _, value in
                entries.append(try Resource(value))
                return true
            }
            if let difference = ledgers.difference(of: agent, from: entries) { return difference }
        }
        return nil
    }

    // MARK: - Questions

    func ledger(of agent: [UInt8]) -> AgentLedger? { ledgers.ledger(of: RegistryID(unchecked: agent)) }
    func reply(at revision: LogIndex) -> RegistryReply? { replies[revision] }

    /// As a listing of everything goes on behind `cursor`.
    func rows(after cursor: [UInt8], at revision: LogIndex) -> [(key: [UInt8], value: [UInt8])] {
        history.rows(after: cursor, at: revision)
    }

    /// As a watch of everything tells the first revision after `revision` that changes anything.
    func change(after revision: LogIndex) -> (revision: LogIndex, changes: [Change])? {
        history.change(after: revision).map { revision, rows in
            let ordered = rows.sorted { $0.key.lexicographicallyPrecedes($1.key) }
            return (revision: revision, changes: ordered.map { Change(key: $0.key, value: $0.value) })
        }
    }

    /// - Returns: what is wrong with the rows as a whole; nil: nothing.
    func audit() -> String? {
        do {
            return try RegistryAudit.findings(in: history, fence: fence).first
        } catch {
            return "the registry's rows cannot be read: \(error)"
        }
    }

    /// - Parameter engine: of a node that has applied just what this has been told.
    /// - Returns: a row that differs; nil: none does.
    func difference(from engine: MemoryEngine) -> String? {
        let range = KeyRange(prefix: [Keyspace.registryTable])
        var found: [[UInt8]: [UInt8]] = [:]
        do throws(EngineError) {
            try engine.scan(from: range.from, to: range.to, reversed: false) { key, value in
                found[[UInt8](key.extracting(1..<key.byteCount))] = [UInt8](value)
                return .next
            }
        } catch {
            return "the registry cannot be read: \(error)"
        }
        let expected = history.all
        guard found != expected else { return nil }
        let keys = Set(found.keys).union(expected.keys).filter { found[$0] != expected[$0] }
        return keys.min { $0.lexicographicallyPrecedes($1) }.map { key in
            let named = { (value: [UInt8]?) in value.map { "\($0)" } ?? "none" }
            return "the row \(key) of the registry is \(named(found[key])), not \(named(expected[key]))"
        }
    }
}
