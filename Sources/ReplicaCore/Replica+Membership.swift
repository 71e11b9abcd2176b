package import Basics
package import MetadataModel
internal import RaftCore
internal import Wire

/// Who the members are, as operators change it and as it happens to this node.
///
/// The leader carries out one change at a time and answers when it is committed; a change of voters goes through a joint
/// configuration, and its answer waits for the end of that. A node learns of its own removal from its log, or from a
/// member that refuses it: nobody sends anything to one who is no member.
extension Replica {
    // MARK: - Being asked

    mutating func changeMembers(_ change: MemberChange, slot: ConnectionSlot, requestID: UInt64) {
        do throws(ReplyError) {
            guard !isStopping else { throw ReplyError(.shuttingDown, "this node is stopping: ask another one") }
            guard raft.isLeader else { throw notLeaderError }
            try checkThatNothingIsUnderWay()
            try carryOut(change, slot: slot, requestID: requestID)
        } catch {
            answer(slot, requestID, .changeMembers, error: error)
        }
    }

    private func checkThatNothingIsUnderWay() throws(ReplyError) {
        guard members.waiting == nil, !raft.configuration.isJoint, raft.configurationIndex <= raft.commitIndex,
            !raft.isTransferring
        else {
            throw ReplyError(.changeUnderWay, retryAfter: .milliseconds(200))
        }
        guard raft.canProposeConfiguration else {
            throw ReplyError(
                .unavailable, "\(settings.name) has not led long enough to change the members",
                retryAfter: settings.raft.heartbeatInterval)
        }
    }

    private mutating func carryOut(
        _ change: MemberChange, slot: ConnectionSlot, requestID: UInt64
    ) throws(ReplyError) {
        switch change {
        case .add(let name, let address, let replacing):
            let wanted = MemberWork.MemberToAdd(name: name, peerAddress: address, replacing: replacing)
            _ = try membership(adding: wanted, id: nil)
            members.lastProbe += 1
            effects.probes.append(MemberProbe(token: members.lastProbe, address: address))
            wait(slot, requestID, for: NodeID(0), .probing(token: members.lastProbe, wanted))
        case .promote(let name):
            let member = try known(name)
            guard membership.learners.contains(member.id) else {
                throw ReplyError(.invalidRequest, "\(name) votes already")
            }
            try checkThatItHasCaughtUp(member)
            var next = membership
            next.outgoing = membership.incoming
            next.incoming = (membership.incoming + [member.id]).sorted()
            next.learners.removeAll { $0 == member.id }
            guard next.incoming.count <= MemberWork.votersMax else {
                throw ReplyError(.tooLarge, "a cluster has at most \(MemberWork.votersMax) voters", limit: 9)
            }
            try propose(next, about: member, slot, requestID)
        case .remove(let name):
            let member = try known(name)
            try propose(try membership(removing: member), about: member, slot, requestID)
        case .exchange(let oldName, let newName):
            let (old, new) = (try known(oldName), try known(newName))
            guard membership.learners.contains(new.id) else {
                throw ReplyError(.invalidRequest, "\(newName) votes already: it takes nobody's place")
            }
            try checkThatItHasCaughtUp(new)
            var next = membership
            next.learners.removeAll { $0 == new.id || $0 == old.id }
            next.incoming.removeAll { $0 == old.id }
            next.incoming = (next.incoming + [new.id]).sorted()
            next.outgoing = membership.incoming
            try checkQuorum(of: next.incoming, without: old)
            try propose(next, about: new, slot, requestID)
        case .update(let name, let address):
            let member = try known(name)
            try check(address: address, isFreeFor: member.id)
            var next = membership
            for position in next.members.indices where next.members[position].id == member.id {
                next.members[position].peerAddress = address
            }
            try propose(next, about: member, slot, requestID)
        case .transfer(let name): try handOver(to: name, slot, requestID)
        }
    }

    private func known(_ name: String) throws(ReplyError) -> Member {
        guard let member = membership.member(named: name) else {
            let names = membership.members.map(\.name).sorted().joined(separator: ", ")
            throw ReplyError(.noSuchMember, "no member is called \(name); there are \(names)")
        }
        return member
    }

    // MARK: - What may be done

