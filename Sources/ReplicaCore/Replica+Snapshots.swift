package import Basics
internal import LogFormat
package import MetadataModel
package import RaftCore
internal import Wire

/// A snapshot on its way from one node to another: to a follower that the log no longer reaches, or to a member whose
/// state has to be rebuilt. The core decides who needs which; here the pieces are asked for and handed out.
extension Replica {
    // MARK: - Giving

    mutating func offerSnapshot() {
        // Nobody is helped by a snapshot of a state that is not the others'.
        guard !snapshots.isBuilding, quarantineCause != .diverged, now >= snapshots.buildPause.end else { return }
        snapshots.isBuilding = true
        effects.snapshot.append(.build)
    }

    /// A snapshot of the applied state is at hand, all its pieces on disk.
    package mutating func snapshotBuilt(_ point: SnapshotPoint) {
        snapshots.isBuilding = false
        guard !snapshots.isDiscarding else { return }
        snapshots.buildPause.reset()
        snapshots.lackOfSpace = nil
        snapshots.built = point
        snapshotsBuilt += 1
        raft.step(.snapshotAvailable(point), now: now)
        drainReady()
    }

    package mutating func snapshotBuildFailed(reason: String, lacksSpace: Bool = false) {
        snapshots.isBuilding = false
        snapshots.buildPause.begin(at: now)
        if lacksSpace { snapshots.lackOfSpace = reason }
        effects.notices.append(.snapshotFailed(reason: reason))
    }

    /// Neither this node's state nor what was made of it is to be trusted: no snapshot is given to anybody, or is what a
    /// state in memory comes back from.
    mutating func discardSnapshots() {
        snapshots.isDiscarding = true
        effects.snapshot.append(.discard)
        withdrawSnapshot()
    }

    /// - Parameter failure: why some may have been left; they go when the next one is made or taken.
    package mutating func snapshotsDiscarded(failure: String?) {
        snapshots.isDiscarding = false
        if let failure { effects.notices.append(.snapshotFailed(reason: failure)) }
    }

    private mutating func withdrawSnapshot() {
        snapshots.built = nil
        raft.step(.snapshotWithdrawn, now: now)
    }

    /// A `piece.last` of term 0 asks for any snapshot of at least that index: a node rebuilds its state. Any other is an
    /// entry that the peer knows to be committed.
    mutating func loadPiece(_ piece: SnapshotPiece, for peer: NodeID) {
        let wantsNewest = piece.last.term == .zero
        if !wantsNewest {
            raft.step(.toldCommitted(piece.last), now: now)
            drainReady()
        }
        guard !isQuarantined else { return sendNothing(of: piece, to: peer) }
        guard let built = snapshots.built,
            wantsNewest ? built.last.index >= piece.last.index : piece.last == built.last
        else {
            // Whoever asks for one that is gone is offered the one after it. If each such question had another made, that
            // one would be gone as well before anybody has taken the whole of it.
            let isNewerAtHand = snapshots.built.map { $0.last.index > piece.last.index } ?? false
            if !isNewerAtHand { offerSnapshot() }
            return sendNothing(of: piece, to: peer)
        }
        let found = SnapshotPiece(last: built.last, chunk: piece.chunk, offset: piece.offset)
        effects.snapshot.append(.loadPiece(found, sizeMax: settings.snapshotPieceSizeMax, for: peer))
    }

    /// Empty bytes: it could not be read; the peer asks again.
    /// - Parameter itemSize: of the whole manifest or chunk.
    package mutating func snapshotPieceLoaded(
        _ piece: SnapshotPiece, bytes: [UInt8], itemSize: Int, for peer: NodeID
    ) {
        let message: PeerMessage =
            piece.chunk.map { .snapshotChunkReply(number: $0) }
            ?? .snapshotManifestReply(last: piece.last, offset: piece.offset, size: UInt32(clamping: itemSize))
        // It may have been on its way from the disk when this state was found wrong.
        send(message, to: peer, payload: (isQuarantined ? [] : bytes).rawSpan)
    }

