import Basics
import RaftCore

/// What a test's log holds.
struct Entry: Hashable, Sendable {
    enum Content: Hashable, Sendable {
        case command(UInt64)
        case noop
        case configuration(Configuration)
    }
    var term: Term
    var content: Content
}

/// A message with the bytes that the shell would put beside it.
struct Packet: Sendable {
    var from: NodeID
    var to: NodeID
    var message: Message
    var entries: [Entry] = []
}

/// One persist on its way to a node's disk.
struct PersistJob: Sendable {
    var persist: Ready.Persist
    var entries: [Entry]
}

/// A log as an array; entry `i` is `entries[i - base.index - 1]`.
struct EntryLog: Hashable, Sendable {
    var base = EntryID.zero
    var entries: [Entry] = []

    var lastIndex: LogIndex { base.index + entries.count }

    subscript(index: LogIndex) -> Entry? {
        let offset = index.distance(after: base.index) - 1
        return entries.indices.contains(offset) ? entries[offset] : nil
    }

    func term(at index: LogIndex) -> Term? { index == base.index ? base.term : self[index]?.term }

    mutating func truncate(after index: LogIndex) {
        entries.removeLast(max(0, lastIndex.distance(after: index)))
    }

    mutating func compact(through index: LogIndex) {
        guard index > base.index, let term = term(at: index) else { return }
        entries.removeFirst(index.distance(after: base.index))
        base = EntryID(term: term, index: index)
    }

    var configurations: [IndexedConfiguration] {
        entries.enumerated().compactMap { offset, entry in
            guard case .configuration(let configuration) = entry.content else { return nil }
            return IndexedConfiguration(index: base.index + (offset + 1), configuration: configuration)
        }
    }

    var termRuns: TermRuns {
        var runs = TermRuns(after: base)
        for entry in entries { runs.append(through: runs.lastIndex.next, term: entry.term) }
        return runs
    }
}

/// A node as a shell would run it: the core, a log in memory, a disk that is as late as the test likes, and a state
/// machine that remembers what it applied.
struct TestNode: Sendable {
    let id: NodeID
    var raft: Raft
    var isUp = true
    var isDiskStalled = false
    var votingAllowed = true

    var log: EntryLog
    var diskLog: EntryLog
    var diskHardState = HardState.initial
    var persistQueue: [PersistJob] = []
    var persistsFinished = 0

    /// Everything applied since index 1, also what came by snapshot.
    var applied: [Entry] = []
    /// Configuration at `diskLog.base`.
    var baseConfiguration: IndexedConfiguration

    var reads: [ReadGrant] = []
    var fetch: SnapshotFetch?
    var conflicts: [NodeID] = []
    var snapshotsWanted = 0
    var terms: [HardState] = []

    /// The configuration in force at an applied index.
    func configuration(at index: LogIndex) -> IndexedConfiguration {
        log.configurations.last { $0.index <= index } ?? baseConfiguration
    }
}

/// Several cores, the network between them and their disks, driven by hand and by one clock.
///
/// Checks as it goes what no replica can see alone: one leader a term, equal entries at equal (index, term), equal
/// applied prefixes, commits that are on the disks of a majority, leaders that have all that was committed.
struct TestCluster {
    var nodes: [TestNode]
    var now = Instant(nanoseconds: 1_000_000_000)
    var network: [Packet] = []
    var cutLinks: Set<[NodeID]> = []
    var dropped: (Packet) -> Bool = { _ in false }
    /// Every packet sent, in words.
    var trace: [String] = []
    var isTracing = true
    let settings: RaftSettings
    let seed: UInt64
    private var nextCommand: UInt64 = 1
    private var nextToken: UInt64 = 1
    private var runs: UInt64 = 0

    // The oracle.
    private(set) var leaders: [Term: NodeID] = [:]
    private(set) var committed: [Entry] = []
    private var written: [EntryID: (entry: Entry, previous: Term)] = [:]
    /// What each node has sent its vote to, by term: kept over crashes.
    private var votes: [NodeID: [Term: NodeID]] = [:]
    private(set) var elections = 0

    init(
        _ voters: Int, learners: [UInt64] = [], strangers: [UInt64] = [], settings: RaftSettings = RaftSettings(),
        seed: UInt64 = 1
    ) {
        self.settings = settings
        self.seed = seed
        let configuration = Configuration(
            incoming: (1...UInt64(voters)).map { NodeID($0) }, learners: learners.map { NodeID($0) })
        let founding = IndexedConfiguration(index: .zero, configuration: configuration)
        let nobody = IndexedConfiguration(index: .zero, configuration: Configuration(incoming: []))
        nodes = []
        for member in configuration.members { addNode(member, founding) }
        for stranger in strangers { addNode(NodeID(stranger), nobody) }
    }

