internal import Basics
internal import LogFormat
internal import LogStore
internal import MetadataMachine
internal import MetadataModel
internal import RaftCore
internal import ReplicaCore
internal import ReplicaStorage
internal import StateEngine
internal import Wire

/// What must hold between what a node believes and says and what its disk holds. docs/TESTING.md lists every invariant
/// with its place.
extension World {
    // MARK: - After each turn

    /// How far a node may believe that it is, by what its disk and those of the others hold.
    func checkPosition(_ node: SimNode, _ raft: Raft) {
        guard let log = node.log, raft.commitIndex > node.commitChecked else { return }
        node.commitChecked = raft.commitIndex
        guard raft.isLeader else {
            // A state that was taken from a peer is committed before the log that goes on from it is there.
            let held = max(log.lastIndex, raft.firstIndex.previous)
            // One that led in this term until just now may know of more: what the others hold is committed.
            if raft.commitIndex > held, node.leaderCommit?.term != raft.currentTerm {
                fail("\(node.name) takes \(raft.commitIndex) for committed, and its disk ends at \(held)")
            }
            return
        }
        guard let term = raft.term(at: raft.commitIndex) else { return }
        let entry = EntryID(term: term, index: raft.commitIndex)
        if settings.changesMembers {
            if !isHeldByQuorum(entry) { fail("\(node.name) commits \(entry), which no quorum has on disk: \(holders(of: entry))") }
        } else {
            let copies = nodes.count { holds($0.id, entry) }
            if copies <= nodes.count / 2 { fail("\(node.name) commits \(entry), which is on \(copies) disks") }
        }
    }

    /// Leader Completeness (Raft §5.4.3): whoever begins to lead has all that was committed in terms before.
    func checkCompleteness(_ node: SimNode, _ raft: Raft) {
        var index = oracle.lastIndex
        // It may learn late that it was elected, when somebody leads a later term already and has committed, with an entry
        // of its own, older ones that the votes of this term knew nothing of.
        let succeeded = led.filter { $0.key > raft.currentTerm }.map(\.value.since).min() ?? .never
        while let entry = oracle.entry(at: index), entry.id.term >= raft.currentTerm || entry.appliedAt >= succeeded {
            index = index.previous
        }
        guard let entry = oracle.entry(at: index) else { return }
        let isHeld = index < raft.firstIndex || raft.term(at: index) == entry.id.term
        if raft.lastIndex < index || !isHeld {
            fail("\(node.name) leads term \(raft.currentTerm) without \(entry.id), which is committed")
        }
    }

    // MARK: - Around each write

    /// Before it: nothing that is known to be committed is cut away.
    func checkCuts(_ work: LogWork, by node: SimNode, _ process: SimProcess) {
        let log = process.log.log
        for write in work.writes {
            guard let kept = write.truncateAfter else { continue }
            if kept < process.replica.raft.commitIndex {
                fail("\(node.name) cuts its log after \(kept), and knows \(process.replica.raft.commitIndex) to be committed")
            }
            if let entry = oracle.entry(at: kept.next), log.term(at: kept.next) == entry.id.term {
                fail("\(node.name) cuts away \(entry.id), which is committed")
            }
        }
    }

    /// After it: it is on the platter under a name that stays, and it is the entry that it is everywhere.
    func checkWritten(_ work: LogWork, by node: SimNode, _ log: SegmentedLog) {
        if let path = node.disk.unsyncedPath(endingIn: ".segment") {
            fail("\(node.name) goes on after a write, and \(path) is not synced")
        }
        for slab in work.writes.compactMap(\.slab) {
            // Not what a later write of the same work has cut away again.
            guard log.term(at: slab.lastIndex) == slab.term else { continue }
            let before = slab.firstIndex.previous
            let previous = before == log.previous.index ? log.previous.term : log.term(at: before)
            if let violation = logs.written(slab, after: previous) { fail("\(node.name): \(violation)") }
        }
    }

    // MARK: - What is durable of the state

    func checkDurable(_ index: LogIndex, of node: SimNode, _ process: SimProcess) {
        let applied = process.state.machine.applied.last.index
        if index > applied { fail("\(node.name) takes \(index) for durable and has applied \(applied)") }
        node.lastRevision = max(node.lastRevision, index)
    }