    /// What was kept of the snapshot here is no longer what was written: another is made, of the state as it is now.
    package mutating func snapshotPieceDamaged(_ piece: SnapshotPiece, reason: String, for peer: NodeID) {
        effects.notices.append(.snapshotFailed(reason: reason))
        raise(.damage, "snapshot: \(reason)")
        if snapshots.built?.last == piece.last {
            snapshots.built = nil
            offerSnapshot()
        }
        sendNothing(of: piece, to: peer)
    }

    private mutating func sendNothing(of piece: SnapshotPiece, to peer: NodeID) {
        snapshotPieceLoaded(piece, bytes: [], itemSize: 0, for: peer)
    }

    // MARK: - Taking

    mutating func fetchSnapshot(_ fetch: SnapshotFetch) {
        if let current = snapshots.fetch, current.isInstalling {
            // What is being installed stays what it is, also whether it resets the log.
            snapshots.postponed = fetch
            return
        }
        guard diskLevel != .exhausted, now >= snapshots.fetchPause.end else {
            raft.step(.snapshotFailed(fetch.snapshot), now: now)
            return
        }
        effects.notices.append(.snapshotOffered(from: fetch.from, last: fetch.snapshot.last))
        snapshots.begin(
            SnapshotTransfer.Fetch(
                point: fetch.snapshot, from: fetch.from, askAgainAt: now + SnapshotTransfer.retryInterval,
                resetsLog: true))
        askForPiece()
    }

    private mutating func askForPiece() {
        guard let fetch = snapshots.fetch else { return }
        // Where any snapshot would do, the first piece has said which it is.
        let manifest = PeerMessage.snapshotManifest(
            last: snapshots.manifest.last ?? fetch.point.last, offset: UInt32(snapshots.manifest.bytes.count))
        send(fetch.nextChunk.map { .snapshotChunk(last: fetch.point.last, number: $0) } ?? manifest, to: fetch.from)
        snapshots.fetch?.askAgainAt = now + SnapshotTransfer.retryInterval
    }

    /// Asks again for what has not come; starts the rebuild of a quarantined state.
    mutating func retrySnapshotTransfer() {
        if let fetch = snapshots.fetch, !fetch.isStoring, !fetch.isInstalling, now >= fetch.askAgainAt {
            snapshots.fetch?.failures += 1
            if fetch.failures >= SnapshotTransfer.failuresMax {
                fetchFailed("no answer from \(fetch.from)")
            } else {
                askForPiece()
            }
        }
        guard isQuarantined, now >= snapshots.askForStateAt else { return }
        snapshots.askForStateAt = now + SnapshotTransfer.retryInterval
        // A leader whose state is wrong leads on where nobody else can.
        let leader = raft.isLeader ? nil : raft.leader
        guard snapshots.fetch == nil, let giver = leader ?? nextGiver() else { return }
        // Any snapshot will do that the log kept here goes on from. The first question is for the one that it begins behind:
        // the giver may not know yet that what it holds of the log is committed so far, and nobody else may tell it.
        let least = SnapshotPoint(
            last: raft.beginning, configuration: IndexedConfiguration(index: .zero, configuration: raft.configuration))
        snapshots.begin(
            SnapshotTransfer.Fetch(
                point: least, from: giver, askAgainAt: now + SnapshotTransfer.retryInterval, resetsLog: false))
        askForPiece()
    }

    /// Where nobody leads, one member after the other: perhaps nobody can lead before this state is whole, because this
    /// node's log is longer than the others'. Whatever a member has applied is committed.
    private mutating func nextGiver() -> NodeID? {
        var reachable: [NodeID] = []
        for position in links.indices where links[position].isUp { reachable.append(links[position].id) }
        guard !reachable.isEmpty else { return nil }
        snapshots.giversAsked += 1
        return reachable[snapshots.giversAsked % reachable.count]
    }

