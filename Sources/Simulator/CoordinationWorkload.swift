internal import Basics
internal import ClientCore
internal import MetadataModel
internal import Wire

/// Masters and holders of locks: clients campaign in two groups, stand in line for two locks, and write under the fences
/// that they believe to be theirs, for as long as they believe it. They learn of a loss only by being refused.
struct CoordinationWorkload {
    /// Two groups, then two locks.
    static let lineCount = 4

    static func isLock(_ line: Int) -> Bool { line >= 2 }
    static func name(_ line: Int) -> [UInt8] { Array((isLock(line) ? "lock\(line)" : "group\(line)").utf8) }

    /// What the checker has to know of the fence stands at the end of the key.
    static func key(_ line: Int, isShared: Bool) -> [UInt8] { Array("fenced/\(line)/\(isShared ? "s" : "x")".utf8) }
}

/// What a client believes of its place in a line.
struct BelievedPlace {
    var ticket: LogIndex?
    var fence: UInt64?
    var isShared = false
}

/// What it asks, with what it means if it is done.
enum CoordinationAsk {
    case take(line: Int, isShared: Bool)
    case leave(line: Int)
    /// The leader tells others something else.
    case tell(line: Int)
    case find(line: Int, ticket: LogIndex)
    case write(line: Int)
    case putOwned
    case endSession

    var isMutation: Bool {
        if case .find = self { false } else { true }
    }
}

extension World {
    /// The next thing that `client` does in this part of the workload.
    func nextCoordinationItem(for client: SimClient) -> WorkItem {
        let line = coordinationChance.number(in: 0...CoordinationWorkload.lineCount - 1)
        let place = client.places[line]
        switch coordinationChance.number(in: 0...99) {
        case 0..<3: return item(client, .endSession, .endSession)
        case 3..<8:
            let key = Array("owned/\(client.number)".utf8)
            let value = Workload.value(UInt32(client.number), size: 4)
            return item(client, .putOwned, .put(key: key, value: value, isOwned: true))
        case 8..<16 where place.ticket != nil: return leaveItem(client, line)
        case 16..<24: return takeItem(client, line)
        case 24..<34 where place.fence != nil && !CoordinationWorkload.isLock(line):
            lastValueNumber += 1
            let data = Workload.value(lastValueNumber, size: 8)
            let name = CoordinationWorkload.name(line)
            return item(client, .tell(line: line), .coordination(.setCandidateData(group: name, data: data)))
        default:
            if let fence = place.fence { return writeItem(client, line, fence, isShared: place.isShared) }
            if let ticket = place.ticket { return findItem(client, line, ticket) }
            return takeItem(client, line)
        }
    }

    private func item(
        _ client: SimClient, _ ask: CoordinationAsk, _ mutation: Mutation, guards: [Guard] = [], isOnce: Bool = false
    ) -> WorkItem {
        let content = CommandContent(mutation, guards: guards)
        return WorkItem(
            call: isOnce ? .mutateOnce(content) : .mutate(content),
            expectation: .coordination(ask, content: [content.kind.rawValue] + content.body), group: nil,
            operation: Operation(client: client.number, called: now.nanoseconds, returned: nil))
    }

    private func takeItem(_ client: SimClient, _ line: Int) -> WorkItem {
        let name = CoordinationWorkload.name(line)
        guard CoordinationWorkload.isLock(line) else {
            let data = Array("client \(client.number)".utf8)
            return item(
                client, .take(line: line, isShared: false), .coordination(.campaign(group: name, data: data)))
        }
        let isShared = coordinationChance.happens(percent: 30)
        let delay = coordinationChance.happens(percent: 60) ? 0 : coordinationChance.number(in: 1...3_000)
        let request = LockRequest(
            name: name, mode: isShared ? .shared : .exclusive, isTry: coordinationChance.happens(percent: 15),
            delay: .milliseconds(Int64(delay)))
        return item(client, .take(line: line, isShared: isShared), .coordination(.acquireLock(request)))
    }

    private func leaveItem(_ client: SimClient, _ line: Int) -> WorkItem {
        let name = CoordinationWorkload.name(line)
        let command: CoordinationCommand =
            CoordinationWorkload.isLock(line) ? .releaseLock(name: name) : .withdraw(group: name)
        return item(client, .leave(line: line), .coordination(command))
    }

    private func writeItem(_ client: SimClient, _ line: Int, _ fence: UInt64, isShared: Bool) -> WorkItem {
        let kind: Guard.Kind = CoordinationWorkload.isLock(line) ? .lock : .election
        let condition = Guard(kind: kind, name: CoordinationWorkload.name(line), fence: fence)
        let put = Mutation.put(
            key: CoordinationWorkload.key(line, isShared: isShared),
            value: Workload.value(UInt32(client.number), size: 4))
        // Not only through the session that has the fence: whoever it was given to may use it.
        return item(
            client, .write(line: line), put, guards: [condition], isOnce: coordinationChance.happens(percent: 30))
    }

    private func findItem(_ client: SimClient, _ line: Int, _ ticket: LogIndex) -> WorkItem {
        let name = CoordinationWorkload.name(line)
        let query: Query =
            CoordinationWorkload.isLock(line)
            ? .lock(name: name, after: ticket.previous, limit: 1)
            : .candidates(group: name, after: ticket.previous, limit: 1)
        return WorkItem(
            call: .query(query.encoded(), level: .linearizable, address: nil),
            expectation: .coordination(.find(line: line, ticket: ticket), content: []), group: nil,
            operation: Operation(client: client.number, called: now.nanoseconds, returned: nil))
    }

    // MARK: - Outcomes

    /// Reads what follows the head of an answer.
    func learn(
        _ ask: CoordinationAsk, _ reader: inout ByteReader, _ client: SimClient
    ) throws(DecodeError) {
        switch ask {
        case .take(let line, let isShared):
            let result = try TicketResult(decoding: &reader)
            client.places[line] = BelievedPlace(
                ticket: result.ticket, fence: result.fence > 0 ? result.fence : nil, isShared: isShared)
        case .leave(let line): client.places[line] = BelievedPlace()
        case .find(let line, let ticket):
            let fence: UInt64?
            if CoordinationWorkload.isLock(line) {
                fence = try ListPart<LockTicket>(decoding: &reader).items.first { $0.ticket == ticket }?.fence
            } else {
                fence = try ListPart<Candidate>(decoding: &reader).items.first { $0.ticket == ticket }?.fence
            }
            guard client.places[line].ticket == ticket else { return }
            guard let fence else {
                client.places[line] = BelievedPlace()
                return
            }
            if fence > 0 { client.places[line].fence = fence }
        case .tell, .write, .putOwned, .endSession: break
        }
    }

    func refused(_ ask: CoordinationAsk, _ failure: CallFailure, _ client: SimClient) {
        if failure.mayHaveTakenEffect {
            unknownOutcomes += 1
            counters.add(.unknownOutcome)
        }
        if failure.error.code == .notLeading, case .tell(let line) = ask { client.places[line] = BelievedPlace() }
        guard failure.error.code == .fenced, case .write(let line) = ask else { return }
        fencedRefusals += 1
        client.places[line] = BelievedPlace()
    }

    package var fencedWritesAccepted: Int { oracle.fences.acceptedCount }
    /// Fences under which at least one write was accepted.
    package var fencesUsed: Int { oracle.fences.fenceCount }
}