    /// - Parameter id: nil while it is not known yet.
    private func membership(
        adding wanted: MemberWork.MemberToAdd, id: NodeID?
    ) throws(ReplyError) -> Membership {
        try check(name: wanted.name)
        var next = membership
        guard next.members.count < Membership.membersMax else {
            throw ReplyError(.tooLarge, "\(next.members.count) members are the most", limit: UInt64(Membership.membersMax))
        }
        var replaced: Member?
        if let name = wanted.replacing { replaced = try known(name) }
        if let namesake = next.member(named: wanted.name) {
            guard namesake.id == replaced?.id else {
                throw ReplyError(
                    .memberExists,
                    "\(wanted.name) is a member already. If its data directory is lost, run `quorate member replace "
                        + "\(wanted.name) \(wanted.name)=\(wanted.peerAddress)`")
            }
            let aside = MemberChange.oldName(of: wanted.name)
            guard next.member(named: aside) == nil else {
                throw ReplyError(.memberExists, "\(aside) is still a member: finish or undo that replacement first")
            }
            for position in next.members.indices where next.members[position].id == namesake.id {
                next.members[position].name = aside
            }
        }
        try check(address: wanted.peerAddress, isFreeFor: replaced?.id)
        guard let id else { return next }
        guard next.member(id) == nil else {
            throw ReplyError(.memberExists, "the node at \(wanted.peerAddress) is a member already")
        }
        next.members.append(Member(id: id, name: wanted.name, peerAddress: wanted.peerAddress))
        next.members.sort { $0.id < $1.id }
        next.learners = (next.learners + [id]).sorted()
        return next
    }

    private func membership(removing member: Member) throws(ReplyError) -> Membership {
        var next = membership
        if membership.learners.contains(member.id) {
            next.learners.removeAll { $0 == member.id }
            next.members.removeAll { $0.id == member.id }
            return next
        }
        next.outgoing = membership.incoming
        next.incoming.removeAll { $0 == member.id }
        guard !next.incoming.isEmpty else {
            throw ReplyError(.quorumAtRisk, "\(member.name) is the last voter: a cluster needs one")
        }
        try checkQuorum(of: next.incoming, without: member)
        return next
    }

    private func check(name: String) throws(ReplyError) {
        let isSound =
            (1...64).contains(name.utf8.count)
            && name.utf8.allSatisfy { (0x21...0x7E).contains($0) && $0 != UInt8(ascii: "=") && $0 != UInt8(ascii: ",") }
        guard isSound else {
            throw ReplyError(
                .invalidRequest, "\"\(name)\": a name has 1 to 64 visible ASCII characters, no '=' and no ','")
        }
    }

    private func check(address: String, isFreeFor owner: NodeID?) throws(ReplyError) {
        guard let parsed = HostPort(address), parsed.port != 0, !parsed.isWildcard else {
            throw ReplyError(.invalidRequest, "\"\(address)\" is no HOST:PORT that other nodes could connect to")
        }
        for member in membership.members where member.peerAddress == address && member.id != owner {
            throw ReplyError(.memberExists, "\(address) is the peer address of \(member.name)")
        }
    }

    private func checkThatItHasCaughtUp(_ member: Member) throws(ReplyError) {
        let peer = raft.peers.first { $0.id == member.id }
        guard let peer, peer.isActive else {
            throw ReplyError(.notCaughtUp, "\(member.name) does not answer: it cannot become a voter")
        }
        // One that has just been added counts as heard, and in a young cluster nobody is far behind: only what it has
        // acknowledged itself shows that it is there. Otherwise its vote would be needed before it knows of the cluster.
        guard peer.matchIndex >= raft.configurationIndex else {
            throw ReplyError(
                .notCaughtUp, "\(member.name) has not acknowledged yet that it is a member",
                limit: UInt64(raft.lastIndex.distance(after: peer.matchIndex)), retryAfter: .milliseconds(500))
        }
        let lag = raft.lastIndex.distance(after: peer.matchIndex)
        guard lag <= MemberWork.lagMax else {
            throw ReplyError(
                .notCaughtUp, "\(member.name) is \(lag) entries behind; at \(MemberWork.lagMax) it may become a voter",
                limit: UInt64(lag), retryAfter: .milliseconds(500))
        }
    }

    /// A configuration whose majority cannot be reached would be the last thing that this leader does.
    private func checkQuorum(of voters: [NodeID], without member: Member) throws(ReplyError) {
        let peers = raft.peers
        let silent = voters.filter { voter in
            voter != id && !(peers.first { $0.id == voter }?.isActive ?? false)
        }
        guard 2 * (voters.count - silent.count) > voters.count else {
            let names = silent.map { membership.member($0)?.name ?? "\($0)" }.joined(separator: ", ")
            throw ReplyError(
                .quorumAtRisk,
                "without \(member.name) there are \(voters.count) voters, of which \(names) cannot be reached: no quorum. "
                    + "Bring them back or replace them first")
        }
    }

    // MARK: - Doing it

    private mutating func wait(
        _ slot: ConnectionSlot, _ requestID: UInt64, for node: NodeID, _ stage: MemberWork.Waiting.Stage
    ) {
        members.waiting = MemberWork.Waiting(
            slot: slot, requestID: requestID, term: raft.currentTerm, node: node, stage: stage,
            deadline: now + settings.requestTimeout)
    }

