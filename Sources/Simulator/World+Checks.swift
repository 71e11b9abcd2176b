internal import Basics
internal import ClientCore
internal import LogFormat
internal import LogStore
internal import MetadataMachine
internal import MetadataModel
internal import RaftCore
internal import ReplicaCore
internal import ReplicaStorage

/// What no node can see alone, looked at after every step.
extension World {
    /// After each turn of a node.
    func check(_ node: SimNode, _ process: SimProcess) {
        // Not copied: this is done after each event.
        process.replica.raft.checkInvariants()
        if process.replica.raft.isLeader {
            let term = process.replica.raft.currentTerm
            // Raft §5.2, Election Safety.
            if let other = leaders[term], other != node.id {
                fail("term \(term) has two leaders: \(other) and \(node.id)")
            }
            if leaders[term] == nil { checkCompleteness(node, process.replica.raft) }
            leaders[term] = node.id
            // Raft §8: without one, what earlier terms left behind waits until somebody writes.
            if process.replica.raft.term(at: process.replica.raft.lastIndex) != term {
                fail("\(node.name) leads term \(term) and has put no entry of it into its log")
            }
            led[term] = (led[term]?.since ?? now, now)
            checkLeaderCommit(node, process.replica.raft)
        }
        // First: in one turn a leader may commit the joint configuration, go on to the next one, and count by that.
        if settings.changesMembers { checkMembership(node, process) }
        checkPosition(node, process.replica.raft)
        checkBounds(node, process)
        if node.isWounded || node.boundBy != nil { checkRecovery(node, process.replica.raft) }
        if settings.hasTinyLimits { checkBounds(of: node, process) }
    }

    /// What it had promised it holds again, or a later leader has put something else in its place.
    private func checkRecovery(_ node: SimNode, _ raft: Raft) {
        if !raft.holdsPromised, raft.isLeader { fail("\(node.name) leads, and lacks what it has promised") }
        guard raft.holdsPromised, raft.votingAllowed else { return }
        // An old copy may be as long as what it took the place of, and yet lack the newer leader's entries.
        let durable = EntryID(term: raft.term(at: raft.durableIndex) ?? .zero, index: raft.durableIndex)
        if let forgotten = node.forgotten, durable.endsBefore(forgotten) { return }
        node.isWounded = false
        node.boundBy = nil
        node.forgotten = nil
    }

    /// Raft §5.4.2: a leader commits by counting only where an entry of its own term is the last of what it commits. What
    /// earlier leaders are known to have committed it has from the start.
    private func checkLeaderCommit(_ node: SimNode, _ raft: Raft) {
        defer { node.leaderCommit = (raft.currentTerm, raft.commitIndex) }
        guard let before = node.leaderCommit, before.term == raft.currentTerm, raft.commitIndex > before.index,
            raft.term(at: raft.commitIndex) != raft.currentTerm
        else { return }
        fail("\(node.name) leads term \(raft.currentTerm) and commits \(raft.commitIndex), which is of an earlier one")
    }

    // MARK: - What is on disk

    /// A write has ended: this node has promised what it says.
    func logWritten(_ work: LogWork, by node: SimNode, _ log: SegmentedLog) {
        node.log = log
        node.cutUnderWay = nil
        for write in work.writes {
            checkPromise(write.hardState, of: node)
            node.hardState = write.hardState
            if let slab = write.slab {
                let term = write.hardState.currentTerm
                node.reached[term] = max(node.reached[term] ?? .zero, slab.lastIndex)
            }
            if let slab = write.slab { checkReleases(slab, of: node) }
        }
    }

    /// Term and vote on disk never go back (Raft §5.1, §5.2).
    private func checkPromise(_ new: HardState, of node: SimNode) {
        if let vote = new.votedFor { node.votesSynced[new.currentTerm] = vote }
        let old = node.hardState
        if new.currentTerm < old.currentTerm {
            fail("\(node.name) goes back from term \(old.currentTerm) to \(new.currentTerm)")
        }
        if new.currentTerm == old.currentTerm, let vote = old.votedFor, vote != new.votedFor {
            fail("\(node.name) voted for \(vote) in term \(new.currentTerm), and now for \(new.votedFor as Any)")
        }
    }

    func checkReopened(_ node: SimNode, _ log: SegmentedLog) {
        node.losesPromises = false
        checkPromise(log.hardState, of: node)
        if let before = node.log {
            // What it held when it stopped. Of a write that was under way the truncation may have reached the disk, and only
            // some of what is to come instead: a new leader's entries may be of older terms than those in their way.
            let isLater = log.lastIndex >= before.last.index && log.last.term >= before.last.term
            if !(node.cutUnderWay.map { log.lastIndex >= $0 } ?? isLater), !beganAnew(log, after: before) {
                fail("\(node.name) comes back with its log ending at \(log.last), not at \(before.last)")
            }
        }
        node.cutUnderWay = nil
        node.hardState = log.hardState
        node.log = log
    }