    private mutating func addNode(_ id: NodeID, _ configuration: IndexedConfiguration) {
        let raft = Raft(
            id: id, settings: settings,
            restored: RestoredState(
                hardState: .initial, log: TermRuns(), lastApplied: .zero, configurations: [configuration]),
            seed: seed &* 1_000 &+ id.rawValue, now: now)
        nodes.append(
            TestNode(id: id, raft: raft, log: EntryLog(), diskLog: EntryLog(), baseConfiguration: configuration))
    }

    // MARK: - Looking

    func position(_ id: UInt64) -> Int { nodes.firstIndex { $0.id == NodeID(id) }! }

    subscript(id: UInt64) -> TestNode {
        get { nodes[position(id)] }
        set { nodes[position(id)] = newValue }
    }

    func raft(_ id: UInt64) -> Raft { self[id].raft }

    /// The leader of the highest term among the nodes that run.
    var leader: UInt64? {
        nodes.filter { $0.isUp && $0.raft.isLeader }.max { $0.raft.currentTerm < $1.raft.currentTerm }?.id.rawValue
    }

    // MARK: - Stepping

    mutating func step(_ id: UInt64, _ input: Input) { step(position: position(id), input, entries: []) }

    mutating func deliver(_ packet: Packet) {
        guard let target = nodes.firstIndex(where: { $0.id == packet.to }), nodes[target].isUp else { return }
        var message = packet.message
        if case .appendEntries(var append) = message {
            // What a shell reads out of the bytes that arrive.
            append.configurations = packet.entries.enumerated().compactMap { offset, entry in
                guard case .configuration(let configuration) = entry.content else { return nil }
                return IndexedConfiguration(
                    index: append.previous.index + (offset + 1), configuration: configuration)
            }
            message = .appendEntries(append)
        }
        step(position: target, .received(message, from: packet.from), entries: packet.entries)
    }

    private mutating func step(position: Int, _ input: Input, entries: [Entry]) {
        guard nodes[position].isUp else { return }
        let wasLeader = nodes[position].raft.isLeader
        let configuration = nodes[position].raft.configuration
        let commitIndex = nodes[position].raft.commitIndex
        nodes[position].raft.step(input, now: now)
        nodes[position].raft.checkInvariants()
        if case .deadlineReached = input {
            let deadline = nodes[position].raft.nextDeadline
            precondition(deadline > now, "a deadline that stays in the past: \(deadline) at \(now)")
        }
        var firstIndex = LogIndex.zero
        if case .received(.appendEntries(let append), _) = input { firstIndex = append.previous.index.next }
        takeReady(position, entries: entries, firstIndex: firstIndex)
        check(position, wasLeader: wasLeader, configuration: configuration, commitIndex: commitIndex)
    }

    private mutating func takeReady(_ position: Int, entries: [Entry], firstIndex: LogIndex) {
        while let ready = nodes[position].raft.takeReady() {
            if let persist = ready.persist { write(persist, position, entries: entries, firstIndex: firstIndex) }
            for envelope in ready.sendNow { send(envelope, from: position) }
            nodes[position].reads += ready.reads
            nodes[position].conflicts += ready.conflictsBelowCommit
            if let fetch = ready.fetchSnapshot { nodes[position].fetch = fetch }
            if ready.needsSnapshot { nodes[position].snapshotsWanted += 1 }
            if let range = ready.apply { apply(range, position) }
        }
    }

    /// Appends to the log in memory at once, and queues the same for the disk.
    private mutating func write(_ persist: Ready.Persist, _ position: Int, entries: [Entry], firstIndex: LogIndex) {
        var written: [Entry] = []
        if let cut = persist.truncateAfter {
            precondition(cut.rawValue >= UInt64(nodes[position].applied.count), "an applied entry is cut")
            nodes[position].log.truncate(after: cut)
        }
        if let range = persist.entries {
            precondition(range.lowerBound == nodes[position].log.lastIndex.next, "entries leave a gap")
            let term = nodes[position].raft.term(at: range.upperBound)!
            for rawIndex in range.lowerBound.rawValue...range.upperBound.rawValue {
                let index = LogIndex(rawIndex)
                var entry = Entry(term: term, content: .command(nextCommand))
                if let generated = persist.generated.first(where: { $0.index == index }) {
                    switch generated.content {
                    case .noop: entry.content = .noop
                    case .configuration(let configuration): entry.content = .configuration(configuration)
                    }
                } else if firstIndex != .zero {
                    entry = entries[index.distance(after: firstIndex)]
                    precondition(entry.term == term, "the core takes entry \(index) for one of term \(term)")
                } else {
                    nextCommand += 1
                }
                recordWritten(entry, at: index, after: nodes[position].log.term(at: index.previous)!)
                nodes[position].log.entries.append(entry)
                written.append(entry)
            }
        }
        nodes[position].persistQueue.append(PersistJob(persist: persist, entries: written))
    }