    private mutating func propose(
        _ next: Membership, about member: Member, _ slot: ConnectionSlot, _ requestID: UInt64
    ) throws(ReplyError) {
        let index = raft.lastIndex.next
        members.planned = next
        raft.step(.proposedConfiguration(next.configuration), now: now)
        drainReady()
        members.planned = nil
        wait(slot, requestID, for: member.id, .committing(index))
    }

    /// The node that is to become a member has been asked who it is.
    package mutating func probed(_ token: UInt64, _ result: MemberProbeAnswer) {
        guard let waiting = members.waiting, case .probing(token, let wanted) = waiting.stage else { return }
        members.waiting = nil
        do throws(ReplyError) {
            guard raft.isLeader, raft.currentTerm == waiting.term else { throw notLeaderError }
            try checkThatNothingIsUnderWay()
            let id = try node(that: result, answersFor: wanted)
            let next = try membership(adding: wanted, id: id)
            guard let member = next.member(id) else { return }
            try propose(next, about: member, waiting.slot, waiting.requestID)
        } catch {
            answer(waiting.slot, waiting.requestID, .changeMembers, error: error)
        }
    }

    private func node(
        that result: MemberProbeAnswer, answersFor wanted: MemberWork.MemberToAdd
    ) throws(ReplyError) -> NodeID {
        let address = wanted.peerAddress
        switch result {
        case .failed(let reason):
            throw ReplyError(
                .memberUnreachable,
                "\(address) \(reason). Start the node with `quorate serve --name \(wanted.name) --data DIR --client "
                    + "HOST:PORT --peer \(address) --join \(settings.peerAddress)`, then run this again")
        case .answered(let isEmpty, let node, let name, let level):
            guard name == wanted.name else {
                throw ReplyError(.memberUnreachable, "the node at \(address) is called \(name), not \(wanted.name)")
            }
            guard isEmpty else {
                throw ReplyError(
                    .memberUnreachable,
                    "\(name) at \(address) belongs to a cluster already: only a node with an empty data directory can "
                        + "be added")
            }
            if let refusal = refusal(ofMember: name, knowing: level) { throw refusal }
            return node
        }
    }

    private mutating func handOver(to name: String?, _ slot: ConnectionSlot, _ requestID: UInt64) throws(ReplyError) {
        var target: NodeID?
        if let name {
            let member = try known(name)
            guard !membership.learners.contains(member.id) else {
                throw ReplyError(.invalidRequest, "\(name) is a learner: promote it first")
            }
            guard member.id != id else { throw ReplyError(.invalidRequest, "\(name) leads already") }
            guard raft.peers.contains(where: { $0.id == member.id && $0.isActive }) else {
                throw ReplyError(.unavailable, "\(name) cannot be reached: \(settings.name) leads on")
            }
            target = member.id
        }
        raft.step(.transferRequested(to: target), now: now)
        guard raft.isTransferring else {
            throw ReplyError(.quorumAtRisk, "no other voter can be reached: \(settings.name) leads on")
        }
        wait(slot, requestID, for: NodeID(0), .handingOver)
        drainReady()
    }

    // MARK: - Answering

    /// At the end of each turn.
    mutating func settleMemberChange() {
        forgetFormerMembers()
        noticeRemoval()
        guard let waiting = members.waiting else { return }
        let isOver = now >= waiting.deadline
        switch waiting.stage {
        case .probing:
            guard isOver || !raft.isLeader || raft.currentTerm != waiting.term else { return }
            finish(waiting, ReplyError(.unavailable, "leadership changed, or the new node did not answer in time"))
        case .committing(let index):
            let isSettled = !raft.configuration.isJoint && raft.configurationIndex <= raft.commitIndex
            if isSettled, raft.configurationIndex >= index, raft.term(at: index) == waiting.term {
                finish(waiting, revision: raft.configurationIndex)
            } else if isOver || raft.currentTerm != waiting.term || (!raft.isLeader && !isSettled) {
                finish(waiting, ReplyError(.unknown, "the change may or may not take place: look at `quorate member list`"))
            }
        case .handingOver:
            if let leader = raft.leader, leader != id {
                var done = waiting
                done.node = leader
                finish(done, revision: appliedIndex)
            } else if raft.isLeader, !raft.isTransferring || isOver {
                finish(waiting, ReplyError(.unavailable, "nobody took over in time: \(settings.name) leads on"))
            } else if isOver {
                finish(waiting, ReplyError(.unknown, "\(settings.name) leads no longer, and nobody is known to lead yet"))
            }
        }
    }

    private mutating func finish(_ waiting: MemberWork.Waiting, _ error: ReplyError) {
        members.waiting = nil
        answer(waiting.slot, waiting.requestID, .changeMembers, error: error)
    }

