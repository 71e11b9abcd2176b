internal import Basics
internal import RegistryMachine
internal import RegistryModel

/// The rows of a registry, all that they have ever been.
final class RegistryHistory: RegistryRows {
    private struct Version {
        var revision: LogIndex
        /// Nil: the row is gone.
        var value: [UInt8]?
    }

    /// Of all rows that there ever were, in order.
    private var keys: [[UInt8]] = []
    private var versions: [[UInt8]: [Version]] = [:]
    /// Of each revision that set any row, what it left of each; in the order of revisions.
    private(set) var changes: [(revision: LogIndex, rows: [[UInt8]: [UInt8]?])] = []
    /// Of what is set from here on.
    var revision = LogIndex.zero

    // MARK: Now

    func row(at key: [UInt8]) -> [UInt8]? { versions[key]?.last?.value }

    func scan(_ prefix: [UInt8], _ body: (_ key: [UInt8], _ value: [UInt8]) throws -> Bool) throws {
        var place = place(of: prefix)
        while place < keys.count, keys[place].starts(with: prefix) {
            if let value = row(at: keys[place]), try !body(keys[place], value) { return }
            place += 1
        }
    }

    func set(_ key: [UInt8], to value: [UInt8]?) {
        if versions[key] == nil { keys.insert(key, at: place(of: key)) }
        versions[key, default: []].append(Version(revision: revision, value: value))
        if changes.last?.revision != revision { changes.append((revision, [:])) }
        changes[changes.count - 1].rows[key] = .some(value)
    }

    /// The first that is not before `key`.
    private func place(of key: [UInt8]) -> Int {
        var (low, high) = (0, keys.count)
        while low < high {
            let middle = (low + high) / 2
            if keys[middle].lexicographicallyPrecedes(key) { low = middle + 1 } else { high = middle }
        }
        return low
    }

    /// The first row of a table.
    func firstKey(of table: RegistryTable) -> [UInt8]? {
        var place = place(of: [table.rawValue])
        while place < keys.count, keys[place].first == table.rawValue {
            if row(at: keys[place]) != nil { return keys[place] }
            place += 1
        }
        return nil
    }

    var all: [[UInt8]: [UInt8]] { versions.compactMapValues { $0.last?.value } }

    // MARK: Then

    /// All rows behind `cursor` as of `revision`, in order.
    func rows(after cursor: [UInt8], at revision: LogIndex) -> [(key: [UInt8], value: [UInt8])] {
        keys[place(of: cursor)...].compactMap { key in
            guard key != cursor, let value = versions[key]?.last(where: { $0.revision <= revision })?.value else {
                return nil
            }
            return (key, value)
        }
    }

    /// The next revision after `revision` that set any row.
    func change(after revision: LogIndex) -> (revision: LogIndex, rows: [[UInt8]: [UInt8]?])? {
        var (low, high) = (0, changes.count)
        while low < high {
            let middle = (low + high) / 2
            if changes[middle].revision <= revision { low = middle + 1 } else { high = middle }
        }
        return low < changes.count ? changes[low] : nil
    }
}
