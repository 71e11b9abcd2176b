/// Identity of one member: the random incarnation that its data directory carries.
///
/// A node's name is for people; its incarnation is what votes. A node that lost its directory comes back under the same
/// name with a new incarnation, so it can never vote a second time in a term in which it has forgotten its vote.
/// 0 is nobody.
package struct NodeID: Hashable, Comparable, Sendable, CustomStringConvertible {
    package var rawValue: UInt64

    @inlinable package init(_ rawValue: UInt64) { self.rawValue = rawValue }

    @inlinable package static func < (left: NodeID, right: NodeID) -> Bool { left.rawValue < right.rawValue }

    /// 16 hexadecimal digits, or the plain number for the small ones that tests use.
    package var description: String {
        if rawValue < 1000 { return "n\(rawValue)" }
        let digits = String(rawValue, radix: 16)
        return String(repeating: "0", count: 16 - digits.count) + digits
    }
}

/// Which cluster this is. `id` is drawn once, at `init`; `generation` rises with each restore or forced recovery, and
/// `generationTag` tells two restores of one file into different member lists apart.
/// Peers and clients of another identity are foreign: they are refused before anything else is read.
package struct ClusterIdentity: Hashable, Sendable, CustomStringConvertible {
    package var id: UInt64
    package var generation: UInt64
    package var generationTag: UInt64

    package init(id: UInt64, generation: UInt64, generationTag: UInt64) {
        self.id = id
        self.generation = generation
        self.generationTag = generationTag
    }

    /// Mixed into every log record's checksum position: a record of another cluster or generation does not verify.
    package var salt: UInt32 {
        var mixer = SplitMix64(seed: id ^ generation &* 0x9E37_79B9_7F4A_7C15 ^ generationTag)
        return UInt32(truncatingIfNeeded: mixer.next())
    }

    package var description: String { "\(String(id, radix: 16)).\(generation)" }
}
