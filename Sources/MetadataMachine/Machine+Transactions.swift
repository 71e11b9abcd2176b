internal import Basics
internal import MetadataModel
internal import StateEngine

/// Transactions: compare, choose a branch, do all of it at one revision.
extension Machine {
    /// - Returns: the branch taken; nil when the transaction is refused, which changes nothing.
    func applyTransaction(_ transaction: Transaction, _ entry: Entry) throws -> Bool? {
        let succeeded: Bool
        let notedBefore = before.rows.count
        let plan: BranchPlan
        let branch: [Transaction.Operation]
        do {
            succeeded = try holds(transaction.comparisons)
            branch = succeeded ? transaction.then : transaction.otherwise
            plan = try self.plan(branch)
            let owned = branch.count { if case .putOwned = $0 { true } else { false } }
            if owned > 0, let refusal = try refusalToOwn(owned, entry) { throw refusal }
            if !history.isEmpty { try noteBefore(branch, plan) }
        } catch let refusal as ReplyError {
            before.cut(to: notedBefore)
            refuse(refusal, entry)
            return nil
        }
        var deletions = plan.deletedKeys.makeIterator()
        for operation in branch {
            switch operation {
            case .put(let key, let value): try put(key.rawSpan, value.rawSpan, entry)
            case .putOwned(let key, let value): try putOwned(key.rawSpan, value.rawSpan, entry)
            case .delete(let key): try delete(key.rawSpan, entry)
            case .get: break
            case .deletePrefix: for key in deletions.next() ?? [] { try delete(key.rawSpan, entry) }
            }
        }
        let deletedKeys = plan.deletedKeys.flatMap { $0 }
        outcome.add(Effect(form: succeeded ? .then : .otherwise, deletedKeys: deletedKeys), at: entry.index)
        Reply.writeSuccess(revision: entry.index, into: &replies)
        TransactionResult(succeeded: succeeded, results: plan.results).encode(into: &replies)
        return succeeded
    }

    /// Notes what the branch will replace. Throws `ReplyError` when that is too much, or `EngineError`.
    private func noteBefore(_ branch: [Transaction.Operation], _ plan: BranchPlan) throws {
        var keys: [[UInt8]] = []
        for operation in branch {
            switch operation {
            case .put(let key, _), .putOwned(let key, _), .delete(let key): keys.append(key)
            case .get, .deletePrefix: break
            }
        }
        for key in keys + plan.deletedKeys.joined() where try !keepsBefore(key.rawSpan) { throw Self.historyRefusal }
    }

    /// What a branch comes to. Made before anything is staged, so that a refusal leaves nothing behind, and so that
    /// gets see the state that the comparisons saw.
    private struct BranchPlan {
        var results: [TransactionResult.Result] = []
        /// Of each prefix delete in order.
        var deletedKeys: [[[UInt8]]] = []
    }

    /// Throws `ReplyError` where a limit is passed, or `EngineError`.
    private func plan(_ branch: [Transaction.Operation]) throws -> BranchPlan {
        var plan = BranchPlan()
        // What the operations so far made of a key, where they named or deleted it: is there a row?
        var isThere: [[UInt8]: Bool] = [:]
        var putKeys: [[UInt8]] = []
        var rowsLookedAt = 0
        var rowsRead = 0
        var sizeRead = 0
        for operation in branch {
            switch operation {
            case .put(let key, _), .putOwned(let key, _):
                isThere[key] = true
                putKeys.append(key)
                plan.results.append(.put)
            case .delete(let key):
                isThere[key] = false
                plan.results.append(.delete)
            case .get(let key):
                let row = try stored(key.rawSpan).map { try Row.decode($0.rawSpan) }
                if let row {
                    rowsRead += 1
                    sizeRead += row.value.count
                }
                // A single row fits a reply whatever its size.
                guard sizeRead <= Limits.transactionReadSizeMax || rowsRead == 1 else {
                    throw Self.tooLarge("a transaction that reads more bytes", Limits.transactionReadSizeMax)
                }
                plan.results.append(.get(row))
            case .deletePrefix(let prefix):
                let room = Limits.rangeDeleteRowsMax - rowsLookedAt
                let found = try keys(in: .prefix(prefix), countMax: room + 1)
                rowsLookedAt += found.count
                guard found.count <= room else {
                    throw Self.tooLarge("a transaction that deletes more rows", Limits.rangeDeleteRowsMax)
                }
                var gone = found.filter { isThere[$0] != false }
                for key in gone { isThere[key] = false }
                for key in putKeys where key.starts(with: prefix) && isThere[key] == true {
                    isThere[key] = false
                    gone.append(key)
                }
                plan.results.append(.deletePrefix(rowCount: UInt32(gone.count)))
                plan.deletedKeys.append(gone)
            }
        }
        return plan
    }

    /// Throws `ReplyError` where the comparisons cannot be decided, or `EngineError`.
    private func holds(_ comparisons: [Transaction.Comparison]) throws -> Bool {
        var rowsLeft = Limits.comparisonRowsMax
        for comparison in comparisons {
            guard try holds(comparison, rowsLeft: &rowsLeft) else { return false }
        }
        return true
    }

    private func holds(_ comparison: Transaction.Comparison, rowsLeft: inout Int) throws -> Bool {
        switch comparison {
        case .revision(let key, let expected): return try revision(of: key.rawSpan) == expected
        case .value(let key, let expected):
            guard let stored = try stored(key.rawSpan) else { return false }
            return try Row.value(stored.rawSpan).hasSameBytes(as: expected.rawSpan)
        case .exists(let key, let expected): return (try stored(key.rawSpan) != nil) == expected
        case .unchanged(let prefix, let since):
            let oldest = oldestKnown
            guard since >= oldest else {
                throw ReplyError(
                    .compacted, "deletes before revision \(oldest) are no longer known", currentRevision: oldest)
            }
            for table in [Keyspace.rowTable, Keyspace.tombstoneTable]
            where try changed(in: Row.range(of: .prefix(prefix), in: table), after: since, &rowsLeft) {
                return false
            }
            return true
        }
    }

    private func changed(in range: KeyRange, after since: LogIndex, _ rowsLeft: inout Int) throws -> Bool {
        var isChanged = false
        var left = rowsLeft
        try stage.scan(from: range.from, to: range.to, reversed: false) { (_, value) throws(EngineError) in
            left -= 1
            guard left >= 0 else { return .stop }
            isChanged = try Row.revision(value) > since
            return isChanged ? .stop : .next
        }
        rowsLeft = left
        guard left >= 0 else {
            throw Self.tooLarge("a transaction whose comparisons look at more rows", Limits.comparisonRowsMax)
        }
        return isChanged
    }

    private static func tooLarge(_ what: String, _ limit: Int) -> ReplyError {
        ReplyError(.tooLarge, "\(what) than \(limit)", limit: UInt64(limit))
    }
}
