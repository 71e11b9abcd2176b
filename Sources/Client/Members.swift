internal import Basics
internal import MetadataModel
internal import Wire

/// What became of a change of the members.
public struct MembersChanged: Hashable, Sendable {
    /// The revision from which on it holds.
    public var revision: UInt64
    /// The incarnation of the member that was added, promoted, removed or moved, or that leads now.
    public var member: UInt64
    public var leaderName: String?
}

/// Who the members are. Each call is carried out by the leader, one at a time, and answered when it is committed. One
/// that ends in `unknown` may have taken place: ask for the members before doing it again.
extension MetadataClient {
    /// Makes the node that waits at `peerAddress` a learner: it is told everything and does not vote.
    /// - Parameter replacing: a member whose name and address the new one may have; see `exchangeMember`.
    @discardableResult
    public func addMember(
        _ name: String, peerAddress: String, replacing: String? = nil, timeout: Duration? = nil
    ) async throws(ClientError) -> MembersChanged {
        try await change(.add(name: name, peerAddress: peerAddress, replacing: replacing), timeout)
    }

    /// Makes a learner that has caught up a voter.
    @discardableResult
    public func promoteMember(_ name: String, timeout: Duration? = nil) async throws(ClientError) -> MembersChanged {
        try await change(.promote(name: name), timeout)
    }

    @discardableResult
    public func removeMember(_ name: String, timeout: Duration? = nil) async throws(ClientError) -> MembersChanged {
        try await change(.remove(name: name), timeout)
    }

    /// A learner that has caught up takes the place of a voter, in one step.
    @discardableResult
    public func exchangeMember(
        _ old: String, for new: String, timeout: Duration? = nil
    ) async throws(ClientError) -> MembersChanged {
        try await change(.exchange(old: old, new: new), timeout)
    }

    /// From now on the others look for this member at another address.
    @discardableResult
    public func updateMember(
        _ name: String, peerAddress: String, timeout: Duration? = nil
    ) async throws(ClientError) -> MembersChanged {
        try await change(.update(name: name, peerAddress: peerAddress), timeout)
    }

    /// Hands leadership to `name`, or to whichever other voter is most up to date.
    @discardableResult
    public func transferLeadership(
        to name: String? = nil, timeout: Duration? = nil
    ) async throws(ClientError) -> MembersChanged {
        try await change(.transfer(name: name), timeout)
    }

    /// What a member is called while a new node of the same name is to take its place.
    public static func nameOfReplaced(_ name: String) -> String { MemberChange.oldName(of: name) }

    private func change(_ change: MemberChange, _ timeout: Duration?) async throws(ClientError) -> MembersChanged {
        let reply = try await changeMembers(change, timeout: timeout)
        return MembersChanged(
            revision: reply.revision.rawValue, member: reply.node.rawValue, leaderName: reply.leader?.name)
    }
}
