internal import Basics
internal import ClientCore
internal import MetadataModel
internal import Wire

/// A client program: the shipped decisions of `ClientState`, and what it wants from the cluster.
final class SimClient {
    let number: Int
    var state: ClientState
    /// Open or being made. Only looked up in.
    var connections: [ConnectionID: SimConnection] = [:]
    /// Calls without an outcome. Only looked up in, and counted.
    var items: [CallID: WorkItem] = [:]
    var lastCall: UInt64 = 0
    var deadline = Instant.never
    /// The one event that wakes it: its number, and its time. It may come too early, and is then put off.
    var deadlineNumber = 0
    var wakesAt = Instant.never
    /// What it has seen of each key, by group and place.
    var known: [[KnownRow]]
    /// The highest revision that any answer has named.
    var revisionSeen = LogIndex.zero
    var isWorking = true
    /// Of the cluster that it knows.
    var generation: UInt64 = 1
    /// As it was told last.
    var sessionState: SessionState?
    /// Its places in the lines of elections and locks, as it believes.
    var places = [BelievedPlace](repeating: BelievedPlace(), count: CoordinationWorkload.lineCount)
    /// Where there are masters, what it believes of its part among them.
    var master = SimMaster()

    init(number: Int, endpoints: [String], identity: ClusterIdentity, chance: inout Chance, settings: WorldSettings) {
        self.number = number
        var client = ClientSettings(endpoints: endpoints, identity: identity, clientName: "sim", clientVersion: "1")
        client.sessionTimeout = settings.sessionTimeout
        state = ClientState(settings: client, seed: chance.next(), idSeed: chance.next(), now: .zero)
        known = (0..<Workload.groupCount).map { _ in
            [KnownRow](repeating: KnownRow(revision: .zero, number: 0), count: Workload.keysPerGroup)
        }
    }
}

extension World {
    private static let callsAtOnceMax = 4

    // MARK: - Driving

    func clientThinks(_ client: SimClient) {
        guard client.isWorking else { return }
        schedule(.clientThinks(client: client.number, round: rhythmRound), after: nextThinkPause())
        watchersGoOn(of: client)
        if !observers.isEmpty { observersGoOn(of: client) }
        readersGoOn(of: client)
        guard client.items.count < Self.callsAtOnceMax else { return }
        submit(nextItemOfAny(for: client), by: client, within: workChance.interval(.milliseconds(500), .seconds(8)))
    }

    /// Of whatever kinds of work there are in this world.
    private func nextItemOfAny(for client: SimClient) -> WorkItem {
        if settings.hasRegistry, isMaster(client), registryChance.happens(percent: 85) {
            return nextRegistryItem(for: client)
        }
        let isAboutPlaces = settings.coordinates && coordinationChance.happens(percent: 50)
        return isAboutPlaces ? nextCoordinationItem(for: client) : nextItem(for: client)
    }

    func submit(_ item: WorkItem, by client: SimClient, within time: Interval) {
        guard violation == nil else { return }
        var item = item
        item.floor = client.revisionSeen
        item.realTimeFloor = revisionAnswered
        item.operation.called = now.nanoseconds
        client.lastCall += 1
        let id = CallID(client.lastCall)
        client.items[id] = item
        client.state.step(.submitted(id, item.call, deadline: now + time), now: now)
        carryOut(client)
    }

    func clientDeadlineReached(_ client: SimClient, _ number: Int) {
        guard client.deadlineNumber == number else { return }
        client.wakesAt = .never
        guard client.deadline <= now else { return wakeLater(client) }
        client.deadline = .never
        client.state.step(.deadlineReached, now: now)
        carryOut(client)
    }

    func clientConnected(_ client: SimClient, _ number: UInt64) {
        let id = ConnectionID(number)
        guard client.connections[id] != nil else { return }
        client.state.step(.connected(id), now: now)
        carryOut(client)
    }

    func clientDisconnected(_ client: SimClient, _ number: UInt64, _ end: LinkEnd) {
        let id = ConnectionID(number)
        guard client.connections.removeValue(forKey: id) != nil else { return }
        client.state.step(.disconnected(id, end), now: now)
        carryOut(client)
    }

