internal import RegistryModel

/// A row as it is to be.
struct RegistryWrite {
    var key: [UInt8]
    /// Nil: it is deleted.
    var value: [UInt8]?

    init(_ key: [UInt8], _ value: [UInt8]?) {
        self.key = key
        self.value = value
    }
}

/// A value as it was before the command, and as it is by now; nil: there is none.
struct Altered<Value> {
    let before: Value?
    var now: Value?
}

/// What a command has made of rows so far.
///
/// The rows of agents are made of their heads and ledgers once, at the command's end, for it may change an agent many
/// times: `rows` has none of them.
struct RegistryChanges {
    /// Nil: deleted.
    var rows: [[UInt8]: [UInt8]?] = [:]
    var heads: [RegistryID: Altered<AgentHead>] = [:]
    var ledgers: [RegistryID: Altered<Ledger>] = [:]

    mutating func merge(_ later: RegistryChanges) {
        rows.merge(later.rows) { $1 }
        heads.merge(later.heads) { Altered(before: $0.before, now: $1.now) }
        ledgers.merge(later.ledgers) { Altered(before: $0.before, now: $1.now) }
    }

    func checkInvariants() {
        for head in heads.values { head.now?.checkInvariants() }
        for (id, ledger) in ledgers {
            guard let head = heads[id]?.now, let ledger = ledger.now else { continue }
            AgentBook(head: head, ledger: ledger).checkInvariants()
        }
    }

    /// What is to be written, in the order of keys, of which each is there once.
    var writes: [RegistryWrite] {
        var stated = rows.map { (row: RegistryWrite($0.key, $0.value), isFormer: false) }
        for head in heads.values {
            stated += (head.before?.rows ?? []).map { (row: $0, isFormer: true) }
            stated += (head.now?.rows ?? []).map { (row: $0, isFormer: false) }
        }
        for (id, ledger) in ledgers {
            let (before, now) = (ledger.before ?? Ledger(), ledger.now ?? Ledger())
            stated += before.rows(of: id, without: now).map { (row: $0, isFormer: true) }
            stated += now.rows(of: id, without: before).map { (row: $0, isFormer: false) }
        }
        stated.sort {
            $0.row.key == $1.row.key ? $0.isFormer && !$1.isFormer : $0.row.key.lexicographicallyPrecedes($1.row.key)
        }
        var writes: [RegistryWrite] = []
        var former: RegistryWrite?
        for (row, isFormer) in stated {
            if let gone = former, gone.key != row.key {
                writes.append(RegistryWrite(gone.key, nil))
                former = nil
            }
            guard !isFormer else {
                former = row
                continue
            }
            if former?.value != row.value || former == nil { writes.append(row) }
            former = nil
        }
        if let former { writes.append(RegistryWrite(former.key, nil)) }
        return writes
    }
}
