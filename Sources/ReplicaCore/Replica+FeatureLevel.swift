internal import Basics
internal import MetadataModel
internal import RaftCore
internal import Wire

/// What the members together understand: the leader raises the cluster's feature level to it, and logs nothing above the
/// level that is in force, so that no member finds in its log what it does not know.
extension Replica {
    mutating func noteFeatureLevel(_ level: UInt32) {
        guard level != featureLevel else { return }
        featureLevel = level
        effects.notices.append(.featureLevel(level))
    }

    /// With every report: once all members are there and know a higher level, it is logged.
    mutating func raiseFeatureLevel() {
        guard raft.canPropose, isLevelKnown else { return }
        let level = membership.members.map { knownLevel(of: $0.id) ?? 0 }.min() ?? 0
        guard level > max(featureLevel, raisedTo) else { return }
        raisedTo = level
        log(.featureLevel(level))
    }

    /// What the member has just reported; nil of one that is away, or has only now come: it may be back with another
    /// release than it had.
    private func knownLevel(of member: NodeID) -> UInt32? {
        guard member != id else { return settings.featureLevel }
        guard let position = links.position(of: member), let reportedAt = links[position].reportedAt,
            now - reportedAt <= settings.reportInterval * 3
        else { return nil }
        return links[position].report?.featureLevel
    }

    /// Everything that earlier leaders have committed is applied: the level in force is that of the state.
    private var isLevelKnown: Bool { raft.term(at: appliedIndex) == raft.currentTerm }

    private var hasJustBegunToLead: ReplyError {
        ReplyError(.unavailable, "\(settings.name) has just begun to lead", retryAfter: settings.raft.heartbeatInterval)
    }

    /// Why the leader does not log a command that needs `level`.
    func refusal(ofLevel level: UInt32) -> ReplyError? {
        guard level > featureLevel else { return nil }
        guard isLevelKnown else { return hasJustBegunToLead }
        let text = "this needs feature level \(level), and the cluster is at \(featureLevel)"
        let behind = membership.members.filter { knownLevel(of: $0.id) ?? 0 < level }
        guard !behind.isEmpty else {
            return ReplyError(
                .featureLevel, "\(text): all members know it, and it is being raised. Ask again in a moment",
                limit: UInt64(featureLevel), retryAfter: settings.reportInterval)
        }
        let names = behind.map { member in
            let info = memberInfo[member.id]
            if let info, info.featureLevel < level || member.id == id {
                return "\(member.name) runs \(info.version), which knows \(info.featureLevel): upgrade it"
            }
            let lack = info == nil ? "has not told yet what it knows" : "does not answer, and is waited for"
            return "\(member.name) \(lack): if it is gone for good, remove it"
        }
        return ReplyError(.featureLevel, "\(text): \(names.joined(separator: "; "))", limit: UInt64(featureLevel))
    }

    /// Why a node cannot become a member whose release knows `level` and no more.
    func refusal(ofMember name: String, knowing level: UInt32) -> ReplyError? {
        // The cluster cannot be at a level that its leader does not know.
        guard level < settings.featureLevel else { return nil }
        guard isLevelKnown else { return hasJustBegunToLead }
        let needed = max(featureLevel, raisedTo)
        guard level < needed else { return nil }
        return ReplyError(
            .featureLevel,
            "the cluster is at feature level \(needed), and the release that \(name) runs knows \(level): start it with a "
                + "newer release, then run this again", limit: UInt64(needed))
    }
}