    private mutating func finish(_ waiting: MemberWork.Waiting, revision: LogIndex) {
        members.waiting = nil
        let reply = MemberChangeReply(revision: revision, node: waiting.node, leader: leaderHint)
        answer(waiting.slot, waiting.requestID, .membersChanged(reply))
    }

    // MARK: - Who is spoken with

    /// The other members, and those who showed that they know of a later configuration than this node's log.
    package var linkedMembers: [Member] {
        guard members.removal == nil else { return [] }
        // News first: where the log is behind it may name an address that its owner has left since.
        var linked = members.contacts.filter { $0.index > raft.configurationIndex }.map(\.member)
        // Whoever a change leaves out is heard until it is committed: a leader that goes has to learn that it may.
        let former = membershipHistory.flatMap(\.membership.members)
        for member in membership.members + former + members.contacts.map(\.member)
        where !linked.contains(where: { $0.id == member.id }) {
            linked.append(member)
        }
        return linked.filter { $0.id != id }
    }

    /// The newest configuration that this node knows to be committed: its log may have to catch up with what it was given.
    /// One that may still be taken back does not count, or a leader of old with a change that came to nothing would seem
    /// to know more than those who went on without it.
    package var knownConfigurationIndex: LogIndex { max(raft.committedConfigurationIndex, members.joinedAt) }

    /// The members as they are committed; nil while a change is under way.
    package var settledMembership: (index: LogIndex, membership: Membership)? {
        guard raft.configurationIndex <= raft.commitIndex, !raft.configuration.isJoint else { return nil }
        return (raft.configurationIndex, membership)
    }

    /// What this node goes by when it is greeted, and whether it can tell who was removed: one that was removed itself does
    /// not know what has happened since.
    package var configurationToGreetWith: (index: LogIndex, tellsOfRemoval: Bool) {
        (knownConfigurationIndex, !isRemoved && raft.committedConfigurationIndex >= members.joinedAt)
    }

    /// Whether a node of this very cluster is to be heard: it is a member, or it speaks from a later configuration, which
    /// the log will bring. Without this a node that was away while the others were replaced, or moved, could never be told
    /// of it: it would not hear them, or answer where nobody is any more.
    package mutating func meet(_ member: Member, configurationIndex: LogIndex) -> Bool {
        guard members.removal == nil else { return false }
        let known = linkedMembers.first { $0.id == member.id }
        if let known, known.peerAddress == member.peerAddress || configurationIndex <= knownConfigurationIndex {
            return true
        }
        return learn(of: member, configurationIndex: configurationIndex) || known != nil
    }

    private mutating func learn(of member: Member, configurationIndex: LogIndex) -> Bool {
        guard configurationIndex > knownConfigurationIndex || isContact(member.id),
            members.contacts.count < MemberWork.contactsMax
        else { return false }
        members.contacts.removeAll { $0.member.id == member.id }
        members.contacts.append(MemberWork.Contact(member: member, index: configurationIndex))
        linkToMembers()
        return true
    }

    private func isContact(_ node: NodeID) -> Bool { members.contacts.contains { $0.member.id == node } }

    private mutating func forgetFormerMembers() {
        guard membershipHistory.count > 1, membershipHistory[1].index <= raft.commitIndex else { return }
        pruneMembershipHistory()
        linkToMembers()
    }

    /// Only the newest at or below what is committed can still be fallen back to.
    mutating func pruneMembershipHistory() {
        while membershipHistory.count > 1, membershipHistory[1].index <= raft.commitIndex {
            membershipHistory.removeFirst()
        }
    }

    mutating func linkToMembers() {
        let reached = raft.committedConfigurationIndex
        members.contacts.removeAll { $0.index <= reached }
        links.setMembers(linkedMembers.map(\.id))
        effects.notices.append(.membershipChanged)
    }

    // MARK: - Being removed

    /// The log says so: a committed configuration leaves this node out that once took part.
    private mutating func noticeRemoval() {
        guard members.removal == nil, raft.configurationIndex <= raft.commitIndex,
            raft.configurationIndex > members.joinedAt, !raft.configuration.contains(id)
        else { return }
        noteRemoval("the change of members at index \(raft.configurationIndex)")
    }

    /// - Parameter cause: completes "removed by …".
    package mutating func noteRemoval(_ cause: String) {
        guard members.removal == nil else { return }
        members.removal = cause
        effects.notices.append(.removedFromCluster(by: cause))
        // Nothing comes here any more that they could be told.
        endWatches { _ in ReplyError(.notReady, Self.removedText(by: cause)) }
        reviewCampaigning()
    }

    package var isRemoved: Bool { members.removal != nil }

    var removedError: ReplyError? {
        members.removal.map { ReplyError(.notReady, Self.removedText(by: $0)) }
    }

    package static func removedText(by cause: String) -> String {
        "this node was removed from the cluster by \(cause); its data directory can be deleted"
    }
}
