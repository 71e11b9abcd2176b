internal import Basics

/// A `Ready` that is still being written. Several exist only when one step needs several persists with entries: each
/// has its own, and what names entries that the core itself generated comes with or after the persist that holds them.
struct Draft: Sendable {
    var ready = Ready()
    /// Where the log ends once `ready.persist` is on disk.
    var logEnd = LogIndex.zero
}

/// A persist that the shell has not reported yet.
struct UnfinishedPersist: Sendable {
    let ticket: PersistTicket
    /// Where the log ends on disk once this is done. Lowered by a later truncation: entries that are about to be cut
    /// do not become durable in between.
    var logEnd: LogIndex
    let hardState: HardState
    let issuedAt: Instant
}

extension Raft {
    /// The draft that outputs go to; made when there is none.
    private var draft: Draft {
        get { drafts.last ?? Draft() }
        _modify {
            if drafts.isEmpty { drafts.append(Draft()) }
            yield &drafts[drafts.count - 1]
        }
    }

    /// For what vouches for nothing on the local disk.
    mutating func send(_ message: Message, to peer: NodeID) {
        draft.ready.sendNow.append(Envelope(to: peer, message: message))
    }

    /// For votes and acknowledgements: leaves when everything up to this moment is on disk.
    mutating func sendAfterPersist(_ message: Message, to peer: NodeID) {
        requirePersist()
        draft.ready.persist?.thenSend.append(Envelope(to: peer, message: message))
    }

    /// A refusal that carries `currentTerm`: at once, or behind the sync of that term while it is not on disk yet.
    mutating func sendWhenTermIsDurable(_ message: Message, to peer: NodeID) {
        if durableHardState.currentTerm == currentTerm {
            send(message, to: peer)
        } else {
            sendAfterPersist(message, to: peer)
        }
    }

    mutating func grantRead(_ token: ReadToken, at readIndex: LogIndex?) {
        draft.ready.reads.append(ReadGrant(token: token, readIndex: readIndex))
    }

    mutating func requestSnapshotFromShell() { draft.ready.needsSnapshot = true }
    mutating func fetchSnapshot(_ fetch: SnapshotFetch) { draft.ready.fetchSnapshot = fetch }
    mutating func reportConflictBelowCommit(_ peer: NodeID) { draft.ready.conflictsBelowCommit.append(peer) }

    /// Makes sure that the hard state as it is now reaches the disk.
    mutating func requirePersist() {
        guard draft.ready.persist == nil else { return }
        draft.ready.persist = Ready.Persist(ticket: lastTicket, hardState: hardState)
        draft.logEnd = lastIndex
    }

    /// Has `entries` written, which `log` holds already, after cutting everything behind `truncateAfter`.
    mutating func persist(
        _ entries: ClosedRange<LogIndex>, truncateAfter: LogIndex? = nil, generated: [GeneratedEntry] = []
    ) {
        if let persist = draft.ready.persist, persist.entries != nil { drafts.append(Draft()) }
        requirePersist()
        draft.ready.persist?.entries = entries
        draft.ready.persist?.truncateAfter = truncateAfter
        draft.ready.persist?.generated = generated
        draft.logEnd = entries.upperBound
    }

    /// What was on its way to the disk behind `index` will not count when it arrives.
    mutating func limitPersists(to index: LogIndex) {
        durableIndex = min(durableIndex, index)
        for position in unfinishedPersists.indices {
            unfinishedPersists[position].logEnd = min(unfinishedPersists[position].logEnd, index)
        }
        for position in drafts.indices { drafts[position].logEnd = min(drafts[position].logEnd, index) }
    }

    /// The shell has replaced the log by a snapshot that ends at `index`. Entries that were not handed over yet belong
    /// to the old log; so do the acknowledgements that waited for them.
    mutating func replacePersists(by index: LogIndex) {
        durableIndex = index
        for position in unfinishedPersists.indices { unfinishedPersists[position].logEnd = index }
        for position in drafts.indices {
            drafts[position].logEnd = index
            drafts[position].ready.persist?.entries = nil
            drafts[position].ready.persist?.truncateAfter = nil
            drafts[position].ready.persist?.generated = []
            drafts[position].ready.persist?.thenSend.removeAll { envelope in
                if case .appendEntriesResponse = envelope.message { true } else { false }
            }
        }
    }

    // MARK: - Role state

    /// The leader's state, changed in place. Moved out of the role and back, so that its arrays are never shared.
    var leading: Leader {
        get {
            guard case .leader(let leader) = role else { fatalError("\(id) is no leader") }
            return leader
        }
        _modify {
            guard case .leader(var leader) = role else { fatalError("\(id) is no leader") }
            role = .follower(Follower())
            defer { role = .leader(leader) }
            yield &leader
        }
    }

    var following: Follower {
        get {
            guard case .follower(let follower) = role else { fatalError("\(id) is no follower") }
            return follower
        }
        _modify {
            guard case .follower(var follower) = role else { fatalError("\(id) is no follower") }
            role = .preCandidate(VoteTally())
            defer { role = .follower(follower) }
            yield &follower
        }
    }
}