    /// A snapshot's state is durable as soon as it is adopted. It takes the place of an older one; only who does not
    /// trust its own state any more takes one that is not as far, and applies what follows from its log again.
    func checkDurableAdopted(_ node: SimNode, _ process: SimProcess) throws {
        guard !node.home.isVolatile else { return }
        let durable = try process.state.machine.durableApplied()
        if durable < node.lastRevision, !process.replica.isQuarantined {
            fail("\(node.name) adopts the state of \(durable); that of \(node.lastRevision) was durable")
        }
        node.lastRevision = durable
    }

    /// A restart brings back at least what was durable: no revision falls.
    func checkStateReopened(_ node: SimNode, _ applied: LogIndex) {
        defer { node.lastRevision = .zero }
        guard !node.home.isVolatile, !diverged.contains(node.number), applied < node.lastRevision else { return }
        fail("\(node.name) comes back with the state of \(applied); that of \(node.lastRevision) was durable")
    }

    // MARK: - What is said

    /// Nothing is said that a power loss could make untrue: votes and acknowledgements are on disk, and so is the term in
    /// which they are given.
    func checkSaid(_ bytes: [UInt8], to peer: NodeID, by node: SimNode) {
        var position = 0
        do {
            while let frame = try FrameHeader.scan(
                bytes.rawSpan.extracting(position..<bytes.count), sizeMax: Limits.frameSizeMaxDefault)
            {
                position += frame.totalSize
                guard frame.header.kind == PeerFrameKind.raft.rawValue else { continue }
                guard case .raft(let message) = try PeerMessage.decode(frame.header, body: frame.body).message else { continue }
                if let promise = brokenPromise(in: message, to: peer, by: node) {
                    fail("\(node.name) says to \(peer) \(promise): \(message), and has on disk \(node.hardState)")
                }
            }
        } catch {
            fail("\(node.name) says what cannot be read: \(error)")
        }
    }

    private func brokenPromise(in message: Message, to peer: NodeID, by node: SimNode) -> String? {
        let disk = node.hardState
        switch message {
        case .requestVote(let request):
            guard node.votesSynced[request.term] == node.id else { return "that it stands, and has not synced its vote" }
            return (node.log?.last ?? request.lastEntry) >= request.lastEntry ? nil : "what its log does not hold on disk"
        case .requestVoteResponse(let response):
            guard response.isGranted else { return nil }
            return node.votesSynced[response.term] == peer ? nil : "a vote that is not synced"
        case .appendEntries(let append):
            return append.term <= disk.currentTerm ? nil : "entries of a term that is not synced"
        case .appendEntriesResponse(let response):
            guard case .accepted(let match) = response.outcome else { return nil }
            guard response.term <= disk.currentTerm else { return "an acknowledgement in a term that is not synced" }
            // What the same sync wrote and cut again, because the next leader had been heard meanwhile: as if it were said
            // before that, and late on the way.
            if response.term < disk.currentTerm, match <= node.reached[response.term] ?? .zero { return nil }
            let held = max(node.log?.lastIndex ?? .zero, node.log?.previous.index ?? .zero)
            return match <= held ? nil : "an acknowledgement of \(match); its disk ends at \(held)"
        case .heartbeat(let heartbeat):
            return heartbeat.term <= disk.currentTerm ? nil : "that it leads a term that is not synced"
        case .preVote, .preVoteResponse, .heartbeatResponse, .installSnapshot, .installSnapshotResponse, .readIndex,
            .readIndexResponse, .timeoutNow:
            return nil
        }
    }

    // MARK: - Bounds

    /// Nothing that waits in a node grows without end.
    func checkBounds(_ node: SimNode, _ process: SimProcess) {
        // Not copied: this is done after each event.
        let open = process.replica.raft.lastIndex.distance(after: process.replica.raft.commitIndex)
        if process.replica.raft.isLeader, open > UncommittedBounds.entriesMax {
            fail("\(node.name) leads with \(open) entries that are not committed")
        }
        for (what, count, most) in [
            ("writes", process.logThread.jobs.count, 6), ("jobs of its state", process.stateThread.jobs.count, 64),
            ("jobs of its snapshots", process.snapshotThread.jobs.count, 64),
        ] where count > most {
            let names = process.logThread.jobs.map { "\($0)".prefix { $0 != "(" } }.joined(separator: " ")
            fail("\(node.name) has \(count) \(what) waiting; on its log thread: \(names)")
        }
    }

