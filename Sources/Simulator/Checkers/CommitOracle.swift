internal import Basics
internal import LogFormat
internal import MetadataModel
internal import RegistryModel

/// What has been committed, kept outside the nodes and for ever: index → entry. Whatever node applies an entry,
/// whenever, must apply this one, answer it as the first node did, and come to the same digest.
struct CommitOracle {
    struct Entry {
        var id: EntryID
        var checksum: UInt32
        var replyChecksum: UInt32
        /// The command without its header; empty for what no client sent.
        var content: [UInt8]
        /// Whose command it is, which of theirs, and the revision that its answer names.
        var origin = ""
        /// It took effect here, for the first and only time.
        var tookEffect: Bool
        /// For a transaction, whether its comparisons held.
        var succeeded = true
        /// When the first node applied it.
        var appliedAt: Instant

        /// Whose it is and what can be read of it, for a person.
        var description: String {
            let text = String(decoding: content.dropFirst().map { (32..<127).contains($0) ? $0 : 46 }, as: UTF8.self)
            return "\(origin) kind \(content.first ?? 0) \(text.prefix(60))"
        }
    }

    /// By index, from 1.
    private(set) var entries: [Entry] = []
    private(set) var model = StateModel()
    private(set) var members: MembershipHistory
    private var digests: [LogIndex: UInt64] = [:]
    /// Where each mutation took effect.
    private var effects: [MutationID: LogIndex] = [:]
    private var lastTime = ClusterTime.zero
    private(set) var duplicatesSeen = 0
    var fences = FenceChecker()
    private(set) var leaders = LeaderHistory()
    /// Where there are masters.
    var registry: RegistryOracle?
    private var expired: [(id: SessionID, term: Term)] = []
    /// All that entries have expired. Only looked up in.
    private(set) var expiredSessions: Set<SessionID> = []

    private struct MutationID: Hashable {
        var session: SessionID
        var sequence: UInt64
    }

    /// Where a restore has cut the history, and where it went on.
    private var cut: (last: LogIndex, base: LogIndex)?
    /// All that was applied, so that it can be told again up to any entry.
    var keepsJournal = false
    private var journal: [(slabs: [Slab], report: ApplyReport, at: Instant)] = []

    init(founding: Membership) { members = MembershipHistory(founding: founding) }

    /// Sessions that entries have expired since this was asked last, and the terms of these.
    mutating func takeExpired() -> [(id: SessionID, term: Term)] {
        let taken = expired
        expired.removeAll()
        return taken
    }

    var lastIndex: LogIndex {
        let count = UInt64(entries.count)
        return LogIndex(cut.map { $0.base.rawValue + count - $0.last.rawValue } ?? count)
    }

    func entry(at index: LogIndex) -> Entry? {
        guard index > .zero, index <= lastIndex else { return nil }
        var place = index
        if let cut, index > cut.last {
            guard index > cut.base else { return nil }
            place = cut.last + index.distance(after: cut.base)
        }
        return entries[Int(place.rawValue - 1)]
    }

    /// What was committed after `last` has never been; the next entry is that after `base`.
    mutating func restore(through last: LogIndex, as base: EntryID, _ membership: Membership) -> String? {
        var restored = CommitOracle(founding: members.changes[0].membership)
        restored.registry = registry.map { _ in RegistryOracle() }
        for applied in journal {
            if let violation = restored.applied(applied.slabs, applied.report, now: applied.at, through: last).violation {
                return violation
            }
        }
        restored.members = MembershipHistory(founding: membership)
        restored.duplicatesSeen = duplicatesSeen
        restored.digests = digests.filter { $0.key <= last }
        restored.digests[base.index] = digests[last]
        restored.cut = (last, base.index)
        restored.expired = []
        self = restored
        return nil
    }

