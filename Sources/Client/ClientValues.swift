internal import Basics
internal import MetadataModel

/// A row of the keyspace.
public struct KeyValue: Hashable, Sendable {
    public var key: [UInt8]
    /// Empty in a listing of keys only.
    public var value: [UInt8]
    /// The revision of the change that wrote it.
    public var revision: UInt64
    /// The session that the row goes with. Nil in the results of a transaction, which do not tell.
    public var owner: String?

    public init(key: [UInt8], value: [UInt8], revision: UInt64, owner: String? = nil) {
        self.key = key
        self.value = value
        self.revision = revision
        self.owner = owner
    }
}

/// How fresh a read must be.
public enum ReadLevel: String, Hashable, Sendable, CaseIterable {
    /// Sees every write acknowledged before the read began, by whomever.
    case linearizable
    /// Sees a state that existed, never older than what this client has seen; any node answers at once.
    case stale
}

/// If every condition holds, `then` happens, else `otherwise`: all at one revision, and nobody sees a part of it.
public struct MetadataTransaction: Hashable, Sendable {
    public enum Condition: Hashable, Sendable {
        /// The row has this revision; 0: there is no such row.
        case revision(key: [UInt8], UInt64)
        case value(key: [UInt8], [UInt8])
        case exists(key: [UInt8], Bool)
        /// No key with this prefix was put or deleted after the revision.
        case unchanged(prefix: [UInt8], since: UInt64)
    }

    public enum Operation: Hashable, Sendable {
        case put(key: [UInt8], value: [UInt8])
        case delete(key: [UInt8])
        case deletePrefix([UInt8])
        /// Reads the state that the conditions were checked against.
        case get(key: [UInt8])
        /// As `put`, and the row goes with the client's session; not in a one-shot call.
        case putOwned(key: [UInt8], value: [UInt8])
    }

    public enum Result: Hashable, Sendable {
        case put
        case deleted
        case deletedPrefix(count: UInt64)
        case row(KeyValue?)
    }

    /// What became of it.
    public struct Outcome: Hashable, Sendable {
        /// The conditions held.
        public var succeeded: Bool
        public var revision: UInt64
        /// One for each operation of the branch taken.
        public var results: [Result]

        public init(succeeded: Bool, revision: UInt64, results: [Result]) {
            self.succeeded = succeeded
            self.revision = revision
            self.results = results
        }
    }

    public var conditions: [Condition]
    public var then: [Operation]
    public var otherwise: [Operation]

    public init(if conditions: [Condition] = [], then: [Operation], otherwise: [Operation] = []) {
        self.conditions = conditions
        self.then = then
        self.otherwise = otherwise
    }
}

/// What a range delete did.
public struct DeletedRange: Hashable, Sendable {
    public var revision: UInt64
    public var count: UInt64
    /// More rows are left, because of the limit that was given.
    public var hasMore: Bool

    public init(revision: UInt64, count: UInt64, hasMore: Bool) {
        self.revision = revision
        self.count = count
        self.hasMore = hasMore
    }
}

/// What a holder of this client's session may count on.
public enum SessionState: String, Hashable, Sendable {
    /// The cluster has heard of the session lately.
    case connected
    /// At risk: stop acting on what the session protects until it is connected again.
    case suspended
    /// Over. The next mutation opens a new session.
    case lost
}

extension MetadataTransaction {
    var model: Transaction {
        Transaction(
            comparisons: conditions.map { condition in
                switch condition {
                case .revision(let key, let revision): .revision(key: key, equals: LogIndex(revision))
                case .value(let key, let value): .value(key: key, equals: value)
                case .exists(let key, let exists): .exists(key: key, exists)
                case .unchanged(let prefix, let since): .unchanged(prefix: prefix, since: LogIndex(since))
                }
            }, then: then.map(\.model), otherwise: otherwise.map(\.model))
    }

    /// The keys of the gets among the operations of a branch, for the results.
    func outcome(_ result: TransactionResult, revision: UInt64) -> Outcome {
        let branch = result.succeeded ? then : otherwise
        let results = zip(branch, result.results).map { operation, result -> Result in
            switch result {
            case .put: .put
            case .delete: .deleted
            case .deletePrefix(let count): .deletedPrefix(count: UInt64(count))
            case .get(let row):
                .row(row.map { KeyValue(key: operation.key, value: $0.value, revision: $0.revision.rawValue) })
            }
        }
        return Outcome(succeeded: result.succeeded, revision: revision, results: results)
    }
}

extension MetadataTransaction.Operation {
    var model: Transaction.Operation {
        switch self {
        case .put(let key, let value): .put(key: key, value: value)
        case .delete(let key): .delete(key: key)
        case .deletePrefix(let prefix): .deletePrefix(prefix)
        case .get(let key): .get(key: key)
        case .putOwned(let key, let value): .putOwned(key: key, value: value)
        }
    }

    var key: [UInt8] {
        switch self {
        case .put(let key, _), .putOwned(let key, _), .delete(let key), .get(let key): key
        case .deletePrefix(let prefix): prefix
        }
    }
}