    /// An installed state ends with an entry that was committed; what stood in the log from there on was of another leader,
    /// and can be nothing that was ever committed (Raft §7: the whole log is discarded then).
    private func beganAnew(_ log: SegmentedLog, after before: SegmentedLog) -> Bool {
        let base = log.previous
        return log.last == base && before.term(at: base.index).map { $0 != base.term } ?? false
            && oracle.entry(at: base.index)?.id == base
    }

    /// An entry counts as held where the log reaches back no further: it was in the state when it was cut.
    private func holds(_ node: SimNode, _ id: EntryID) -> Bool {
        Self.holds(node.log, id) || Self.holds(node.boundBy, id)
    }

    /// For people: who has it and who has not.
    func holders(of id: EntryID) -> String {
        nodes.filter(\.isInUse).map { node in
            "\(node.name) \(holds(node, id) ? "has it" : "ends at \(node.log?.last.description ?? "nothing")")"
        }.joined(separator: ", ")
    }

    /// The same of an incarnation, wherever it is now.
    func holds(_ node: NodeID, _ id: EntryID) -> Bool {
        if let lost = lostLogs[node] { return Self.holds(lost, id) }
        return nodes.first { $0.id == node }.map { holds($0, id) } ?? false
    }

    private static func holds(_ log: SegmentedLog?, _ id: EntryID) -> Bool {
        guard let log else { return false }
        if id.index < log.firstIndex { return log.previous.index >= id.index }
        // What cannot be read any more was there.
        return log.term(at: id.index) == id.term || log.faultyRanges.contains { $0.contains(id.index) }
    }

    func checkCompacted(_ node: SimNode, _ process: SimProcess) {
        // A volatile state that is lost comes from a peer, and so does one that was damaged.
        guard !node.home.isVolatile, !process.replica.isQuarantined, let durable = try? durableApplied(process) else { return }
        if process.log.log.firstIndex > durable.next {
            fail("\(node.name): the log begins at \(process.log.log.firstIndex), but a restart needs \(durable.next)")
        }
    }

    // MARK: - What is applied

    func checkApplied(_ slabs: [Slab], _ report: ApplyReport, by node: SimNode, _ process: SimProcess) {
        let (violation, new) = oracle.applied(slabs, report, now: now)
        if let violation { fail("\(node.name): \(violation)") }
        for id in new {
            tell("\(node.name) is the first to apply \(id): \(oracle.entry(at: id.index)?.description ?? "")")
            // Leader Completeness rests on this: committed means on the disks of a majority.
            if settings.changesMembers {
                if !isHeldByQuorum(id) { fail("\(node.name) applies \(id), which no quorum has on disk: \(holders(of: id))") }
                continue
            }
            let copies = nodes.count { holds($0, id) }
            if copies <= nodes.count / 2 { fail("\(node.name) applies \(id), which is on \(copies) disks") }
        }
        checkExpiries()
        checkState(node, process)
        checkRegistryRows(of: node, process)
        let applied = process.state.machine.applied.last
        if applied.index > process.replica.raft.commitIndex {
            fail("\(node.name) has applied \(applied), and knows \(process.replica.raft.commitIndex) to be committed")
        }
        if applied.index > process.log.log.lastIndex {
            fail("\(node.name) has applied \(applied), its log ends at \(process.log.log.last)")
        }
        for digest in report.digests where !diverged.contains(node.number) {
            if let violation = oracle.digest(digest.digest, at: digest.index) { fail("\(node.name): \(violation)") }
        }
    }

    func checkAdopted(_ node: SimNode, _ process: SimProcess) { checkState(node, process) }

    private func checkState(_ node: SimNode, _ process: SimProcess) {
        let applied = process.state.machine.applied
        if !diverged.contains(node.number),
            let violation = oracle.digest(applied.changeDigest, at: applied.last.index)
        {
            fail("\(node.name): \(violation)")
        }
    }

    /// A session ends by its silence only, and not before that has lasted for its timeout: since the last touch that the
    /// leader knew of who ends it, and since that one leads.
    ///
    /// A leader that has been overtaken and does not know it yet answers keep-alives still. The next one cannot know of
    /// those, but gives every session its whole timeout from when it begins.
    private func checkExpiries() {
        for (id, term) in oracle.takeExpired() {
            // A restore ends them all, however lately they were heard.
            guard !restoration.oldSessions.contains(id) else { continue }
            guard let heard = clients.compactMap(\.state.sessionHeard).first(where: { $0.id == id }),
                let since = led[term]?.since
            else { continue }
            let mayBeOvertakens = led.contains { $0.key < term && $0.value.until >= heard.at }
            guard now < (mayBeOvertakens ? since : max(since, heard.at)) + settings.sessionTimeout else { continue }
            fail("session \(id) has expired, and was heard at \(heard.at); term \(term) is led since \(since)")
        }
    }

    /// Whoever is told that his session has begun is told before the cluster can have expired it: what an answer gave him
    /// may be another's after that. Later news are not looked at: a leader that has been overtaken vouches for it too.
    func checkOpened(_ event: SessionEvent, _ client: SimClient) {
        guard event.state != .lost, client.sessionState == nil || client.sessionState == .lost,
            oracle.expiredSessions.contains(event.session)
        else { return }
        fail("client \(client.number) is told that session \(event.session) has begun, which has expired")
    }

