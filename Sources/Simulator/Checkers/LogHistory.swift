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

    /// By index, from 1; of each, one for each term in which somebody wrote it.
    private var entries: [[Known]] = []

    package init() {}

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
        let place = Int(index.rawValue) - 1
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