    private mutating func send(_ envelope: Envelope, from position: Int) {
        let node = nodes[position]
        var packet = Packet(from: node.id, to: envelope.to, message: envelope.message)
        if case .appendEntries(let append) = envelope.message, let range = append.entries {
            for rawIndex in range.lowerBound.rawValue...range.upperBound.rawValue {
                let entry = node.log[LogIndex(rawIndex)]!
                precondition(entry.term == append.entryTerm, "an append with entries of two terms")
                packet.entries.append(entry)
            }
        }
        recordVote(packet)
        if isTracing { trace.append(packet.description) }
        network.append(packet)
    }

    private mutating func apply(_ range: ClosedRange<LogIndex>, _ position: Int) {
        precondition(range.lowerBound.rawValue == UInt64(nodes[position].applied.count) + 1, "applied with a gap")
        for rawIndex in range.lowerBound.rawValue...range.upperBound.rawValue {
            let entry = nodes[position].log[LogIndex(rawIndex)]!
            precondition(nodes[position].diskLog[LogIndex(rawIndex)] == entry, "applied before it was durable")
            nodes[position].applied.append(entry)
            recordCommitted(entry, at: rawIndex)
        }
        nodes[position].raft.step(.applied(through: range.upperBound), now: now)
    }

    // MARK: - Disks

    /// One sync of this node's disk returns.
    mutating func finishPersist(_ position: Int) {
        guard nodes[position].isUp, !nodes[position].persistQueue.isEmpty else { return }
        let job = nodes[position].persistQueue.removeFirst()
        nodes[position].persistsFinished += 1
        writeToDisk(job, position)
        for envelope in job.persist.thenSend { send(envelope, from: position) }
        step(position: position, .persisted(job.persist.ticket), entries: [])
    }

    private mutating func writeToDisk(_ job: PersistJob, _ position: Int) {
        let old = nodes[position].diskHardState
        let new = job.persist.hardState
        precondition(new.currentTerm >= old.currentTerm, "the term on disk moved back")
        precondition(
            new.currentTerm > old.currentTerm || old.votedFor == nil || new.votedFor == old.votedFor,
            "a second vote in term \(new.currentTerm) on disk")
        nodes[position].diskHardState = new
        if let cut = job.persist.truncateAfter { nodes[position].diskLog.truncate(after: cut) }
        if let range = job.persist.entries {
            precondition(range.lowerBound == nodes[position].diskLog.lastIndex.next, "a gap on disk")
            nodes[position].diskLog.entries += job.entries
        }
    }

    mutating func compact(_ id: UInt64, through index: UInt64) {
        let position = position(id)
        let index = LogIndex(index)
        nodes[position].baseConfiguration = nodes[position].configuration(at: index)
        nodes[position].log.compact(through: index)
        nodes[position].diskLog.compact(through: index)
        step(id, .compacted(through: index))
    }

    /// A snapshot of all that this node has applied.
    func snapshotPoint(_ id: UInt64) -> SnapshotPoint {
        let node = self[id]
        let last = LogIndex(UInt64(node.applied.count))
        return SnapshotPoint(
            last: EntryID(term: node.log.term(at: last)!, index: last), configuration: node.configuration(at: last))
    }

    /// The snapshot that this node fetches arrives and is installed.
    mutating func installSnapshot(_ id: UInt64) {
        guard let fetch = self[id].fetch else { return }
        let point = fetch.snapshot
        let position = position(id)
        nodes[position].fetch = nil
        nodes[position].log = EntryLog(base: point.last)
        // What was queued before the install belongs to the old log; its hard states still count.
        for job in nodes[position].persistQueue.indices {
            nodes[position].persistQueue[job].persist.entries = nil
            nodes[position].persistQueue[job].persist.truncateAfter = nil
            nodes[position].persistQueue[job].entries = []
        }
        nodes[position].diskLog = EntryLog(base: point.last)
        nodes[position].baseConfiguration = point.configuration
        nodes[position].applied = Array(committed.prefix(Int(point.last.index.rawValue)))
        step(id, .snapshotInstalled(point))
    }