    /// `node` has applied `slabs` within `report.range`.
    /// - Returns: a violation, if there is one, and the entries that nobody had applied before.
    mutating func applied(
        _ slabs: [Slab], _ report: ApplyReport, now: Instant, through last: LogIndex = LogIndex(.max)
    ) -> (violation: String?, new: [EntryID]) {
        var new: [EntryID] = []
        if keepsJournal { journal.append((slabs, report, now)) }
        for slab in slabs {
            for index in [slab.indexes].compactMap({ $0.overlaps(report.range) ? $0.clamped(to: report.range) : nil })
                .flatMap({ range in (0..<range.entryCount).map { range.lowerBound + $0 } })
            where index <= last {
                let bytes = slab.records(in: index...index)
                let reply = report.replyBytes.rawSpan.extracting(report.reply(at: index))
                let checksum = CRC32C.checksum(of: bytes)
                let replyChecksum = CRC32C.checksum(of: reply)
                if let known = entry(at: index) {
                    guard known.checksum == checksum, known.id.term == slab.term else {
                        return ("entry \(index) is of term \(slab.term) here and of \(known.id.term) elsewhere", new)
                    }
                    guard known.replyChecksum == replyChecksum else {
                        return ("entry \(index) is answered in two ways", new)
                    }
                    continue
                }
                guard index == lastIndex.next else {
                    return ("entry \(index) is applied, but \(lastIndex.next) is not yet known", new)
                }
                let record = slab.record(at: index)
                guard record.header.time >= lastTime else { return ("cluster time falls at \(index)", new) }
                lastTime = record.header.time
                entries.append(
                    Entry(
                        id: EntryID(term: slab.term, index: index), checksum: checksum, replyChecksum: replyChecksum,
                        content: [], tookEffect: false, appliedAt: now))
                new.append(EntryID(term: slab.term, index: index))
                if let violation = registry?.begin(index, at: record.header.time) { return (violation, new) }
                if record.header.type == .configuration {
                    guard let membership = try? Membership(decoding: record.payload) else {
                        return ("the members of \(index) cannot be read", new)
                    }
                    if let violation = members.append(membership, at: index, now: now) { return (violation, new) }
                }
                guard record.header.type == .command else { continue }
                if let violation = learn(record.payload, reply: reply, at: index) { return (violation, new) }
            }
        }
        return (nil, new)
    }

    private mutating func learn(_ command: RawSpan, reply: RawSpan, at index: LogIndex) -> String? {
        do {
            var reader = ByteReader(command)
            let header = try CommandHeader(decoding: &reader)
            guard !header.kind.isHousekeeping else {
                if case .expireSessions(let ended)? = try Housekeeping(kind: header.kind, decoding: &reader) {
                    leaders.end(ended, at: index)
                    let term = entries[entries.count - 1].id.term
                    expired += ended.map { ($0, term) }
                    expiredSessions.formUnion(ended)
                }
                return nil
            }
            var contentReader = reader
            let body = contentReader.readRemaining()
            entries[entries.count - 1].content = [header.kind.rawValue] + [UInt8](body)
            var replyReader = ByteReader(reply)
            entries[entries.count - 1].origin = "\(header.session)/\(header.sequence)"
            // A repeated mutation gets the first reply again, with the revision of then.
            guard case .success(let revision) = try ReplyHead(decoding: &replyReader) else { return nil }
            entries[entries.count - 1].origin += " -> \(revision)"
            guard revision == index else {
                duplicatesSeen += 1
                return nil
            }
            let id = MutationID(session: header.session, sequence: header.sequence)
            if let first = effects[id] {
                return "mutation \(header.session)/\(header.sequence) took effect at \(first) and again at \(index)"
            }
            effects[id] = index
            entries[entries.count - 1].tookEffect = true
            if let violation = try noteFenced(header, body, at: index) { return violation }
            var leadingReader = ByteReader(body)
            try leaders.apply(header, decoding: &leadingReader, at: index)
            if let registry, header.kind == .registry {
                let command = try RegistryCommand(decoding: &reader)
                let leader = leaders.leader(of: RegistryCommand.electionGroup, at: index)
                return registry.apply(
                    command, under: header.mastersFence ?? 0, leading: leader?.fence,
                    try RegistryReply(decoding: &replyReader))
            }
            guard let mutation = try AppliedMutation(kind: header.kind, decoding: &reader) else { return nil }
            var result: TransactionResult?
            if case .transaction = mutation {
                result = try TransactionResult(decoding: &replyReader)
                entries[entries.count - 1].succeeded = result?.succeeded ?? false
            }
            return model.apply(mutation, reply: result, at: index).map { "entry \(index): \($0)" }
        } catch {
            return "entry \(index) or its reply does not decode: \(error)"
        }
    }

    /// A state's rolling digest once everything through `index` was applied.
    mutating func digest(_ digest: UInt64, at index: LogIndex) -> String? {
        if let known = digests[index], known != digest {
            return "two states after \(index): \(String(known, radix: 16)) and \(String(digest, radix: 16))"
        }
        digests[index] = digest
        return nil
    }
}
