internal import Basics
internal import MetadataMachine
internal import MetadataModel
internal import RaftCore
internal import ReplicaCore
internal import ReplicaStorage
internal import Wire

/// What must hold of the members, whoever changes them while whatever happens.
extension World {
    // MARK: - What became of the requests

    /// Which request each committed change goes back to.
    func matchedRequests() -> (used: Set<Int>, unexplained: String?) {
        var used: Set<Int> = []
        let requests = admin.requests
        for effect in oracle.members.effects {
            guard let change = effect.change else { return (used, "the members of \(effect.at) change in two ways") }
            let place =
                requests.indices.first { requests[$0].outcome == .done(effect.at) && !requests[$0].change.isTransfer }
                ?? requests.indices.first {
                    !used.contains($0) && requests[$0].sentAt <= effect.appliedAt && requests[$0].isOpen
                        && requests[$0].change.explains(change)
                }
            guard let place, requests[place].change.explains(change), used.insert(place).inserted else {
                return (used, "nobody asked for the members of \(effect.at): \(change)")
            }
        }
        return (used, nil)
    }

    /// Each change that was confirmed is there, once; none that was refused is.
    func checkChanges() {
        guard settings.changesMembers else { return }
        let (used, unexplained) = matchedRequests()
        if let unexplained { fail(unexplained) }
        for (number, request) in admin.requests.enumerated() {
            guard case .done(let index) = request.outcome, !used.contains(number), !request.change.isTransfer else {
                continue
            }
            fail("\(request.change) was confirmed at \(index), where nothing of the kind happened")
        }
    }

    // MARK: - Invariants

    /// After each turn of a node: who is no member any more, and knows it, neither leads nor asks to.
    func checkMembership(_ node: SimNode, _ process: SimProcess) {
        let raft = process.replica.raft
        // It may have led when it learnt that others had gone on without it: then it steps down within an election timeout,
        // and takes nothing more.
        if process.replica.isRemoved, raft.isLeader, !raft.isTransferring {
            fail("\(node.name) was removed, knows it, and leads")
        }
        guard raft.isLeader else { return }
        if raft.term(at: raft.configurationIndex) == raft.currentTerm, !raft.status.hasCommittedInTerm {
            fail("\(node.name) changes the members at \(raft.configurationIndex) before it has committed in its term")
        }
        if raft.configurationIndex <= raft.commitIndex, !raft.configuration.isJoint,
            !raft.configuration.isVoter(node.id)
        {
            fail("\(node.name) leads, and the committed configuration does not name it as a voter")
        }
        let current = IndexedConfiguration(index: raft.configurationIndex, configuration: raft.configuration)
        guard leaderConfigurations.last != current else { return }
        leaderConfigurations.append(current)
        // One change at a time: the one before this is committed before the next is begun.
        if let before = configurationOfTerm[raft.currentTerm], before.index < current.index,
            before.index > raft.commitIndex
        {
            fail("\(node.name) begins a change of members at \(current.index) while that of \(before.index) is open")
        }
        configurationOfTerm[raft.currentTerm] = current
    }

    /// True: a majority, of each half, of a configuration that may have decided on this entry has it on disk.
    func isHeldByQuorum(_ entry: EntryID) -> Bool {
        let floor = oracle.members.committed(at: entry.index)
        let candidates = leaderConfigurations.filter { $0.index > floor.index }.map(\.configuration)
        return (candidates + [floor.membership.configuration]).contains { configuration in
            [configuration.incoming, configuration.outgoing].allSatisfy { half in
                half.isEmpty || 2 * half.count { holds($0, entry) } > half.count
            }
        }
    }

    // MARK: - The end

    /// The members whose directories are still there.
    var reachableMembers: [SimNode] {
        let members = oracle.members.newest.membership
        return nodes.filter { members.member($0.id) != nil }
    }

    /// Nothing is under way, the members agree, and whoever was removed knows it if anybody can tell him.
    var areMembersSettled: Bool {
        guard clients.allSatisfy({ $0.items.isEmpty }), isOperatorDone, !oracle.members.newest.isJoint else {
            return false
        }
        let members = reachableMembers
        guard let first = members.first?.process, members.allSatisfy({ $0.process?.replica.isDiskLow == false }),
            members.contains(where: { $0.process?.replica.raft.isLeader == true })
        else { return false }
        let last = first.state.machine.applied.last
        return members.allSatisfy {
            $0.process?.state.machine.applied.last == last && $0.process?.replica.raft.lastIndex == last.index
        } && nodes.allSatisfy { !shouldKnowOfRemoval($0) }
    }

    /// Removed, and able to learn it: a member that it knows is where it was.
    func shouldKnowOfRemoval(_ node: SimNode) -> Bool {
        let members = oracle.members.newest.membership
        guard let process = node.process, members.member(node.id) == nil, !process.replica.isRemoved else { return false }
        return process.replica.linkedMembers.contains { known in
            members.member(known.id) != nil && machine(at: known.peerAddress).map { $0.id == known.id } ?? false
        }
    }
}