    /// The next piece of the manifest. It is put together here, and kept when it is whole.
    mutating func receiveManifest(
        of last: EntryID, offset: UInt32, size: UInt32, _ payload: RawSpan, from peer: NodeID
    ) {
        // Anything else is an answer to an earlier question, one about another snapshot perhaps.
        guard let fetch = snapshots.fetch, fetch.from == peer, fetch.nextChunk == nil, !fetch.isStoring,
            Int(offset) == snapshots.manifest.bytes.count
        else { return }
        let asked = snapshots.manifest.last ?? fetch.point.last
        guard last == asked || asked.term == .zero else { return }
        guard payload.byteCount > 0 else {
            // Not there, or not any longer. What has come is of no use where the next attempt gets another.
            snapshots.manifest = ManifestPieces()
            if !fetch.resetsLog, fetch.point.last.term != .zero {
                snapshots.fetch?.point.last.term = .zero
                askForPiece()
            }
            return
        }
        if let reason = snapshots.manifest.take(payload, of: last, size: Int(size)) { return manifestRefused(reason) }
        let reached = snapshots.manifest.bytes.count
        if reached > fetch.manifestReached {
            snapshots.fetch?.manifestReached = reached
            snapshots.fetch?.failures = 0
        }
        guard snapshots.manifest.isWhole else { return askForPiece() }
        snapshots.fetch?.isStoring = true
        let whole = snapshots.manifest.takeWhole()
        effects.snapshot.append(.storePiece(SnapshotPiece(last: last, chunk: nil), bytes: whole))
    }

    /// Not what a sound node says: begun anew, but not at once, and not for ever.
    private mutating func manifestRefused(_ reason: String) {
        guard let fetch = snapshots.fetch else { return }
        snapshots.manifest = ManifestPieces()
        snapshots.fetch?.failures += 1
        effects.notices.append(.snapshotFailed(reason: reason))
        if fetch.failures >= SnapshotTransfer.failuresMax { fetchFailed(reason) }
    }

    mutating func receiveChunk(_ number: UInt32, _ payload: RawSpan, from peer: NodeID) {
        guard let fetch = snapshots.fetch, fetch.from == peer, fetch.nextChunk == number, !fetch.isStoring,
            !fetch.isInstalling, payload.byteCount > 0
        else { return }
        snapshots.fetch?.isStoring = true
        let piece = SnapshotPiece(last: fetch.point.last, chunk: number)
        effects.snapshot.append(.storePiece(piece, bytes: [UInt8](payload)))
    }

    /// The manifest is sound and kept. It says which snapshot this is and how many chunks it has; those below
    /// `firstMissing` are kept from an earlier attempt.
    package mutating func snapshotManifestStored(_ point: SnapshotPoint, chunkCount: UInt32, firstMissing: UInt32) {
        guard var fetch = snapshots.fetch, fetch.isStoring, fetch.nextChunk == nil else { return }
        if fetch.resetsLog {
            guard fetch.point.last == point.last else { return fetchFailed("the manifest is of another snapshot") }
        } else {
            guard point.last.index >= raft.firstIndex.previous, point.last.index <= raft.durableIndex,
                raft.term(at: point.last.index) == point.last.term
            else {
                return fetchFailed("the snapshot at \(point.last) does not fit the log that is kept here")
            }
        }
        fetch.isStoring = false
        fetch.point = point
        fetch.chunkCount = chunkCount
        fetch.nextChunk = firstMissing
        fetch.failures = 0
        snapshots.fetch = fetch
        goOnFetching()
    }

    package mutating func snapshotChunkStored(_ number: UInt32) {
        guard let fetch = snapshots.fetch, fetch.isStoring, fetch.nextChunk == number else { return }
        snapshots.fetch?.isStoring = false
        snapshots.fetch?.nextChunk = number + 1
        snapshots.fetch?.failures = 0
        goOnFetching()
    }

    /// The piece was damaged on the way: asked for again at once, but not for ever.
    package mutating func snapshotPieceRefused(reason: String) {
        guard let fetch = snapshots.fetch, fetch.isStoring else { return }
        snapshots.fetch?.isStoring = false
        snapshots.fetch?.failures += 1
        effects.notices.append(.snapshotFailed(reason: reason))
        if fetch.failures >= SnapshotTransfer.failuresMax { fetchFailed(reason) } else { askForPiece() }
    }

    private mutating func goOnFetching() {
        guard let fetch = snapshots.fetch, let count = fetch.chunkCount, let next = fetch.nextChunk else { return }
        guard next >= count else { return askForPiece() }
        snapshots.fetch?.isInstalling = true
        effects.snapshot.append(.install(fetch.point, resetsLog: fetch.resetsLog))
    }

