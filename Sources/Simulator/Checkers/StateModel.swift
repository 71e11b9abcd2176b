package import Basics
internal import LogFormat
package import MetadataModel

/// What the keyspace must hold, kept outside the nodes by the plainest means: every key with all values it ever had. It
/// is told which committed mutations took effect; what it then says of a revision must be what any read of that
/// revision says.
package struct StateModel {
    struct Version {
        var revision: LogIndex
        /// Nil: the row is gone.
        var value: [UInt8]?
    }

    private var history: [[UInt8]: [Version]] = [:]
    /// When keeping previous values was switched on and off, by prefix, in order.
    private var switches: [[UInt8]: [(revision: LogIndex, isOn: Bool)]] = [:]

    package init() {}

    // MARK: Questions

    /// The row of `key` as of `revision`.
    func row(_ key: [UInt8], at revision: LogIndex) -> RowResult? {
        guard let version = history[key]?.last(where: { $0.revision <= revision }), let value = version.value else {
            return nil
        }
        return RowResult(revision: version.revision, value: value)
    }

    /// All rows under `prefix` as of `revision`, in key order.
    package func rows(prefix: [UInt8], at revision: LogIndex) -> [Page.Row] {
        history.keys.filter { $0.starts(with: prefix) }.sorted { $0.lexicographicallyPrecedes($1) }.compactMap { key in
            row(key, at: revision).map { Page.Row(key: key, revision: $0.revision, value: $0.value) }
        }
    }

    /// What each revision changed under `prefix`, in order; of one revision in key order.
    func changes(prefix: [UInt8]) -> [(revision: LogIndex, changes: [Change])] {
        var found: [LogIndex: [[UInt8]: Change]] = [:]
        for (key, versions) in history where key.starts(with: prefix) {
            // Of several within one revision the last one counts.
            for version in versions {
                found[version.revision, default: [:]][key] = Change(key: key, value: version.value)
            }
        }
        return found.sorted { $0.key < $1.key }.map { revision, changes in
            (revision, changes.values.sorted { $0.key.lexicographicallyPrecedes($1.key) })
        }
    }

    /// Whether a change of `key` at `revision` has to say what was there before.
    func keepsHistory(of key: [UInt8], at revision: LogIndex) -> Bool {
        switches.contains { prefix, switches in
            key.starts(with: prefix) && switches.last(where: { $0.revision < revision })?.isOn == true
        }
    }

    // MARK: Changes

    private mutating func set(_ key: [UInt8], to value: [UInt8]?, at revision: LogIndex) {
        history[key, default: []].append(Version(revision: revision, value: value))
    }

    private mutating func deletePrefix(_ prefix: [UInt8], at revision: LogIndex) {
        for row in rows(prefix: prefix, at: revision) { set(row.key, to: nil, at: revision) }
    }

    /// Takes in the mutation that took effect at `revision`.
    /// - Parameter reply: what it was answered, for a transaction: it says which branch was taken.
    /// - Returns: what is wrong with the answer; nil when it is what this model would have given.
    package mutating func apply(_ mutation: AppliedMutation, reply: TransactionResult?, at revision: LogIndex) -> String? {
        switch mutation {
        case .put(let key, let value, let expected):
            let current = row(key, at: revision)?.revision ?? .zero
            if let expected, expected != current { return "a put if \(expected) took effect on \(current)" }
            set(key, to: value, at: revision)
        case .delete(let key, let expected):
            let current = row(key, at: revision)?.revision ?? .zero
            if let expected, expected != current { return "a delete if \(expected) took effect on \(current)" }
            set(key, to: nil, at: revision)
        case .deletePrefix(let prefix): deletePrefix(prefix, at: revision)
        case .createSequential(let prefix, let value):
            set(Key.sequential(prefix: prefix.rawSpan, revision: revision), to: value, at: revision)
        case .transaction(let transaction): return apply(transaction, reply: reply, at: revision)
        case .setHistory(let prefix, let isOn): switches[prefix, default: []].append((revision, isOn))
        case .endSession: break
        }
        return nil
    }

    private mutating func apply(
        _ transaction: Transaction, reply: TransactionResult?, at revision: LogIndex
    ) -> String? {
        let holds = transaction.comparisons.allSatisfy { comparison in
            switch comparison {
            case .revision(let key, let expected): row(key, at: revision)?.revision ?? .zero == expected
            case .value(let key, let expected): row(key, at: revision)?.value == expected
            case .exists(let key, let expected): (row(key, at: revision) != nil) == expected
            case .unchanged(let prefix, let since):
                !history.contains { key, versions in
                    key.starts(with: prefix) && versions.contains { $0.revision > since && $0.revision <= revision }
                }
            }
        }
        guard let reply else { return "a transaction without a result" }
        guard reply.succeeded == holds else { return "a transaction took branch \(reply.succeeded), not \(holds)" }
        let operations = holds ? transaction.then : transaction.otherwise
        guard reply.results.count == operations.count else { return "\(reply.results.count) results" }
        // Gets see the state before the branch changes it.
        let before = operations.map { operation -> RowResult? in
            if case .get(let key) = operation { row(key, at: revision) } else { nil }
        }
        for (number, operation) in operations.enumerated() {
            switch (operation, reply.results[number]) {
            case (.put(let key, let value), .put), (.putOwned(let key, let value), .put): set(key, to: value, at: revision)
            case (.delete(let key), .delete): set(key, to: nil, at: revision)
            case (.deletePrefix(let prefix), .deletePrefix): deletePrefix(prefix, at: revision)
            case (.get(let key), .get(let found)):
                guard found == before[number] else { return "a get of \(key) in a transaction found \(found as Any)" }
            default: return "result \(number) of a transaction is of another kind"
            }
        }
        return nil
    }
}

/// A client's command as the log holds it.
package enum AppliedMutation {
    case put(key: [UInt8], value: [UInt8], expected: LogIndex?)
    case delete(key: [UInt8], expected: LogIndex?)
    case deletePrefix([UInt8])
    case createSequential(prefix: [UInt8], value: [UInt8])
    case transaction(Transaction)
    case setHistory(prefix: [UInt8], isOn: Bool)
    case endSession

    /// Nil for what the workload does not send.
    init?(kind: CommandKind, decoding reader: inout ByteReader) throws(DecodeError) {
        switch kind {
        case .put:
            let body = try PutBody(decoding: &reader)
            self = .put(key: [UInt8](body.key), value: [UInt8](body.value), expected: body.expectedRevision)
        case .delete:
            let body = try DeleteBody(decoding: &reader)
            self = .delete(key: [UInt8](body.key), expected: body.expectedRevision)
        case .deleteRange:
            guard case .prefix(let prefix) = try DeleteRangeBody(decoding: &reader).span else { return nil }
            self = .deletePrefix(prefix)
        case .createSequential:
            let body = try CreateSequentialBody(decoding: &reader)
            self = .createSequential(prefix: [UInt8](body.prefix), value: [UInt8](body.value))
        case .transaction: self = .transaction(try Transaction(decoding: &reader))
        case .setHistory:
            let body = try SetHistoryBody(decoding: &reader)
            self = .setHistory(prefix: body.prefix, isOn: body.isOn)
        case .endSession: self = .endSession
        default: return nil
        }
    }
}
