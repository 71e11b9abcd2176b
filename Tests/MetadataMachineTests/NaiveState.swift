import Basics
import MetadataModel

/// What the keyspace must be, said as simply as possible: a dictionary, and no thought for speed, groups or crashes.
struct NaiveState {
    struct Row: Equatable {
        var revision: LogIndex
        var value: [UInt8]
    }

    private(set) var rows: [[UInt8]: Row] = [:]
    /// Every key that was ever put or deleted, with the revision of its last change.
    private var changes: [[UInt8]: LogIndex] = [:]

    private mutating func put(_ key: [UInt8], _ value: [UInt8], _ index: LogIndex) {
        rows[key] = Row(revision: index, value: value)
        changes[key] = index
    }

    private mutating func delete(_ key: [UInt8], _ index: LogIndex) {
        rows[key] = nil
        changes[key] = index
    }

    private func keys(in span: KeySpan) -> [[UInt8]] {
        rows.keys.filter { key in
            switch span {
            case .prefix(let prefix): key.starts(with: prefix)
            case .range(let from, let to):
                !key.lexicographicallyPrecedes(from) && (to.map { key.lexicographicallyPrecedes($0) } ?? true)
            }
        }.sorted { $0.lexicographicallyPrecedes($1) }
    }

    private func meets(_ expected: LogIndex?, _ key: [UInt8]) -> Bool {
        expected == nil || rows[key]?.revision ?? .zero == expected
    }

    /// Carries `mutation` out, and says what the reply must be: nil where it is a conflict.
    mutating func carryOut(_ mutation: Mutation, at index: LogIndex) -> [UInt8]? {
        var reply = ByteWriter()
        switch mutation {
        case .put(let key, let value, let expected, _):
            guard meets(expected, key) else { return nil }
            put(key, value, index)
        case .delete(let key, let expected):
            guard meets(expected, key) else { return nil }
            delete(key, index)
        case .deleteRange(let span, let limit):
            let keys = keys(in: span)
            let gone = limit == 0 ? keys[...] : keys.prefix(Int(limit))
            for key in gone { delete(key, index) }
            DeleteRangeResult(rowCount: UInt32(gone.count), hasMore: gone.count < keys.count).encode(into: &reply)
        case .createSequential(let prefix, let value, _):
            let digits = String(index.rawValue)
            let key = prefix + Array((String(repeating: "0", count: 20 - digits.count) + digits).utf8)
            put(key, value, index)
            reply.writeBytes16(key)
        case .transaction(let transaction): carryOut(transaction, index).encode(into: &reply)
        case .endSession, .coordination, .setHistory, .registry: break
        }
        return reply.takeBytes()
    }

    private mutating func carryOut(_ transaction: Transaction, _ index: LogIndex) -> TransactionResult {
        let succeeded = transaction.comparisons.allSatisfy { comparison in
            switch comparison {
            case .revision(let key, let revision): rows[key]?.revision ?? .zero == revision
            case .value(let key, let value): rows[key]?.value == value
            case .exists(let key, let exists): (rows[key] != nil) == exists
            case .unchanged(let prefix, let since):
                !changes.contains { $0.key.starts(with: prefix) && $0.value > since }
            }
        }
        let before = rows
        var results: [TransactionResult.Result] = []
        for operation in succeeded ? transaction.then : transaction.otherwise {
            switch operation {
            case .put(let key, let value), .putOwned(let key, let value):
                put(key, value, index)
                results.append(.put)
            case .delete(let key):
                delete(key, index)
                results.append(.delete)
            case .deletePrefix(let prefix):
                let gone = keys(in: .prefix(prefix))
                for key in gone { delete(key, index) }
                results.append(.deletePrefix(rowCount: UInt32(gone.count)))
            case .get(let key):
                results.append(.get(before[key].map { RowResult(revision: $0.revision, value: $0.value) }))
            }
        }
        return TransactionResult(succeeded: succeeded, results: results)
    }
}