    func clientReceived(_ client: SimClient, _ number: UInt64, _ inbox: inout [UInt8]) -> Bool {
        let id = ConnectionID(number)
        var consumed = 0
        var isSound = true
        do {
            while client.connections[id] != nil,
                let frame = try FrameHeader.scan(
                    inbox.rawSpan.extracting(consumed..<inbox.count), sizeMax: Limits.frameSizeMaxDefault)
            {
                consumed += frame.totalSize
                let error = client.state.receive(frame.header, body: frame.body, on: id, now: now)
                if let error, let connection = client.connections[id] { badBytes(from: connection, "\(error)") }
                carryOut(client)
            }
        } catch {
            isSound = false
            if let connection = client.connections[id] { badBytes(from: connection, "\(error)") }
        }
        inbox.drop(consumed)
        return isSound
    }

    func carryOut(_ client: SimClient) {
        carryOutEffects(of: client)
        // What a watch told may have been read at once.
        if !watchers.isEmpty || !observers.isEmpty || settings.hasRegistry { carryOutEffects(of: client) }
        let due = client.state.nextDeadline
        guard due != client.deadline else { return }
        client.deadline = due
        // An event that comes earlier is put off when it comes.
        if max(due, now) < client.wakesAt { wakeLater(client) }
    }

    private func wakeLater(_ client: SimClient) {
        guard client.deadline != .never else { return }
        client.wakesAt = max(client.deadline, now)
        client.deadlineNumber += 1
        queue.add(.clientDeadline(client: client.number, number: client.deadlineNumber), at: client.wakesAt)
    }

    private func carryOutEffects(of client: SimClient) {
        for effect in client.state.takeEffects() {
            switch effect {
            case .connect(let id, let address): connect(client, id, address)
            case .close(let id):
                guard let connection = client.connections.removeValue(forKey: id) else { break }
                close(connection, atCalled: false)
            case .send(let id, let bytes):
                if let connection = client.connections[id] { send(bytes, over: connection, toCalled: true) }
            case .complete(let id, let outcome): finish(id, outcome, of: client)
            case .watch(let id, let news):
                // Its reads see at least what it was told: each is held against this.
                client.revisionSeen = max(client.revisionSeen, news.revision ?? .zero)
                watchTold(id, news)
            case .session(let event):
                checkOpened(event, client)
                client.sessionState = event.state
                if event.state == .lost { counters.add(.abandonSession) }
            }
        }
    }

    private func connect(_ client: SimClient, _ id: ConnectionID, _ address: String) {
        guard let node = nodes.first(where: { $0.clientAddress == address }) else {
            return fail("a client calls \(address), which is nobody")
        }
        let connection = SimConnection(
            caller: .client(client.number, number: id.rawValue), called: .node(node.number, life: node.life))
        client.connections[id] = connection
        counters.add(.moveNode)
        dial(connection)
    }

    // MARK: - Outcomes

    private func finish(_ id: CallID, _ outcome: CallOutcome, of client: SimClient) {
        guard var item = client.items.removeValue(forKey: id) else {
            return fail("client \(client.number): call \(id.rawValue) ends twice")
        }
        switch outcome {
        case .answered(let body, let address): answered(body, from: address, &item, client)
        case .failed(let failure): failed(failure, &item, client)
        }
    }