    private enum UncommittedBounds {
        /// As it ships, and what one turn may add.
        static let entriesMax = 65_536 + Limits.requestsPendingMax
    }

    // MARK: - The end

    /// Kept from when the faults ended, so that what comes after it is applied from the log.
    func keepStateToRebuild() {
        // What was damaged at the very end of the faults is found only later.
        for node in nodes where !diverged.contains(node.number) {
            guard let state = node.process?.state, !state.isBroken, state.machine.applied.last.index > .zero,
                state.machine.engine.damagedRows == nil, state.machine.engine.readFault == nil
            else { continue }
            rebuilding = try? state.snapshotSource()
            return
        }
    }

    /// An empty node that is fed a snapshot and the log behind it comes to the state that the others have.
    func checkRebuilt() {
        guard violation == nil else { return }
        let members = settings.changesMembers ? reachableMembers : nodes
        guard let live = members.first(where: { $0.process?.replica.raft.isLeader == true })?.process else { return }
        do {
            let log = live.log.log
            var source = try live.state.snapshotSource()
            if let kept = rebuilding, kept.applied.last.index >= log.previous.index { source = kept }
            let disk = SimDisk(seed: seed)
            disk.makeDurableDirectory("/data")
            let keeper = try SnapshotKeeper(fileSystem: disk, dataDirectory: "/data", cluster: identity)
            _ = try keeper.build(source, founding: founding.membership)
            let home = SimEngineHome(isVolatile: false)
            var damages: [String] = []
            guard let manifest = try keeper.newest(damaged: { damages.append($0.description) }) else {
                return fail("a snapshot that was just built is not there: \(damages)")
            }
            try keeper.restore(manifest, into: home.makeSuccessor())
            home.adoptSuccessor()
            let rebuilt = try StateKeeper(home: home, node: NodeID(1))
            var next = source.applied.last.index.next
            let last = live.state.machine.applied.last.index
            while next <= last {
                let slabs = try log.read(from: next, through: last, bytesMax: 1 << 20)
                guard let end = slabs.last?.lastIndex else { return fail("the log does not hold \(next)") }
                _ = try rebuilt.perform(.entries(slabs, range: next...min(end, last)), now: now)
                next = end.next
            }
            guard rebuilt.machine.applied == live.state.machine.applied else {
                return fail(
                    "from a snapshot of \(source.applied.last) and the log comes \(rebuilt.machine.applied), and the state is "
                        + "\(live.state.machine.applied)")
            }
            if let key = Self.difference(rebuilt.machine.engine, live.state.machine.engine) {
                fail("the rebuilt state of \(last) differs at the row \(key)")
            }
        } catch {
            fail("the state cannot be rebuilt: \(error)")
        }
    }

    /// The first key of the rows that snapshots carry whose rows differ.
    private static func difference(_ one: MemoryEngine, _ other: MemoryEngine) -> String? {
        func rows(_ engine: MemoryEngine) -> [[UInt8]: [UInt8]] {
            var found: [[UInt8]: [UInt8]] = [:]
            for range in Keyspace.carried {
                try? engine.scan(from: range.from, to: range.to, reversed: false) { key, value in
                    found[[UInt8](key)] = [UInt8](value)
                    return .next
                }
            }
            return found
        }
        let (left, right) = (rows(one), rows(other))
        guard left != right else { return nil }
        let keys = Set(left.keys).union(right.keys).filter { left[$0] != right[$0] }
        return keys.min { $0.lexicographicallyPrecedes($1) }.map { key in
            key.map { String($0, radix: 16) }.joined(separator: " ")
                + ": \(left[key].map { "\($0)" } ?? "none"), \(right[key].map { "\($0)" } ?? "none")"
        }
    }
}
