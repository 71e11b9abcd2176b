internal import Basics
internal import LogFormat
internal import RaftCore
internal import Wire

/// One member as this node sends to it. Appends wait in a queue as index ranges and become bytes only when the link can
/// take them, so that a slow peer costs descriptions, not copies; everything else is small and goes out at once, past the
/// queue: a heartbeat never waits behind entries.
struct PeerLink {
    /// An AppendEntries and how far of it has been sent.
    struct QueuedAppend {
        var append: AppendEntries
        var sentThrough: LogIndex
    }

    let id: NodeID
    var isUp = false
    /// The socket's buffer is below its high-water mark.
    var isWritable = true
    var appends: [QueuedAppend] = []
    /// A stretch of the queue's first append is being read back from disk.
    var isReadingLog = false
    var output = ByteWriter()
    /// The newest report.
    var report: MemberReport?
    /// When it came; nil when that was on an earlier connection.
    var reportedAt: Instant?

    /// Bytes made ready in one turn for one peer.
    static let outputSizeMax = 2 * 1_024 * 1_024

    init(id: NodeID) { self.id = id }

    mutating func wentDown() {
        isUp = false
        isWritable = true
        reportedAt = nil
        appends.removeAll()
        _ = output.takeBytes()
    }

    mutating func send(_ message: PeerMessage, requestID: UInt64 = 0, payload: RawSpan = RawSpan()) {
        guard isUp else { return }
        message.encode(requestID: requestID, payload: payload, into: &output)
    }

    /// Encodes the next stretch of the queue's first append: `slabs` start right after what was sent. False when the
    /// append is stale, because the log has changed since the core named it.
    mutating func sendFirstAppend(_ slabs: [Slab], termBefore: (LogIndex) -> Term?) -> Bool {
        for slab in slabs {
            let append = appends[0].append
            let before = appends[0].sentThrough
            guard slab.firstIndex == before.next, slab.term == append.entryTerm, let term = termBefore(before) else {
                return false
            }
            let part = AppendEntries(
                term: append.term, previous: EntryID(term: term, index: before), lastIndex: slab.lastIndex,
                entryTerm: slab.term, leaderCommit: append.leaderCommit)
            send(.raft(.appendEntries(part)), payload: slab.bytes.rawSpan)
            appends[0].sentThrough = slab.lastIndex
        }
        return true
    }
}

/// The other members, sorted by id.
struct PeerLinks: ~Copyable {
    private(set) var links: [PeerLink] = []
    /// Dropped in this turn. A change of members that is cut from the log and comes again with the same append drops a
    /// member and brings it back; the shell, which looks after the turn, has kept the connection and says nothing of it.
    private var dropped: [PeerLink] = []

    func position(of id: NodeID) -> Int? { links.firstIndex { $0.id == id } }

    subscript(position: Int) -> PeerLink {
        get { links[position] }
        _modify { yield &links[position] }
    }

    var indices: Range<Int> { links.indices }

    /// Keeps links to exactly these nodes.
    mutating func setMembers(_ members: [NodeID]) {
        dropped += links.filter { !members.contains($0.id) }
        links.removeAll { !members.contains($0.id) }
        for id in members where position(of: id) == nil {
            let known = dropped.firstIndex { $0.id == id }
            links.append(known.map { dropped.remove(at: $0) } ?? PeerLink(id: id))
        }
        links.sort { $0.id < $1.id }
    }

    /// The turn is over: who is not linked to any more is a stranger when it comes back.
    mutating func endTurn() { dropped.removeAll() }
}
