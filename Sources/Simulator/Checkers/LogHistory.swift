package import Basics
package import LogFormat

/// Log Matching (Raft §5.3), kept outside the nodes: whoever has ever written an entry of this index and term wrote these
/// bytes, behind an entry of this term. Where both hold for every entry, two logs that share an entry share all before it.
package struct LogHistory {
    private struct Known {
        var term: Term
        var checksum: UInt32
        /// Of the entry before it, as far as somebody knew it.
        var previous: Term?
    }

    /// By index, from that after `base`; of each, one for each term in which somebody wrote it.
    private var entries: [[Known]] = []
    private let base: LogIndex

    /// - Parameter base: where the logs begin: far from zero when the cluster has been restored from a snapshot.
    package init(after base: LogIndex = .zero) { self.base = base }

    /// `slab` was written behind an entry of the term `previous`; nil where that is not known any more.
    /// - Returns: what is wrong.
    package mutating func written(_ slab: Slab, after previous: Term?) -> String? {
        var previous = previous
        for position in 0..<slab.count {
            let index = slab.firstIndex + position
            let checksum = CRC32C.checksum(of: slab.records(in: index...index))
            if let violation = note(Known(term: slab.term, checksum: checksum, previous: previous), at: index) {
                return violation
            }
            previous = slab.term
        }
        return nil
    }

    private mutating func note(_ entry: Known, at index: LogIndex) -> String? {
        guard index > base else { return "entry \(entry.term)/\(index) is written, and the logs begin after \(base)" }
        let place = index.distance(after: base) - 1
        while entries.count <= place { entries.append([]) }
        guard let known = entries[place].firstIndex(where: { $0.term == entry.term }) else {
            entries[place].append(entry)
            return nil
        }
        guard entries[place][known].checksum == entry.checksum else {
            return "entry \(entry.term)/\(index) has two contents"
        }
        guard let before = entries[place][known].previous, let other = entry.previous else {
            entries[place][known].previous = entries[place][known].previous ?? entry.previous
            return nil
        }
        return before == other ? nil : "entry \(entry.term)/\(index) follows one of term \(before) and one of term \(other)"
    }
}