    /// - Parameter address: empty where the client itself has answered: the end of a session that was never opened needs
    ///   no node.
    private func answered(_ body: [UInt8], from address: String, _ item: inout WorkItem, _ client: SimClient) {
        let isByClientItself = address.isEmpty
        item.operation.returned = now.nanoseconds
        if case .members(let request) = item.expectation { return changeAnswered(body, request) }
        guard client.generation == identity.generation || isByClientItself else {
            return fail("client \(client.number) of a generation that is over is answered")
        }
        if case .snapshotPart = item.expectation { return snapshotPartAnswered(body) }
        do {
            var reader = ByteReader(body.rawSpan)
            guard case .success(let revision) = try ReplyHead(decoding: &reader) else {
                return fail("client \(client.number) was given an error as an answer")
            }
            if revision < item.floor, !isByClientItself, !item.isOfView {
                fail(
                    "client \(client.number) is shown revision \(revision) after \(item.floor)"
                        + (item.isStale ? " by a stale read" : ""))
            }
            client.revisionSeen = max(client.revisionSeen, revision)
            checkRealTime(item, revision, client)
            item.operation.rank = revision.rawValue
            narrow(&item)
            switch item.expectation {
            case .mutation(let content):
                ackedMutations += 1
                checkAcknowledged(content, at: revision, client)
                item.operation.conditionsHeld = true
                learnWrites(item, at: revision, client)
            case .transaction(let transaction, let content):
                ackedMutations += 1
                checkAcknowledged(content, at: revision, client)
                let result = try TransactionResult(decoding: &reader)
                note(result, of: transaction, in: &item, at: revision, client)
            case .get(let key):
                answeredReads += 1
                let row = try reader.readRowResult()
                let expected = oracle.model.row(key, at: revision)
                guard row == expected else {
                    return fail("a get at revision \(revision) found \(describe(row)), not \(describe(expected))")
                }
                let number = row.map { Workload.number(of: $0.value) } ?? 0
                if let group = item.group {
                    item.operation.reads[0].value = number
                    client.known[group][item.operation.reads[0].key] = KnownRow(
                        revision: row?.revision ?? .zero, number: number)
                }
            case .list(let prefix, let request):
                answeredReads += 1
                let page = try Page(decoding: &reader, for: request)
                guard page.rows == oracle.model.rows(prefix: prefix, at: revision) else {
                    return fail("a listing at revision \(revision) shows \(page.rows.count) rows, not those of then")
                }
                if let group = item.group { note(page, in: &item, group, client) }
            case .members, .snapshotPart: break
            case .observer(let number):
                answeredReads += 1
                try observerRead(number, &reader, at: revision)
            case .registry(let ask, let content):
                if ask.isMutation {
                    ackedMutations += 1
                    checkAcknowledged(content, at: revision, client)
                } else {
                    answeredReads += 1
                }
                try registryAnswered(ask, &reader, at: revision, client)
            case .registryPage(let number, let request):
                answeredReads += 1
                try registryPageAnswered(number, request, &reader, at: revision, from: address)
            case .coordination(.endSession, _):
                // Where there is no session to end, the client itself has answered.
                ackedMutations += 1
            case .coordination(let ask, let content):
                if ask.isMutation {
                    ackedMutations += 1
                    checkAcknowledged(content, at: revision, client)
                } else {
                    answeredReads += 1
                }
                try learn(ask, &reader, client)
            }
        } catch {
            return fail("client \(client.number) cannot read an answer: \(error)")
        }
        if let group = item.group, !item.isStale { history[group].append(item.operation) }
    }

    /// Revisions order everything: what was answered before this call was made must lie before it. (Linearizability of
    /// the whole keyspace at once, given that the revisions are true; the histories do not rely on that.)
    private func checkRealTime(_ item: WorkItem, _ revision: LogIndex, _ client: SimClient) {
        guard !item.isStale else { return }
        let isMutation: Bool
        switch item.expectation {
        case .coordination(.endSession, _), .members, .snapshotPart: return
        case .mutation, .transaction: isMutation = true
        case .coordination(let ask, _): isMutation = ask.isMutation
        case .registry(let ask, _): isMutation = ask.isMutation
        case .get, .list, .observer, .registryPage: isMutation = false
        }
        if isMutation, revision <= item.realTimeFloor {
            fail("client \(client.number)'s mutation is of \(revision), after \(item.realTimeFloor) was answered")
        }
        if revision < item.realTimeFloor {
            fail("client \(client.number) reads revision \(revision), after \(item.realTimeFloor) was answered")
        }
        revisionAnswered = max(revisionAnswered, revision)
    }

    private func changeAnswered(_ body: [UInt8], _ request: Int) {
        guard case .membersChanged(let reply)? = try? ControlReply.decode(
            kind: ClientFrameKind.changeMembers.rawValue, body: body.rawSpan)
        else { return fail("the operator cannot read an answer") }
        membersChanged(request, reply)
    }

