internal import Basics
internal import MetadataModel

/// Who led each election group when, worked out from the committed commands by the plainest means: a line for each
/// group, the first of it leads, and its fence is the entry that made it first.
struct LeaderHistory {
    private var lines: [[UInt8]: [Candidate]] = [:]
    /// Each change, in the order of the log.
    private(set) var leaders: [[UInt8]: [(revision: LogIndex, leader: Candidate?)]] = [:]

    /// A client's command that took effect at `index`.
    mutating func apply(
        _ header: CommandHeader, decoding reader: inout ByteReader, at index: LogIndex
    ) throws(DecodeError) {
        guard header.kind != .endSession else { return end([header.session], at: index) }
        guard let command = try CoordinationCommand(kind: header.kind, decoding: &reader) else { return }
        switch command {
        case .campaign(let group, let data):
            lines[group, default: []].removeAll { $0.session == header.session }
            let candidate = Candidate(ticket: index, session: header.session, fence: 0, data: data)
            lines[group, default: []].append(candidate)
            settle(group, at: index)
        case .withdraw(let group):
            lines[group]?.removeAll { $0.session == header.session }
            settle(group, at: index)
        case .setCandidateData(let group, let data):
            guard lines[group]?.first?.session == header.session else { return }
            lines[group]?[0].data = data
            settle(group, at: index)
        case .acquireLock, .releaseLock, .stateSet, .stateExpunge: return
        }
    }

    /// These sessions ended with the entry at `index`.
    mutating func end(_ sessions: [SessionID], at index: LogIndex) {
        for group in lines.keys.sorted(by: { $0.lexicographicallyPrecedes($1) }) {
            lines[group]?.removeAll { sessions.contains($0.session) }
            settle(group, at: index)
        }
    }

    private mutating func settle(_ group: [UInt8], at index: LogIndex) {
        if lines[group]?.first?.fence == 0 { lines[group]?[0].fence = index.rawValue }
        let leader = lines[group]?.first
        guard leader != leaders[group]?.last?.leader else { return }
        leaders[group, default: []].append((index, leader))
    }

    func leader(of group: [UInt8], at revision: LogIndex) -> Candidate? {
        leaders[group]?.last { $0.revision <= revision }?.leader
    }

    func changes(of group: [UInt8], after first: LogIndex, through last: LogIndex) -> [Candidate?] {
        (leaders[group] ?? []).filter { $0.revision > first && $0.revision <= last }.map(\.leader)
    }
}