    // MARK: - Crashes

    /// The first `persistsDone` queued persists reached the disk (and nobody heard of it); the rest is gone.
    mutating func crash(_ id: UInt64, persistsDone: Int = 0) {
        let position = position(id)
        for job in nodes[position].persistQueue.prefix(persistsDone) { writeToDisk(job, position) }
        nodes[position].persistQueue = []
        nodes[position].isUp = false
        nodes[position].fetch = nil
        network.removeAll { $0.to == NodeID(id) }
    }

    mutating func restart(_ id: UInt64) {
        let position = position(id)
        runs += 1
        let node = nodes[position]
        // The state machine lost what was not flushed: here, half of what the log can give back.
        let kept = node.diskLog.base.index + (node.applied.count - Int(node.diskLog.base.index.rawValue)) / 2
        nodes[position].applied = Array(node.applied.prefix(Int(kept.rawValue)))
        nodes[position].log = node.diskLog
        nodes[position].isUp = true
        nodes[position].isDiskStalled = false
        nodes[position].reads = []
        nodes[position].raft = Raft(
            id: node.id, settings: settings,
            restored: RestoredState(
                hardState: node.diskHardState, log: node.diskLog.termRuns, lastApplied: kept,
                configurations: [node.baseConfiguration] + node.diskLog.configurations,
                votingAllowed: node.votingAllowed),
            seed: seed &* 1_000 &+ id &+ runs &* 7_919, now: now)
        takeReady(position, entries: [], firstIndex: .zero)
    }

    // MARK: - Oracle

    private mutating func recordWritten(_ entry: Entry, at index: LogIndex, after previous: Term) {
        let id = EntryID(term: entry.term, index: index)
        if let known = written[id] {
            precondition(known.entry == entry && known.previous == previous, "Log Matching is broken at \(id)")
        } else {
            written[id] = (entry, previous)
        }
    }

    private mutating func recordCommitted(_ entry: Entry, at rawIndex: UInt64) {
        if rawIndex <= UInt64(committed.count) {
            precondition(committed[Int(rawIndex) - 1] == entry, "State Machine Safety is broken at \(rawIndex)")
        } else {
            precondition(rawIndex == UInt64(committed.count) + 1, "committed with a gap")
            committed.append(entry)
        }
    }

    private mutating func recordVote(_ packet: Packet) {
        guard case .requestVoteResponse(let response) = packet.message, response.isGranted else { return }
        let earlier = votes[packet.from, default: [:]].updateValue(packet.to, forKey: response.term)
        precondition(earlier == nil || earlier == packet.to, "\(packet.from) voted twice in term \(response.term)")
        let onDisk = self[packet.from.rawValue].diskHardState
        precondition(
            onDisk.currentTerm > response.term || onDisk == HardState(currentTerm: response.term, votedFor: packet.to),
            "\(packet.from) sent a vote that is not on its disk")
    }

    private mutating func check(
        _ position: Int, wasLeader: Bool, configuration: Configuration, commitIndex: LogIndex
    ) {
        let node = nodes[position]
        precondition(node.raft.commitIndex >= commitIndex, "commitIndex moved back")
        precondition(node.raft.lastIndex == node.log.lastIndex, "core and shell disagree on the log's end")
        if node.raft.isLeader, !wasLeader {
            let earlier = leaders.updateValue(node.id, forKey: node.raft.currentTerm)
            precondition(earlier == nil || earlier == node.id, "two leaders in term \(node.raft.currentTerm)")
            elections += 1
            for (offset, entry) in committed.enumerated() {
                let index = LogIndex(UInt64(offset) + 1)
                guard index > node.log.base.index else { continue }
                precondition(node.log[index] == entry, "Leader Completeness: \(node.id) lacks \(index)")
            }
        }
        if wasLeader, node.raft.commitIndex > commitIndex {
            let index = node.raft.commitIndex
            let entry = node.log[index]!
            func holds(_ voter: NodeID) -> Bool {
                guard let other = nodes.first(where: { $0.id == voter }) else { return false }
                return other.diskLog.base.index >= index || other.diskLog[index] == entry
            }
            for half in [configuration.incoming, configuration.outgoing] where !half.isEmpty {
                precondition(
                    half.filter(holds).count > half.count / 2, "\(index) committed without a majority's disks")
            }
        }
    }

    // MARK: - Clients

    mutating func read(_ id: UInt64) -> ReadToken {
        defer { nextToken += 1 }
        step(id, .readRequested(token: ReadToken(nextToken)))
        return ReadToken(nextToken)
    }
}