    private func describe(_ row: RowResult?) -> String {
        row.map { "\(Workload.number(of: $0.value)) of \($0.revision)" } ?? "nothing"
    }

    private func learnWrites(_ item: WorkItem, at revision: LogIndex, _ client: SimClient) {
        guard let group = item.group else { return }
        for cell in item.operation.writes {
            client.known[group][cell.key] = KnownRow(revision: cell.value == 0 ? .zero : revision, number: cell.value)
        }
    }

    private func note(
        _ result: TransactionResult, of transaction: Transaction, in item: inout WorkItem, at revision: LogIndex,
        _ client: SimClient
    ) {
        item.operation.conditionsHeld = result.succeeded
        let operations = result.succeeded ? transaction.then : transaction.otherwise
        for (number, operation) in operations.enumerated() where number < result.results.count {
            guard case .get(let key) = operation, case .get(let row) = result.results[number],
                let group = item.group,
                let place = (0..<Workload.keysPerGroup).first(where: { Workload.key(group, $0) == key })
            else { continue }
            item.operation.reads.append(.init(place, row.map { Workload.number(of: $0.value) } ?? 0))
        }
        if result.succeeded { learnWrites(item, at: revision, client) }
    }

    private func note(_ page: Page, in item: inout WorkItem, _ group: Int, _ client: SimClient) {
        for place in 0..<Workload.keysPerGroup {
            let row = page.rows.first { $0.key == Workload.key(group, place) }
            let number = row.map { Workload.number(of: $0.value ?? []) } ?? 0
            item.operation.reads.append(.init(place, number))
            client.known[group][place] = KnownRow(revision: row?.revision ?? .zero, number: number)
        }
    }

    /// What a mutation did was there when the first node had applied it, however late its client was told. The less
    /// histories overlap, the more of them can be decided.
    private func narrow(_ item: inout WorkItem) {
        switch item.expectation {
        case .mutation, .transaction: break
        default: return
        }
        guard let entry = oracle.entry(at: LogIndex(item.operation.rank)), let returned = item.operation.returned else { return }
        item.operation.returned = min(returned, entry.appliedAt.nanoseconds)
    }

    private func failed(_ failure: CallFailure, _ item: inout WorkItem, _ client: SimClient) {
        tell("client \(client.number) call failed: \(failure.error.code.name) \(failure.error.message)")
        if failure.error.code == .generationChanged { toldOfGeneration(client) }
        // The answer is kept until the client says that it has come.
        if failure.error.code == .sequenceTooOld {
            fail("client \(client.number) is told that it has acknowledged an answer that it never had")
        }
        switch item.expectation {
        case .get, .list: return
        case .snapshotPart: snapshotPartFailed(failure)
        case .observer(let number): observerReadFailed(number)
        case .members(let request): changeFailed(request, failure)
        case .coordination(let ask, _): refused(ask, failure, client)
        case .registry(let ask, _): registryRefused(ask, failure, client)
        case .registryPage(let number, _): registryPageFailed(number)
        case .mutation(let content), .transaction(_, let content):
            if failure.mayHaveTakenEffect {
                unknownOutcomes += 1
                counters.add(.unknownOutcome)
                if let group = item.group { unknown[group].append((item.operation, content)) }
            } else if failure.error.code == .conflict {
                item.operation.returned = now.nanoseconds
                item.operation.conditionsHeld = false
                item.operation.writes = []
                if let group = item.group {
                    history[group].append(item.operation)
                    forget(item.operation.conditions, group, failure.error.currentRevision, client)
                }
            } else {
                // Nothing has happened and nothing ever may; a value that nobody else writes tells.
                if item.operation.writes.contains(where: { $0.value != 0 }) { refusedContents.append(content) }
            }
        }
    }

    /// What it believed of these keys is wrong; the next read tells what is right.
    private func forget(_ cells: [Operation.Cell], _ group: Int, _ revision: LogIndex?, _ client: SimClient) {
        for cell in cells where revision == .zero {
            client.known[group][cell.key] = KnownRow(revision: .zero, number: 0)
        }
    }
}