    /// What a session owns is there as long as the session is.
    private func checkOwners(_ node: SimNode) {
        guard let machine = node.process?.state.machine else { return }
        do {
            var from: SessionID?
            repeat {
                let found = try machine.findOrphans(after: from, limit: 100)
                if let orphan = found.orphans.first { fail("session \(orphan) is over, and still owns rows") }
                from = found.lookedThrough
            } while from != nil && violation == nil
        } catch {
            fail("the owners of \(node.name) cannot be read: \(error)")
        }
    }

    // MARK: - What clients are told

    /// An acknowledged mutation took effect, and at that revision.
    func checkAcknowledged(_ content: [UInt8], at revision: LogIndex, _ client: SimClient) {
        guard let entry = oracle.entry(at: revision) else {
            return fail("client \(client.number) is answered by entry \(revision), which nobody has applied")
        }
        if entry.content != content {
            let places = oracle.entries.filter { $0.content == content }.map { "\($0.id.index) \($0.origin)" }
            fail(
                "client \(client.number) is answered by entry \(revision), which is another command than its own; "
                    + "that is \(entry.origin), its own at \(places)")
        }
        acknowledged.insert(revision)
        if !entry.tookEffect {
            fail("client \(client.number)'s mutation at \(revision) was acknowledged without effect")
        }
    }

    /// Bytes that cannot be read are a fault only where this world has damaged them.
    func badBytes(from connection: SimConnection, _ reason: String) {
        tell("bad bytes: \(reason)")
        guard let place = damagedConnections.firstIndex(where: { $0 === connection }) else {
            let hosts = "\(host(of: connection.caller)) or \(host(of: connection.called))"
            return fail("host \(hosts) sends what cannot be read: \(reason)")
        }
        damagedConnections.remove(at: place)
    }

    // MARK: - The end

    /// After the cluster has got well.
    func checkEnd() {
        guard violation == nil else { return }
        for client in clients where !client.items.isEmpty {
            fail("client \(client.number) still waits for \(client.items.count) answers")
        }
        let machines = settings.changesMembers ? reachableMembers : nodes
        for node in machines where node.process?.state.machine.applied != machines[0].process?.state.machine.applied {
            let states = machines.map { $0.process?.state.machine.applied }
            fail("the states of \(machines[0].name) and \(node.name) differ: \(states)")
        }
        checkContents(machines)
        checkChanges()
        if let node = nodes.first(where: { $0.process != nil }) { checkOwners(node) }
        for node in nodes where node.process?.replica.isDrained == false {
            if node.process?.replica.raft.isLeader != true { fail("\(node.name) still has requests pending") }
        }
        checkHistories()
    }

    private func checkHistories() {
        // What took effect and nobody was told so: the mutations of unknown outcome.
        var untold: [[UInt8]: [CommitOracle.Entry]] = [:]
        for entry in oracle.entries where entry.tookEffect && !acknowledged.contains(entry.id.index) {
            untold[entry.content, default: []].append(entry)
        }
        for content in refusedContents where untold[content] != nil {
            fail("a mutation took effect that its client was told had none")
        }
        for group in history.indices {
            let operations = history[group] + resolvedUnknown(group, untold)
            switch LinearizabilityChecker.check(operations, stepsMax: 10_000_000) {
            case .linearizable: break
            case .undecided: fail("the history of group \(group), \(operations.count) operations, is undecided")
            case .violation(let placed, let stuckAt):
                let list = stuckAt.prefix(8).map(\.description).joined(separator: "\n    ")
                fail("group \(group) is not linearizable after \(placed) of \(operations.count):\n    \(list)")
            }
        }
    }

    /// By now nothing of unknown outcome is still on its way: what is not in the log will never be, and what is there
    /// took effect before the first node applied it.
    private func resolvedUnknown(_ group: Int, _ untold: [[UInt8]: [CommitOracle.Entry]]) -> [Operation] {
        var counts: [[UInt8]: Int] = [:]
        for item in unknown[group] { counts[item.content, default: 0] += 1 }
        var taken: Set<LogIndex> = []
        let byCall = unknown[group].sorted { $0.operation.called < $1.operation.called }
        return byCall.reversed().compactMap { operation, content in
            guard let entries = untold[content], let last = entries.last else { return nil }
            var resolved = operation
            // Of equal deletions nobody can say which of them it was. Each gets one that was there after it was called, the
            // latest first, so that none is left without where there is one for all.
            let mayBe = { (entry: CommitOracle.Entry) in
                entry.appliedAt.nanoseconds >= operation.called && !taken.contains(entry.id.index)
            }
            if let entry = entries.first(where: mayBe) {
                taken.insert(entry.id.index)
                resolved.rank = entry.id.index.rawValue
            }
            guard entries.count == counts[content] else { return resolved }
            resolved.returned = last.appliedAt.nanoseconds
            resolved.conditionsHeld = last.succeeded
            return resolved
        }
    }
}