    private mutating func fetchFailed(_ reason: String) {
        guard let fetch = snapshots.fetch else { return }
        snapshots.end()
        effects.notices.append(.snapshotFailed(reason: reason))
        if fetch.resetsLog {
            raft.step(.snapshotFailed(fetch.point), now: now)
            drainReady()
        }
        fetchPostponed()
    }

    private mutating func fetchPostponed() {
        guard snapshots.fetch == nil, let next = snapshots.postponed else { return }
        snapshots.postponed = nil
        if next.snapshot.last.index > raft.commitIndex { fetchSnapshot(next) }
    }

    /// The state is that of the snapshot; where the log was reset, it starts after it.
    package mutating func snapshotInstalled(
        _ point: SnapshotPoint, membership: Membership, time: ClusterTime, featureLevel level: UInt32
    ) {
        guard let fetch = snapshots.fetch else { return }
        snapshots.end()
        guard fetch.resetsLog || raft.term(at: point.last.index) == point.last.term else {
            // A compaction was under way when the state was found wrong. A newer state is asked for.
            effects.notices.append(
                .snapshotFailed(reason: "the log begins behind the snapshot at \(point.last) that was installed"))
            return
        }
        snapshots.fetchPause.reset()
        // Why this node's state could not be written, if it was not for the space, is gone with that state.
        snapshots.buildPause.reset()
        snapshots.lackOfSpace = nil
        effects.notices.append(.snapshotInstalled(last: point.last))
        if fetch.resetsLog { mending.forgetAll() }
        stateReplaced(at: point.last.index)
        appliesInFlight = 0
        isReadingForApply = false
        appliedIndex = point.last.index
        applyFed = point.last.index
        durableApplied = point.last.index
        // It may have risen in entries that this node never sees, and there may be none after them for long.
        noteFeatureLevel(max(featureLevel, level))
        // Where no entry follows the state, nothing else says how far cluster time is.
        lastTime = max(lastTime, time)
        if fetch.resetsLog {
            for requester in pending.takeAll() { answer(requester, outcomeUnknownError) }
            tail.removeAll()
            applyTarget = point.last.index
            adopt(membership, at: point.configuration.index)
            raft.step(.snapshotInstalled(point), now: now)
        } else {
            // Entries after the snapshot are applied again, from the log that was kept; those before it never.
            for requester in pending.take(through: point.last.index) { answer(requester, outcomeUnknownError) }
            applyTarget = max(applyTarget, point.last.index)
            // Nobody knows since when the state was wrong. The one that was taken may be at hand already: a state in memory
            // is kept by it.
            let taken = snapshots.built.flatMap { $0.last == point.last ? $0 : nil }
            withdrawSnapshot()
            if let taken {
                snapshots.built = taken
                raft.step(.snapshotAvailable(taken), now: now)
            }
            isQuarantined = false
            quarantineCause = nil
            servesDamagedRows = false
            snapshots.askForStateAt = .never
            recentDigests.removeAll { $0.index > point.last.index }
            reviewApply()
            effects.notices.append(.stateRebuilt(through: point.last.index))
            raft.step(.stateReplaced(point), now: now)
            learn(membership, at: point.configuration.index)
            reviewCampaigning()
        }
        drainReady()
        fetchPostponed()
    }

    package mutating func snapshotInstallFailed(reason: String, lacksSpace: Bool = false) {
        snapshots.fetch?.isInstalling = false
        if lacksSpace { snapshots.lackOfSpace = reason }
        pauseFetching()
        fetchFailed(reason)
    }

    /// There is no space here for the snapshot that is being fetched; what had come of it is gone again.
    package mutating func snapshotLacksSpace(reason: String) {
        guard let fetch = snapshots.fetch, fetch.isStoring else { return }
        snapshots.lackOfSpace = reason
        pauseFetching()
        fetchFailed(reason)
    }

    private mutating func pauseFetching() {
        snapshots.fetchPause.begin(at: now)
        if isQuarantined { snapshots.askForStateAt = snapshots.fetchPause.end }
    }
}
