package import Basics
package import LogStore
package import MetadataMachine
package import MetadataModel

/// The other members as a data directory knows them, for a node whose log or state cannot be opened: whom to ask for what
/// is damaged, and whether there is anybody.
package enum KnownMembers {
    /// - Parameters:
    ///   - committed: what the state and the newest snapshot say, where they can be read.
    ///   - configurations: those of the log that can be read. One after the newest committed membership may yet be taken
    ///     back, so it adds members and takes none away.
    package static func others(
        than node: NodeID, founding: FoundingRecord, committed: [StoredMembership?],
        configurations: [ConfigurationEntry]
    ) -> [Member] {
        var base = StoredMembership(index: founding.membershipIndex, membership: founding.membership)
        for found in committed.compactMap({ $0 }) where found.index > base.index { base = found }
        var members = base.membership.members
        for entry in configurations where entry.index > base.index {
            guard let membership = try? Membership(decoding: entry.payload.rawSpan) else { continue }
            // The later one knows where they are now.
            members.removeAll { membership.member($0.id) != nil }
            members += membership.members
        }
        return members.filter { $0.id != node }
    }
}
