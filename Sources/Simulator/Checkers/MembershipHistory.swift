internal import Basics
internal import MetadataModel
internal import Wire

/// Every configuration that was committed, in order, kept outside the nodes. Each must follow from the one before it by
/// a single legal step: a learner or an address changes, or one voter comes, goes or both by way of a joint configuration.
struct MembershipHistory {
    struct Change {
        /// 0: the founding.
        var index: LogIndex
        var membership: Membership
        /// When the first node applied it.
        var appliedAt: Instant

        var isJoint: Bool { !membership.outgoing.isEmpty }
    }

    private(set) var changes: [Change]

    init(founding: Membership) {
        changes = [Change(index: .zero, membership: founding, appliedAt: .zero)]
    }

    var newest: Change { changes[changes.count - 1] }

    /// In force for the entry at `index` itself, as far as it was committed.
    func committed(at index: LogIndex) -> Change { changes.last { $0.index <= index } ?? changes[0] }

    mutating func append(_ membership: Membership, at index: LogIndex, now: Instant) -> String? {
        let before = newest.membership
        changes.append(Change(index: index, membership: membership, appliedAt: now))
        guard Self.isStep(from: before, to: membership) else {
            return "the members of \(index) do not follow from those before: \(before), \(membership)"
        }
        return nil
    }

    private static func isStep(from before: Membership, to next: Membership) -> Bool {
        let listed = Set(next.incoming + next.outgoing + next.learners)
        guard listed == Set(next.members.map(\.id)), !next.incoming.isEmpty else { return false }
        if !before.outgoing.isEmpty {
            return next.outgoing.isEmpty && next.incoming == before.incoming && next.learners == before.learners
        }
        if !next.outgoing.isEmpty {
            let coming = Set(next.incoming).subtracting(before.incoming)
            let going = Set(before.incoming).subtracting(next.incoming)
            return next.outgoing == before.incoming && coming.count <= 1 && going.count <= 1
                && coming.count + going.count > 0 && coming.isSubset(of: before.learners)
        }
        return next.incoming == before.incoming
            && Set(next.learners).symmetricDifference(before.learners).count <= 1
    }

    // MARK: - What was asked for

    /// What each settled configuration changed, as somebody must have asked for it; nil where nobody can have.
    var effects: [(at: LogIndex, appliedAt: Instant, change: MemberChange?)] {
        let settled = changes.filter { !$0.isJoint }
        return zip(settled, settled.dropFirst()).map {
            ($1.index, $1.appliedAt, Self.difference($0.membership, $1.membership))
        }
    }

    /// The change that leads from one to the other; of an addition, nothing is said of whom it is to replace.
    private static func difference(_ before: Membership, _ next: Membership) -> MemberChange? {
        let added = next.members.filter { before.member($0.id) == nil }
        let removed = before.members.filter { next.member($0.id) == nil }
        let voting = next.incoming.filter { !before.incoming.contains($0) }.compactMap { next.member($0) }
        let moved = next.members.filter { member in
            before.member(member.id).map { $0.peerAddress != member.peerAddress } ?? false
        }
        switch (added.count, removed.count, voting.count, moved.count) {
        case (1, 0, 0, 0): return .add(name: added[0].name, peerAddress: added[0].peerAddress, replacing: nil)
        case (0, 1, 0, 0): return .remove(name: removed[0].name)
        case (0, 1, 1, 0): return .exchange(old: removed[0].name, new: voting[0].name)
        case (0, 0, 1, 0): return .promote(name: voting[0].name)
        case (0, 0, 0, 0): return .nothing
        case (0, 0, 0, 1): return .update(name: moved[0].name, peerAddress: moved[0].peerAddress)
        default: return nil
        }
    }
}
